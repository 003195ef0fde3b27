package report

import (
	"math"
	"slices"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// threshold returns the value a rule was held against: from a step that broke
// it, else from the resolved configuration.
func (v *view) threshold(rule string) analysis.Number {
	// LOUD: a step of a quick ladder that leaps is asked for the gain of its leap, which is not
	// that of a doubling.
	asked := v.asked(rule)
	if rule == "throughput_gain" && asked.IsKnown() {
		return asked
	}
	for i := range v.r.Steps {
		for _, b := range v.r.Steps[i].Breaches {
			if b.Rule == rule && b.Threshold.IsKnown() {
				return b.Threshold
			}
		}
	}
	return asked
}

// asked is a rule's threshold as the configuration has it.
func (v *view) asked(rule string) analysis.Number {
	key := map[string]string{"ttft": "max_ttft", "success_rate": "min_success_rate", "throughput_gain": "min_throughput_gain"}[rule]
	switch x := v.config("stop", key).(type) {
	case string:
		if d, err := time.ParseDuration(x); err == nil && d > 0 {
			return number(d.Seconds())
		}
	case time.Duration:
		if x > 0 {
			return number(x.Seconds())
		}
	case float64:
		return number(x)
	case int:
		return number(float64(x))
	}
	return analysis.Number{}
}

// statistic names the statistic of TTFT that the rule looks at.
func (v *view) statistic() string {
	if s, ok := v.config("stop", "ttft_statistic").(string); ok && slices.Contains([]string{"mean", "p50", "p90", "p95", "p99"}, s) {
		return s
	}
	return "mean"
}

// config looks a value up in the resolved configuration; nil where it is not there.
func (v *view) config(path ...string) any {
	var at any = v.r.Config
	for _, key := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[key]
	}
	return at
}

// readThroughput says where throughput ends up, and what the last doubling brought.
func (v *view) readThroughput(c *chart) string {
	take := func(s *analysis.Summary) (datum, bool) {
		return plus(s.RequestThroughput, analysis.Number{}, figure(s.RequestThroughput))
	}
	points := v.points(onLadder, take)
	if len(points) < 2 {
		return ""
	}
	first, best := points[0], points[0]
	for _, p := range v.points(anyPhase, take) {
		if p.y > best.y {
			best = p
		}
	}
	last := points[len(points)-1]
	before := points[len(points)-2]
	text := v.w.say("read.throughput", first.text, first.xText, best.text, best.xText)
	// What little a step completed that was cut short is no throughput to compare.
	if before.y > 0 && v.r.Steps[last.step].Abandoned == "" && v.r.Steps[before.step].Abandoned == "" {
		text += v.w.say("read.lastGain", before.xText, last.xText, percent(number(last.y/before.y-1), 1))
	}
	return text
}

func (v *view) readTTFT() string {
	name := v.statistic()
	limit, ok := v.threshold("ttft").Value()
	points := v.points(anyPhase, func(s *analysis.Summary) (datum, bool) {
		n, _ := s.TTFT.Statistic(name)
		y, known := n.Value()
		return datum{y: y, text: seconds(n)}, known
	})
	if len(points) == 0 {
		return ""
	}
	last := points[len(points)-1]
	stat := v.w.say("stat." + name)
	if !ok {
		return v.w.say("read.ttftRange", stat, points[0].text, points[0].xText, last.text, last.xText)
	}
	for i, p := range points {
		if p.y <= limit {
			continue
		}
		below := i - 1
		for below >= 0 && points[below].x == p.x {
			below-- // a load that was run twice
		}
		if below < 0 {
			return v.w.say("read.ttftFirst", stat, p.text, p.xText, seconds(number(limit)))
		}
		return v.w.say("read.ttftCross", stat, seconds(number(limit)), points[below].xText, points[below].text, p.xText, p.text)
	}
	return v.w.say("read.ttftBelow", stat, seconds(number(limit)), last.text, last.xText)
}

func (v *view) readTPOT() string {
	points := v.points(onLadder, func(s *analysis.Summary) (datum, bool) {
		y, known := s.TPOT.Mean.Value()
		return datum{y: y, text: seconds(s.TPOT.Mean)}, known && y > 0
	})
	if len(points) < 2 {
		return ""
	}
	first, last := points[0], points[len(points)-1]
	if math.Abs(last.y/first.y-1) < 0.05 {
		return v.w.say("read.tpotFlat", last.text, first.xText, last.xText)
	}
	return v.w.say("read.tpot", first.text, first.xText, last.text, last.xText, significant(last.y/first.y))
}

func (v *view) readSuccess() string {
	var worst *analysis.Step
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		rate, ok := v.figures(s).SuccessRate.Value()
		if ok && (worst == nil || rate < v.figures(worst).SuccessRate.Or(1)) {
			worst = s
		}
	}
	switch {
	case worst == nil:
		return ""
	case v.figures(worst).Failed == 0:
		return v.w.say("read.successAll")
	}
	return v.w.say("read.successWorst", percent(v.figures(worst).SuccessRate, 1), v.loadText(worst))
}

func (v *view) readFailures() string {
	classes := v.classes()
	if len(classes) == 0 {
		return ""
	}
	n, steps := 0, 0
	for i := range v.r.Steps {
		if k := v.r.Steps[i].Failures[classes[0]]; k > 0 {
			n, steps = n+k, steps+1
		}
	}
	return v.w.say("read.failures", string(classes[0]), count(n), count(steps), v.w.class(classes[0]))
}

func (v *view) readTokens() string {
	var best *analysis.Step
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		if best == nil || v.figures(s).OutputThroughput.Or(-1) > v.figures(best).OutputThroughput.Or(-1) {
			best = s
		}
	}
	if best == nil || !v.figures(best).OutputThroughput.IsKnown() {
		return ""
	}
	return v.w.say("read.tokens", perSecond(v.figures(best).OutputThroughput, "tok/s"), v.loadText(best))
}

// class explains a failure class in words.
func (w words) class(c loadgen.Class) string { return w.say("class." + string(c)) }
