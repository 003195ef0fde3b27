package sweep

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
	"github.com/capfind/capfind/loadgen"
)

// answer is what the evidence says: the same for a search that is done and for one
// that was ended early.
func (e *evidence) answer(h History) Answer {
	told := e.all
	if i := e.refusedFrom(); i >= 0 {
		told = e.all[:e.since+i] // what came then says nothing of the load
	}
	a := Answer{
		Steps: e.all, Ladder: ladderOf(told), Peak: analysis.PeakOf(h.Steps), Efficiency: analysis.EfficiencyOf(h.Steps),
		Limits: e.limits(), Search: e.search(h),
	}
	a.Limit = binding(a.Limits)
	if l := e.rungLimit(); a.Limit == nil && l.Reached() {
		a.Limit = &l
	}
	a.Verdict = e.verdict(h, a.Limit)
	if a.Verdict != LimitFound {
		a.Limit = nil
	}
	if curve := e.curve(); curve.Model != "" || len(curve.Refusals) > 0 {
		a.Curve = &curve
	}
	if len(h.Steps) > 0 && len(told) == len(e.all) {
		b := diagnosis.Diagnose(e.steps, diagnosis.Context{Limits: a.Limits, Curve: a.Curve, Server: h.Server, Deaths: deaths(h.Crashes)})
		a.Bottleneck = &b
	}
	a.Recommendation = e.recommend(&a)
	a.Sentence = e.sentence(&a)
	a.Warnings = append(e.remarks(&a), remarks(e.all, h.Crashes, e.ask.Rules)...)
	return a
}

// search accounts for what was measured beyond the ladder; nil where nothing could be
// searched for.
func (e *evidence) search(h History) *Search {
	if !e.ask.Config.Exact || e.last == 0 {
		return nil
	}
	s := &Search{Changes: []Change{}}
	s.Requests, s.Tokens, s.Seconds = spent(e.all)
	for i := range e.all {
		if step := &e.all[i]; step.Phase != analysis.PhaseLadder && step.Why != "" {
			s.Notes = append(s.Notes, fmt.Sprintf("%d requests in flight, %d requests: %s", step.Concurrency, step.NumPrompts, step.Why))
		}
	}
	for _, c := range e.changes {
		s.Drift, s.Changes, s.Doubts = true, append(s.Changes, c), append(s.Doubts, c.Sentence)
	}
	b := e.between()
	s.RunSpread = loadgen.Known(b.Seen)
	if h.End != nil {
		s.Notes = append(s.Notes, fmt.Sprintf("ended early: %s; what is still only bracketed would need more", h.End.Why))
	}
	l := e.binding()
	s.Confirmed = h.End == nil && l != nil && l.Confidence.IsKnown()
	return s
}

// deaths are the crashes as a diagnosis wants them.
func deaths(crashes []Crash) []diagnosis.Death {
	var out []diagnosis.Death
	for _, c := range crashes {
		out = append(out, diagnosis.Death{Concurrency: c.Concurrency, InFlight: c.InFlight, RecoveredSeconds: c.RecoveredSeconds})
	}
	return out
}

// rungLimit is the bracket of the ladder itself, for want of anything better.
func (e *evidence) rungLimit() analysis.Limit {
	bad := e.firstBad()
	if bad == nil || bad.ClientLimited() {
		return analysis.Limit{}
	}
	return bracket(bad.Stop.Rule, e.steps)
}

