package sweep

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/analysis"
)

// timed is a criterion on a time that grows with the concurrency.
type timed struct {
	rule      string
	metric    string
	statistic string
	threshold float64 // seconds
}

// timedRules are the criteria on times that are in force.
func (e *evidence) timedRules() []timed {
	var rules []timed
	if e.ask.Rules.MaxTTFT > 0 {
		t := timed{RuleTTFT, metricTTFT, statisticName(e.ask.Rules.TTFTStatistic), e.ask.Rules.MaxTTFT.Seconds()}
		if len(e.steps) > 0 && NotStreamed(&e.steps[0]) {
			t.metric = metricE2E
		}
		rules = append(rules, t)
	}
	for _, slo := range e.ask.Rules.SLO {
		if slo.Metric != metricTokenRate {
			rules = append(rules, timed{slo.Title(), slo.Metric, slo.statistic(), slo.Max.Seconds()})
		}
	}
	return rules
}

// points are what the steps say of a timed criterion. Means are read from steady
// levels, which are the more exact: TPOT over a whole run is that of a load that
// drains away at the end.
func (e *evidence) points(t timed) []analysis.CrossingPoint {
	figure := levelFigure(t)
	if figure == nil {
		return analysis.LatencyPoints(e.serving(), t.metric, t.statistic, t.threshold)
	}
	var out []analysis.CrossingPoint
	for i := range e.steps {
		l := e.levels[i]
		if l == nil || breaks(&e.steps[i], RuleSuccess) {
			continue
		}
		out = append(out, levelPoint(l, float64(e.steps[i].Concurrency), t, figure))
	}
	return out
}

// levelFigure is a criterion's figure of a level; nil where levels do not have it.
func levelFigure(t timed) func(analysis.LevelBatch) float64 {
	if t.statistic != "mean" {
		return nil
	}
	switch t.metric {
	case metricTTFT:
		return func(b analysis.LevelBatch) float64 { return b.TTFT }
	case metricE2E:
		return func(b analysis.LevelBatch) float64 { return b.Residence }
	case metricTPOT:
		return func(b analysis.LevelBatch) float64 { return b.Decode / max(1, b.OutputTokens-1) }
	}
	return nil
}

// serving are the steps that did not fail for lack of success: the times of the
// few that such a step served are not those of its concurrency.
func (e *evidence) serving() []analysis.Step {
	var out []analysis.Step
	for _, step := range e.steps {
		if !breaks(&step, RuleSuccess) {
			out = append(out, step)
		}
	}
	return out
}

// levelPoint is a level's figure, and where the level alone puts the crossing if
// a queue is what the figure grows by: N* = X (T + D), X = N/R (Little's law), D
// being what of the time in system the figure leaves out. TPOT does not queue.
func levelPoint(l *analysis.Level, n float64, t timed, figure func(analysis.LevelBatch) float64) analysis.CrossingPoint {
	m := l.Mean()
	value := figure(m)
	se, dof := l.SE(figure)
	p := analysis.CrossingPoint{Concurrency: n, Value: value, SE: se.Or(value), Dof: dof, Requests: l.Requests}
	if m.Residence <= 0 || t.metric == metricTPOT {
		return p
	}
	cross := func(b analysis.LevelBatch) float64 { return n / b.Residence * (t.threshold + b.Residence - figure(b)) }
	own, _ := l.SE(cross)
	if v, ok := own.Value(); ok {
		p.Throughput, p.Predicted, p.PredictedSE = n/m.Residence, cross(m), v
		// X T moves with the server's speed, and X D, the number in service, does not.
		p.Swing = min(1, p.Throughput*t.threshold/p.Predicted)
	}
	return p
}

