package analysis

import (
	"math"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

const (
	histogramBins = 40
	seriesSlices  = 60
)

// ttftBins is the histogram of TTFT over successes, its bars equally wide on a
// log axis from the smallest to the largest value.
func ttftBins(parts []part) []Bin {
	var v []float64
	for i := range parts {
		for _, s := range parts[i].cohort {
			if t, ok := s.TTFT(); ok && s.Class == loadgen.Success {
				v = append(v, max(t.Seconds(), 1e-6)) // a log axis has no 0
			}
		}
	}
	if len(v) == 0 {
		return nil
	}
	low, high := slices.Min(v), slices.Max(v)
	if low == high {
		return []Bin{{From: low, To: high, Count: len(v)}}
	}
	width := math.Log(high/low) / histogramBins
	bins := make([]Bin, histogramBins)
	for i := range bins {
		bins[i].From = low * math.Exp(width*float64(i))
		bins[i].To = low * math.Exp(width*float64(i+1))
	}
	bins[histogramBins-1].To = high
	for _, t := range v {
		bins[min(int(math.Log(t/low)/width), histogramBins-1)].Count++
	}
	return bins
}

// series cuts the runs into about sixty slices of equal length, fewer where
// there are few requests, with gaps between runs left out.
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
	width := span / time.Duration(min(seriesSlices, max(1, n/2)))
	var out []Slice
	for i := range runs {
		offset := max(0, runs[i].Started.Sub(runs[0].Started))
		b := newSlicer(max(width, 1))
		for j := range runs[i].Samples {
			b.add(&runs[i].Samples[j])
		}
		for _, s := range b.slices(runs[i].Elapsed) {
			s.AtSeconds += offset.Seconds()
			out = append(out, s)
		}
	}
	return out
}

// slicer adds up samples by time.
type slicer struct {
	width time.Duration
	sums  []sliceSum
}

type sliceSum struct {
	inFlight, tokens  float64 // request seconds, tokens
	completed, failed int
	ttft              mean
}

func newSlicer(width time.Duration) *slicer { return &slicer{width: width} }

func (b *slicer) at(t time.Duration) *sliceSum {
	i := int(max(t, 0) / b.width)
	for len(b.sums) <= i {
		b.sums = append(b.sums, sliceSum{})
	}
	return &b.sums[i]
}

func (b *slicer) add(s *loadgen.Sample) {
	if s.WasSent {
		b.spread(s.Sent, s.End, (s.End - s.Sent).Seconds(), func(x *sliceSum) *float64 { return &x.inFlight })
	}
	switch {
	case s.Class.ServerFailure():
		b.at(s.End).failed++
	case s.Class == loadgen.Success:
		b.at(s.End).completed++
		b.spread(s.FirstOutput, s.LastOutput, float64(s.OutputTokens), func(x *sliceSum) *float64 { return &x.tokens })
		if t, ok := s.TTFT(); ok {
			b.at(s.Sent).ttft.add(t.Seconds())
		}
	}
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
			RequestRate:      loadgen.Known(float64(x.completed) / length),
			OutputThroughput: loadgen.Known(x.tokens / length),
			TTFTMean:         x.ttft.value(),
			Failed:           x.failed,
		})
	}
	return out
}
