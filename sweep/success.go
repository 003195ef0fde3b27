package sweep

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// maxSuccessProbes bounds the search for a cliff.
const maxSuccessProbes = 12

// success brackets the concurrency at which requests begin to fail: a cliff until it
// lies between two neighbours, a slope until its interval is narrow or has cost
// enough.
func (e *evidence) success() *Order {
	bad := e.firstBad()
	if bad == nil || bad.ClientLimited() || !breaks(bad, RuleSuccess) {
		return nil
	}
	good, fails := e.successBracket()
	if e.pace().frugal && e.boundBelow(float64(good)) {
		return nil
	}
	if e.gradual() {
		c := e.crossing()
		exact := c.Confidence.IsKnown() && halfWidth(c) <= e.near(c.At.Or(0))
		nowhere := !c.At.IsKnown() // the probes speak against the ladder: its step is run again
		requests, _, _ := spent(e.steps)
		if (exact || nowhere) && e.probes() >= enoughProbes || requests > e.ask.Config.searchRequests() {
			return nil
		}
		n, why := e.slopeGuess(c)
		return e.probe(n, max(e.wholeWaves(), e.slopeProbe()/float64(n)), RuleSuccess, why)
	}
	if e.count(RuleSuccess) >= maxSuccessProbes || e.closed(good, fails) {
		return nil
	}
	n, why := e.cliffGuess(good, fails)
	return e.probe(n, e.cliffWaves(n), RuleSuccess, why)
}

// cliffWaves is how long a probe for the edge of a cliff must be.
func (e *evidence) cliffWaves(n int) float64 {
	k, died := e.diedAt()
	switch {
	case e.toldByServed(n):
		return 2 * e.pace().waves
	case e.rateLimited(): // a bucket that was full lets through what the rate would not
		return max(e.wholeWaves(), e.pace().slope/float64(n))
	case died && n == k-1 && e.pace().frugal:
		return deadly
	}
	return e.wholeWaves()
}

// deadly is how many requests per request in flight a quick sweep sends where a server died
// with one more: that shows as soon as all are in flight.
const deadly = 1.5

// slopeProbe is how many requests a probe takes where success falls slowly: an
// eighth of what may be spent, so that the probes spread out and few of their
// requests go into filling up the load.
func (e *evidence) slopeProbe() float64 {
	return max(e.pace().slope, float64(e.ask.Config.searchRequests())/8)
}

func halfWidth(c analysis.Crossing) float64 {
	return (c.High.Or(math.Inf(1)) - c.Low.Or(0)) / 2
}

// closed reports whether nothing is left between good and bad.
func (e *evidence) closed(good, bad int) bool {
	if !e.pace().frugal {
		return float64(bad-good) <= max(1, math.Floor(e.near(float64(good))/2))
	}
	k, died := e.diedAt() // to see it die once is enough
	return e.toldByServed(good) || died && good == k-1 || float64(bad-good) <= max(1, math.Floor(e.near(float64(good))))
}

// successBracket is the largest concurrency below which nothing failed the rule
// and that held itself, and the smallest that broke it.
func (e *evidence) successBracket() (good, bad int) {
	bad = e.broken
	for i := range e.steps {
		if s := &e.steps[i]; breaks(s, RuleSuccess) {
			bad = min(bad, s.Concurrency)
		}
	}
	for i := range e.steps {
		if s := &e.steps[i]; s.Concurrency < bad && !breaks(s, RuleSuccess) {
			good = max(good, s.Concurrency)
		}
	}
	return good, bad
}

// gradual reports whether success falls slowly: where it still held, requests
// failed already. A rate limiter may let most of a probe through and then no more:
// that is no slope.
func (e *evidence) gradual() bool {
	if e.rateLimited() {
		return false
	}
	good, _ := e.successBracket()
	return e.failedUpTo(good) > 0.005
}

// failedUpTo is the share of requests that failed at a load and at those close below it.
func (e *evidence) failedUpTo(good int) float64 {
	failed, total := e.outcomes(func(n int) bool { return n <= good && float64(n) >= 0.8*float64(good) })
	return float64(failed) / float64(max(total, 1))
}

// outcomes counts the requests that failed, and all that ended, at the loads that are meant.
func (e *evidence) outcomes(meant func(n int) bool) (failed, total int) {
	for i := range e.steps {
		if s := &e.steps[i]; meant(s.Concurrency) {
			failed += s.Whole.Failed
			total += s.Whole.Failed + s.Whole.Completed
		}
	}
	return failed, total
}

