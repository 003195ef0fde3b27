package loadgen

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowDoer gives its first output after a second and its last one much later; of some
// requests neither, and some break off in between.
type slowDoer struct {
	length        func(i int) time.Duration
	fails, breaks func(i int) bool
}

func (d slowDoer) Do(ctx context.Context, start time.Time, s Sample, emit func(*Sample)) error {
	now := func() time.Duration { return time.Since(start) }
	s.Sent, s.WasSent, s.Streamed = now(), true, true
	defer func() { s.End = now(); emit(&s) }()
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			s.LastOutput = now()
			return true
		case <-ctx.Done():
			s.Class = Cancelled
			return false
		}
	}
	if !wait(time.Second) {
		return nil
	}
	if d.fails != nil && d.fails(s.Index) {
		s.Class = HTTP5xx
		return nil
	}
	s.FirstOutput, s.OutputEvents = now(), 1
	Begun(ctx)
	if d.breaks != nil && d.breaks(s.Index) {
		s.Class = ConnectionReset
		return nil
	}
	wait(d.length(s.Index) - time.Second)
	return nil
}

// A run whose tail is cut ends with the first output of its last request, unless one failed,
// and every request has its sample.
func TestTailIsCut(t *testing.T) {
	long := func(i int) time.Duration { return 4*time.Second + time.Duration(i%3)*1200*time.Millisecond }
	for name, tt := range map[string]struct {
		load          Load
		fails, breaks func(int) bool
		end           EndReason
		took          time.Duration
		cut           int
	}{
		"cut":                   {load: Load{Concurrency: 3, Requests: 5, CutTail: true}, end: EndCut, took: 6 * time.Second, cut: 3},
		"not asked for":         {load: Load{Concurrency: 3, Requests: 5}, end: EndComplete, took: 10 * time.Second},
		"one failed":            {load: Load{Concurrency: 3, Requests: 5, CutTail: true}, fails: func(i int) bool { return i == 0 }, end: EndComplete, took: 10 * time.Second},
		"one broke off":         {load: Load{Concurrency: 3, Requests: 5, CutTail: true}, breaks: func(i int) bool { return i == 0 }, end: EndComplete, took: 10 * time.Second},
		"open loop":             {load: Load{Concurrency: 3, Requests: 2, Rate: 10, CutTail: true, Burstiness: 1e9}, end: EndComplete, took: 5 * time.Second},
		"as many as fit a time": {load: Load{Concurrency: 1, Duration: 2 * time.Second, CutTail: true}, end: EndComplete, took: 4 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, err := NewEngine(slowDoer{long, tt.fails, tt.breaks}).Run(t.Context(), tt.load)
			if err != nil {
				t.Fatal(err)
			}
			cut := 0
			for _, s := range r.Samples {
				if s.Class == Cancelled && s.HasOutput() {
					cut++
				}
			}
			if r.End != tt.end || cut != tt.cut || r.Elapsed.Round(time.Second) != tt.took || tt.load.Requests > 0 && len(r.Samples) != tt.load.Requests {
				t.Errorf("%s: it ended %q after %v with %d samples, of which %d were cut", name, r.End, r.Elapsed, len(r.Samples), cut)
			}
		})
	}
}

// The server hears of it: its streams end, and what came of each stands in its sample.
func TestTailIsCutOnTheWire(t *testing.T) {
	var open atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			fmt.Fprint(w, `data: {"choices":[{"delta":{"content":"x"}}]}`+"\n\n")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
	}))
	defer server.Close()
	r := generate(t, config(t, server.URL), Load{Concurrency: 8, Requests: 8, CutTail: true})
	if r.End != EndCut || len(r.Samples) != 8 {
		t.Fatalf("it ended %q with %d samples", r.End, len(r.Samples))
	}
	for _, s := range r.Samples {
		if _, ok := s.TTFT(); !ok || s.Class != Cancelled || s.Message != "" {
			t.Errorf("a sample: %+v", s)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); open.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams go on", open.Load())
		}
	}
}
