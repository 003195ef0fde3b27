package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// SoakConfig is a long run that watches for slow degradation.
type SoakConfig struct {
	LoadPoint
	Slices         int     // into how many the run is cut; 0 means 60
	MaxDegradation float64 // share by which a figure may worsen over the run; 0 means 0.10
}

func (q SoakConfig) withDefaults() SoakConfig {
	if q.Slices == 0 {
		q.Slices = 60
	}
	if q.MaxDegradation == 0 {
		q.MaxDegradation = 0.10
	}
	return q
}

// SoakShare is the guide's share of the limit for a stability check.
const SoakShare = 0.8

// SoakConcurrency takes from a sweep's result what a soak should run at: share
// of its limit, or of the largest concurrency that held where none was reached.
func SoakConcurrency(r *Result, share float64) (int, error) {
	base := r.Ladder.LastGood
	if r.Limit != nil {
		base = r.Limit.Concurrency
	}
	n, ok := base.Value()
	if !ok {
		return 0, fmt.Errorf("the result names no concurrency that held (verdict %s): give the soak's own", r.Verdict)
	}
	return max(1, int(math.Floor(share*n+1e-9))), nil
}

// SoakAnswer is how a long run went.
type SoakAnswer struct {
	Slices   []SoakSlice `json:"slices"`
	Trends   []SoakTrend `json:"trends"`
	Degrades bool        `json:"degrades"` // some trend is a degradation
	Kept     int         `json:"kept"`     // requests that the step's figures rest on; the slices rest on all
}

// SoakSlice is a stretch of a soak, by the end of its requests.
type SoakSlice struct {
	AtSeconds         float64         `json:"at_seconds"` // its beginning
	Seconds           float64         `json:"seconds"`
	Completed         int             `json:"completed"`
	Failed            int             `json:"failed"`
	RequestThroughput float64         `json:"request_throughput"`
	OutputThroughput  float64         `json:"output_throughput"`
	TTFT              analysis.Number `json:"ttft_seconds"`   // means over successes
	TPOT              analysis.Number `json:"tpot_seconds"`   //
	E2E               analysis.Number `json:"e2e_seconds"`    //
	ResidentBytes     analysis.Number `json:"resident_bytes"` // of the server's process, where its metrics say
}

// SoakTrend is the test of one figure for a change over the run.
type SoakTrend struct {
	Metric   string          `json:"metric"`
	Change   analysis.Number `json:"change"` // over the whole run, share of the start; of failures, share of requests
	SE       analysis.Number `json:"se"`
	Gate     float64         `json:"gate"`
	Degrades bool            `json:"degrades"`
	Sentence string          `json:"sentence"`
}

// soakKeeps is how many requests a soak keeps whole. A run of hours must stay in
// bounded memory; the slices count every request all the same.
const soakKeeps = 100_000

// soak is a soak under way.
type soak struct {
	cfg    SoakConfig
	answer *SoakAnswer
	width  time.Duration
	offset time.Duration // what an earlier, interrupted run has behind it
	open   slice
	prompt int // number of the run's first prompt
	count  int
	kept   []loadgen.Sample
	closed func(*soak)
}

// slice is one being filled.
type slice struct {
	index             int
	completed, failed int
	tokens            int
	ttft, tpot, e2e   meanOf
}

type meanOf struct {
	sum float64
	n   int
}

func (m *meanOf) add(d time.Duration, ok bool) {
	if ok {
		m.sum += d.Seconds()
		m.n++
	}
}

func (m meanOf) number() analysis.Number {
	if m.n == 0 {
		return analysis.Number{}
	}
	return loadgen.Known(m.sum / float64(m.n))
}

// Soak runs one load for long and tests whether the server degrades: Met or
// NotMet. It goes on where an interrupted one has ended.
func (c *Controller) Soak(ctx context.Context, q SoakConfig) (*Result, error) {
	if q.Duration <= 0 {
		return nil, errors.New("a soak needs a duration, e.g. 1h")
	}
	s := c.begin("soak")
	q = q.withDefaults()
	if s.r.Soak == nil {
		s.r.Soak = &SoakAnswer{}
	}
	k := &soak{cfg: q, answer: s.r.Soak, width: max(q.Duration/time.Duration(q.Slices), time.Second)}
	if n := len(k.answer.Slices); n > 0 {
		last := k.answer.Slices[n-1]
		k.offset = time.Duration((last.AtSeconds + last.Seconds) * float64(time.Second))
	}
	err := s.soakRun(ctx, k)
	return s.close(err, func() { s.soakAnswer(k) })
}