// limits are the criteria's limits as the steps so far give them: exact where there
// was a search, and the brackets of the ladder without one.
func (e *evidence) limits() map[string]analysis.Limit {
	out := map[string]analysis.Limit{}
	for _, rule := range e.criteria() {
		out[rule] = bracket(rule, e.steps)
	}
	if !e.ask.Config.Exact || e.last == 0 {
		return out
	}
	if e.ask.Rules.MinSuccessRate > 0 && out[RuleSuccess].Reached() {
		out[RuleSuccess] = e.successLimit(out[RuleSuccess])
	}
	for _, t := range e.timedRules() {
		exact := e.inOtherMoods(t, analysis.LatencyLimit(e.points(t), t.threshold, t.rule, e.between()))
		if exact.Reached() && !exact.Confidence.IsKnown() { // the largest that held, or a load that has done so beyond doubt
			held := out[t.rule].Concurrency.Or(exact.Concurrency.Or(0))
			exact.Concurrency = loadgen.Known(min(max(held, exact.Low.Or(0)), exact.High.Or(held)))
		}
		if exact.Reached() {
			out[t.rule] = exact
		}
	}
	if e.ask.Rules.MinThroughputGain > 0 {
		out[RuleGain] = e.gainLimit()
	}
	return out
}

// binding is the limit that binds as the steps so far give it, or nil.
func (e *evidence) binding() *analysis.Limit { return binding(e.limits()) }

func (e *evidence) verdict(h History, limit *analysis.Limit) Verdict {
	switch {
	case !h.complete() || e.refusedAll() != "" || e.diedOnce() != nil:
		return Interrupted
	case limit != nil && e.unsettled(limit):
		return Unstable
	case limit != nil:
		return LimitFound
	case e.clientStopped() != nil:
		return ClientLimited
	case e.firstBad() == nil:
		return NotReached
	case len(e.changes) == 0:
		return FailedAtFirstStep
	}
	return Unstable // since it changed nothing has held
}

// diedOnce is the death of a server that died a single time and stayed away: of that,
// the load may have been the cause or anything else. nil where there was none.
func (e *evidence) diedOnce() *Crash {
	if len(e.crashes) != 1 || e.crashes[0].RecoveredSeconds.IsKnown() {
		return nil
	}
	return &e.crashes[0]
}

// clientStopped is the rung at which the ladder ends because of this client: it failed
// there, or held at the last one, which then says nothing of a server that is kept busy
// by nobody. nil where the server had the last word.
func (e *evidence) clientStopped() *analysis.Step {
	end := e.firstBad()
	if end == nil {
		for i := range e.steps {
			if s := &e.steps[i]; e.rung(s) && (end == nil || s.Concurrency >= end.Concurrency) {
				end = s
			}
		}
	}
	if end == nil || !end.ClientLimited() {
		return nil
	}
	return end
}

// unsettled reports whether a server kept changing, so that the answer is no answer:
// the ends of its interval lie a factor of two apart or more.
func (e *evidence) unsettled(l *analysis.Limit) bool {
	return len(e.changes) > 1 && l.Confidence.IsKnown() && l.High.Or(math.Inf(1)) > 2*max(l.Low.Or(0), 1)
}

// criteria are the rules in force, the guide's first.
func (e *evidence) criteria() []string {
	var rules []string
	r := e.ask.Rules
	if r.MinSuccessRate > 0 {
		rules = append(rules, RuleSuccess)
	}
	if r.MaxTTFT > 0 {
		rules = append(rules, RuleTTFT)
	}
	if r.MinThroughputGain > 0 {
		rules = append(rules, RuleGain)
	}
	sawServer := slices.ContainsFunc(e.all, func(s analysis.Step) bool { return s.Server != nil })
	if r.Resources != (Resources{}) && sawServer {
		rules = append(rules, RuleResources)
	}
	for _, slo := range r.SLO {
		rules = append(rules, slo.Title())
	}
	return rules
}