// successes are the counts that a slope is estimated from. The ladder's steps next
// to it were chosen by their own counts, the one for having passed and the other
// for having failed: once the probes can speak, which were not, both are left out.
func (e *evidence) successes() []analysis.Successes {
	steps := e.steps
	if e.gradual() && e.probes() >= enoughProbes {
		steps = nil
		for _, s := range e.steps {
			if s.Phase != analysis.PhaseLadder || s.Concurrency < e.last {
				steps = append(steps, s)
			}
		}
	}
	return analysis.SuccessPoints(steps)
}

// crossing is where success falls below what is asked.
func (e *evidence) crossing() analysis.Crossing {
	if e.crossed == nil {
		c := analysis.SuccessCrossing(e.successes(), e.ask.Rules.MinSuccessRate)
		e.crossed = &c
	}
	return *e.crossed
}

// enoughProbes is how many probes can speak of a slope without the ladder.
const enoughProbes = 3

// probes counts the steps that are not the ladder's.
func (e *evidence) probes() int {
	n := 0
	for i := range e.steps {
		if e.steps[i].Phase != analysis.PhaseLadder {
			n++
		}
	}
	return n
}

// slopeGuess is where to look next for the end of a success rate that falls
// slowly: around the estimate where there is one, else across the whole stretch,
// and there where least was measured. A single step says little here, so that no
// bracket is drawn from one.
func (e *evidence) slopeGuess(c analysis.Crossing) (int, string) {
	from, to := float64(e.last), 1.2*float64(e.broken)
	if at, ok := c.At.Value(); ok && c.Confidence.IsKnown() {
		from, to = min(c.Low.Or(at), 0.85*at), max(c.High.Or(at), 1.2*at)
	}
	// Some points must lie above: at the failing step itself hardly more requests
	// fail than are allowed, or it would not be a slope.
	to = min(to, 1.3*float64(e.broken))
	best, least := 1, math.MaxInt
	for _, f := range []float64{0.5, 1, 0.75, 0.25} {
		n := max(1, int(math.Round(from+f*(to-from))))
		if _, done := e.outcomes(func(at int) bool { return math.Abs(float64(at-n)) < 0.025*float64(n) }); done < least {
			best, least = n, done
		}
	}
	return best, "around where the success rate falls to its threshold"
}

// cliffGuess is where to look next for the edge of a cliff.
func (e *evidence) cliffGuess(good, bad int) (int, string) {
	inside := func(n int) bool { return n > good && n < bad && !e.tried(n) }
	if k, ok := e.diedAt(); ok {
		if inside(k - 1) {
			return k - 1, fmt.Sprintf("the server died with %d in flight", k)
		}
		if good == k-1 && inside(k) {
			return k, "one above where it held"
		}
	}
	if served, ok := e.served(); ok {
		low := int(math.Floor(served + 0.5 - e.near(served)/2))
		if e.pace().frugal && !e.rateLimited() && float64(good) < served-e.near(served) && inside(low) {
			return low, fmt.Sprintf("a little below the %.1f that were being served while others were turned away", served)
		}
		if n := int(math.Floor(served + 0.5)); inside(n) {
			return n, fmt.Sprintf("%.1f were being served while others were turned away", served)
		}
		if n := good + int(max(1, math.Floor(0.01*float64(good)))); math.Abs(served-float64(good)) <= e.near(served) && inside(n) {
			return n, "just above what was served while others were turned away"
		}
	}
	return halfway(good, bad)
}

func halfway(good, bad int) (int, string) {
	mid := (good + bad) / 2
	if float64(bad) > 1.5*float64(good) {
		mid = int(math.Round(math.Sqrt(float64(good) * float64(bad))))
	}
	return min(max(mid, good+1), bad-1), fmt.Sprintf("between %d, where requests succeed, and %d, where they do not", good, bad)
}

// toldByServed reports whether a load is as many as a quick sweep saw served under a rate
// limiter: whether a bucket runs empty there takes many more requests to see, and says no more.
func (e *evidence) toldByServed(n int) bool {
	served, ok := e.served()
	return ok && e.pace().frugal && e.rateLimited() && math.Abs(served-float64(n)) <= e.near(served)
}

