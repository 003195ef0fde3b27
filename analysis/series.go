package analysis

import (
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Slice is a short stretch of a step.
type Slice struct {
	AtSeconds        float64 `json:"at_seconds"` // middle of the slice, from the step's start
	InFlight         Number  `json:"in_flight"`
	ArrivalRate      Number  `json:"arrival_rate"` // requests/s that were due in the slice; null in a closed loop
	RequestRate      Number  `json:"request_throughput"`
	OutputThroughput Number  `json:"output_throughput"`
	TTFTMean         Number  `json:"ttft_seconds"`         // of requests sent in the slice
	TPOTMean         Number  `json:"tpot_seconds"`         // likewise
	E2EMean          Number  `json:"e2e_seconds"`          // likewise
	TTFTDue          Number  `json:"ttft_due_p95_seconds"` // p95 of recorded traffic that was due in the slice, from then on
	E2EDue           Number  `json:"e2e_due_p95_seconds"`  // likewise
	Completed        int     `json:"completed"`            // ended in the slice
	Failed           int     `json:"failed"`               // likewise
}

const seriesSlices = 60

// series cuts the runs into about sixty slices of equal length, fewer where
// there are few requests, with gaps between runs left out. Those of recorded traffic
// are a round stretch of the time in which it was recorded: a second, five minutes.
func series(runs []loadgen.Run) []Slice {
	var span time.Duration
	n := 0
	for i := range runs {
		span += runs[i].Elapsed
		n += len(runs[i].Samples)
	}
	if span <= 0 || n == 0 {
		return nil
	}
	most := min(seriesSlices, max(1, n/2))
	width := span / time.Duration(most)
	if a := runs[0].Load.Arrivals; a != nil {
		width = time.Duration(float64(loadgen.RoundStretch(time.Duration(float64(span)*a.Pace()), most)) / a.Pace())
	}
	var out []Slice
	for i := range runs {
		offset := max(0, runs[i].Started.Sub(runs[0].Started))
		b := slicer{width: max(width, 1), recorded: runs[i].Load.Arrivals != nil}
		for j := range runs[i].Samples {
			b.add(&runs[i].Samples[j])
		}
		for _, s := range b.slices(runs[i].Elapsed) {
			s.AtSeconds += offset.Seconds()
			if !runs[i].Load.OpenLoop() {
				s.ArrivalRate = Number{}
			}
			out = append(out, s)
		}
	}
	return out
}

// slicer adds up what happened in each slice of a run.
type slicer struct {
	width    time.Duration
	recorded bool
	sums     []sliceSum
}

// sliceSum is what happened in one slice.
type sliceSum struct {
	inFlight, tokens  float64 // request seconds, tokens
	due               int
	completed, failed int
	times             timeMeans
	ttftDue, e2eDue   []float64 // of recorded traffic, seconds
}

// add counts a request: its time in flight and its tokens spread over the slices
// they fell into, its end in the slice of the end, its times in that of the send.
func (b *slicer) add(s *loadgen.Sample) {
	b.at(s.Intended).due++
	if s.WasSent {
		b.spread(s.Sent, s.End, (s.End - s.Sent).Seconds(), func(x *sliceSum) *float64 { return &x.inFlight })
	}
	switch {
	case s.Class.ServerFailure():
		b.at(s.End).failed++
	case s.Class == loadgen.Success:
		b.at(s.End).completed++
		b.spread(s.FirstOutput, s.LastOutput, float64(s.OutputTokens), func(x *sliceSum) *float64 { return &x.tokens })
		b.at(s.Sent).times.add(s)
		if b.recorded {
			x := b.at(s.Intended)
			late := s.Sent - s.Intended
			if ttft, ok := s.TTFT(); ok {
				x.ttftDue = append(x.ttftDue, (ttft + late).Seconds())
			}
			if e2e, ok := s.E2E(); ok {
				x.e2eDue = append(x.e2eDue, (e2e + late).Seconds())
			}
		}
	}
}

func (b *slicer) at(t time.Duration) *sliceSum {
	i := int(max(t, 0) / b.width)
	for len(b.sums) <= i {
		b.sums = append(b.sums, sliceSum{})
	}
	return &b.sums[i]
}

// spread shares an amount evenly over the time from one moment to another.
func (b *slicer) spread(from, to time.Duration, amount float64, field func(*sliceSum) *float64) {
	if to <= from {
		*field(b.at(to)) += amount
		return
	}
	per := amount / float64(to-from)
	for from < to {
		end := min(to, (from/b.width+1)*b.width)
		*field(b.at(from)) += per * float64(end-from)
		from = end
	}
}

// slices returns what was added up to the end of the run. The last slice is
// shorter than the others; its rates are over its own length.
func (b *slicer) slices(end time.Duration) []Slice {
	out := make([]Slice, 0, len(b.sums))
	for i := range b.sums {
		x := &b.sums[i]
		from := time.Duration(i) * b.width
		length := min(b.width, end-from).Seconds()
		if length < b.width.Seconds()/100 {
			continue // a rounding error's worth of time has no rate
		}
		out = append(out, Slice{
			AtSeconds:        from.Seconds() + length/2,
			InFlight:         loadgen.Known(x.inFlight / length),
			ArrivalRate:      loadgen.Known(float64(x.due) / length),
			RequestRate:      loadgen.Known(float64(x.completed) / length),
			OutputThroughput: loadgen.Known(x.tokens / length),
			TTFTMean:         x.times.ttft.value(),
			TPOTMean:         x.times.tpot.value(),
			E2EMean:          x.times.e2e.value(),
			TTFTDue:          Describe(x.ttftDue).P95,
			E2EDue:           Describe(x.e2eDue).P95,
			Completed:        x.completed,
			Failed:           x.failed,
		})
	}
	return out
}
