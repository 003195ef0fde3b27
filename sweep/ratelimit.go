package sweep

import (
	"math"

	"github.com/capfind/capfind/loadgen"
)

// rateLimited reports whether requests failed by being too many a second.
func (e *evidence) rateLimited() bool {
	limited, others := 0, 0
	for i := range e.steps {
		for class, n := range e.steps[i].Failures {
			switch {
			case class == loadgen.HTTP429:
				limited += n
			case class.ServerFailure():
				others += n
			}
		}
	}
	return limited > others && !e.queues()
}

// queues reports whether requests wait for others before they are served: a server
// that says 429 then does so because its queue is full, not because of a rate.
func (e *evidence) queues() bool {
	for i := range e.steps {
		if l := e.steps[i].Level; l != nil && queued(e.steps, i) > waitsNoticeably*l.Mean().Residence {
			return true
		}
	}
	return false
}

// waitsNoticeably is the share of the time in system spent waiting for a slot that
// is more than a prefill's own ups and downs.
const waitsNoticeably = 0.1

// letThrough is how many requests a second a rate limiter let through in a quick sweep's step:
// a count, which a bucket that is filled evenly makes exact, where in flight over time in
// system swings with the lengths of the few answers that came.
func (e *evidence) letThrough(i int) (rate float64, ok bool) {
	s := &e.steps[i]
	if s.Steady == nil || e.levels[i] == nil || !e.pace().frugal || !e.rateLimited() {
		return 0, false
	}
	seconds, ok := s.Steady.DurationSeconds.Value()
	return float64(s.Steady.Completed) / seconds, ok && seconds > 0
}

// rateLimitedTo is the limit and its interval between two loads of which a rate limiter let
// one pass: what was served while others were turned away is the better estimate, where the
// two agree. Of a quick sweep's few requests neither tells more than luck allows; told is
// false where the two loads are all that is known.
func (e *evidence) rateLimitedTo(good, bad int) (at, low, high float64, told bool) {
	at, low, high = float64(good), float64(good), float64(bad-1)
	if e.toldByServed(good) {
		high = at // the load above it was far above
	}
	served, ok := e.served()
	if ok = ok && math.Abs(served-at) < 0.1*at; ok {
		at = math.Floor(served)
		high = max(high, math.Ceil(served))
	}
	luck := e.burstLuck(at)
	if e.pace().frugal {
		luck += math.Ceil(e.lengthsLuck(at))
	} else if !ok {
		return at, low, high, false
	}
	return at, min(low, at) - luck, max(high, at+luck), true
}

// burstLuck is by how many requests in flight a probe of a few hundred may be wrong
// about a rate limiter: answers of random lengths end, and make room for the next
// request, in bursts of about the root of their number, and half of such a burst
// decides whether the bucket runs empty. Counted on a simulated one with a limit of
// 28 at c = 1: of a hundred answers ninety lay from 25 to 29.
func (e *evidence) burstLuck(at float64) float64 {
	return max(1, math.Round(e.spread()*math.Sqrt(at)/2))
}

// lengthsLuck is by how much a number in service that comes from a rate may be wrong, at
// 95 %, because the answers seen are a sample: their mean length is that of all to within
// its standard error.
func (e *evidence) lengthsLuck(at float64) float64 {
	answers := 0.0
	for i := range e.steps {
		answers += float64(e.steps[i].Whole.Completed)
	}
	return 1.96 * e.spread() * at / math.Sqrt(max(answers, 1))
}
