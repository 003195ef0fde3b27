package analysis

import (
	"math"

	"gonum.org/v1/gonum/stat"

	"github.com/capfind/capfind/loadgen"
)

// Level is what a step says about its concurrency as a steady state: what limits
// between the steps are estimated from. It keeps batches, from which means and
// their errors follow.
//
// Its requests are those of the steady window less the ones that were sent
// within a mean time in system of its end. These see the load drain away while
// they decode, and a server that is quicker with fewer requests flatters them:
// with ten waves of requests the time in system comes out about 2 % too short,
// which moves a fitted knee by as much.
type Level struct {
	Requests int          `json:"requests"`          // successes that it rests on
	PerToken float64      `json:"per_token_seconds"` // by how much a longer answer takes longer: slope of decode time over output tokens
	Batches  []LevelBatch `json:"batches"`           // in order of dispatch
}

// LevelBatch is a stretch of consecutive successes; means.
type LevelBatch struct {
	Requests     int     `json:"requests"`
	Residence    float64 `json:"residence_seconds"` // sent -> end
	TTFT         float64 `json:"ttft_seconds"`      // 0 where not streamed
	Decode       float64 `json:"decode_seconds"`    // first output -> end; all of the residence where not streamed
	OutputTokens float64 `json:"output_tokens"`
}

// LevelOf cuts the runs of a step. It is nil where too little succeeded.
func LevelOf(runs []loadgen.Run) *Level {
	var parts []part
	for _, p := range steadyParts(runs) {
		settled := settledCohort(&p)
		if len(settled) > 0 {
			p.cohort = settled
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil
	}
	l := &Level{}
	for i := range parts {
		l.add(parts[i].cohort, runs[0].Load.Concurrency)
	}
	if l.Requests == 0 {
		return nil
	}
	l.PerToken = perToken(parts)
	return l
}

// perToken is the slope of decode time over output tokens by least squares over
// the requests; 0 where lengths hardly differ, and never more than the mean time
// per token, beyond which it could only be chance.
func perToken(parts []part) float64 {
	var tokens, decode []float64
	for i := range parts {
		for _, s := range parts[i].cohort {
			r, ok := s.Residence()
			if !ok || s.Class != loadgen.Success {
				continue
			}
			ttft, _ := s.TTFT()
			tokens = append(tokens, float64(s.OutputTokens))
			decode = append(decode, (r - ttft).Seconds())
		}
	}
	mean, spread := stat.PopMeanStdDev(tokens, nil)
	if len(tokens) < 3 || mean <= 1 || spread < 0.01*mean {
		return 0
	}
	_, slope := stat.LinearRegression(tokens, decode, nil, false)
	return min(max(slope, 0), stat.Mean(decode, nil)/(mean-1))
}

// settledCohort are the window's successes without those that saw the drain. Long
// ones see more of it: where too many would be lost by leaving a time in system
// and a standard deviation, a time in system has to do.
func settledCohort(p *part) []*loadgen.Sample {
	var good []*loadgen.Sample
	var times []float64
	for _, s := range p.cohort {
		if r, ok := s.Residence(); ok && s.Class == loadgen.Success {
			good = append(good, s)
			times = append(times, r.Seconds())
		}
	}
	mean, std := stat.PopMeanStdDev(times, nil)
	until := func(last float64) int {
		for i, s := range good {
			if s.Sent.Seconds() > last {
				return i
			}
		}
		return len(good)
	}
	n := until(p.to.Seconds() - mean - std)
	if 4*n < len(good) {
		n = until(p.to.Seconds() - mean)
	}
	return good[:n]
}

// add appends a run's cohort as batches of about a wave each.
func (l *Level) add(cohort []*loadgen.Sample, n int) {
	total := len(cohort)
	count := min(max(minBatches, total/max(n, 1)), maxBatches, max(1, total/2))
	for k := range count {
		var b LevelBatch
		for _, s := range cohort[k*total/count : (k+1)*total/count] {
			r, ok := s.Residence()
			if !ok || s.Class != loadgen.Success {
				continue
			}
			b.Requests++
			b.Residence += r.Seconds()
			b.OutputTokens += float64(s.OutputTokens)
			ttft, _ := s.TTFT()
			b.TTFT += ttft.Seconds()
			b.Decode += (r - ttft).Seconds()
		}
		if b.Requests == 0 {
			continue
		}
		m := float64(b.Requests)
		b.Residence, b.TTFT, b.Decode, b.OutputTokens = b.Residence/m, b.TTFT/m, b.Decode/m, b.OutputTokens/m
		l.Requests += b.Requests
		l.Batches = append(l.Batches, b)
	}
}

// Mean returns the means over all requests.
func (l *Level) Mean() LevelBatch {
	var m LevelBatch
	for _, b := range l.Batches {
		w := float64(b.Requests)
		m.Requests += b.Requests
		m.Residence += w * b.Residence
		m.TTFT += w * b.TTFT
		m.Decode += w * b.Decode
		m.OutputTokens += w * b.OutputTokens
	}
	n := float64(max(m.Requests, 1))
	m.Residence, m.TTFT, m.Decode, m.OutputTokens = m.Residence/n, m.TTFT/n, m.Decode/n, m.OutputTokens/n
	return m
}

// ForLength returns the level as it would be had the answers a mean of tokens
// output tokens: the lengths that a step happens to draw are most of the noise
// in its time in system, and are known exactly (a control variate). queued is
// the mean wait for a slot: it is made of other requests' service, so that it
// stretches with the length as they do. At one token or less nothing is changed.
//
//	D* = D + t (L - l),  R* = R + t (L - l) R / (R - queued),  t = D / (l - 1)
func (l *Level) ForLength(tokens, queued float64) *Level {
	out := &Level{Requests: l.Requests, PerToken: l.PerToken, Batches: make([]LevelBatch, len(l.Batches))}
	for i, b := range l.Batches {
		if b.OutputTokens > 1 && tokens > 1 {
			change := l.PerToken * (tokens - b.OutputTokens)
			stretch := 1.0
			if wait := min(queued, 0.9*b.Residence); wait > 0 {
				stretch = b.Residence / (b.Residence - wait)
			}
			b.Residence += change * stretch
			b.Decode += change
			b.TTFT = max(0, b.TTFT+change*(stretch-1))
			b.OutputTokens = tokens
		}
		out.Batches[i] = b
	}
	return out
}

// SE returns the standard error of the mean of a figure over the batches, and
// the degrees of freedom that it rests on; unknown with fewer than two batches.
func (l *Level) SE(figure func(LevelBatch) float64) (Number, float64) {
	n := len(l.Batches)
	if n < 2 {
		return Number{}, 0
	}
	values, weights := make([]float64, n), make([]float64, n)
	for i, b := range l.Batches {
		values[i], weights[i] = figure(b), float64(b.Requests)
	}
	mean := stat.Mean(values, weights)
	sum, total := 0.0, 0.0
	for i, v := range values {
		sum += weights[i] * weights[i] * (v - mean) * (v - mean)
		total += weights[i]
	}
	dof := float64(n - 1)
	return loadgen.Known(math.Sqrt(sum*float64(n)/dof) / total), dof
}
