package sweep

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// success brackets the concurrency at which requests begin to fail: a cliff
// until it lies between two neighbours, a slope until its interval is narrow or
// has cost enough.
func (h *hunt) success(ctx context.Context) error {
	bad := firstBad(h.r.Steps)
	if bad == nil || !breaks(bad, RuleSuccess) {
		return nil
	}
	for probes := 0; ; {
		good, fails := h.successBracket()
		c := analysis.SuccessCrossing(h.successes(), h.Stop.MinSuccessRate)
		waves := h.waves()
		var n int
		var why string
		if h.gradual() {
			exact := c.Confidence.IsKnown() && halfWidth(c) <= near(c.At.Or(0))
			nowhere := !c.At.IsKnown() // the probes speak against the ladder: its step is run again
			if (exact || nowhere) && h.probes() >= enoughProbes || h.searchSpent().Requests > h.Config.SearchRequests {
				return nil
			}
			n, why = h.slopeGuess(c)
			waves = max(waves, h.slopeProbe()/float64(n))
		} else {
			if probes++; probes > maxSuccessProbes || h.closed(good, fails) {
				return nil
			}
			n, why = h.cliffGuess(good, fails)
			if h.rateLimited() {
				// A bucket that was full lets through what the rate would not.
				waves = max(waves, leastSlopeProbe/float64(n))
			}
		}
		if _, err := h.probe(ctx, n, waves, analysis.PhaseProbe, why); err != nil {
			return err
		}
	}
}

// slopeProbe is how many requests a probe takes where success falls slowly: an
// eighth of what may be spent, so that the probes spread out and few of their
// requests go into filling up the load.
func (h *hunt) slopeProbe() float64 {
	return max(leastSlopeProbe, float64(h.Config.SearchRequests)/8)
}

const leastSlopeProbe = 400

func halfWidth(c analysis.Crossing) float64 {
	return (c.High.Or(math.Inf(1)) - c.Low.Or(0)) / 2
}

// closed reports whether nothing is left between good and bad.
func (h *hunt) closed(good, bad int) bool {
	return float64(bad-good) <= max(1, math.Floor(0.01*float64(good)))
}

// successBracket is the largest concurrency below which nothing failed the rule
// and that held itself, and the smallest that broke it.
func (h *hunt) successBracket() (good, bad int) {
	bad = h.broken
	for i := range h.r.Steps {
		if s := &h.r.Steps[i]; breaks(s, RuleSuccess) {
			bad = min(bad, s.Concurrency)
		}
	}
	for i := range h.r.Steps {
		if s := &h.r.Steps[i]; s.Concurrency < bad && !breaks(s, RuleSuccess) {
			good = max(good, s.Concurrency)
		}
	}
	return good, bad
}

// gradual reports whether success falls slowly: where it still held, requests
// failed already. A rate limiter may let most of a probe through and then no more:
// that is no slope.
func (h *hunt) gradual() bool {
	if h.rateLimited() {
		return false
	}
	good, _ := h.successBracket()
	failed, total := 0, 0
	for i := range h.r.Steps {
		step := &h.r.Steps[i]
		if n := float64(step.Concurrency); n <= float64(good) && n >= 0.8*float64(good) {
			failed += step.Whole.Failed
			total += step.Whole.Failed + step.Whole.Completed
		}
	}
	return float64(failed) > 0.005*float64(total)
}

// successes are the counts that a slope is estimated from. The ladder's steps next
// to it were chosen by their own counts, the one for having passed and the other
// for having failed: once the probes can speak, which were not, both are left out.
func (h *hunt) successes() []analysis.Successes {
	steps := h.r.Steps
	if h.gradual() && h.probes() >= enoughProbes {
		steps = nil
		for _, s := range h.r.Steps {
			if s.Phase != analysis.PhaseLadder || s.Concurrency < h.last {
				steps = append(steps, s)
			}
		}
	}
	return analysis.SuccessPoints(steps)
}

// enoughProbes is how many probes can speak of a slope without the ladder.
const enoughProbes = 3

// probes counts the steps that are not the ladder's.
func (h *hunt) probes() int {
	n := 0
	for i := range h.r.Steps {
		if h.r.Steps[i].Phase != analysis.PhaseLadder {
			n++
		}
	}
	return n
}

func (h *hunt) searchSpent() Spent {
	var spent Spent
	for i := range h.r.Steps {
		if h.r.Steps[i].Phase != analysis.PhaseLadder {
			n, tokens := costOf(&h.r.Steps[i])
			spent.Requests += n
			spent.Tokens += tokens
		}
	}
	return spent
}

