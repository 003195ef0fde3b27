package sweep_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// ran is a run of recorded traffic at a speed: so long are p95 TTFT and mean E2E, in
// seconds. The rules judge it.
func ran(o *sweep.Order, p95, e2e float64) analysis.Step {
	s := analysis.Step{Concurrency: o.Concurrency, Phase: o.Phase, Runs: 1, NumPrompts: o.Requests, Speed: loadgen.Known(o.Speed), RequestRate: loadgen.Known(o.Rate), VerdictBasis: analysis.BasisWhole}
	known := loadgen.Known
	s.Whole.Completed, s.Whole.SuccessRate = o.Requests, known(1)
	s.Whole.TTFT = analysis.Dist{Mean: known(p95 / 2), P95: known(p95), N: o.Requests}
	s.Whole.E2E = analysis.Dist{Mean: known(e2e), N: o.Requests}
	o.Hold(&s)
	return s
}

// climb asks a search for its orders until it has an answer; each is run by give.
func climb(t *testing.T, f sweep.FindHeadroom, give func(*sweep.Order) analysis.Step) (sweep.Answer, []analysis.Step) {
	t.Helper()
	var h sweep.History
	for range 40 {
		o, a := f.Next(h)
		if o == nil {
			return a, h.Steps
		}
		h.Steps = append(h.Steps, give(o))
	}
	t.Fatal("it does not end")
	return sweep.Answer{}, nil
}

// evenly is traffic of n requests, a second apart.
func evenly(n int) *sweep.Traffic {
	t := &sweep.Traffic{}
	for i := range n {
		t.At = append(t.At, time.Duration(i)*time.Second)
	}
	return t
}

var halfSecond = sweep.StopRules{SLO: []sweep.SLO{{Metric: "ttft", Statistic: "p95", Max: 500 * time.Millisecond}}}

// A server whose latency rises smoothly is placed in few runs; one that holds nothing
// is tried down to a 64th, one that holds everything up to 64 times.
func TestHeadroomClimbs(t *testing.T) {
	for _, c := range []struct {
		place   float64
		verdict sweep.Verdict
		most    int
	}{{2.6, sweep.LimitFound, 8}, {0.3, sweep.LimitFound, 9}, {1e-3, sweep.FailedAtFirstStep, 7}, {1e3, sweep.NotReached, 7}} {
		f := sweep.FindHeadroom{Traffic: evenly(400), Concurrency: 4096, Rules: halfSecond}
		a, steps := climb(t, f, func(o *sweep.Order) analysis.Step { return ran(o, 0.5*math.Pow(o.Speed/c.place, 2), 0.1) })
		if a.Verdict != c.verdict || len(steps) > c.most {
			t.Errorf("place %v: %s after %d runs", c.place, a.Verdict, len(steps))
		}
		h := a.Headroom
		switch c.verdict {
		case sweep.LimitFound:
			if math.Abs(h.Speed.Or(0)/c.place-1) > 0.05 || h.Low.Or(9) > c.place || h.High.Or(0) < c.place || h.SLO != "p95_ttft" {
				t.Errorf("place %v: %s (%s-%s) by %q", c.place, h.Speed, h.Low, h.High, h.SLO)
			}
		case sweep.NotReached:
			if h.Speed.IsKnown() || h.Low.Or(0) != 64 || h.High.IsKnown() || h.SLO != "" {
				t.Errorf("place %v: %+v", c.place, h)
			}
		default:
			if h.Speed.IsKnown() || h.SLO != "p95_ttft" || steps[len(steps)-1].Speed.Or(0) > 1.0/63 {
				t.Errorf("place %v: %+v", c.place, h)
			}
		}
	}
}

// The share of good requests places the headroom like a latency does.
func TestHeadroomByGoodput(t *testing.T) {
	f := sweep.FindHeadroom{Traffic: evenly(400), Concurrency: 4096, Rules: sweep.StopRules{MinGoodput: 0.9}, Goodput: &analysis.Goodput{TTFT: time.Second}}
	a, steps := climb(t, f, func(o *sweep.Order) analysis.Step {
		s := ran(o, 0.1, 0.1)
		s.Whole.GoodShare = loadgen.Known(1 - min(1, 0.1*math.Pow(o.Speed/2.6, 2)))
		o.Hold(&s)
		return s
	})
	if h := a.Headroom; a.Verdict != sweep.LimitFound || math.Abs(h.Speed.Or(0)/2.6-1) > 0.05 || h.SLO != sweep.RuleGoodput || len(steps) > 8 {
		t.Errorf("%s: %s by %q after %d runs", a.Verdict, h.Speed, h.SLO, len(steps))
	}
	// It is enough to reach the share.
	for share, holds := range map[float64]bool{0.9: true, 0.899: false} {
		o := sweep.Order{Traffic: evenly(3), Speed: 1, Rules: sweep.StopRules{MinGoodput: 0.9}}
		s := analysis.Step{VerdictBasis: analysis.BasisWhole, Whole: analysis.Summary{Completed: 10, GoodShare: loadgen.Known(share)}}
		if o.Hold(&s); s.Passed() != holds {
			t.Errorf("%v good: %+v", share, s.Stop)
		}
	}
}

