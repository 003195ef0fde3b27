package analysis

import (
	"math"

	"github.com/capfind/capfind/loadgen"
)

// Growth compares the throughput of two steps.
type Growth struct {
	Gain        Number `json:"gain"`         // X2/X1 - 1, share of 1: what the guide's rule is about
	GainSE      Number `json:"gain_se"`      // its standard error
	PerDoubling Number `json:"per_doubling"` // the same growth over a doubling of concurrency
	Basis       Basis  `json:"basis"`        // both steps are compared on this set of figures
}

// Gain compares two steps on like figures: those that the later step's verdict
// is taken from, or whole runs where the earlier one has no steady window. The
// two sets must not be mixed, for a whole run underestimates the rate by more
// the higher the concurrency.
//
// A gain g from N1 to N2 is as steep as (1+g)^(1/log2(N2/N1)) - 1 per doubling.
func Gain(prev, cur *Step) Growth {
	a, b, basis := &prev.Whole, &cur.Whole, BasisWhole
	if cur.VerdictBasis == BasisSteady && prev.Steady != nil && cur.Steady != nil {
		a, b, basis = prev.Steady, cur.Steady, BasisSteady
	}
	g := Growth{Basis: basis}
	x1, ok1 := a.RequestThroughput.Value()
	x2, ok2 := b.RequestThroughput.Value()
	if !ok1 || !ok2 || x1 <= 0 {
		return g
	}
	ratio := x2 / x1
	g.Gain = loadgen.Known(ratio - 1)
	se1, ok1 := a.RequestThroughputSE.Value()
	se2, ok2 := b.RequestThroughputSE.Value()
	if ok1 && ok2 {
		g.GainSE = loadgen.Known(math.Hypot(se2, ratio*se1) / x1)
	}
	if doublings := math.Log2(float64(cur.Concurrency) / float64(prev.Concurrency)); doublings > 0 {
		g.PerDoubling = loadgen.Known(math.Pow(ratio, 1/doublings) - 1)
	}
	return g
}

// Peak is the step with the highest request throughput.
type Peak struct {
	Concurrency       Number `json:"concurrency"`
	RequestThroughput Number `json:"request_throughput"`
}

// Efficiency is the step with the most throughput per unit of concurrency.
type Efficiency struct {
	OptimalConcurrency Number `json:"optimal_concurrency"`
	MaxEfficiency      Number `json:"max_efficiency"` // req/s per concurrency
}

// PeakOf finds the step with the highest request throughput, by the figures that
// its verdict is taken from: a whole run understates what the server sustains,
// by more the higher the concurrency. Of equals the first wins.
func PeakOf(steps []Step) Peak {
	var p Peak
	for i := range steps {
		x := steps[i].Verdict().RequestThroughput
		if x.IsKnown() && (!p.RequestThroughput.IsKnown() || x.Or(0) > p.RequestThroughput.Or(0)) {
			p = Peak{Concurrency: loadgen.Known(float64(steps[i].Concurrency)), RequestThroughput: x}
		}
	}
	return p
}

// EfficiencyOf finds the step with the most request throughput per unit of
// concurrency over its whole run, as the guide's analysis script does: its
// "optimal concurrency". Of equals the first wins.
func EfficiencyOf(steps []Step) Efficiency {
	var e Efficiency
	for i := range steps {
		x := steps[i].Whole.Efficiency
		if x.IsKnown() && (!e.MaxEfficiency.IsKnown() || x.Or(0) > e.MaxEfficiency.Or(0)) {
			e = Efficiency{OptimalConcurrency: loadgen.Known(float64(steps[i].Concurrency)), MaxEfficiency: x}
		}
	}
	return e
}