// diedAt is the smallest number in flight at which the server died.
func (e *evidence) diedAt() (int, bool) {
	least := 0
	for _, c := range e.crashes {
		if n := int(c.InFlight.Or(0)); n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least, least > 0
}

// served is how many requests were in service, by Little's law, while a server
// turned others away: of the step with the fewest failures that it is known for.
func (e *evidence) served() (float64, bool) {
	best, found, rate := 0.0, false, 0.0
	for i := range e.steps {
		s := &e.steps[i]
		if !breaks(s, RuleSuccess) || !turnedAway(s) {
			continue
		}
		sum := &s.Whole
		if s.Steady != nil {
			sum = s.Steady
		}
		x, okX := sum.RequestThroughput.Value()
		r, okR := sum.E2E.Mean.Value()
		if count, ok := e.letThrough(i); ok {
			x, r = count, e.levels[i].Mean().Residence
		}
		if okX && okR && sum.Completed >= s.Concurrency && sum.SuccessRate.Or(0) > rate {
			best, found, rate = x*r, true, sum.SuccessRate.Or(0)
		}
	}
	return best, found
}

// successLimit is exact where the bracket has closed around a cliff: as exact as the
// failures on either side are beyond chance. Under a rate
// limiter, whether one probe passes is a matter of its length and luck: what was
// served while others were turned away is the better estimate.
func (e *evidence) successLimit(l analysis.Limit) analysis.Limit {
	good, bad := e.successBracket()
	if !e.gradual() && e.closed(good, bad) {
		if k, ok := e.diedAt(); ok && good < k {
			bad = min(bad, k) // a larger load died with so many
		}
		at, low, high := float64(good), float64(good), float64(bad-1)
		note := fmt.Sprintf("a cliff: held at %d, broken at %d", good, bad)
		if c := e.crossing(); c.Confidence.IsKnown() && !e.rateLimited() && (e.failedUpTo(good) > 0 || e.barelyBroken(bad)) {
			low, high = min(low, math.Floor(c.Low.Or(low)+1e-9)), max(high, math.Floor(c.High.Or(high)-1e-9))
		}
		if e.rateLimited() {
			var told bool
			if at, low, high, told = e.rateLimitedTo(good, bad); told {
				note += "; a rate limiter lets bursts pass and stops others, so that one more or less makes no difference in the long run"
			}
		}
		return analysis.Limit{Concurrency: loadgen.Known(at), Low: loadgen.Known(low), High: loadgen.Known(high),
			Confidence: loadgen.Known(0.95), BoundBy: RuleSuccess, Note: note}
	}
	if k, ok := e.diedAt(); ok && good < k && k <= bad {
		l.High = loadgen.Known(float64(k)) // nothing was measured between
		return l
	}
	exact := analysis.SuccessLimit(e.successes(), e.crossing(), e.ask.Rules.MinSuccessRate)
	if exact.Confidence.IsKnown() {
		exact.Concurrency = exact.Concurrency.Max(loadgen.Known(1)) // it held there
		if e.gradual() {
			exact.Note = e.slopeNote(&exact)
		}
		return exact
	}
	if e.gradual() {
		// A single step that passed or failed says little on a slope.
		from, to := exact.Low.Or(float64(e.last)), exact.High.Or(float64(e.broken))
		l.Concurrency, l.Low, l.High = loadgen.Known(max(from, 1)), loadgen.Known(from), loadgen.Known(to)
	}
	l.Note = exact.Note
	return l
}

// slopeNote says why an interval stayed wide, and what a narrow one would take:
// each halving of the interval takes four times as many requests.
func (e *evidence) slopeNote(l *analysis.Limit) string {
	half := (l.High.Or(math.Inf(1)) - l.Low.Or(0)) / 2
	want := e.near(l.Concurrency.Or(0))
	requests, _, _ := spent(e.steps)
	done := float64(requests)
	if half <= want || math.IsInf(half, 1) || done == 0 {
		return ""
	}
	more := done * half * half / want / want
	return fmt.Sprintf("the success rate falls slowly with the load, which %.0f requests tell to within %.0f; to within %.0f would take about %s (sweep.search_requests)",
		done, math.Ceil(half), math.Ceil(want), roundUp(more))
}

// roundUp writes a number with two digits, upwards.
func roundUp(v float64) string {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return fmt.Sprintf("%.0f", math.Ceil(v/unit)*unit)
}

// barelyBroken reports whether the smallest load of a quick sweep that broke the success rule
// did so by few failures of few requests: chance may have made it the one.
func (e *evidence) barelyBroken(bad int) bool {
	if !e.pace().frugal {
		return false
	}
	failed, total := e.outcomes(func(n int) bool { return n == bad })
	return float64(failed) < 4*(1-e.ask.Rules.MinSuccessRate)*float64(total)
}
