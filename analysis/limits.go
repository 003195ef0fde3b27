package analysis

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/loadgen"
)

// Limit is the largest concurrency that still meets a criterion.
type Limit struct {
	Concurrency Number `json:"concurrency"`
	Low         Number `json:"low"`        // of the confidence interval, or of the bracket
	High        Number `json:"high"`       // likewise
	Confidence  Number `json:"confidence"` // share of 1, e.g. 0.95; null where low and high are only a bracket of ladder steps
	BoundBy     string `json:"bound_by"`   // success_rate, ttft, throughput_gain, resources, or an SLO's name
	AtLeast     Number `json:"at_least"`   // largest concurrency that met the criterion, where no limit was reached
	Note        string `json:"note"`       // e.g. why it cannot be resolved further; empty when all is said
}

// Reached reports whether the criterion's limit was found.
func (l Limit) Reached() bool { return l.Concurrency.IsKnown() }

// LatencyPoints takes a latency statistic out of steps, to be held against a
// threshold in seconds: metric is ttft, tpot or e2e, statistic is mean, p50, p90,
// p95 or p99. Steps limited by the client and steps without the figure are left
// out. Only TTFT and E2E stand in a queue, so only they predict a crossing.
func LatencyPoints(steps []Step, metric, statistic string, threshold float64) []CrossingPoint {
	var out []CrossingPoint
	control := newLengthControl(steps)
	for i := range steps {
		s := &steps[i]
		sum := s.Verdict()
		d, ok := sum.Metric(metric)
		v, enough := d.Statistic(statistic)
		if !ok || !enough || s.ClientLimited() {
			continue
		}
		p := CrossingPoint{Concurrency: float64(s.Concurrency), Value: v.Or(0), SE: d.StatisticSE(statistic).Or(0), Dof: float64(len(sum.Batches) - 1), Requests: d.N}
		if p.SE == 0 {
			p.SE = d.Std.Or(0) // too few requests for an error: one of them could be the truth
		}
		if (metric == "ttft" || metric == "e2e") && s.VerdictBasis == BasisSteady {
			control.predict(&p, sum, d, metric, statistic, threshold)
			if p.Predicted > 0 {
				p.Swing = min(1, p.Throughput*threshold/p.Predicted)
			}
		}
		out = append(out, p)
	}
	return out
}

// LatencyLimit is the largest concurrency at which a latency statistic stays
// within threshold seconds. boundBy names the criterion.
func LatencyLimit(points []CrossingPoint, threshold float64, boundBy string, between Between) Limit {
	c := Cross(points, threshold, between)
	return limitOf(c, boundBy, largestBelow(points, func(p CrossingPoint) (float64, bool) { return p.Concurrency, p.Value <= threshold }))
}

// SuccessPoints counts successes and server failures of every step that the
// client did not limit, in its steady window where that holds enough requests:
// while a run fills up fewer are in flight than its concurrency, and fewer fail.
// That holds for an abandoned step as well, whatever its verdict was taken from.
func SuccessPoints(steps []Step) []Successes {
	var out []Successes
	for i := range steps {
		s := &steps[i]
		if s.ClientLimited() {
			continue
		}
		sum := s.Verdict()
		if s.Steady != nil && s.Steady.Completed+s.Steady.Failed >= minWindow && !s.heldBack() {
			sum = s.Steady
		}
		out = append(out, Successes{float64(s.Concurrency), sum.Completed, sum.Failed})
	}
	return out
}

// SuccessLimit is the largest concurrency at which the success rate stays at or
// above the threshold (a share of 1), which its crossing of it was estimated for.
func SuccessLimit(points []Successes, crossing Crossing, threshold float64) Limit {
	return limitOf(crossing, "success_rate", largestBelow(points, func(p Successes) (float64, bool) {
		return p.Concurrency, p.total() > 0 && float64(p.Completed) >= threshold*p.total()
	}))
}

// GainLimit is the largest concurrency at which throughput still gains enough
// per doubling: the knee of the fitted curve. Slots are whole, so the estimate
// is rounded to the nearest; any other knee is rounded down.
func GainLimit(c Curve) Limit {
	l := Limit{BoundBy: "throughput_gain"}
	knee, ok := c.Knee.Value()
	if !ok {
		if len(c.Refusals) > 0 {
			l.Note = c.Refusals[0]
		}
		if c.KneeBeyond {
			l.AtLeast = loadgen.Known(math.Floor(c.KneeLow.Or(c.ToConcurrency)))
			if low, ok := c.KneeLow.Value(); ok && low < c.ToConcurrency {
				l.Low = l.AtLeast // it may lie there
			}
		}
		return l
	}
	round := math.Floor
	if c.Model == modelSlots {
		round = math.Round
	}
	l.Concurrency = loadgen.Known(round(knee))
	l.Low = loadgen.Known(round(c.KneeLow.Or(knee)))
	l.Confidence = loadgen.Known(0.95)
	if high, ok := c.KneeHigh.Value(); ok {
		l.High = loadgen.Known(round(high))
	} else {
		l.Note = fmt.Sprintf("the upper end of the interval lies above %s, the largest concurrency measured", number(c.ToConcurrency))
	}
	return l
}

// limitOf rounds a crossing down to whole concurrencies: 91.4 is a limit of 91.
func limitOf(c Crossing, boundBy string, atLeast Number) Limit {
	l := Limit{BoundBy: boundBy, Confidence: c.Confidence, Note: c.Note}
	at, ok := c.At.Value()
	if !ok {
		l.AtLeast = atLeast
		return l
	}
	floor := func(n Number) Number {
		if v, ok := n.Value(); ok {
			return loadgen.Known(max(0, math.Floor(v+1e-9)))
		}
		return n
	}
	l.Concurrency, l.Low, l.High = loadgen.Known(math.Floor(at+1e-9)), floor(c.Low), floor(c.High)
	return l
}

func largestBelow[P any](points []P, held func(P) (float64, bool)) Number {
	var top Number
	for _, p := range points {
		if n, ok := held(p); ok && n > top.Or(0) {
			top = loadgen.Known(n)
		}
	}
	return top
}
