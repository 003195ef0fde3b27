package analysis

import (
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// inFlightSeconds is the integral over [from, to] of the number in flight:
// every request that was sent counts, the cancelled ones too, for they were in
// flight all the same.
func inFlightSeconds(r *loadgen.Run, from, to time.Duration) float64 {
	var sum time.Duration
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.WasSent {
			sum += max(0, min(s.End, to)-max(s.Sent, from))
		}
	}
	return sum.Seconds()
}

// peakInFlight is the most requests in flight at one moment of [from, to].
func peakInFlight(r *loadgen.Run, from, to time.Duration) int {
	// A change is its moment and, in the lowest bit, whether a request starts. At one
	// moment ends come before starts: a slot that is freed and taken again at once
	// was never held twice.
	changes := make([]time.Duration, 0, 2*len(r.Samples))
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.WasSent && s.Sent < to && s.End > from {
			changes = append(changes, s.Sent<<1|1, s.End<<1)
		}
	}
	slices.Sort(changes)
	n, peak := 0, 0
	for _, c := range changes {
		n += int(c&1)*2 - 1
		peak = max(peak, n)
	}
	return peak
}

// peakTokenRate is the highest rate of output tokens of successes, in tokens/s,
// over the stretches that [from, to] is cut into: as many as it has whole
// seconds, so that each lasts a second or a little more and together they leave
// nothing out. A last stretch of less than a second would be a rate of nothing,
// and to leave it out would let the peak fall below the mean. Unknown below a
// second. Where the gaps between events were not kept, a request's tokens are
// spread evenly over the time of its output.
func peakTokenRate(r *loadgen.Run, from, to time.Duration) Number {
	stretches := int((to - from) / time.Second)
	if stretches < 1 {
		return Number{}
	}
	width := (to - from).Seconds() / float64(stretches)
	tokens := make([]float64, stretches)
	put := func(at time.Duration, n float64) {
		if at >= from && at <= to { // the last moment belongs to the last stretch
			tokens[min(int((at-from).Seconds()/width), stretches-1)] += n
		}
	}
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Class == loadgen.Success && s.OutputEvents > 0 && s.LastOutput >= from {
			eachEvent(s, put)
		}
	}
	return loadgen.Known(slices.Max(tokens) / width)
}

// eachEvent calls put with the moment and the tokens of every output event.
func eachEvent(s *loadgen.Sample, put func(at time.Duration, tokens float64)) {
	each := float64(s.OutputTokens) / float64(s.OutputEvents)
	at := s.FirstOutput
	put(at, each)
	kept := len(s.Gaps) == s.OutputEvents-1
	even := time.Duration(0)
	if s.OutputEvents > 1 {
		even = (s.LastOutput - s.FirstOutput) / time.Duration(s.OutputEvents-1)
	}
	for k := range s.OutputEvents - 1 {
		gap := even
		if kept {
			gap = time.Duration(s.Gaps[k]) * time.Microsecond
		}
		at += gap
		put(at, each)
	}
}
