package analysis

import (
	"math"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

func TestGain(t *testing.T) {
	step := func(n int, whole, steady, se float64) *Step {
		s := &Step{Concurrency: n, VerdictBasis: BasisWhole}
		s.Whole.RequestThroughput = loadgen.Known(whole)
		if steady > 0 {
			s.Steady, s.VerdictBasis = &Summary{RequestThroughput: loadgen.Known(steady), RequestThroughputSE: loadgen.Known(se)}, BasisSteady
		}
		return s
	}
	g := Gain(step(20, 9, 10, 0.1), step(50, 12, 14, 0.2))
	near(t, "gain", g.Gain, 0.4, 1e-12)
	near(t, "per doubling", g.PerDoubling, math.Pow(1.4, 1/math.Log2(2.5))-1, 1e-12)
	near(t, "its error", g.GainSE, math.Hypot(0.2, 1.4*0.1)/10, 1e-12)
	if g.Basis != BasisSteady {
		t.Errorf("basis %s", g.Basis)
	}
	// Like with like: without a window before, whole runs are compared.
	g = Gain(step(20, 10, 0, 0), step(40, 12, 14, 0.2))
	near(t, "gain of whole runs", g.Gain, 0.2, 1e-12)
	near(t, "per doubling", g.PerDoubling, 0.2, 1e-12)
	if g := Gain(step(1, 0, 0, 0), step(2, 1, 0, 0)); g.Gain.IsKnown() {
		t.Error("a gain over nothing")
	}
}

func TestPeakAndEfficiency(t *testing.T) {
	var steps []Step
	for _, x := range []struct {
		n int
		x float64
	}{{1, 0.5}, {2, 1.1}, {5, 2.4}, {10, 2.3}} {
		s := Step{Concurrency: x.n}
		s.Whole.RequestThroughput, s.Whole.Efficiency = loadgen.Known(x.x), loadgen.Known(x.x/float64(x.n))
		steps = append(steps, s)
	}
	p, e := PeakOf(steps), EfficiencyOf(steps)
	near(t, "peak at", p.Concurrency, 5, 0)
	near(t, "peak", p.RequestThroughput, 2.4, 0)
	near(t, "optimal concurrency", e.OptimalConcurrency, 2, 0)
	near(t, "efficiency", e.MaxEfficiency, 0.55, 1e-12)
	// The peak is what the server sustains, where a window says so.
	steady := Summary{RequestThroughput: loadgen.Known(2.6)}
	steps[3].Steady, steps[3].VerdictBasis = &steady, BasisSteady
	p, e = PeakOf(steps), EfficiencyOf(steps)
	near(t, "sustained peak at", p.Concurrency, 10, 0)
	near(t, "sustained peak", p.RequestThroughput, 2.6, 0)
	near(t, "the guide's optimal concurrency", e.OptimalConcurrency, 2, 0)
	if PeakOf(nil).Concurrency.IsKnown() || EfficiencyOf(nil).MaxEfficiency.IsKnown() {
		t.Error("a peak without steps")
	}
}

func TestRecommend(t *testing.T) {
	passed := func(n ...int) (steps []Step) {
		for _, n := range n {
			steps = append(steps, Step{Concurrency: n})
		}
		return append(steps, Step{Concurrency: 200, Stop: &Stop{}}, Step{Concurrency: 100, Client: Client{Limits: []string{"x"}}})
	}
	band := Band{Low: 0.7, High: 0.8}
	at := func(n float64) Limit { return Limit{Concurrency: loadgen.Known(n)} }
	cases := []struct {
		name            string
		limit           Limit
		steps           []Step
		low, high, safe float64
		reason          string
	}{
		{"slots", at(64), passed(50, 64), 44, 51, 52, "44-51"},
		{"exact product", at(10), passed(10), 7, 8, 5, "no room for bursts"},
		{"never above a step that passed", at(91), passed(50), 50, 50, 76, "held at 50"},
		{"band capped", at(91), passed(70), 63, 70, 76, "held at 70"},
		{"one", at(1), passed(1), 1, 1, -1, "no mean"},
		{"not reached", Limit{AtLeast: loadgen.Known(128)}, passed(128), 89, 102, 110, "may take more"},
		{"nothing held", Limit{}, nil, -1, -1, -1, "nothing to recommend"},
		{"below one", at(0.5), nil, -1, -1, -1, "nothing to recommend"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Recommend(c.limit, band, c.steps)
			if c.low > 0 {
				near(t, "low", r.Low, c.low, 0)
				near(t, "high", r.High, c.high, 0)
			} else if r.Low.IsKnown() || r.High.IsKnown() {
				t.Errorf("recommends %v-%v", r.Low, r.High)
			}
			if c.safe > 0 {
				near(t, "burst safe", r.BurstSafe, c.safe, 0)
			}
			if text := strings.Join(r.Reasons, "; "); !strings.Contains(text, c.reason) {
				t.Errorf("reasons %q, want one with %q", text, c.reason)
			}
		})
	}
	for limit, share := range map[float64]float64{8: .56, 16: .66, 32: .75, 64: .81, 128: .86, 256: .90} {
		near(t, "burst-safe share", loadgen.Known(float64(BurstSafe(limit))), share*limit, 0.005*limit+1)
	}
}
