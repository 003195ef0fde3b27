package selftest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	var seen []Row
	result, err := Run(t.Context(), Options{
		// None but the last lies beyond another, should the machine be too busy for one.
		Points:   []Point{{2, 100}, {20, 50}, {10_000_000, 25}, {20_000_000, 25}},
		Duration: 500 * time.Millisecond,
		OnRow:    func(r Row) { seen = append(seen, r) },
	})
	if err != nil || len(result.Rows) != 3 || len(seen) != 3 {
		t.Fatalf("%d rows, %d seen, %v", len(result.Rows), len(seen), err)
	}
	for _, row := range result.Rows[:2] {
		if row.Failed != 0 || row.Requests < row.Streams || !row.ErrorMean.IsKnown() || !row.EventsPerSecond.IsKnown() || row.Honest != (row.Why == "") {
			t.Errorf("row %+v", row)
		}
		// Timing proves nothing on a busy machine, but what it cannot be.
		if mean := row.ErrorMean.Or(-1); mean < 0 || mean > 1 {
			t.Errorf("mean error %v s", mean)
		}
	}
	if far := result.Rows[2]; far.Honest || far.Why == "" || far.Requests != 0 {
		t.Errorf("ten million streams: %+v", far)
	}
}

func TestRunIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	result, err := Run(ctx, Options{Points: []Point{{2, 50}, {3, 50}}, Duration: 300 * time.Millisecond, OnRow: func(Row) { cancel() }})
	if !errors.Is(err, context.Canceled) || len(result.Rows) != 1 {
		t.Errorf("%d rows, %v", len(result.Rows), err)
	}
}

func TestJudge(t *testing.T) {
	good := Row{
		Streams: 100, TokensPerSecond: 50, Requests: 200, EventsPerSecond: loadgen.Known(4990), ErrorMean: loadgen.Known(1e-5),
		ErrorP99: loadgen.Known(1e-4), CPUShare: loadgen.Known(0.3), DispatchP99: loadgen.Known(1e-4),
	}
	if good.judge(); !good.Honest || good.Why != "" {
		t.Errorf("a good row: %+v", good)
	}
	for name, spoil := range map[string]func(*Row){
		"failed":      func(r *Row) { r.Failed = 1 },
		"mean error":  func(r *Row) { r.ErrorMean = loadgen.Known(0.0011) },
		"p99 error":   func(r *Row) { r.ErrorP99 = loadgen.Known(0.0051) },
		"CPU":         func(r *Row) { r.CPUShare = loadgen.Known(0.95) },
		"dispatch":    func(r *Row) { r.DispatchP99 = loadgen.Known(0.006) },
		"events":      func(r *Row) { r.EventsPerSecond = loadgen.Known(4800) },
		"no answer":   func(r *Row) { r.EventsPerSecond = loadgen.Number{} },
		"no requests": func(r *Row) { *r = Row{Streams: 1, TokensPerSecond: 1} },
	} {
		row := good
		row.Honest = false
		spoil(&row)
		if row.judge(); row.Honest || row.Why == "" {
			t.Errorf("%s: %+v", name, row)
		}
	}
}

// The client's error is measured against the stamp of the very request.
func TestTruthErrors(t *testing.T) {
	truth, err := NewTruth(3, 50)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := range 3 {
		d := truth.NewDecoder("text/event-stream", false)
		sent := start.Add(time.Duration(i+1) * time.Second)
		d.Feed(firstChunk(i, sent), func(*api.Event) {})
	}
	run := loadgen.Run{Started: start, Samples: []loadgen.Sample{
		{PromptIndex: 1, FirstOutput: 2*time.Second + 3*time.Millisecond},
		{PromptIndex: 2, FirstOutput: 3*time.Second + 4*time.Millisecond, Class: loadgen.Truncated},
		{PromptIndex: 0, FirstOutput: time.Second + 5*time.Millisecond},
		{PromptIndex: 9, FirstOutput: time.Second},
	}}
	if got := fmt.Sprint(truth.Errors(run)); got != "[3ms 5ms]" {
		t.Errorf("errors %s", got)
	}
}

// Tokens come at the times that were ordered, as many as were ordered.
func TestNullServerKeepsItsTimes(t *testing.T) {
	server, err := StartNull()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	run, truth, err := drive(t.Context(), server, Point{4, 100}, 400*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range run.Samples {
		if s.Class != loadgen.Success || s.OutputEvents != truth.Tokens || s.OutputTokens != truth.Tokens || s.TokenSource != loadgen.TokensFromUsage {
			t.Errorf("sample %+v", s)
		}
		if first := s.FirstOutput - s.Sent; first < truth.TTFT {
			t.Errorf("first token after %v, ordered %v", first, truth.TTFT)
		}
		// Never early; how late depends on the machine.
		if last := s.LastOutput - s.Sent; last < truth.TTFT+time.Duration(truth.Tokens-1)*truth.Gap-5*time.Millisecond {
			t.Errorf("last token after %v", last)
		}
	}
}
