package sweep

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// sentence is the answer in one line.
func (e *evidence) sentence(a *Answer) string {
	bad := e.firstBad()
	switch a.Verdict {
	case LimitFound:
		parts := []string{limitWords(*a.Limit)}
		for _, rule := range orderedRules(a.Limits) {
			if rule != a.Limit.BoundBy {
				if words := otherLimit(a.Limits[rule]); words != "" {
					parts = append(parts, words)
				}
			}
		}
		return strings.Join(parts, "; ")
	case NotReached:
		good, ok := a.Ladder.LastGood.Value()
		if !ok {
			return "no step was run"
		}
		return fmt.Sprintf("no limit up to %.0f requests in flight: every rule held at every step", good)
	case FailedAtFirstStep:
		return fmt.Sprintf("the first step failed already: %s", bad.Stop.Sentence)
	case ClientLimited:
		end := e.clientStopped()
		return fmt.Sprintf("this client, not the server, was the limit at %d requests in flight: %s",
			end.Concurrency, strings.Join(end.Client.Limits, "; "))
	case Unstable:
		return "the server kept changing while it was measured, so no limit is claimed: " + e.changes[len(e.changes)-1].Sentence
	}
	if said := e.refusedAll(); said != "" {
		return said
	}
	good, ok := a.Ladder.LastGood.Value()
	if c := e.diedOnce(); c != nil && ok {
		return fmt.Sprintf("up to %.0f requests in flight every rule held; at %d the server died and did not come back, which once may have any cause: restart it and go on with --resume", good, c.Concurrency)
	}
	if !ok {
		return "interrupted before the first step was finished"
	}
	return fmt.Sprintf("interrupted: up to %.0f requests in flight every rule held", good)
}

// remarks are what a reader must know of this answer besides.
func (e *evidence) remarks(a *Answer) []string {
	var out []string
	for i := range e.all {
		s := &e.all[i]
		if s.Cleared != nil && s.Phase == analysis.PhaseLadder {
			if AtEqualLengths(e.all, s) {
				continue // nothing stopped there, and nothing was repeated
			}
			out = append(out, fmt.Sprintf("the ladder stopped at %d and went on later: together with the runs since then that load breaks no rule (%s)", s.Concurrency, s.Cleared.Sentence))
		}
	}
	out = append(out, e.odd...)
	for _, c := range e.changes {
		out = append(out, c.Sentence)
	}
	if loads := e.unsettledNear(a.Limit); len(loads) > 0 {
		out = append(out, fmt.Sprintf("TTFT still rose when the runs at %s requests in flight ended: the server takes longer to settle than they lasted, and may bear less in the long run; see with `capfind soak`", strings.Join(loads, ", ")))
	}
	if b := e.between(); a.Limit != nil && b.Free > 0 && b.Restless() {
		seen := percent(math.Round(b.Seen*100) / 100)
		if e.wide(*a.Limit) {
			out = append(out, fmt.Sprintf("the server's speed differed by %s from run to run, which is why the interval is no narrower", seen))
		} else {
			out = append(out, fmt.Sprintf("the server's speed differed by %s from run to run, which the interval allows for", seen))
		}
	}
	return out
}

// unsettledNear are the loads around a limit at which the time to first token still
// rose over the window of a run: at least two, and twice as many as those at which it
// fell, for a speed that wanders does both.
func (e *evidence) unsettledNear(l *analysis.Limit) []string {
	if l == nil {
		return nil
	}
	var rose []int
	fell := 0
	for i := range e.steps {
		s := &e.steps[i]
		if r := float64(s.Concurrency) / l.Concurrency.Or(0); r < 0.8 || r > 1.5 {
			continue
		}
		switch change := risen(s); {
		case change > 0 && !slices.Contains(rose, s.Concurrency):
			rose = append(rose, s.Concurrency)
		case change < 0:
			fell++
		}
	}
	if len(rose) < 2 || len(rose) < 2*fell {
		return nil
	}
	slices.Sort(rose)
	out := make([]string, len(rose))
	for i, n := range rose {
		out[i] = strconv.Itoa(n)
	}
	return out
}

// risen is by which share the TTFT of a step changed over its window, 0 where it was
// steady or is unknown.
func risen(s *analysis.Step) float64 {
	for _, c := range s.Validity {
		if c.Check == "ttft_trend" && !c.OK {
			return c.Value.Or(0)
		}
	}
	return 0
}

// wide reports whether an interval is wider than the search goes on for.
func (e *evidence) wide(l analysis.Limit) bool {
	return (l.High.Or(math.Inf(1))-l.Low.Or(0))/2 > e.near(l.Concurrency.Or(0))
}

// limitWords is the binding limit in words.
func limitWords(l analysis.Limit) string {
	by := RuleTitle(l.BoundBy)
	if c, ok := l.Confidence.Value(); ok {
		return fmt.Sprintf("limit %.0f (%.0f %% CI %s), bound by %s", l.Concurrency.Or(0), 100*c, ends(l), by)
	}
	return fmt.Sprintf("limit %s, bound by %s", between(l), by)
}

// between are the ends of a limit that is only bracketed, in words.
func between(l analysis.Limit) string {
	if high, ok := l.High.Value(); ok {
		return fmt.Sprintf("between %.0f and %.0f", l.Low.Or(0), high)
	}
	return ends(l)
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
		return name + " " + between(l)
	case l.AtLeast.IsKnown():
		return fmt.Sprintf("%s > %.0f", name, l.AtLeast.Or(0))
	}
	return ""
}

// boundBy names a criterion and says how it was broken, without its name twice.
func boundBy(s *analysis.Stop) string {
	if title := RuleTitle(s.Rule); !strings.HasPrefix(s.Sentence, title+": ") {
		return title + ": " + s.Sentence
	}
	return s.Sentence
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

// remarks turns what a reader must know of any steps into warnings.
func remarks(steps []analysis.Step, crashes []Crash, rules StopRules) []string {
	var out []string
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	for i := range steps {
		step := &steps[i]
		if NotStreamed(step) && rules.MaxTTFT > 0 {
			add("the answers are not streamed: there is no TTFT, and the TTFT rule was applied to the whole response time (E2E)")
		}
		if step.ClientLimited() {
			add("at %s the client was at its own limit: %s", loadOf(step), strings.Join(step.Client.Limits, "; "))
		}
	}
	for _, c := range crashes {
		back := "and did not come back"
		if sec, ok := c.RecoveredSeconds.Value(); ok {
			back = fmt.Sprintf("and was back after %.0f s", sec)
		}
		add("%s, %s", c.Sentence, back)
	}
	return out
}

// deniedWords and refusedWords say that nothing is accepted any more.
func deniedWords(completed int, said string) string {
	return fmt.Sprintf("the key stopped being accepted after %d requests (%s): that says nothing of concurrency; renew the key, its quota or its licence, then go on with --resume", completed, said)
}

func refusedWords(completed int, s *analysis.Step) string {
	for _, class := range []loadgen.Class{loadgen.HTTP429, loadgen.HTTP5xx, loadgen.HTTP4xx} {
		if s.Failures[class] > 0 {
			return fmt.Sprintf("the server refused everything after %d requests, at loads that it had served before (%s): that says nothing of concurrency; a quota may be used up: see to it, then go on with --resume", completed, s.FailureExamples[class])
		}
	}
	return fmt.Sprintf("the server refused everything after %d requests, at loads that it had served before", completed)
}
