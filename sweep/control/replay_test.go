package control_test

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// recorded is traffic of so many requests, a second apart.
func recorded(n int) *sweep.Traffic {
	t := &sweep.Traffic{}
	for i := range n {
		t.At = append(t.At, time.Duration(i)*time.Second)
		t.Before = append(t.Before, int32(i/2)-1)
	}
	return t
}

// Recorded traffic reaches the generator as it is, with its speed, and what comes of
// it is held against the rules from when each request was due.
func TestReplayIsOneLoad(t *testing.T) {
	traffic := recorded(41)
	for _, c := range []struct {
		speed, most float64
		want        sweep.Verdict
	}{{3, 4, sweep.Met}, {5, 4, sweep.NotMet}} {
		g := &borne{most: c.most}
		var r *sweep.Result
		bubble(t, func(t *testing.T) {
			k := control.Controller{Generator: g, Config: sweep.Default()}
			var err error
			r, err = k.Answer(context.Background(), "replay", sweep.SinglePoint{
				Load: sweep.LoadPoint{Concurrency: 100, Traffic: traffic, Speed: c.speed}, Rules: sweep.DefaultStopRules()})
			if err != nil {
				t.Fatal(err)
			}
		})
		if r.Verdict != c.want || len(g.loads) != 1 {
			t.Fatalf("speed %v: %s after %d loads: %s", c.speed, r.Verdict, len(g.loads), r.Sentence)
		}
		l, step := g.loads[0], r.Steps[0]
		if a := l.Arrivals; a == nil || a.Speed != c.speed || !slices.Equal(a.At, traffic.At) || !slices.Equal(a.Before, traffic.Before) || l.Requests != 41 || l.FirstPrompt != 0 {
			t.Errorf("speed %v: load %+v", c.speed, l)
		}
		if step.Speed.Or(0) != c.speed || step.RequestRate.Or(0) != c.speed || step.VerdictBasis != analysis.BasisWhole || step.Steady != nil {
			t.Errorf("speed %v: step %v at %v, %s", c.speed, step.Speed, step.RequestRate, step.VerdictBasis)
		}
	}
}

// late answers quickly, and sends what was recorded a second after it was due.
type late struct{ borne }

func (g *late) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	r, err := g.borne.Run(ctx, l)
	for i := range r.Samples {
		x := &r.Samples[i]
		x.Ready, x.Sent, x.FirstOutput, x.LastOutput, x.End = x.Ready+2*time.Second, x.Sent+2*time.Second, x.FirstOutput+2*time.Second, x.LastOutput+2*time.Second, x.End+2*time.Second
	}
	r.Elapsed += 2 * time.Second
	return r, err
}

// What waits for a slot of the client waits all the same.
func TestReplayCountsFromWhenARequestWasDue(t *testing.T) {
	var r *sweep.Result
	bubble(t, func(t *testing.T) {
		k := control.Controller{Generator: &late{borne{most: 100}}, Config: sweep.Default()}
		r, _ = k.Answer(context.Background(), "replay", sweep.SinglePoint{
			Load: sweep.LoadPoint{Concurrency: 100, Traffic: recorded(30), Speed: 1}, Rules: sweep.DefaultStopRules()})
	})
	if r.Verdict != sweep.NotMet || r.Steps[0].Stop == nil || r.Steps[0].Stop.Rule != sweep.RuleTTFT {
		t.Errorf("%s: %s", r.Verdict, r.Sentence)
	}
	// Over time as well, in the slice in which a request was due.
	series := r.Steps[0].Series
	if ttft, e2e := series[0].TTFTDue, series[0].E2EDue; !(ttft.Or(0) > 2) || !(e2e.Or(0) > ttft.Or(0)) {
		t.Errorf("in the first slice TTFT %s and E2E %s from when they were due", ttft, e2e)
	}
	for _, x := range series {
		if x.ArrivalRate.Or(0) == 0 && (x.TTFTDue.IsKnown() || x.E2EDue.IsKnown()) {
			t.Errorf("nothing was due at %v s, and something is said of it", x.AtSeconds)
		}
	}
}

