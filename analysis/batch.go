package analysis

import (
	"math"

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
	ttft := make([]mean, count)
	seen := 0
	for i := range parts {
		for _, s := range parts[i].cohort {
			k := seen * count / total
			seen++
			b := &out[k]
			b.Requests++
			if r, ok := s.Residence(); ok {
				b.ResidenceSeconds += r.Seconds()
			}
			if s.Class != loadgen.Success {
				continue
			}
			b.Completed++
			if t, ok := s.TTFT(); ok {
				ttft[k].sum += t.Seconds()
				ttft[k].n++
			}
		}
	}
	for k := range out {
		out[k].TTFT = ttft[k].value()
	}
	return out
}

// standardErrors of the throughput and of the mean TTFT, by batch means.
func standardErrors(bs []Batch, throughput Number) (rate, ttft Number) {
	var ttfts, yields []float64
	total, residence := 0.0, 0.0
	for _, b := range bs {
		if v, ok := b.TTFT.Value(); ok {
			ttfts = append(ttfts, v)
		}
		if b.ResidenceSeconds > 0 {
			yields = append(yields, float64(b.Completed)/b.ResidenceSeconds)
		}
		total += float64(b.Completed)
		residence += b.ResidenceSeconds
	}
	ttft = standardError(ttfts)
	// By Little's law the throughput is the number in flight, which the client
	// holds, times the successes per second spent in the system.
	if se, ok := standardError(yields).Value(); ok && total > 0 {
		rate = loadgen.Known(se / (total / residence) * throughput.Or(0))
	}
	return rate, ttft
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
