package analysis

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/loadgen"
)

// Bounds on how many batches a summary is cut into.
const (
	minBatches = 5
	maxBatches = 20
)

// batches cuts the requests, in order of dispatch, into batches of about equal
// size. Requests of one wave share their queue, so a batch holds at least one
// wave (n requests) where there are requests enough, and consecutive batches are
// then nearly independent. Fewer than ten requests give none.
func batches(parts []part, n int) []Batch {
	total := 0
	for i := range parts {
		total += len(parts[i].cohort)
	}
	if total < 2*minBatches {
		return nil
	}
	count := min(maxBatches, max(minBatches, total/max(n, 1)))
	count = min(count, total/2)
	out := make([]Batch, count)
	means := make([]timeMeans, count)
	seen := 0
	for i := range parts {
		for _, s := range parts[i].cohort {
			k := seen * count / total
			seen++
			out[k].Requests++
			if r, ok := s.Residence(); ok {
				out[k].ResidenceSeconds += r.Seconds()
			}
			if s.Class == loadgen.Success {
				out[k].Completed++
				out[k].OutputTokens += s.OutputTokens
				means[k].add(s)
			}
		}
	}
	for k := range out {
		out[k].TTFT, out[k].TPOT, out[k].E2E = means[k].ttft.value(), means[k].tpot.value(), means[k].e2e.value()
	}
	return out
}

// timeMeans are the mean times of one batch, in seconds.
type timeMeans struct{ ttft, tpot, e2e mean }

func (m *timeMeans) add(s *loadgen.Sample) {
	if d, ok := s.TTFT(); ok {
		m.ttft.add(d.Seconds())
	}
	if d, ok := s.TPOT(); ok {
		m.tpot.add(d.Seconds())
	}
	if d, ok := s.E2E(); ok {
		m.e2e.add(d.Seconds())
	}
}

// estimateErrors fills in the standard errors, by batch means.
func (sum *Summary) estimateErrors() {
	var yields []float64
	total, residence := 0.0, 0.0
	for _, b := range sum.Batches {
		if b.ResidenceSeconds > 0 {
			yields = append(yields, float64(b.Completed)/b.ResidenceSeconds)
		}
		total += float64(b.Completed)
		residence += b.ResidenceSeconds
	}
	// By Little's law the throughput is the number in flight, which the client
	// holds, times the successes per second spent in the system.
	if se, ok := standardError(yields).Value(); ok && total > 0 {
		sum.RequestThroughputSE = loadgen.Known(se / (total / residence) * sum.RequestThroughput.Or(0))
	}
	errorOf := func(d *Dist, of func(*Batch) Number) {
		var means []float64
		for i := range sum.Batches {
			if v, ok := of(&sum.Batches[i]).Value(); ok {
				means = append(means, v)
			}
		}
		d.correlate(standardError(means))
	}
	errorOf(&sum.TTFT, func(b *Batch) Number { return b.TTFT })
	errorOf(&sum.TPOT, func(b *Batch) Number { return b.TPOT })
	errorOf(&sum.E2E, func(b *Batch) Number { return b.E2E })
	sum.TTFTSE = sum.TTFT.SE
}

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

// studentT returns the two-sided 95 % quantile of Student's t with dof degrees
// of freedom; infinitely many make it the normal one, 1.96.
func studentT(dof float64) float64 {
	if math.IsInf(dof, 1) {
		return distuv.UnitNormal.Quantile(0.975)
	}
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: max(dof, 1)}.Quantile(0.975)
}

func (m *timeMeans) join(o *timeMeans) {
	m.ttft.join(o.ttft)
	m.tpot.join(o.tpot)
	m.e2e.join(o.e2e)
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