func (s *session) soakRun(ctx context.Context, k *soak) error {
	left := k.cfg.Duration - k.offset
	if left <= 0 {
		return nil
	}
	k.prompt = s.r.Spent.Prompts
	first := len(k.answer.Slices)
	stop := s.keepSnapshots(k)
	o := k.cfg.order(analysis.PhasePoint)
	o.requests, o.duration, o.partial = 0, left, true
	o.rules = s.soakRules()
	o.collect = k.sample
	o.lost = func(*loadgen.Sample) bool { return false }
	o.kept = func() []loadgen.Sample {
		stop() // the step is stored next: a snapshot must neither get in its way nor come after it
		return k.kept
	}
	step, err := s.measure(ctx, o)
	stop() // where there was no run
	k.finish()
	s.memory(k, first, step.StartedAt)
	return err
}

// soakRules leave out what compares with another step.
func (s *session) soakRules() *StopRules {
	rules := s.Stop
	rules.MinThroughputGain = 0
	return &rules
}

// sample counts a finished request. It runs on the generator's path.
func (k *soak) sample(x *loadgen.Sample) {
	if x.Class == loadgen.Cancelled {
		return
	}
	k.count++
	if len(k.kept) < soakKeeps {
		k.kept = append(k.kept, *x)
	}
	for at := int(x.End / k.width); k.open.index < at; {
		k.close(k.width)
	}
	switch {
	case x.Class == loadgen.Success:
		k.open.completed++
		k.open.tokens += x.OutputTokens
		k.open.ttft.add(x.TTFT())
		k.open.tpot.add(x.TPOT())
		k.open.e2e.add(x.E2E())
	case x.Class.ServerFailure():
		k.open.failed++
	}
}

// close ends the open slice and begins the next one.
func (k *soak) close(width time.Duration) {
	o := &k.open
	sec := width.Seconds()
	k.answer.Slices = append(k.answer.Slices, SoakSlice{
		AtSeconds: (k.offset + time.Duration(o.index)*k.width).Seconds(), Seconds: sec, Completed: o.completed, Failed: o.failed,
		RequestThroughput: float64(o.completed) / sec, OutputThroughput: float64(o.tokens) / sec,
		TTFT: o.ttft.number(), TPOT: o.tpot.number(), E2E: o.e2e.number(),
	})
	k.open = slice{index: o.index + 1}
	if k.closed != nil {
		k.closed(k)
	}
}

// finish closes the last slice where enough of it was run.
func (k *soak) finish() {
	k.closed = nil
	if k.open.completed+k.open.failed > 0 && len(k.answer.Slices) < k.cfg.Slices {
		k.close(k.width)
	}
	k.answer.Kept = len(k.kept)
}

// keepSnapshots stores the result whenever a slice is closed, from a goroutine
// of its own: a slow disk must not hold up the load. What it stores is a copy,
// for the result itself belongs to the run under way. stop waits for the last one;
// further calls do nothing.
func (s *session) keepSnapshots(k *soak) (stop func()) {
	if s.Journal == nil {
		return func() {}
	}
	snapshots := make(chan Result, 1)
	done := make(chan struct{})
	var trouble error // belongs to the goroutine until done is closed
	base := *s.r
	k.closed = func(k *soak) {
		now := base
		now.Spent = s.r.Spent
		now.Spent.Prompts = k.prompt + k.count + k.cfg.Concurrency
		now.Soak = &SoakAnswer{Slices: slices.Clone(k.answer.Slices)}
		select {
		case snapshots <- now:
		default: // the disk is behind; the next one holds this one too
		}
	}
	go func() {
		defer close(done)
		for r := range snapshots {
			if err := s.Journal.Save(&r); err != nil {
				trouble = err
			}
		}
	}()
	return sync.OnceFunc(func() {
		k.closed = nil
		close(snapshots)
		<-done
		if trouble != nil {
			s.warn("the result could not be stored while the soak ran: %v", trouble)
		}
	})
}

// memory fills in what the server's metrics said of its memory in each slice.
func (s *session) memory(k *soak, first int, started time.Time) {
	if s.Telemetry == nil {
		return
	}
	for i := first; i < len(k.answer.Slices); i++ {
		x := &k.answer.Slices[i]
		from := started.Add(time.Duration(x.AtSeconds*float64(time.Second)) - k.offset)
		if t, ok := s.Telemetry.Window(from, from.Add(k.width)); ok {
			x.ResidentBytes = t.ResidentBytes
		}
	}
}

