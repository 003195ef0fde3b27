package sweep

import (
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// rungNext is the step of the ladder to climb to; 0 where there is none. A quick sweep
// leaps where nothing is near, goes no further than it takes to see throughput stop
// growing where the steps so far say that it will, and ends once a limit is known that
// lies below what was climbed already.
func (e *evidence) rungNext() int {
	n := e.ask.Config.rungAbove(e.climbed, e.pace().frugal && e.nearing())
	if n == 0 || !e.pace().frugal || !e.ask.Config.Exact {
		return n
	}
	if l := e.binding(); l != nil && l.Confidence.IsKnown() && l.High.Or(math.Inf(1)) <= float64(e.climbed) {
		return 0
	}
	if at, _ := e.servedWhileWaiting(); at > 0 && above*at <= float64(e.climbed) && e.knee() != nil {
		return 0
	}
	if knee, ok := e.kneeAhead(); ok && knee > float64(e.climbed)/above {
		n = min(n, int(math.Ceil(max(above*knee, leastRise*float64(e.climbed)))))
	}
	return n
}

// How far above a knee a load lies that shows it, and by how much a step must rise at
// least over the one before, to show anything.
const (
	above     = 1.25
	leastRise = 1.3
)

// kneeAhead is where throughput stops growing enough if time in system goes on rising as
// it does.
func (e *evidence) kneeAhead() (float64, bool) {
	if e.ask.Rules.MinThroughputGain <= 0 {
		return 0, false
	}
	return analysis.KneeAhead(e.curveInputs(nil), e.fitOptions(analysis.Between{Tau: e.pace().unseen}))
}

// inOtherMoods widens the interval of a time's limit by what a quick sweep does not see: it
// measures a server within a minute or two, whose speed an hour later is another by a few per
// cent. How many requests run at once, and so a knee, does not depend on it.
func (e *evidence) inOtherMoods(t timed, l analysis.Limit) analysis.Limit {
	b := e.between()
	if !l.Confidence.IsKnown() || b.Tau >= e.pace().mood {
		return l
	}
	b.Tau = e.pace().mood
	wide := analysis.LatencyLimit(e.points(t), t.threshold, t.rule, b)
	if !wide.Confidence.IsKnown() {
		return l
	}
	at, center := l.Concurrency.Or(0), wide.Concurrency.Or(0)
	if low, ok := wide.Low.Value(); ok {
		l.Low = loadgen.Known(max(0, min(l.Low.Or(at), at-(center-low))))
	}
	high, ok := wide.High.Value()
	switch {
	case !ok:
		l.High = loadgen.Number{}
	case l.High.IsKnown():
		l.High = loadgen.Known(max(l.High.Or(at), at+(high-center)))
	}
	return l
}

// cutTail reports whether a run may end once all of its requests have begun to be answered:
// what it is judged by shows by then. Where some requests fail it is worth knowing of each
// what becomes of it.
func (e *evidence) cutTail() bool {
	for _, slo := range e.ask.Rules.SLO {
		if slo.Metric != metricTTFT && slo.Metric != metricTPOT && slo.Metric != metricTokenRate {
			return false
		}
	}
	return e.pace().frugal && !e.gradual() && !e.rateLimited()
}

// lowKnee looks for the knee before requests were seen to fail where it lies well below
// what was served: where it is found there, the rest cannot alter the answer.
func (e *evidence) lowKnee() *Order {
	good, _ := e.successBracket()
	if knee, ok := e.kneeGuessed(); !ok || knee > 0.9*float64(good) {
		return nil
	}
	return e.knee()
}

// early repeats a step of the ladder before more is measured for a knee that is known, but
// not narrowly: how far two runs of one load lie apart is what its width rests on, and tells
// more of it than another load.
func (e *evidence) early() *Order {
	c := e.curve()
	knee, ok := c.Knee.Value()
	if !ok || e.narrow(&c, knee) || e.between().Free > 0 {
		return nil
	}
	if n := e.unrepeated(); n > 0 {
		return e.rerun(n, e.waves(), nil, purposeRepeat, "a step of the ladder again: is the server still the same?")
	}
	return nil
}

// kneeGuessed is where throughput stops growing as few loads say.
func (e *evidence) kneeGuessed() (float64, bool) {
	if at, waits := e.servedWhileWaiting(); waits {
		return at, at > 0
	}
	return e.kneeAhead()
}

// servedWhileWaiting is how many are served where, at the largest load, requests wait for
// others: as many times fewer as its time in system is longer than in a load well below,
// in which none waits. 0 where there is no such load.
func (e *evidence) servedWhileWaiting() (at float64, waits bool) {
	points := e.merged()
	k := len(points) - 1
	if k < 0 || e.ask.Rules.MinThroughputGain <= 0 || !e.waitsAt(int(points[k].Concurrency)) {
		return 0, false
	}
	top := points[k]
	for _, below := range slices.Backward(points[:k]) {
		if below.Concurrency <= top.Concurrency/1.5 && !e.waitsAt(int(below.Concurrency)) {
			if at := top.Concurrency * below.Residence / top.Residence; at > below.Concurrency {
				return at, true
			}
		}
	}
	return 0, true
}

// waitsAt reports whether requests wait for others at a load.
func (e *evidence) waitsAt(n int) bool {
	for i := range e.steps {
		if e.steps[i].Concurrency == n && e.waits(i) {
			return true
		}
	}
	return false
}

// waits is the same of a step.
func (e *evidence) waits(i int) bool {
	l := e.levels[i]
	return l != nil && queued(e.steps, i) > waitsNoticeably*l.Mean().Residence
}

// nearing reports whether the last step that held is close to a limit: its throughput
// grew by a good deal less than its load, or a time is beyond half of what it may be.
func (e *evidence) nearing() bool {
	held := e.passed()
	k := len(held) - 1
	if k < 0 {
		return false
	}
	for _, t := range e.timedRules() {
		if points := e.points(t); len(points) > 0 && points[len(points)-1].Value > t.threshold/2 {
			return true
		}
	}
	if k < 1 {
		return false
	}
	from, to := e.throughput(held[k-1].Concurrency), e.throughput(held[k].Concurrency)
	ratio := float64(held[k].Concurrency) / float64(held[k-1].Concurrency)
	return from > 0 && to > 0 && math.Log(to/from) < linear*math.Log(ratio)
}

// linear is the elasticity of throughput from which nothing holds it back noticeably.
const linear = 0.85
