package analysis

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/loadgen"
)

// Bounds on how many batches a run is cut into.
const (
	minBatches = 5
	maxBatches = 20
)

const relativeSE = 0.005 // no model of a server is more exact than this

// standardError of the mean of batch means. What one batch leaves in the queue
// the next one finds, so positive correlation between neighbours widens it:
// var = s^2/b (1 + 2 r1 (b-1)/b), with r1 between 0 and 1/2.
// Fewer than minBatches values give no estimate.
func standardError(means []float64) Number {
	b := float64(len(means))
	if len(means) < minBatches {
		return Number{}
	}
	m, s := stat.MeanStdDev(means, nil)
	r1 := 0.0
	if s > 0 {
		for i := 1; i < len(means); i++ {
			r1 += (means[i] - m) * (means[i-1] - m)
		}
		r1 = min(max(r1/((b-1)*s*s), 0), 0.5)
	}
	return loadgen.Known(s * math.Sqrt((1+2*r1*(b-1)/b)/b))
}

// StudentT returns the two-sided 95 % quantile of Student's t with dof degrees
// of freedom; infinitely many make it the normal one, 1.96.
func StudentT(dof float64) float64 {
	if math.IsInf(dof, 1) {
		return distuv.UnitNormal.Quantile(0.975)
	}
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: max(dof, 1)}.Quantile(0.975)
}

// roughError is a relative standard error that is itself a poor estimate; 0 where
// there is none.
type roughError struct {
	relative float64
	requests int     // that it rests on
	dof      float64 // degrees of freedom
}

// smoothErrors steadies errors that come from a handful of batches each. Weights
// of 1/SE^2 reward those that came out small by chance, so each is pulled towards
// what the others (their median) say for as many requests. It returns the errors
// and their degrees of freedom.
func smoothErrors(errors []roughError) (relative, dof []float64) {
	const prior = 8 // degrees of freedom that the others' word is worth
	var spread []float64
	for _, e := range errors {
		if e.relative > 0 {
			spread = append(spread, e.relative*math.Sqrt(float64(max(e.requests, 1))))
		}
	}
	common := 0.0
	if len(spread) > 0 {
		slices.Sort(spread)
		common = stat.Quantile(0.5, stat.Empirical, spread, nil)
	}
	for _, e := range errors {
		own := common / math.Sqrt(float64(max(e.requests, 1)))
		n := float64(prior)
		if e.relative > 0 {
			own = math.Sqrt((e.dof*e.relative*e.relative + prior*own*own) / (e.dof + prior))
			n += e.dof
		}
		relative, dof = append(relative, own), append(dof, n)
	}
	return relative, dof
}

func batchMeans(v []float64, count int) []float64 {
	out := make([]float64, count)
	for k := range out {
		out[k] = stat.Mean(v[k*len(v)/count:(k+1)*len(v)/count], nil)
	}
	return out
}

// slopeError is the standard error of the slope of a straight line fitted by
// least squares: s / sqrt(sum (x - mean x)^2), s^2 = RSS / (n - 2).
func slopeError(x, y []float64, intercept, slope float64) float64 {
	rss := 0.0
	for i := range x {
		e := y[i] - intercept - slope*x[i]
		rss += e * e
	}
	n := float64(len(x))
	sxx := stat.Variance(x, nil) * (n - 1)
	if sxx == 0 || n < 3 {
		return math.Inf(1)
	}
	return math.Sqrt(rss / (n - 2) / sxx)
}