func (s *session) soakAnswer(k *soak) {
	r := s.r
	k.answer.Trends = s.trends(k)
	k.answer.Degrades = slices.ContainsFunc(k.answer.Trends, func(t SoakTrend) bool { return t.Degrades })
	if len(r.Steps) == 0 {
		r.Verdict, r.Sentence = Interrupted, "interrupted before anything was measured"
		return
	}
	step := &r.Steps[len(r.Steps)-1]
	r.Verdict, r.Sentence = verdictOf(step), stepWords(step)
	for _, t := range k.answer.Trends {
		if t.Degrades {
			r.Verdict, r.Sentence = NotMet, r.Sentence+"; degrades: "+t.Sentence
		}
	}
	if r.Verdict == Met {
		r.Sentence += "; no degradation over " + span(s.soaked(k))
	}
	if !r.Complete {
		r.Verdict = Interrupted
	}
}

func (s *session) soaked(k *soak) time.Duration {
	n := len(k.answer.Slices)
	if n == 0 {
		return 0
	}
	last := k.answer.Slices[n-1]
	return time.Duration((last.AtSeconds + last.Seconds) * float64(time.Second))
}

// independentTests is how many tests the figures of a soak are worth together:
// time per request and throughput are one another's mirror. One false alarm in
// twenty is allowed to all of them.
const independentTests = 3

// trends tests every figure of the slices for a change for the worse.
func (s *session) trends(k *soak) []SoakTrend {
	v := k.answer.Slices
	if len(v) > 2 {
		v = v[1 : len(v)-1] // the ramp, and a last slice that is not whole
	}
	figures := []struct {
		name     string
		higherOK bool
		of       func(*SoakSlice) analysis.Number
	}{
		{"mean TTFT", false, func(x *SoakSlice) analysis.Number { return x.TTFT }},
		{"mean response time", false, func(x *SoakSlice) analysis.Number { return x.E2E }},
		{"request throughput", true, func(x *SoakSlice) analysis.Number { return loadgen.Known(x.RequestThroughput) }},
		{"memory of the server", false, func(x *SoakSlice) analysis.Number { return x.ResidentBytes }},
	}
	var out []SoakTrend
	for _, f := range figures {
		series := analysis.Series{Metric: f.name, HigherOK: f.higherOK, Gate: k.cfg.MaxDegradation, Tests: independentTests}
		for i := range v {
			if n, ok := f.of(&v[i]).Value(); ok {
				series.At, series.Values = append(series.At, v[i].AtSeconds), append(series.Values, n)
			}
		}
		if t := series.Test(); t.Change.IsKnown() {
			out = append(out, SoakTrend{Metric: t.Metric, Change: t.Change, SE: t.SE, Gate: series.Gate, Degrades: t.Degrading, Sentence: t.Sentence})
		}
	}
	if t, ok := errorTrend(v); ok {
		out = append(out, t)
	}
	return out
}

// errorTrend compares the share of failures in the second half of the run with
// that in the first (two proportions).
func errorTrend(v []SoakSlice) (SoakTrend, bool) {
	if len(v) < 2 {
		return SoakTrend{}, false
	}
	half := len(v) / 2
	count := func(part []SoakSlice) (failed, total float64) {
		for i := range part {
			failed += float64(part[i].Failed)
			total += float64(part[i].Failed + part[i].Completed)
		}
		return failed, total
	}
	f1, n1 := count(v[:half])
	f2, n2 := count(v[half:])
	if n1 == 0 || n2 == 0 {
		return SoakTrend{}, false
	}
	const gate = 0.01
	pooled := (f1 + f2) / (n1 + n2)
	se := math.Sqrt(pooled * (1 - pooled) * (1/n1 + 1/n2))
	change := f2/n2 - f1/n1
	t := SoakTrend{Metric: "share of failures", Change: loadgen.Known(change), SE: loadgen.Known(se), Gate: gate, Degrades: change > gate && change > 3*se}
	t.Sentence = fmt.Sprintf("failures went from %s to %s of the requests between the halves of the run", percent(f1/n1), percent(f2/n2))
	if f1+f2 == 0 {
		t.Sentence = "no request failed"
	}
	return t, true
}
