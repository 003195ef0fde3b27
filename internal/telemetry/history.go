package telemetry

import (
	"math"
	"time"
)

// aggregate sums up one gauge over a span.
type aggregate struct {
	n         int
	seconds   float64 // that the values stand for, together
	sum       float64 // of the values, each times its seconds
	low, high float64
	last      float64
}

func (a *aggregate) add(v, seconds float64) {
	if math.IsNaN(v) {
		return
	}
	a.merge(aggregate{n: 1, seconds: seconds, sum: v * seconds, low: v, high: v, last: v})
}

// merge adds a later aggregate.
func (a *aggregate) merge(b aggregate) {
	if b.n == 0 {
		return
	}
	if a.n == 0 {
		*a = b
		return
	}
	a.n += b.n
	a.seconds += b.seconds
	a.sum += b.sum
	a.low = math.Min(a.low, b.low)
	a.high = math.Max(a.high, b.high)
	a.last = b.last
}

func (a *aggregate) mean() float64 {
	if a.n == 0 {
		return unknown
	}
	return a.sum / a.seconds
}

// max and min return NaN where nothing was seen, so that unknown stays unknown.
func (a *aggregate) max() float64 {
	if a.n == 0 {
		return unknown
	}
	return a.high
}

func (a *aggregate) min() float64 {
	if a.n == 0 {
		return unknown
	}
	return a.low
}

// span is a stretch of history: one scrape, or several that were merged.
type span struct {
	from, to time.Time
	// When the last scrape was asked for and its answers were there: what they say
	// was true somewhere in between, but for certain not before nor after.
	lastAsked, lastAnswered time.Time

	answered int  // scrapes that an endpoint answered
	away     bool // the server's endpoint had answered before and no longer did
	gauges   [gauges]aggregate
	// hostSince is the moment from which on the share of the host's CPU time is
	// taken; the zero time where there is none.
	hostSince time.Time
	// Running totals of the counters at the first and the last scrape, resets
	// evened out; NaN where unknown.
	first, last [counters]float64
}

// merge adds the span that follows.
func (s *span) merge(b *span) {
	s.to = b.to
	s.lastAsked, s.lastAnswered = b.lastAsked, b.lastAnswered
	s.answered += b.answered
	s.away = s.away || b.away
	if s.hostSince.IsZero() {
		s.hostSince = b.hostSince
	}
	for g := range s.gauges {
		s.gauges[g].merge(b.gauges[g])
	}
	for c := range s.last {
		if math.IsNaN(s.first[c]) {
			s.first[c] = b.first[c]
		}
		if !math.IsNaN(b.last[c]) {
			s.last[c] = b.last[c]
		}
	}
}

// history holds spans in order of time, at most maxSpans of them.
type history struct {
	spans []span
}

// maxSpans bounds the memory of a run of any length: over two hours at one scrape
// a second in full detail, about 4 MB; what is older gets coarser.
const maxSpans = 8192

// add appends a span. When the bound is reached the older half is merged pair by
// pair: the extremes and the totals survive, only their moments blur.
func (h *history) add(s span) {
	h.spans = append(h.spans, s)
	if len(h.spans) < maxSpans {
		return
	}
	half := len(h.spans) / 2
	kept := h.spans[:0]
	for i := 0; i+1 < half; i += 2 {
		pair := h.spans[i]
		pair.merge(&h.spans[i+1])
		kept = append(kept, pair)
	}
	h.spans = append(kept, h.spans[half&^1:]...)
}

// latest returns the moment of the last scrape, the zero time before the first.
func (h *history) latest() time.Time {
	if len(h.spans) == 0 {
		return time.Time{}
	}
	return h.spans[len(h.spans)-1].to
}

// asked returns when the last scrape was asked for, the zero time before the first.
func (h *history) asked() time.Time {
	if len(h.spans) == 0 {
		return time.Time{}
	}
	return h.spans[len(h.spans)-1].lastAsked
}

// within returns the half-open range of spans that touch [from, to].
func (h *history) within(from, to time.Time) (i, j int) {
	for i = len(h.spans); i > 0 && !h.spans[i-1].to.Before(from); i-- {
	}
	for j = i; j < len(h.spans) && !h.spans[j].from.After(to); j++ {
	}
	return i, j
}

// growth returns by how much a counter grew over [from, to], taken between the
// scrapes around it: the last one that was answered before it and the first one
// that was asked for after it, as long as these are not further away than slack;
// else the outermost ones inside. One that was under way as the window began or
// ended may hold either side's count.
// NaN where there are no two scrapes to compare.
func (h *history) growth(c counter, from, to time.Time, slack time.Duration) float64 {
	i, j := h.within(from.Add(-slack), to.Add(slack))
	start, end := unknown, unknown
	var startAt, endAt time.Time
	for k := i; k < j; k++ {
		s := &h.spans[k]
		if math.IsNaN(s.last[c]) {
			continue
		}
		if math.IsNaN(start) {
			start, startAt = s.first[c], s.from
		}
		if !s.lastAnswered.After(from) {
			start, startAt = s.last[c], s.to // a later one, still before the window
		}
		end, endAt = s.last[c], s.to
		if !s.lastAsked.Before(to) {
			break // the first one after the window
		}
	}
	if !endAt.After(startAt) { // one scrape is no difference
		return unknown
	}
	return end - start
}
