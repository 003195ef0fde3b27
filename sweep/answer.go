package sweep

import (
	"fmt"
	"sort"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
	"github.com/capfind/capfind/loadgen"
)

// answer works out verdict, limits, recommendation and sentence from the steps.
func (s *session) answer() {
	r := s.r
	bad := firstBad(r.Steps)
	if r.Limits == nil {
		r.Limits = map[string]analysis.Limit{}
	}
	for _, rule := range s.criteria() {
		if _, searched := r.Limits[rule]; !searched {
			r.Limits[rule] = bracket(rule, r.Steps)
		}
	}
	r.Limit = binding(r.Limits)
	if l := s.ladderLimit(bad); r.Limit == nil && l.Reached() {
		r.Limit = &l
	}
	r.Verdict = s.verdict(bad)
	if r.Verdict != LimitFound {
		r.Limit = nil
	}
	if curve := s.curve(); curve.Model != "" || len(curve.Refusals) > 0 {
		r.Curve = &curve
	}
	if len(r.Steps) > 0 {
		b := diagnosis.Diagnose(r.Steps, diagnosis.Context{Limits: r.Limits, Curve: r.Curve, Server: r.Target.Server, Deaths: deaths(r.Crashes)})
		r.Bottleneck = &b
	}
	s.recommend()
	r.Sentence = s.sentence(bad)
}

// deaths are the crashes as a diagnosis wants them.
func deaths(crashes []Crash) []diagnosis.Death {
	var out []diagnosis.Death
	for _, c := range crashes {
		out = append(out, diagnosis.Death{Concurrency: c.Concurrency, InFlight: c.InFlight, RecoveredSeconds: c.RecoveredSeconds})
	}
	return out
}

// ladderLimit is the bracket of the ladder itself, for want of anything better.
func (s *session) ladderLimit(bad *analysis.Step) analysis.Limit {
	if bad == nil {
		return analysis.Limit{}
	}
	return bracket(bad.Stop.Rule, s.r.Steps)
}

// firstBad is the ladder's failing step, or nil.
func firstBad(steps []analysis.Step) *analysis.Step {
	for i := range steps {
		if steps[i].Phase == analysis.PhaseLadder && !steps[i].Passed() {
			return &steps[i]
		}
	}
	return nil
}

func (s *session) verdict(bad *analysis.Step) Verdict {
	switch {
	case !s.r.Complete:
		return Interrupted
	case bad == nil && s.r.Limit == nil:
		return NotReached // which no change of the server on the way makes untrue
	case s.r.Search != nil && s.r.Search.Drift:
		return Unstable
	case bad == nil:
		return LimitFound // the search found a limit below the ladder's last step
	}
	if bad.ClientLimited() {
		return ClientLimited
	}
	if first := s.r.Steps[0]; bad.Concurrency == first.Concurrency {
		return FailedAtFirstStep
	}
	if s.r.Limit == nil {
		return Unstable // the ladder's stop and the steps since contradict each other
	}
	return LimitFound
}

// criteria are the rules in force, the guide's first.
func (s *session) criteria() []string {
	var rules []string
	if s.Stop.MinSuccessRate > 0 {
		rules = append(rules, RuleSuccess)
	}
	if s.Stop.MaxTTFT > 0 {
		rules = append(rules, RuleTTFT)
	}
	if s.Stop.MinThroughputGain > 0 {
		rules = append(rules, RuleGain)
	}
	if s.Stop.Resources != (Resources{}) && s.sawResources() {
		rules = append(rules, RuleResources)
	}
	for _, slo := range s.Stop.SLO {
		rules = append(rules, slo.Title())
	}
	return rules
}

func (s *session) sawResources() bool {
	for i := range s.r.Steps {
		if s.r.Steps[i].Server != nil {
			return true
		}
	}
	return false
}