// slopeGuess is where to look next for the end of a success rate that falls
// slowly: around the estimate where there is one, else across the whole stretch,
// and there where least was measured. A single step says little here, so that no
// bracket is drawn from one.
func (h *hunt) slopeGuess(c analysis.Crossing) (int, string) {
	from, to := float64(h.last), 1.2*float64(h.broken)
	if at, ok := c.At.Value(); ok && c.Confidence.IsKnown() {
		from, to = min(c.Low.Or(at), 0.85*at), max(c.High.Or(at), 1.2*at)
	}
	// Some points must lie above: at the failing step itself hardly more requests
	// fail than are allowed, or it would not be a slope.
	to = min(to, 1.3*float64(h.broken))
	best, least := 1, math.MaxInt
	for _, f := range []float64{0.5, 1, 0.75, 0.25} {
		n := max(1, int(math.Round(from+f*(to-from))))
		if done := h.requestsAt(n); done < least {
			best, least = n, done
		}
	}
	return best, "around where the success rate falls to its threshold"
}

// requestsAt counts the requests that finished at about a concurrency.
func (h *hunt) requestsAt(n int) int {
	total := 0
	for i := range h.r.Steps {
		if s := &h.r.Steps[i]; math.Abs(float64(s.Concurrency-n)) < 0.025*float64(n) {
			total += s.Whole.Completed + s.Whole.Failed
		}
	}
	return total
}

// cliffGuess is where to look next for the edge of a cliff.
func (h *hunt) cliffGuess(good, bad int) (int, string) {
	inside := func(n int) bool { return n > good && n < bad && !h.tried(n) }
	if k, ok := h.diedAt(); ok {
		if inside(k - 1) {
			return k - 1, fmt.Sprintf("the server died with %d in flight", k)
		}
		if good == k-1 && inside(k) {
			return k, "one above where it held"
		}
	}
	if served, ok := h.served(); ok {
		if n := int(math.Floor(served + 0.5)); inside(n) {
			return n, fmt.Sprintf("%.1f were being served while others were turned away", served)
		}
		if n := good + int(max(1, math.Floor(0.01*float64(good)))); math.Abs(served-float64(good)) <= near(served) && inside(n) {
			return n, "just above what was served while others were turned away"
		}
	}
	return h.between(good, bad)
}

func (h *hunt) between(good, bad int) (int, string) {
	mid := (good + bad) / 2
	if float64(bad) > 1.5*float64(good) {
		mid = int(math.Round(math.Sqrt(float64(good) * float64(bad))))
	}
	return min(max(mid, good+1), bad-1), fmt.Sprintf("between %d, where requests succeed, and %d, where they do not", good, bad)
}

func (h *hunt) tried(n int) bool {
	return slices.ContainsFunc(h.r.Steps, func(s analysis.Step) bool { return s.Concurrency == n })
}

// diedAt is the smallest number in flight at which the server died.
func (h *hunt) diedAt() (int, bool) {
	least := 0
	for _, c := range h.r.Crashes {
		if n := int(c.InFlight.Or(0)); n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least, least > 0
}

// served is how many requests were in service, by Little's law, while a server
// turned others away: of the step with the fewest failures that it is known for.
func (h *hunt) served() (float64, bool) {
	best, found, rate := 0.0, false, 0.0
	for i := range h.r.Steps {
		s := &h.r.Steps[i]
		if !breaks(s, RuleSuccess) || !turnedAway(s) {
			continue
		}
		sum := &s.Whole
		if s.Steady != nil {
			sum = s.Steady
		}
		x, okX := sum.RequestThroughput.Value()
		r, okR := sum.E2E.Mean.Value()
		if okX && okR && sum.Completed >= s.Concurrency && sum.SuccessRate.Or(0) > rate {
			best, found, rate = x*r, true, sum.SuccessRate.Or(0)
		}
	}
	return best, found
}

// turnedAway reports whether the failures were answers: refusals, not silence.
func turnedAway(s *analysis.Step) bool {
	refused, others := 0, 0
	for class, n := range s.Failures {
		switch class {
		case loadgen.HTTP429, loadgen.HTTP5xx:
			refused += n
		case loadgen.Cancelled, loadgen.ClientLimit:
		default:
			others += n
		}
	}
	return refused > others
}