// A share of the requests must be good, counted from when they were due.
func TestReplayHoldsAShareOfGoodRequests(t *testing.T) {
	for _, c := range []struct {
		bound time.Duration
		share float64
		want  sweep.Verdict
	}{{2 * time.Second, 0.5, sweep.NotMet}, {4 * time.Second, 0.5, sweep.Met}, {2 * time.Second, 0, sweep.Met}} {
		var r *sweep.Result
		bubble(t, func(t *testing.T) {
			k := control.Controller{Generator: &late{borne{most: 100}}, Config: sweep.Default()}
			load := sweep.LoadPoint{Concurrency: 100, Traffic: recorded(30), Speed: 1, Goodput: &analysis.Goodput{E2E: c.bound}}
			r, _ = k.Answer(context.Background(), "replay", sweep.SinglePoint{Load: load, Rules: sweep.StopRules{MinGoodput: c.share}})
		})
		if good := r.Steps[0].Whole.GoodShare.Or(-1); r.Verdict != c.want || (good == 1) != (c.bound > 3*time.Second) {
			t.Errorf("bound %v: %s with %v good: %s", c.bound, r.Verdict, good, r.Sentence)
		}
		if stop := r.Steps[0].Stop; c.want == sweep.NotMet && (stop == nil || stop.Rule != sweep.RuleGoodput) {
			t.Errorf("%+v", stop)
		}
	}
}

// More sessions are sent as they are drawn, each with prompts that no run before had.
func TestReplayOfMoreSessions(t *testing.T) {
	traffic := recorded(41)
	traffic.Before = nil
	g := &borne{most: 1000}
	bubble(t, func(t *testing.T) {
		k := control.Controller{Generator: g, Config: sweep.Default()}
		q := sweep.FindHeadroom{Traffic: traffic, Speedup: sweep.MoreSessions, Concurrency: 1000, Rules: sweep.DefaultStopRules()}
		if r, err := k.Answer(context.Background(), "replay", q); err != nil || r.Verdict != sweep.NotReached || r.Headroom.Speedup != sweep.MoreSessions {
			t.Fatal(err, r.Verdict)
		}
	})
	first := 0
	for i, l := range g.loads {
		speed := 1 << i
		want := traffic.Arrivals(float64(speed), sweep.MoreSessions)
		if a := l.Arrivals; !slices.Equal(a.At, want.At) || !slices.Equal(a.Prompts, want.Prompts) || !a.OwnPace || l.Requests != 41*speed || l.FirstPrompt != first {
			t.Errorf("speed %d: %d requests from prompt %d on, want %d from %d on", speed, l.Requests, l.FirstPrompt, 41*speed, first)
		}
		first += 41 * speed
	}
	if len(g.loads) != 7 {
		t.Errorf("%d loads", len(g.loads))
	}
}

// At a fractional speed as well, every request finds its own prompt: each run begins at
// a multiple of the traffic's length.
func TestReplayKeepsPromptsInStep(t *testing.T) {
	traffic := recorded(41)
	g := &borne{most: 3}
	bubble(t, func(t *testing.T) {
		k := control.Controller{Generator: g, Config: sweep.Default()}
		if _, err := k.Answer(context.Background(), "replay", sweep.FindHeadroom{Traffic: traffic, Speedup: sweep.MoreSessions, Concurrency: 1000, Rules: sweep.DefaultStopRules()}); err != nil {
			t.Fatal(err)
		}
	})
	first, fractional := 0, 0
	for _, l := range g.loads {
		if l.FirstPrompt != first {
			t.Errorf("speed %v begins at prompt %d, want %d", l.Arrivals.Speed, l.FirstPrompt, first)
		}
		if l.Arrivals.Speed != math.Trunc(l.Arrivals.Speed) {
			fractional++
		}
		first += 41 * int(math.Ceil(l.Arrivals.Speed))
	}
	if fractional < 2 {
		t.Errorf("%d runs at fractional speeds", fractional)
	}
}
