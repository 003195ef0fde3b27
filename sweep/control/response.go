package control

import (
	"cmp"
	"slices"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// staggerOver is about one response time at n in flight, over which the first requests
// of a load are sent; before anything was measured what the probe saw.
//
// LOUD: a burst does not fade where answers are of one length. Its requests are prefilled
// together, end together, and are followed together by the next ones, for as long as the
// load lasts; and spread over half a response they leave a gap that stays. On vLLM a
// burst made TTFT 72 ms, and a spread start 41 ms, at the same throughput.
func (s *session) staggerOver(n int) time.Duration {
	if s.Config.Start == loadgen.StartBurst {
		return 0
	}
	if r := responseAt(s.h.Steps, n); r > 0 {
		return time.Duration(r * float64(time.Second))
	}
	return s.Response
}

// responseAt is the mean response time to be expected at n in flight, in seconds, by a
// straight line between the loads next to it, or through the two below it: in a closed
// loop response times are level as long as the server has room, and rise in proportion
// where it has not. 0 where no step served its requests: refusals are quick, and to start
// by their measure would be a burst.
func responseAt(steps []analysis.Step, n int) float64 {
	type point struct{ n, r, x float64 }
	var below, above []point
	for i := range steps {
		v := steps[i].Verdict()
		r, ok := v.E2E.Mean.Value()
		if !ok || v.Completed < v.Failed {
			continue
		}
		p := point{float64(steps[i].Concurrency), r, v.RequestThroughput.Or(0)}
		if p.n <= float64(n) {
			below = append(below, p)
		} else {
			above = append(above, p)
		}
	}
	// Of runs at one load the latest comes last: it is nearest in time as well.
	byLoad := func(a, b point) int { return cmp.Compare(a.n, b.n) }
	slices.SortStableFunc(below, byLoad)
	slices.SortStableFunc(above, byLoad)
	switch {
	case len(below) == 0 && len(above) == 0:
		return 0
	case len(below) == 0:
		return above[0].r
	}
	a := below[len(below)-1]
	if len(above) > 0 {
		b := above[0]
		return a.r + (b.r-a.r)*(float64(n)-a.n)/(b.n-a.n)
	}
	for _, b := range slices.Backward(below) {
		if b.n < a.n {
			r := a.r + max(0, a.r-b.r)*(float64(n)-a.n)/(a.n-b.n)
			if a.x > 0 { // throughput does not fall, as a rule
				r = max(a.r, min(r, float64(n)/a.x))
			}
			return r
		}
	}
	return a.r
}
