package sweep

import (
	"math"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/analysis"
)

// restless doubts a server whose times moved while it was watched, and not just
// once. Long answers that happen to come together move the response time too, so
// that it counts only where nothing is streamed; else turns looks at the pace.
func (h *hunt) restless() {
	moved, large := 0, 0
	for i := range h.r.Steps {
		s := &h.r.Steps[i]
		if s.Concurrency < 20 || s.Steady == nil {
			continue
		}
		large++
		for _, c := range s.Validity {
			if (c.Check == "ttft_trend" || c.Check == "e2e_trend" && NotStreamed(s)) && !c.OK && math.Abs(c.Value.Or(0)) > restlessShift {
				moved++
				break
			}
		}
	}
	if moved >= restlessSteps && 3*moved > large {
		h.doubt("in %d of %d steps the times moved by more than %s within the step", moved, large, percent(restlessShift))
	}
}

const (
	restlessShift = 0.20 // of a time, over a step's window
	restlessSteps = 3
)

// turns doubts a server whose pace changed within its steps and did so again
// later. At a constant number in flight the time per token is the steadiest of
// all times, whatever the lengths of the answers. One change is let off: a passing
// trouble or a replica that joined, which confirmation and the curve deal with.
// What comes and goes makes every step a mixture of two servers.
func (h *hunt) turns() {
	before, changed, episodes, last := 0, 0, 0, math.MinInt
	for i := range h.r.Steps {
		s := &h.r.Steps[i]
		cold := before < warmingUp
		before += s.Whole.Completed + s.Whole.Failed
		if cold || !paceChanged(s) {
			continue
		}
		changed++
		if i > last+1 {
			episodes++ // a change of pace may reach from one step into the next
		}
		last = i
	}
	if episodes > 1 || changed > 2 {
		h.doubt("the time per token changed by more than chance explains within %d of %d steps: the server seems to switch between paces",
			changed, len(h.r.Steps))
	}
}

const (
	paceShift  = 0.10  // standard deviation of the pace over a step's window, as a share of its mean
	leastPaces = 3     // batches, below which nothing is said
	paceDoubt  = 0.001 // chance of a false alarm in one step of independent requests
)

// paceChanged reports whether the batches of a step's level, which none of the
// requests that saw the load drain away is part of, differ in their time per token
// by more than requests drawn at random would: the variance of the batch means
// against that of the requests, which were they independent would be chi-square
// distributed with a degree of freedom less than there are batches, and what is
// left of it against the gate.
func paceChanged(s *analysis.Step) bool {
	v := s.Verdict()
	if s.Level == nil || s.ClientLimited() || s.Abandoned != "" || v.SuccessRate.Or(0) < curveSuccess {
		return false // where requests fail, the number that decode is not constant
	}
	var paces []float64
	for _, b := range s.Level.Batches {
		if b.OutputTokens > 1 {
			paces = append(paces, b.Decode/(b.OutputTokens-1))
		}
	}
	std, ok := v.TPOT.Std.Value()
	if len(paces) < leastPaces || !ok {
		return false
	}
	mean, between := stat.MeanVariance(paces, nil)
	within := std * std * float64(len(paces)) / float64(s.Level.Requests)
	dof := float64(len(paces) - 1)
	return between*dof > within*distuv.ChiSquared{K: dof}.Quantile(1-paceDoubt) && math.Sqrt(between-within) > paceShift*mean
}
