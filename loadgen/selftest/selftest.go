// Package selftest measures the load generator itself: how much it can drive on
// this machine and how exactly it measures, against a server in this process that
// does nothing but stream tokens on time and say when it sent them.
package selftest

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
)

// Gates of an honest row. Within them the client adds nothing to a measurement
// that anyone would notice.
const (
	MaxErrorMean = time.Millisecond     // mean error of the time to first token
	MaxErrorP99  = 5 * time.Millisecond // 99th percentile of it
	MaxCPUShare  = 0.9                  // of this process, the null server included
	MinEvents    = 0.98                 // received per second, of what was asked for
	MaxDispatch  = 5 * time.Millisecond // 99th percentile from a freed slot to the next request
)

// Point is one load to try: concurrent streams of that many tokens per second.
type Point struct {
	Streams int
	Rate    float64
}

// DefaultPoints rise in streams at the rate of a busy model, then in tokens per
// second at a hundred streams.
func DefaultPoints() []Point {
	var points []Point
	for _, n := range []int{1, 10, 50, 100, 200, 500, 1000, 2000, 5000} {
		points = append(points, Point{n, 50})
	}
	for _, rate := range []float64{100, 200, 500} {
		points = append(points, Point{100, rate})
	}
	return points
}

// Options say what to try.
type Options struct {
	Points   []Point       // empty: DefaultPoints
	Duration time.Duration // of each; 0: 3 s
	OnRow    func(Row)     // called after each, where set
}

// Row is what one load showed. Times in seconds.
type Row struct {
	Streams         int            `json:"streams"`
	TokensPerSecond float64        `json:"tokens_per_second"` // asked of each stream
	EventsPerSecond loadgen.Number `json:"events_per_second"` // received, all streams together
	ErrorMean       loadgen.Number `json:"ttft_error_mean_seconds"`
	ErrorP99        loadgen.Number `json:"ttft_error_p99_seconds"`
	CPUPerEvent     loadgen.Number `json:"cpu_per_event_seconds"`   // of the client; null where the server's share is not known
	MemoryPerStream loadgen.Number `json:"memory_per_stream_bytes"` // null for few streams
	CPUShare        loadgen.Number `json:"cpu_share"`
	DispatchP99     loadgen.Number `json:"dispatch_p99_seconds"`
	StampSource     string         `json:"stamp_source"`
	Requests        int            `json:"requests"`
	Failed          int            `json:"failed"`
	Honest          bool           `json:"honest"`
	Why             string         `json:"why"` // which gate it broke; empty for an honest row
}

// Result is what a self-test showed.
type Result struct {
	Rows    []Row `json:"rows"`
	Largest *Row  `json:"largest"` // the honest row with the most events per second; null without one
}

// Run tries the points in turn. Rising streams end at the first row that is not
// honest, and so do rising rates: what lies beyond it only wears the machine. A
// cancelled context ends the test with the rows so far and the context's error.
//
// The null server shares the machine with the client, so a real server elsewhere
// leaves the client more room than the rows say.
func Run(ctx context.Context, o Options) (Result, error) {
	if len(o.Points) == 0 {
		o.Points = DefaultPoints()
	}
	if o.Duration <= 0 {
		o.Duration = 3 * time.Second
	}
	server, err := StartNull()
	if err != nil {
		return Result{}, err
	}
	defer server.Close()
	var result Result
	var beyond []Point // points that broke a gate
	limit, err := warmUp(ctx, server)
	if err != nil {
		return Result{}, err
	}
	for _, p := range o.Points {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		if slices.ContainsFunc(beyond, func(b Point) bool { return p.Streams >= b.Streams && p.Rate >= b.Rate }) {
			continue
		}
		row := Row{Streams: p.Streams, TokensPerSecond: p.Rate}
		// Both ends of every connection are in this process.
		if files := 2*p.Streams + 64; float64(files) > limit {
			row.Why = fmt.Sprintf("%d streams need about %d open files here, the limit is %.0f: raise it (ulimit -n)", p.Streams, files, limit)
		} else if row, err = measure(ctx, server, p, o.Duration); err != nil {
			return result, err
		}
		result.Rows = append(result.Rows, row)
		if !row.Honest {
			beyond = append(beyond, p)
		}
		if o.OnRow != nil {
			o.OnRow(row)
		}
	}
	for i := range result.Rows {
		row := &result.Rows[i]
		if row.Honest && (result.Largest == nil || row.EventsPerSecond.Or(0) > result.Largest.EventsPerSecond.Or(0)) {
			result.Largest = row
		}
	}
	return result, nil
}

// Speed is how many events per second this machine could drive, judged by the CPU that a
// light load takes of it, the null server's part included: a measure to weigh machines
// against each other by. 0 where the share of the CPU is not known. It takes five seconds.
func Speed(ctx context.Context) (eventsPerSecond float64, err error) {
	result, err := Run(ctx, Options{Points: []Point{{100, 50}}, Duration: 5 * time.Second})
	if err != nil {
		return 0, err
	}
	row := &result.Rows[0]
	events, ok := row.EventsPerSecond.Value()
	if share, known := row.CPUShare.Value(); ok && known && share > 0 {
		return events / share, nil
	}
	return 0, nil
}

