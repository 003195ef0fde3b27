package sweep

import (
	"context"
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
func (s *session) timedRules() []timed {
	var rules []timed
	if s.Stop.MaxTTFT > 0 {
		t := timed{RuleTTFT, metricTTFT, statisticName(s.Stop.TTFTStatistic), s.Stop.MaxTTFT.Seconds()}
		if len(s.r.Steps) > 0 && NotStreamed(&s.r.Steps[0]) {
			t.metric = metricE2E
		}
		rules = append(rules, t)
	}
	for _, slo := range s.Stop.SLO {
		if slo.Metric != metricTokenRate {
			rules = append(rules, timed{slo.Title(), slo.Metric, slo.statistic(), slo.Max.Seconds()})
		}
	}
	return rules
}

// points are what the steps say of a timed criterion. Means are read from steady
// levels, which are the more exact: TPOT over a whole run is that of a load that
// drains away at the end.
func (s *session) points(t timed) []analysis.CrossingPoint {
	figure := levelFigure(t)
	if figure == nil {
		return analysis.LatencyPoints(s.serving(), t.metric, t.statistic, t.threshold)
	}
	var out []analysis.CrossingPoint
	for i := range s.r.Steps {
		l := level(s.r.Steps, i)
		if l == nil || breaks(&s.r.Steps[i], RuleSuccess) {
			continue
		}
		out = append(out, levelPoint(l, float64(s.r.Steps[i].Concurrency), t, figure))
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
func (s *session) serving() []analysis.Step {
	var out []analysis.Step
	for _, step := range s.r.Steps {
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
	}
	return p
}

// latencies finds where each timed criterion that was broken is met.
func (h *hunt) latencies(ctx context.Context) error {
	for _, t := range h.timedRules() {
		if err := h.latency(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (h *hunt) latency(ctx context.Context, t timed) error {
	for range maxLatencyProbes {
		c := analysis.Cross(h.points(t), t.threshold)
		if !c.At.IsKnown() {
			return nil
		}
		n, why := h.latencyGuess(t, c)
		if n == 0 {
			return nil
		}
		if _, err := h.probe(ctx, n, h.waves(), analysis.PhaseProbe, why); err != nil {
			return err
		}
	}
	return nil
}

// latencyGuess is where to measure next for a timed criterion; 0 where enough is
// known: the interval is narrow, a run at its lower end met the criterion and
// one above its upper end did not.
func (h *hunt) latencyGuess(t timed, c analysis.Crossing) (int, string) {
	at, low, high := c.At.Or(0), c.Low.Or(1), c.High.Or(math.Inf(1))
	name := fmt.Sprintf("%s meets %s", metricName(t.metric), millis(t.threshold))
	try := func(v float64) (int, bool) {
		n := int(v)
		return n, n >= 1 && n <= h.ceiling() && !h.tried(n)
	}
	if !c.Confidence.IsKnown() || (high-low)/2 > near(at) {
		// A little below the estimate: if that holds, it is the run at the lower
		// end of the interval that is wanted anyway.
		for _, v := range []float64{math.Floor(at - near(at)/2), math.Ceil(at + near(at)/2), math.Round(at), math.Floor(at - near(at)), math.Ceil(at + near(at)), math.Floor(at - 3*near(at)), math.Ceil(at + 3*near(at))} {
			if n, ok := try(v); ok && float64(n) > low-near(at) && float64(n) < high+near(at) {
				return n, "where " + name
			}
		}
		return 0, ""
	}
	if !h.measured(t.rule, low-near(at), math.Floor(low+1e-9), false) {
		if n, ok := try(math.Floor(low)); ok {
			return n, "the lower end of where " + name + " must hold"
		}
	}
	if !h.measured(t.rule, math.Floor(high)+0.5, math.Floor(high)+1+near(at), true) {
		if n, ok := try(math.Floor(high) + 1); ok {
			return n, "above the upper end of where " + name + " must fail"
		}
	}
	return 0, ""
}

// measured reports whether a probe within [low, high] broke the rule, or kept it.
func (h *hunt) measured(rule string, low, high float64, broke bool) bool {
	for i := range h.r.Steps {
		s := &h.r.Steps[i]
		n := float64(s.Concurrency)
		if n >= low && n <= high && s.Abandoned == "" && breaks(s, rule) == broke {
			return true
		}
	}
	return false
}

// ceiling is the largest concurrency that may be probed: what the success rate
// held at, and no more than the ladder went to.
func (h *hunt) ceiling() int {
	top := h.broken
	if top == 0 {
		top = h.last
	}
	for i := range h.r.Steps {
		if s := &h.r.Steps[i]; breaks(s, RuleSuccess) {
			top = min(top, s.Concurrency-1)
		}
	}
	return top
}

// others brackets the criteria that are neither times nor success: resources and
// the token rate of a request, by bisection.
func (h *hunt) others(ctx context.Context) error {
	rules := []string{RuleResources}
	for _, slo := range h.Stop.SLO {
		if slo.Metric == metricTokenRate {
			rules = append(rules, slo.Title())
		}
	}
	for _, rule := range rules {
		for range maxBisections {
			l := bracket(rule, h.r.Steps)
			if !l.Reached() || l.High.Or(0)-l.Low.Or(0) <= near(l.Low.Or(0)) {
				break
			}
			n := int(l.Low.Or(0)+l.High.Or(0)) / 2
			if n > h.ceiling() || h.tried(n) {
				break
			}
			if _, err := h.probe(ctx, n, h.waves(), analysis.PhaseProbe, "between the steps where "+RuleTitle(rule)+" held and where it broke"); err != nil {
				return err
			}
		}
	}
	return nil
}
