package analysis

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Between is how much runs of the same load differ beyond what chance within
// them explains: a relative standard deviation that all runs of a server share.
type Between struct {
	Tau  float64 // share of the value, as intervals take it
	Seen float64 // the same as seen, before caution
	Dof  float64 // degrees of freedom that it rests on, the prior's included
	Free float64 // of these, what repeats of the same loads gave
	Odd  bool    // the loads lie off every curve by more than runs differ: the server's throughput has a shape of its own
}

// What is taken of the spread between runs before there are repeats, and as how
// many degrees of freedom that counts beside them.
const (
	priorTau  = 0.015
	priorDof  = 0.3
	cautious  = 0.15 // quantile of the spread's own distribution
	wanderTau = 0.05 // from which the spread is worth a sentence
)

// Restless reports whether runs differ by so much that a reader should know.
func (b Between) Restless() bool { return b.Seen >= wanderTau }

// variance is the part of a figure's variance that lies between runs.
func (b Between) variance(value float64) float64 {
	return b.Tau * b.Tau * value * value
}

// Repeated is one run of a load, for the comparison with others of the same load.
type Repeated struct {
	Concurrency float64
	Value       float64 // e.g. the mean time in system
	SE          float64 // within the run
}

// SpreadBetween estimates the spread between runs from the repeats among them, by
// the method of moments of a random-effects meta-analysis (DerSimonian and Laird,
// "Meta-analysis in clinical trials", 1986), in logarithms and over all loads
// together, each with a mean of its own:
//
//	tau^2 = max(0, (Q - (k - g)) / (S1 - sum of S2/S1 by load))
//
// with k runs of g loads, weights w = 1/SE^2, and Q the weighted squares around
// the loads' means. off is the same of the loads around a curve. Where they lie on
// it, runs cannot differ by much. Where they do not, that may be the runs or the
// curve, which has no shape for a server that rounds its batches, say: with repeats,
// which know nothing of shapes, an F test of one in a hundred tells. And a speed that
// drifts while the load is raised bends the curve instead of scattering the loads: so
// the curve counts the less the more repeats there are. A prior of 1.5 % counts as a
// third of a degree of freedom.
//
// A speed that wanders slowly makes neighbours in time alike, so that they tell less
// of its mean than as many independent runs would: by (1 + r)/(1 - r) in the variance
// of a mean, r being the correlation of neighbours around the curve (the effective
// sample size of a first-order autoregressive process). And runs that differ do so by
// their lengths and loads too, of which one figure for all knows nothing: where it
// matters at all, the spread is taken from the upper part of what the data allow.
func SpreadBetween(runs []Repeated, off Scatter) Between {
	sorted := slices.Clone(runs)
	slices.SortStableFunc(sorted, func(a, b Repeated) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	var excess, scale, free float64
	for from := 0; from < len(sorted); {
		to := from
		for to < len(sorted) && sorted[to].Concurrency == sorted[from].Concurrency {
			to++
		}
		if k := to - from; k > 1 {
			q, c := heterogeneity(sorted[from:to])
			excess += q - float64(k-1)
			scale += c
			free += float64(k - 1)
		}
		from = to
	}
	sum, total := priorDof*priorTau*priorTau, priorDof
	if scale > 0 {
		sum += free * max(0, excess/scale)
		total += free
	}
	odd := false
	if off.Dof > 0 {
		pure := max(sum/total, relativeSE*relativeSE)
		odd = free >= 2 && off.Relative*off.Relative > pure*distuv.F{D1: off.Dof, D2: free}.Quantile(0.99)
		if !odd {
			weight := off.Dof / (1 + free*free)
			sum, total = sum+weight*off.Relative*off.Relative, total+weight
		}
	}
	tau := math.Sqrt(sum / total)
	seen := tau
	if data := total - priorDof; tau > 2*relativeSE && data > 0 {
		r, k := off.Neighbours, max(data, 2)
		tau *= math.Sqrt((1 + r) / (1 - r) * k / distuv.ChiSquared{K: k}.Quantile(cautious))
	}
	return Between{Tau: tau, Seen: seen, Dof: total, Free: free, Odd: odd}
}

// heterogeneity is Cochran's Q of the logarithms of runs of one load, and by how
// much each unit of tau^2 raises what is expected of it.
func heterogeneity(runs []Repeated) (q, scale float64) {
	var s1, s2, mean float64
	weight := func(r Repeated) float64 {
		rel := max(r.SE/r.Value, relativeSE)
		return 1 / (rel * rel)
	}
	for _, r := range runs {
		w := weight(r)
		s1, s2, mean = s1+w, s2+w*w, mean+w*math.Log(r.Value)
	}
	mean /= s1
	for _, r := range runs {
		d := math.Log(r.Value) - mean
		q += weight(r) * d * d
	}
	return q, s1 - s2/s1
}

// sharedDof is the degrees of freedom of a variance of which the share phi lies
// between runs, where all of it rests on one estimate, and the rest within them,
// where every run has its own (Satterthwaite 1946).
func sharedDof(phi, within, between float64) float64 {
	if within <= 0 {
		within = 1
	}
	if between <= 0 {
		return within
	}
	return 1 / (phi*phi/between + (1-phi)*(1-phi)/within)
}

// Scatter is by how much loads lie off the best curve through them.
type Scatter struct {
	Relative   float64 // beyond their own errors, as a share of their values
	Dof        float64 // that it rests on; 0 where there are too few loads
	Neighbours float64 // correlation of the misses of loads that were measured one after the other, from 0 to 0.8
	Worst      float64 // the load that misses it most, of those that need not be many: 0 where there is none
}

// ScatterOf is the scatter of points in the order in which they were measured.
func ScatterOf(points []CurveInput, o FitOptions) Scatter {
	sorted := usable(points)
	if distinct(sorted) < o.fewest() {
		return Scatter{}
	}
	if o.Gain <= 0 {
		o.Gain = 0.20
	}
	var c Curve
	kept, best := c.settle(sorted, o)
	d := newCurveData(kept, o)
	n := float64(len(kept))
	dof := n - float64(best.k)
	if dof < 1 {
		return Scatter{}
	}
	scale := 0.0
	for i, r := range d.r {
		scale += d.w[i] * r * r
	}
	return Scatter{Relative: math.Sqrt(max(0, best.chi2-dof) / (scale * dof / n)), Dof: dof, Neighbours: neighbours(points, best), Worst: worst(points, best)}
}

// worst is the load that misses a curve most; a smaller one that misses it at least
// half as much costs less to look at again.
func worst(points []CurveInput, best fitted) float64 {
	miss := func(p CurveInput) float64 { return math.Abs(math.Log(p.Residence / best.residence(p.Concurrency))) }
	most := 0.0
	for _, p := range points {
		most = max(most, miss(p))
	}
	least := math.Inf(1)
	for _, p := range points {
		if miss(p) >= most/2 {
			least = min(least, p.Concurrency)
		}
	}
	return least
}

// neighbours is the correlation of a point's miss with that of the one before it,
// less 0 for what a fit to few points takes off it (Kendall 1954). Misses beyond a
// third are no wandering speed.
func neighbours(points []CurveInput, best fitted) float64 {
	var sum, lagged, last float64
	n := 0.0
	for _, p := range points {
		miss := math.Log(p.Residence / best.residence(p.Concurrency))
		if !(math.Abs(miss) < 1.0/3) {
			last = 0
			continue
		}
		sum += miss * miss
		lagged += miss * last
		last = miss
		n++
	}
	if sum == 0 || n < minDistinct {
		return 0
	}
	r := lagged / sum
	return min(max(r+(1+3*max(r, 0))/n, 0), 0.8)
}
