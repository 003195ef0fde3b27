package control_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

func ask(t *testing.T, w simserver.Worked, seed uint64, question func(context.Context, *asking) (*sweep.Result, error)) *sweep.Result {
	t.Helper()
	var r *sweep.Result
	bubble(t, func(t *testing.T) {
		var err error
		if r, err = question(context.Background(), against(w, seed)); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

func TestQPSOfTheSlotsServer(t *testing.T) {
	for _, spread := range []float64{0, 0.5} {
		hits := 0
		const runs = 10
		for seed := range uint64(runs) {
			w := worked(t, "slots") // 2.1 s of service
			w.Config.LengthSpread = spread
			r := ask(t, w, seed+1, func(ctx context.Context, c *asking) (*sweep.Result, error) {
				return c.QPS(ctx, sweep.QPSConfig{Rate: 20})
			})
			a := r.QPS
			if r.Verdict != sweep.Met || a.FirstHit.Or(0) != 50 || a.LastMiss.Or(0) != 20 {
				t.Errorf("seed %d: verdict %s, first hit %v, last miss %v; want met, 50, 20", seed, r.Verdict, a.FirstHit, a.LastMiss)
			}
			if a.Concurrency.Or(0) == 40 && a.FullTarget.Or(0) == 42 {
				hits++
			}
			if math.Abs(a.Concurrency.Or(0)-40) > 1 || a.Low.Or(99) > 40 || a.High.Or(0) < 40 {
				t.Errorf("seed %d: %s; the truth is 40 and 42", seed, r.Sentence)
			}
		}
		// The truth is 39.9: with lengths that vary a fourth of a percent more is 41.
		if hits < runs/2 || spread == 0 && hits < runs {
			t.Errorf("spread %v: 40 and 42 in %d of %d runs", spread, hits, runs)
		}
	}
}

func TestQPSThatIsNeverReached(t *testing.T) {
	r := ask(t, worked(t, "slots"), 1, func(ctx context.Context, c *asking) (*sweep.Result, error) {
		return c.QPS(ctx, sweep.QPSConfig{Rate: 40})
	})
	if r.Verdict != sweep.NotMet || r.QPS.Reached || !strings.Contains(r.Sentence, "the server is full") {
		t.Errorf("verdict %s: %s; want not_met because the server is full", r.Verdict, r.Sentence)
	}
	if x := r.QPS.HighestRate.Or(0); math.Abs(x-64/2.1) > 1 {
		t.Errorf("highest rate %.2f, want about %.2f", x, 64/2.1)
	}
}

func TestPoint(t *testing.T) {
	quick := sweep.LoadPoint{Concurrency: 10, Requests: 50, Rate: math.Inf(1), Goodput: &analysis.Goodput{TTFT: 500 * time.Millisecond}}
	r := ask(t, worked(t, "slots"), 1, func(ctx context.Context, c *asking) (*sweep.Result, error) { return c.Point(ctx, quick) })
	if r.Verdict != sweep.Met || len(r.Steps) != 1 || r.Steps[0].Whole.Completed != 50 || !r.Steps[0].Whole.RequestGoodput.IsKnown() {
		t.Errorf("quick check: verdict %s, %s", r.Verdict, r.Sentence)
	}
	over := sweep.LoadPoint{Concurrency: 100, Requests: 500}
	r = ask(t, worked(t, "slots"), 1, func(ctx context.Context, c *asking) (*sweep.Result, error) { return c.Point(ctx, over) })
	if r.Verdict != sweep.NotMet || r.Steps[0].Stop == nil || r.Steps[0].Stop.Rule != sweep.RuleTTFT {
		t.Errorf("100 in flight on 64 slots: verdict %s, %s", r.Verdict, r.Sentence)
	}
	real := sweep.LoadPoint{Concurrency: 50, Requests: 300, Rate: 10}
	r = ask(t, worked(t, "slots"), 1, func(ctx context.Context, c *asking) (*sweep.Result, error) { return c.Point(ctx, real) })
	if x := r.Steps[0].Whole.RequestThroughput.Or(0); r.Verdict != sweep.Met || math.Abs(x-10) > 2 || !r.Steps[0].RequestRate.IsKnown() {
		t.Errorf("10 req/s: verdict %s, %s", r.Verdict, r.Sentence)
	}
}

// An M/M/64-like server of 30.5 req/s: random arrivals are borne up to near its
// capacity, and not beyond.
func TestRateOfTheSlotsServer(t *testing.T) {
	for seed := range uint64(2) {
		w := worked(t, "slots")
		closed := answerOf(t, w, 9, nil)
		r := ask(t, w, seed+1, func(ctx context.Context, c *asking) (*sweep.Result, error) {
			return c.Rate(ctx, sweep.RateConfig{Closed: closed})
		})
		a := r.Rate
		if r.Verdict != sweep.LimitFound || a.Rate.Or(0) < 0.8*64/2.1 || a.Rate.Or(99) > 1.03*64/2.1 {
			t.Errorf("seed %d: verdict %s: %s; capacity is %.1f req/s", seed, r.Verdict, r.Sentence, 64/2.1)
		}
		if capacity := 64 / 2.1; a.Low.Or(99) > capacity || a.High.Or(0) < 0.8*capacity || a.Low.Or(99) >= a.Rate.Or(0) {
			t.Errorf("seed %d: interval %v-%v around %v; capacity is %.1f req/s", seed, a.Low, a.High, a.Rate, capacity)
		}
		// With a prediction of 25 req/s there is nothing to learn at 1, 2 and 5.
		if first := r.Steps[0].RequestRate.Or(0); first != 10 {
			t.Errorf("seed %d: began at %v req/s, want 10", seed, first)
		}
		if p := a.Predicted.Or(0); p < 20 || p > 30.5 {
			t.Errorf("predicted %.1f req/s: %s", p, a.Sentence)
		}
		t.Log(r.Sentence)
	}
}

// A client that cannot keep its schedule proves nothing about the server.
func TestRateOfABusyClient(t *testing.T) {
	r := ask(t, worked(t, "slots"), 1, func(ctx context.Context, c *asking) (*sweep.Result, error) {
		c.Generator = starved{c.Generator}
		return c.Rate(ctx, sweep.RateConfig{Rates: []float64{1, 2, 5}})
	})
	if r.Verdict != sweep.ClientLimited || len(r.Steps) != 1 || !strings.Contains(r.Sentence, "this client, not the server, was the limit at 1 req/s") {
		t.Errorf("verdict %s after %d steps: %s; want client_limited after the first", r.Verdict, len(r.Steps), r.Sentence)
	}
}

// starved is a generator whose machine has no time for it.
type starved struct{ control.Generator }

func (s starved) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	run, err := s.Generator.Run(ctx, l)
	run.Health.CPUShare = loadgen.Known(0.99)
	return run, err
}

func TestSoakCatchesALeak(t *testing.T) {
	runs := 12
	if raceDetector { // which makes minutes of it, and sees no more
		runs = 2
	}
	for _, c := range []struct {
		name    string
		leak    float64
		rate    float64
		verdict sweep.Verdict
	}{
		{"healthy", 0, 0, sweep.Met},
		{"leaking", 0.2, 0, sweep.NotMet},
		{"leaking at a rate", 0.2, 18, sweep.NotMet},
	} {
		right := 0
		for seed := range uint64(runs) {
			w := worked(t, "slots")
			w.Config.LengthSpread = 0.5
			w.Config.Leak = simserver.Leak{Share: c.leak, Over: 10 * time.Minute}
			r := ask(t, w, seed+1, func(ctx context.Context, ctl *asking) (*sweep.Result, error) {
				return ctl.Soak(ctx, sweep.SoakConfig{LoadPoint: sweep.LoadPoint{Concurrency: 51, Rate: c.rate, Duration: 10 * time.Minute}})
			})
			if r.Verdict == c.verdict {
				right++
			} else if testing.Verbose() {
				t.Logf("%s, seed %d: %s %s", c.name, seed, r.Verdict, r.Sentence)
			}
			if len(r.Soak.Slices) < 50 {
				t.Fatalf("%d slices", len(r.Soak.Slices))
			}
		}
		if right < runs-1 {
			t.Errorf("%s: %s in %d of %d runs, want 95 %%", c.name, c.verdict, right, runs)
		}
	}
}

// TestQPSOfAShortBurst asks a server of 30.5 requests/s for 100, with so few requests
// that no step settles: that they fit into the slots is no proof that the rate is held.
func TestQPSOfAShortBurst(t *testing.T) {
	for _, requests := range []int{90, 104, 150} {
		r := ask(t, worked(t, "slots"), 1, func(ctx context.Context, c *asking) (*sweep.Result, error) {
			return c.QPS(ctx, sweep.QPSConfig{Rate: 100, Requests: requests, Concurrency: []int{20, 50, 100}})
		})
		if r.Verdict != sweep.NotMet || r.QPS.Reached || r.QPS.HighestRate.Or(0) > 34 {
			t.Errorf("%d requests: %s: %s", requests, r.Verdict, r.Sentence)
		}
	}
}