// bracket is a criterion's limit as the steps alone give it: between the
// largest that held below the first that broke it. A step that is lost for one
// reason says nothing about the others: of a server that refuses every request
// the time to first token is unknown, not good.
func bracket(rule string, steps []analysis.Step) analysis.Limit {
	l := analysis.Limit{BoundBy: rule}
	broke := 0
	for i := range steps {
		if step := &steps[i]; breaks(step, rule) && !step.ClientLimited() && (broke == 0 || step.Concurrency < broke) {
			broke = step.Concurrency
		}
	}
	good := 0
	for i := range steps {
		step := &steps[i]
		told := step.Passed() || (step.Abandoned == "" && !breaks(step, rule))
		if told && (broke == 0 || step.Concurrency < broke) {
			good = max(good, step.Concurrency)
		}
	}
	if broke == 0 {
		if good > 0 {
			l.AtLeast = loadgen.Known(float64(good))
		}
		return l
	}
	if good == 0 {
		l.Note = fmt.Sprintf("broken at %d already", broke)
		return l
	}
	l.Concurrency, l.Low, l.High = loadgen.Known(float64(good)), loadgen.Known(float64(good)), loadgen.Known(float64(broke))
	l.Note = "between two steps of the ladder"
	return l
}

func breaks(step *analysis.Step, rule string) bool {
	for _, b := range step.Breaches {
		if b.Rule == rule {
			return true
		}
	}
	return false
}

// binding is the smallest of the limits that were reached, nil where none was;
// of equals the guide's order decides. It may be another one that binds in truth:
// the interval of the smallest begins where the first of their intervals does.
func binding(limits map[string]analysis.Limit) *analysis.Limit {
	var found *analysis.Limit
	for _, rule := range orderedRules(limits) {
		l := limits[rule]
		if l.Reached() && (found == nil || l.Concurrency.Or(0) < found.Concurrency.Or(0)) {
			found = &l
		}
	}
	for _, rule := range orderedRules(limits) {
		l := limits[rule]
		low, ok := l.Low.Value()
		if ok && found != nil && found.Confidence.IsKnown() && low < found.Low.Or(low) {
			found.Low = l.Low
			may := fmt.Sprintf("%s may bind first: %s", RuleTitle(rule), otherLimit(l))
			found.Note = strings.TrimPrefix(found.Note+"; "+may, "; ")
		}
	}
	return found
}

// orderedRules lists the criteria: the guide's rules in its order, then the
// others by name.
func orderedRules(limits map[string]analysis.Limit) []string {
	var rules, others []string
	for _, rule := range guideRules {
		if _, ok := limits[rule]; ok {
			rules = append(rules, rule)
		}
	}
	for rule := range limits {
		if !isGuideRule(rule) {
			others = append(others, rule)
		}
	}
	sort.Strings(others)
	return append(rules, others...)
}

func isGuideRule(rule string) bool {
	for _, g := range guideRules {
		if g == rule {
			return true
		}
	}
	return false
}

// recommend sets the production band, where there is something to base it on.
func (e *evidence) recommend(a *Answer) *analysis.Recommendation {
	l := a.Limit
	if l == nil {
		good, ok := a.Ladder.LastGood.Value()
		if a.Verdict != NotReached && a.Verdict != Interrupted || !ok {
			return nil
		}
		l = &analysis.Limit{AtLeast: loadgen.Known(good)}
	}
	rec := analysis.Recommend(*l, e.ask.Band, e.steps)
	return &rec
}

// ladderOf is what the guide's ladder alone says.
func ladderOf(steps []analysis.Step) Ladder {
	var l Ladder
	for i := range steps {
		step := &steps[i]
		if step.Phase != analysis.PhaseLadder {
			continue
		}
		n := loadgen.Known(float64(step.Concurrency))
		if step.Passed() {
			l.LastGood = n
			continue
		}
		l.FirstBad = n
		l.StoppedBy = step.Stop.Rule
		l.Sentence = step.Stop.Sentence
		// The guide's script prints half of the failing step, in the shell's
		// whole numbers.
		l.ScriptSuggestion = loadgen.Known(math.Floor(float64(step.Concurrency) / 2))
		if step.Runs > 1 {
			l.Sentence += fmt.Sprintf(" (%d runs together)", step.Runs)
		}
	}
	return l
}