// latencies finds where each timed criterion that was broken is met.
func (e *evidence) latencies() *Order {
	for _, t := range e.timedRules() {
		c := analysis.Cross(e.points(t), t.threshold, e.between())
		if !c.At.IsKnown() || e.count(t.rule) >= e.pace().probes || e.count(t.rule) >= e.pace().others && e.boundBelow(c.Low.Or(0)) {
			continue
		}
		if n, why := e.latencyGuess(t, c); n > 0 {
			return e.probe(n, e.waves(), t.rule, why)
		}
	}
	return nil
}

// boundBelow reports whether the knee binds well below a concurrency, so that what
// happens there cannot alter the answer.
func (e *evidence) boundBelow(n float64) bool {
	knee := e.curve().KneeHigh
	if e.pace().frugal {
		knee = e.gainLimit().High
	}
	high, ok := knee.Value()
	return ok && 1.1*high < n
}

// latencyGuess is where to measure next for a timed criterion; 0 where enough is
// known: the interval is narrow, a run at its lower end met the criterion and
// one above its upper end did not.
func (e *evidence) latencyGuess(t timed, c analysis.Crossing) (int, string) {
	at, low, high := c.At.Or(0), c.Low.Or(1), c.High.Or(math.Inf(1))
	name := fmt.Sprintf("%s meets %s", metricName(t.metric), millis(t.threshold))
	try := func(v float64) (int, bool) {
		n := int(v)
		return n, n >= 1 && n <= e.ceiling() && !e.tried(n)
	}
	if !c.Confidence.IsKnown() || (high-low)/2 > e.near(at) {
		// A little below the estimate: if that holds, it is the run at the lower
		// end of the interval that is wanted anyway. Loads that differ by less than
		// runs of one load do would tell no more than its repeats.
		step := max(e.near(at), e.between().Seen*at)
		for _, v := range []float64{math.Floor(at - step/2), math.Ceil(at + step/2), math.Round(at), math.Floor(at - step), math.Ceil(at + step), math.Floor(at - 3*step), math.Ceil(at + 3*step)} {
			if n, ok := try(v); ok && float64(n) > low-step && float64(n) < high+step {
				return n, "where " + name
			}
		}
		return 0, ""
	}
	if e.pace().frugal && e.measured(t.rule, low-e.near(at), at, false) {
		return 0, "" // one that held within the interval says as much of its lower end
	}
	if !e.measured(t.rule, low-e.near(at), math.Floor(low+1e-9), false) {
		if n, ok := try(math.Floor(low)); ok {
			return n, "the lower end of where " + name + " must hold"
		}
	}
	if !e.measured(t.rule, math.Floor(high)+0.5, math.Floor(high)+1+e.near(at), true) {
		if n, ok := try(math.Floor(high) + 1); ok {
			return n, "above the upper end of where " + name + " must fail"
		}
	}
	return 0, ""
}

// measured reports whether a probe within [low, high] broke the rule, or kept it.
func (e *evidence) measured(rule string, low, high float64, broke bool) bool {
	for i := range e.steps {
		s := &e.steps[i]
		n := float64(s.Concurrency)
		if n >= low && n <= high && s.Abandoned == "" && breaks(s, rule) == broke {
			return true
		}
	}
	return false
}

// maxBisections bounds the search for any other criterion.
const maxBisections = 8

// others brackets the criteria that are neither times nor success: resources and
// the token rate of a request, by bisection.
func (e *evidence) others() *Order {
	rules := []string{RuleResources}
	for _, slo := range e.ask.Rules.SLO {
		if slo.Metric == metricTokenRate {
			rules = append(rules, slo.Title())
		}
	}
	for _, rule := range rules {
		l := bracket(rule, e.steps)
		if !l.Reached() || l.High.Or(0)-l.Low.Or(0) <= e.near(l.Low.Or(0)) || e.count(rule) >= maxBisections {
			continue
		}
		if n := int(l.Low.Or(0)+l.High.Or(0)) / 2; n <= e.ceiling() && !e.tried(n) {
			return e.probe(n, e.waves(), rule, "between the steps where "+RuleTitle(rule)+" held and where it broke")
		}
	}
	return nil
}
