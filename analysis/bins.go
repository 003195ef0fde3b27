package analysis

import (
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

const histogramBins = 40

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