// bracket is a criterion's limit as the steps alone give it: between the
// largest that held below the first that broke it. A step that is lost for one
// reason says nothing about the others: of a server that refuses every request
// the time to first token is unknown, not good.
func bracket(rule string, steps []analysis.Step) analysis.Limit {
	l := analysis.Limit{BoundBy: rule}
	broke := 0
	for i := range steps {
		if step := &steps[i]; breaks(step, rule) && (broke == 0 || step.Concurrency < broke) {
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
		if low, ok := l.Low.Value(); ok && l.Reached() && found.Confidence.IsKnown() && low < found.Low.Or(low) {
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
func (s *session) recommend() {
	l := s.r.Limit
	if l == nil {
		if s.r.Verdict != NotReached && s.r.Verdict != Interrupted {
			s.r.Recommendation = nil
			return
		}
		good, ok := s.r.Ladder.LastGood.Value()
		if !ok {
			return
		}
		l = &analysis.Limit{AtLeast: loadgen.Known(good)}
	}
	rec := analysis.Recommend(*l, s.Band, s.r.Steps)
	s.r.Recommendation = &rec
}

// sentence is the answer in one line.
func (s *session) sentence(bad *analysis.Step) string {
	r := s.r
	switch r.Verdict {
	case LimitFound:
		parts := []string{limitWords(*r.Limit)}
		for _, rule := range orderedRules(r.Limits) {
			if rule != r.Limit.BoundBy {
				if words := otherLimit(r.Limits[rule]); words != "" {
					parts = append(parts, words)
				}
			}
		}
		return strings.Join(parts, "; ")
	case NotReached:
		good, ok := r.Ladder.LastGood.Value()
		if !ok {
			return "no step was run"
		}
		return fmt.Sprintf("no limit up to %.0f requests in flight: every rule held at every step", good)
	case FailedAtFirstStep:
		return fmt.Sprintf("the first step failed already: %s", bad.Stop.Sentence)
	case ClientLimited:
		return fmt.Sprintf("this client, not the server, was the limit at %d requests in flight: %s",
			bad.Concurrency, strings.Join(bad.Client.Limits, "; "))
	case Unstable:
		return "the server's behaviour changed while it was measured, so no limit is claimed: " + s.driftWords()
	}
	good, ok := r.Ladder.LastGood.Value()
	if !ok {
		return "interrupted before the first step was finished"
	}
	return fmt.Sprintf("interrupted: up to %.0f requests in flight every rule held", good)
}

func (s *session) driftWords() string {
	if s.r.Search == nil || len(s.r.Search.Doubts) == 0 {
		return "the steps contradict each other"
	}
	return strings.Join(s.r.Search.Doubts, "; ")
}

// limitWords is the binding limit in words.
func limitWords(l analysis.Limit) string {
	by := RuleTitle(l.BoundBy)
	if c, ok := l.Confidence.Value(); ok {
		return fmt.Sprintf("limit %.0f (%.0f %% CI %s), bound by %s", l.Concurrency.Or(0), 100*c, ends(l), by)
	}
	return fmt.Sprintf("limit between %.0f and %.0f, bound by %s", l.Low.Or(0), l.High.Or(0), by)
}

// ends are the ends of a limit's interval in words; the upper one is unknown
// where it lies above what was measured.
func ends(l analysis.Limit) string {
	if high, ok := l.High.Value(); ok {
		return fmt.Sprintf("%.0f-%.0f", l.Low.Or(0), high)
	}
	return fmt.Sprintf("%.0f or more", l.Low.Or(0))
}

// otherLimit is a limit that does not bind, in words.
func otherLimit(l analysis.Limit) string {
	name := RuleTitle(l.BoundBy)
	if l.BoundBy == RuleGain {
		name = "gain knee"
	}
	switch n, ok := l.Concurrency.Value(); {
	case ok && l.Confidence.IsKnown():
		return fmt.Sprintf("%s %.0f (%s)", name, n, ends(l))
	case ok:
		return fmt.Sprintf("%s between %.0f and %.0f", name, l.Low.Or(0), l.High.Or(0))
	case l.AtLeast.IsKnown():
		return fmt.Sprintf("%s > %.0f", name, l.AtLeast.Or(0))
	}
	return ""
}

// RuleTitle is how a criterion is called in a sentence.
func RuleTitle(rule string) string {
	switch rule {
	case RuleSuccess:
		return "success"
	case RuleTTFT:
		return "TTFT"
	case RuleGain:
		return "throughput gain"
	case RuleResources:
		return "resources"
	}
	return rule
}

// remarks turns what a reader must know besides into warnings.
func (s *session) remarks() {
	for i := range s.r.Steps {
		step := &s.r.Steps[i]
		if NotStreamed(step) && s.Stop.MaxTTFT > 0 {
			s.warn("the answers are not streamed: there is no TTFT, and the TTFT rule was applied to the whole response time (E2E)")
		}
		if step.ClientLimited() {
			s.warn("at %s the client was at its own limit: %s", loadOf(step), strings.Join(step.Client.Limits, "; "))
		}
	}
	for _, c := range s.r.Crashes {
		back := "and did not come back"
		if sec, ok := c.RecoveredSeconds.Value(); ok {
			back = fmt.Sprintf("and was back after %.0f s", sec)
		}
		s.warn("%s, %s", c.Sentence, back)
	}
}
