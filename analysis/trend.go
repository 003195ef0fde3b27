package analysis

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/loadgen"
)

// TrendTest says whether a quantity got worse over a long run.
type TrendTest struct {
	Metric    string `json:"metric"`    // what the caller named
	Change    Number `json:"change"`    // over the whole run: share of the start; of failures, share of requests
	SE        Number `json:"se"`        // standard error of the change
	Low       Number `json:"low"`       // 95 % interval of the change
	High      Number `json:"high"`      //
	Degrading bool   `json:"degrading"` // worse by more than the gate, and not by chance
	Sentence  string `json:"sentence"`
}

// Series is one quantity over time.
type Series struct {
	Metric   string
	At       []float64 // seconds, ascending
	Values   []float64
	HigherOK bool    // growing is no degradation: throughput
	Gate     float64 // change from which it counts: share of the start; 0: 10 %
	Absolute bool    // the change is in the quantity's own unit instead
	Tests    int     // made together, so that one false alarm in twenty is for all of them; 0: 1
}

const (
	soakGate    = 0.10 // of the start's value
	trendBlocks = 12   // a line is fitted through as many block means
	minSlices   = 12
)

// Test fits a line through block means. Slices resemble their neighbours, which
// makes an ordinary regression see trends everywhere: blocks take most of that
// away, and what correlation is left between the residuals of neighbouring
// blocks, r, widens the slope's error by sqrt((1+r)/(1-r)) (an AR(1) process's
// effective sample size), r corrected for its small-sample bias. The test is
// one-sided: getting better is no alarm.
func (s Series) Test() TrendTest {
	t := TrendTest{Metric: s.Metric}
	if len(s.Values) < minSlices {
		t.Sentence = fmt.Sprintf("%s: %d slices, %d are needed", s.Metric, len(s.Values), minSlices)
		return t
	}
	blocks := min(trendBlocks, len(s.Values)/2)
	x, y := batchMeans(s.At, blocks), batchMeans(s.Values, blocks)
	intercept, perSecond := stat.LinearRegression(x, y, nil, false)
	se := slopeError(x, y, intercept, perSecond) * correlationFactor(x, y, intercept, perSecond)
	span := s.At[len(s.At)-1] - s.At[0]
	unit := 1.0
	if !s.Absolute {
		unit = intercept + perSecond*s.At[0] // the start, by the line
		if unit <= 0 {
			unit = stat.Mean(s.Values, nil)
		}
	}
	if unit <= 0 || math.IsInf(se, 0) {
		t.Sentence = fmt.Sprintf("%s: nothing to compare with", s.Metric)
		return t
	}
	dof := float64(blocks - 2)
	change, half := perSecond*span/unit, se*span/unit
	t.Change, t.SE = loadgen.Known(change), loadgen.Known(half)
	t.Low, t.High = loadgen.Known(change-StudentT(dof)*half), loadgen.Known(change+StudentT(dof)*half)
	worse, gate := change, s.Gate
	if s.HigherOK {
		worse = -change
	}
	if gate <= 0 {
		gate = soakGate
	}
	critical := distuv.StudentsT{Sigma: 1, Nu: dof}.Quantile(1 - 0.05/float64(max(s.Tests, 1)))
	t.Degrading = worse > gate && worse > critical*half
	t.Sentence = s.sentence(t, gate)
	return t
}

func (s Series) sentence(t TrendTest, gate float64) string {
	verdict := "steady"
	switch {
	case t.Degrading:
		verdict = "degrading"
	case math.Abs(t.Change.Or(0)) > gate:
		verdict = "no clear trend"
	case t.High.Or(0)-t.Low.Or(0) > 4*gate:
		verdict = "too uneven to tell"
	}
	return fmt.Sprintf("%s %s: %+.1f %% over the run (95 %% interval %+.1f to %+.1f %%, gate %.0f %%)", s.Metric, verdict,
		100*t.Change.Or(0), 100*t.Low.Or(0), 100*t.High.Or(0), 100*gate)
}

// correlationFactor widens a slope's error for neighbouring residuals that
// resemble each other.
func correlationFactor(x, y []float64, intercept, slope float64) float64 {
	var sum, lagged, last float64
	for i := range x {
		e := y[i] - intercept - slope*x[i]
		sum += e * e
		if i > 0 {
			lagged += e * last
		}
		last = e
	}
	if sum == 0 {
		return 1
	}
	n := float64(len(x))
	r := lagged / sum
	// Residuals of a fitted line look less alike than they are (Kendall 1954).
	r += (2 + 4*max(r, 0)) / n
	r = min(max(r, 0), 0.9)
	return math.Sqrt((1 + r) / (1 - r))
}
