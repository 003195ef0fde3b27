package analysis

import (
	"math"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// backlogOf compares the halves of a run's arrivals; nil for a closed loop and where
// there is nothing to compare.
func backlogOf(run *loadgen.Run) *Backlog {
	first, last := time.Duration(math.MaxInt64), time.Duration(0)
	for i := range run.Samples {
		first, last = min(first, run.Samples[i].Intended), max(last, run.Samples[i].Intended)
	}
	if last <= first || !run.Load.OpenLoop() {
		return nil
	}
	half := (first + last) / 2
	b := Backlog{Early: meanInside(run, first, half), Late: meanInside(run, half, last)}
	b.Growth = (b.Late - b.Early) / (half - first).Seconds() / run.Load.Rate
	return &b
}

// meanInside is the time average of the requests between intended start and end.
func meanInside(run *loadgen.Run, from, to time.Duration) float64 {
	var sum time.Duration
	for i := range run.Samples {
		a, b := max(run.Samples[i].Intended, from), min(run.Samples[i].End, to)
		if b > a {
			sum += b - a
		}
	}
	return sum.Seconds() / (to - from).Seconds()
}