// warmUp runs a stream that does not count, since first times are slow (the kernel
// begins to stamp, the code is paged in), and returns the limit of open files.
func warmUp(ctx context.Context, server *NullServer) (files float64, err error) {
	run, _, err := drive(ctx, server, Point{1, 100}, 200*time.Millisecond)
	return run.Health.OpenFilesLimit.Or(math.Inf(1)), err
}

// measure drives one point.
func measure(ctx context.Context, server *NullServer, p Point, duration time.Duration) (Row, error) {
	row := Row{Streams: p.Streams, TokensPerSecond: p.Rate}
	runtime.GC()
	before := inUse()
	serverBefore, apart := server.CPU()
	peak := make(chan float64, 1)
	timer := time.AfterFunc(duration*3/4, func() { peak <- inUse() })
	defer timer.Stop()
	run, truth, err := drive(ctx, server, p, duration)
	if err != nil {
		return row, err
	}
	row.fill(run, truth)
	if used, ok := run.Health.CPUSeconds.Value(); ok && apart {
		serverAfter, _ := server.CPU()
		row.CPUPerEvent = loadgen.Known((used - (serverAfter - serverBefore).Seconds()) / float64(events(run)))
	}
	select {
	case most := <-peak:
		// With few streams, or garbage left from before, the figure is of something else.
		if most > before && p.Streams >= 50 {
			row.MemoryPerStream = loadgen.Known((most - before) / float64(p.Streams))
		}
	default: // all was over before the moment came
	}
	row.judge()
	return row, nil
}

// drive runs one point through a client of its own.
func drive(ctx context.Context, server *NullServer, p Point, duration time.Duration) (loadgen.Run, *Truth, error) {
	// Streams of about half the duration: a few requests a slot, so that what a
	// request costs counts too.
	tokens := max(int(duration.Seconds()/2*p.Rate), 2)
	truth, err := NewTruth(tokens, p.Rate)
	if err != nil {
		return loadgen.Run{}, nil, err
	}
	target := loadgen.DefaultTarget()
	target.BaseURL = "http://" + server.Address()
	client, err := loadgen.NewClient(loadgen.ClientConfig{Target: target, Protocol: truth, Source: truth, Options: api.Options{Model: "null"}})
	if err != nil {
		return loadgen.Run{}, nil, err
	}
	defer client.Close()

	run, err := loadgen.NewEngine(client).Run(ctx, loadgen.Load{
		Concurrency: p.Streams, Duration: duration, Start: loadgen.StartStagger, StaggerOver: duration / 2,
	})
	if err == nil {
		err = ctx.Err()
	}
	return run, truth, err
}

// events counts the output events of a run.
func events(run loadgen.Run) (n int) {
	for i := range run.Samples {
		n += run.Samples[i].OutputEvents
	}
	return n
}

// fill takes a run's figures.
func (row *Row) fill(run loadgen.Run, truth *Truth) {
	row.Requests = len(run.Samples)
	for i := range run.Samples {
		if run.Samples[i].Class != loadgen.Success {
			row.Failed++
		}
	}
	row.CPUShare = run.Health.CPUShare
	row.DispatchP99 = run.Health.DispatchP99Seconds
	row.StampSource = run.Health.StampSource
	row.EventsPerSecond = streamRate(run, row.Streams)
	if errors := truth.Errors(run); len(errors) > 0 {
		slices.Sort(errors)
		var sum time.Duration
		for _, e := range errors {
			sum += e
		}
		row.ErrorMean = loadgen.Known(sum.Seconds() / float64(len(errors)))
		row.ErrorP99 = loadgen.Known(errors[int(math.Ceil(0.99*float64(len(errors))))-1].Seconds())
	}
}

// streamRate is the rate of events while all streams run: the mean over requests
// of events per second of their time in flight, times the streams. Ramp and
// drain-out are no part of it.
func streamRate(run loadgen.Run, streams int) loadgen.Number {
	n, inFlight := 0, time.Duration(0)
	for i := range run.Samples {
		s := &run.Samples[i]
		if d, ok := s.Residence(); ok {
			n += s.OutputEvents
			inFlight += d
		}
	}
	return loadgen.Known(float64(n) / inFlight.Seconds() * float64(streams))
}

// judge finds the first gate that the row broke.
func (row *Row) judge() {
	if row.Failed > 0 {
		row.Why = fmt.Sprintf("%d of %d requests failed", row.Failed, row.Requests)
		return
	}
	for _, gate := range []struct {
		value loadgen.Number
		limit float64
		what  string
	}{
		{row.ErrorMean, MaxErrorMean.Seconds(), "mean error of TTFT in seconds"},
		{row.ErrorP99, MaxErrorP99.Seconds(), "p99 error of TTFT in seconds"},
		{row.CPUShare, MaxCPUShare, "share of the CPU quota"},
		{row.DispatchP99, MaxDispatch.Seconds(), "p99 dispatch delay in seconds"},
	} {
		if v, ok := gate.value.Value(); ok && v > gate.limit {
			row.Why = fmt.Sprintf("%s is %.4f, above %g", gate.what, v, gate.limit)
			return
		}
	}
	want := float64(row.Streams) * row.TokensPerSecond
	if got := row.EventsPerSecond.Or(0); got < MinEvents*want {
		row.Why = fmt.Sprintf("received %.0f events/s of %.0f", got, want)
		return
	}
	row.Honest = true
}

// inUse is the memory held for objects, dead ones not yet collected included, and
// for stacks.
func inUse() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