// What the answer rests on is said: that only a piece was sent, that it is over too
// soon, that the client was the limit.
func TestHeadroomWarns(t *testing.T) {
	piece := sweep.Piece{FromSeconds: 30, Seconds: 399, Requests: 400, Of: 1000, OfSeconds: 3600}
	warned := func(f sweep.FindHeadroom, e2e float64, words string) bool {
		a, _ := climb(t, f, func(o *sweep.Order) analysis.Step { return ran(o, 0.5*math.Pow(o.Speed/2.6, 2), e2e) })
		return slices.ContainsFunc(a.Warnings, func(w string) bool { return strings.Contains(w, words) })
	}
	f := sweep.FindHeadroom{Traffic: evenly(400), Concurrency: 4096, Rules: halfSecond, Piece: piece}
	const left, brief = "of 1000 recorded requests in 1h0m0s the busiest 6m39s were sent", "response times: too short for a queue"
	if !warned(f, 0.1, left) {
		t.Error("nothing is said of what was left out")
	}
	f.Piece.Of = 400
	if warned(f, 0.1, left) {
		t.Error("all was sent, and something is said to be left out")
	}
	// 399 s at 2.6 times are 154 s: twenty times 7.7 s. As more sessions they stay 399 s.
	for _, c := range []struct {
		e2e  float64
		how  sweep.Speedup
		want bool
	}{{7, sweep.Closer, false}, {9, sweep.Closer, true}, {18, sweep.MoreSessions, false}, {22, sweep.MoreSessions, true}} {
		f.Speedup = c.how
		if got := warned(f, c.e2e, brief); got != c.want {
			t.Errorf("%s, %v s a response: warned %v", c.how, c.e2e, got)
		}
	}
	f.Speedup = sweep.Closer
	a, steps := climb(t, f, func(o *sweep.Order) analysis.Step {
		s := ran(o, 0.1, 0.1)
		if o.Speed > 3 {
			s.Client.Limits = []string{"the client's CPU"}
		}
		return s
	})
	if a.Verdict != sweep.ClientLimited || len(steps) != 3 || !strings.Contains(a.Sentence, "the client's CPU") {
		t.Errorf("%s after %d: %s", a.Verdict, len(steps), a.Sentence)
	}
}

// The simulated queue: ten leave a second at most, and what comes in one second
// takes its time to leave.
func TestSimulatedQueue(t *testing.T) {
	whole := &sweep.Traffic{}
	for i := range 60 { // thirty requests in the first second, then one a second
		at := time.Duration(i) * time.Second / 30
		if i >= 30 {
			at = time.Duration(i-28) * time.Second
		}
		whole.At = append(whole.At, at)
	}
	f := sweep.FindHeadroom{Traffic: &sweep.Traffic{At: whole.At[:40], Whole: whole}, Concurrency: 4096, Rules: halfSecond}
	answer := func(slices, most int) *sweep.HeadroomAnswer {
		a, _ := climb(t, f, func(o *sweep.Order) analysis.Step {
			s := ran(o, 0.5*math.Pow(o.Speed/2.6, 2), 0.1)
			for i := range slices { // from 1 to most in the server, ten a second served as soon as two are in it
				n := 1 + i%most
				s.Series = append(s.Series, analysis.Slice{AtSeconds: float64(i) + 0.5, InFlight: loadgen.Known(float64(n)), Completed: min(10, 5*n)})
			}
			return s
		})
		return a.Headroom
	}
	q := answer(60, 30).Queue
	if len(q) != 3 {
		t.Fatal(q)
	}
	// At 1 x twenty more come in the first second than leave; at 2 x twice as quickly,
	// twenty-five, in half a second.
	for i, want := range []sweep.Simulated{{Speed: 1, Peak: 21, AtSeconds: 0.967}, {Speed: 1.5, Peak: 24, AtSeconds: 0.644}, {Speed: 2, Peak: 26, AtSeconds: 0.483}} {
		if got := q[i]; got.Speed != want.Speed || got.Peak < want.Peak-1 || got.Peak > want.Peak+1 || math.Abs(got.AtSeconds-want.AtSeconds) > 0.05 || got.Beyond {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	// Area: the rush is over after three seconds, 21/2 on average; then nearly nothing, for 31 s.
	if m := q[0].Mean; m < 0.9 || m > 1.6 {
		t.Errorf("%v in the server on average", m)
	}
	for _, s := range answer(60, 12).Queue {
		if !s.Beyond {
			t.Errorf("no run had more than 12 in the server, %d are foretold as if known", s.Peak)
		}
	}
	if few := answer(1, 30); few.Queue != nil {
		t.Errorf("foretold from %d slices: %+v", 8, few.Queue)
	}
	// Recorded arrivals: where the rush is, and as many as there are.
	sum, first := 0.0, answer(60, 30).Arrivals
	for _, a := range first {
		sum += a.Rate * (first[1].AtSeconds - first[0].AtSeconds)
	}
	if half := (first[1].AtSeconds - first[0].AtSeconds) / 2; math.Abs(sum-60) > 1e-6 || math.Abs(first[0].AtSeconds-half) > 1e-9 || first[0].Rate < 5*first[5].Rate {
		t.Errorf("%v requests: %s", sum, fmt.Sprint(first))
	}
}
