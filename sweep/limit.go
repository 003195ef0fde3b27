package sweep

import (
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// FindLimit is the largest concurrency that meets every rule: by the guide's ladder
// and then, unless Config.Exact is false, exactly between its steps.
type FindLimit struct {
	Config Config
	Rules  StopRules
	Band   analysis.Band
}

// Next climbs the ladder until a step breaks a rule. The search after it looks for
// each criterion's limit between the steps: success first, for where requests fail
// the other figures mean nothing, then the times, then the knee of throughput. What
// stopped the ladder is confirmed, and a step is repeated to see by how much runs of
// one load differ; where that leaves the answer wide, more are.
func (q FindLimit) Next(h History) (*Order, Answer) {
	e := q.read(h)
	if h.End == nil {
		if o := e.next(); o != nil {
			return o, Answer{}
		}
	}
	return nil, e.answer(h)
}

func (e *evidence) next() *Order {
	if e.refusedAll() != "" {
		return nil
	}
	if o := e.climb(); o != nil || !e.ask.Config.Exact || e.last == 0 {
		return o
	}
	parts := []func() *Order{e.alive, e.success, e.tell, e.latencies, e.others, e.knee, e.confirm, e.repeat}
	if e.pace().frugal {
		parts = []func() *Order{e.alive, e.lowKnee, e.success, e.early, e.knee, e.tell, e.latencies, e.others, e.confirm, e.repeat}
	}
	for _, part := range parts {
		if o := part(); o != nil {
			return o
		}
	}
	return nil
}

// climb is the next step of the ladder; nil once one has failed. Where the server
// has changed since the ladder was stopped, what it bears now is looked for from
// there, upwards and then downwards.
func (e *evidence) climb() *Order {
	steps := e.ask.Config.rungs()
	if !e.stopped {
		if n := e.rungNext(); n > 0 {
			o := e.order(n, e.promptsAt(n), analysis.PhaseLadder)
			o.Repeat, o.Settle, o.Prev = e.ask.Config.Repeat && !e.pace().frugal, e.ask.Config.Exact, e.passed()
			return o
		}
		return nil
	}
	if e.since == 0 {
		return nil
	}
	at, found := 0, false
	switch {
	case e.broken == 0 && e.last == 0:
		at, found = e.climbed, e.climbed > 0
	case e.broken == 0:
		for _, n := range steps {
			if n > e.last {
				at, found = n, true
				break
			}
		}
	case e.last == 0:
		for _, n := range slices.Backward(steps) {
			if n < e.broken {
				at, found = n, true
				break
			}
		}
	}
	if !found || e.count(purposeClimb) >= 2*len(steps) {
		return nil
	}
	o := e.probe(at, e.waves(), purposeClimb, "what the server bears since it changed")
	o.Repeat, o.Prev = true, e.passed()
	return o
}

// passed are the steps of the ladder, and those that took its place since the server
// changed, that broke no rule, by concurrency.
func (e *evidence) passed() []analysis.Step {
	var out []analysis.Step
	for _, s := range e.steps {
		if e.rung(&s) && s.Passed() {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b analysis.Step) int { return a.Concurrency - b.Concurrency })
	return out
}

// rung reports whether a step is one of the ladder, or took the place of one.
func (e *evidence) rung(s *analysis.Step) bool {
	return s.Phase == analysis.PhaseLadder || s.Purpose == purposeClimb
}

// pace is that of the effort asked for.
func (e *evidence) pace() pace { return e.ask.Config.pace() }

// promptsAt is the number of requests for a step of the ladder: the guide's, or, of a
// quick sweep, as many as its level takes.
func (e *evidence) promptsAt(concurrency int) int {
	c := e.ask.Config
	if p := c.pace(); p.frugal {
		least := leastRung
		if concurrency > 1 {
			least = concurrency + leastWhenFull
		}
		return max(int(math.Ceil(p.ladder*float64(concurrency))), least, c.MinPrompts)
	}
	return max(c.PromptsPerConcurrency*concurrency, c.MinPrompts, 1)
}

// order is a load to be judged by the rules.
func (e *evidence) order(n, requests int, phase analysis.Phase) *Order {
	abandon := Abandon{Allowed: allowedFailures(e.ask.Rules, requests)}
	if e.pace().frugal {
		abandon = e.untilSettled()
	}
	return &Order{Concurrency: n, Requests: requests, Phase: phase, Rules: e.ask.Rules, Abandon: abandon, CutTail: e.cutTail()}
}

// untilSettled ends a run once a sequential test has settled that too many fail: of a few
// dozen requests two that fail, and failures are quick, prove nothing.
func (e *evidence) untilSettled() Abandon {
	if e.ask.Rules.MinSuccessRate <= 0 {
		return Abandon{Allowed: -1}
	}
	a := Abandon{Allowed: -1, Sequential: true, Patience: 0.5}
	if e.pace().frugal && !e.gradual() && !e.rateLimited() {
		a.Patience = 0.2
	}
	return a
}

// What the search measures a step for, beside the criteria by their names.
const (
	purposeClimb   = "climb"
	purposeAlive   = "alive"
	purposeConfirm = "confirm"
	purposeRepeat  = "repeat"
)

// leastRung is the fewest requests of a step of a quick ladder; leastWhenFull how many it has
// at least once all are in flight, which is enough to tell the lengths' part in it.
const (
	leastRung     = 5
	leastWhenFull = 20
)

// leastProbe is the fewest requests of a probe: without a failure they support a
// success rate of 95 % with 95 % confidence, and the sequential test accepts.
const leastProbe = 72

// probe measures a concurrency for about waves requests per request in flight. The
// first two waves warm up and the last one drains, so that four leave one to measure; of a
// quick sweep's brief runs only the first warms up. More where the lengths of answers vary.
func (e *evidence) probe(n int, waves float64, purpose, why string) *Order {
	o := e.order(n, max(int(math.Ceil(waves*float64(n))), e.pace().leastProbe), analysis.PhaseProbe)
	o.Purpose, o.Why = purpose, why
	served, ok := e.served()
	o.Abandon = e.untilSettled()
	if e.pace().frugal && e.rateLimited() {
		o.Abandon = Abandon{Allowed: -1} // how many are let through is what it is for
	}
	if o.Abandon.Sequential {
		o.Abandon.PastCliff = (ok && float64(n) > served || e.pace().frugal && !e.rateLimited()) && !e.gradual()
	}
	return o
}

// rerun measures a concurrency once more. prev is what its gain is taken over; nil
// where only its level is wanted, for a gain over a step of few requests is itself a
// matter of chance.
func (e *evidence) rerun(n int, waves float64, prev []analysis.Step, purpose, why string) *Order {
	o := e.order(n, max(int(math.Ceil(waves*float64(n))), e.pace().leastProbe), analysis.PhaseConfirm)
	o.Prev, o.Purpose, o.Why = prev, purpose, why
	return o
}

// spread is the coefficient of variation of the time in system at the last good
// step: how much the ends of a run fray.
func (e *evidence) spread() float64 {
	for i := range e.steps {
		if s := &e.steps[i]; s.Concurrency == e.last && e.rung(s) {
			d := s.Verdict().E2E
			if m := d.Mean.Or(0); m > 0 {
				return min(d.Std.Or(0)/m, 1)
			}
		}
	}
	return 0
}

// waves is how long a probe for a level must be. The ends of a run whose tail is cut do not
// fray; it takes more all the same where a wait swings with the lengths of those before.
func (e *evidence) waves() float64 {
	if p := e.pace(); p.frugal && e.cutTail() {
		return p.waves * (1 + max(0, e.spread()-0.5))
	}
	return e.wholeWaves()
}

// wholeWaves is how long a probe must be of whose requests each counts to its end.
func (e *evidence) wholeWaves() float64 { return e.pace().waves * (1 + e.spread()/2) }

// near is how close to an answer is close enough.
func (e *evidence) near(n float64) float64 { return e.ask.Config.near(n) }

func (e *evidence) tried(n int) bool {
	return slices.ContainsFunc(e.steps, func(s analysis.Step) bool { return s.Concurrency == n })
}

// count is how many steps were measured for a purpose.
func (e *evidence) count(purpose string) int {
	n := 0
	for i := range e.steps {
		if e.steps[i].Purpose == purpose {
			n++
		}
	}
	return n
}

// spent is what the steps beyond the ladder cost.
func spent(steps []analysis.Step) (requests, tokens int, seconds float64) {
	for i := range steps {
		if s := &steps[i]; s.Phase != analysis.PhaseLadder {
			requests += s.Whole.Completed + s.Whole.Failed + s.Whole.Cancelled
			tokens += s.Whole.InputTokens + s.Whole.OutputTokens
			seconds += s.Whole.DurationSeconds.Or(0)
		}
	}
	return requests, tokens, seconds
}

// affordable reports whether the search may still spend requests on what is only
// chance.
func (e *evidence) affordable() bool {
	requests, _, _ := spent(e.all)
	return requests < max(e.ask.Config.searchRequests(), int(12*e.pace().budget*float64(e.ceiling())))
}

// ceiling is the largest concurrency that may be probed: what the success rate held
// at, and no more than the ladder went to.
func (e *evidence) ceiling() int {
	top := e.broken
	switch bad := e.firstBad(); {
	case top == 0:
		top = e.last
	case e.pace().frugal && len(bad.Breaches) == 1 && breaks(bad, RuleGain):
		top += top / 2 // it may have been chance, and what is served all the same does no harm
	}
	for i := range e.steps {
		if s := &e.steps[i]; breaks(s, RuleSuccess) {
			top = min(top, s.Concurrency-1)
		}
	}
	if k, died := e.diedAt(); died {
		top = min(top, k-1)
	}
	return top
}

// alive runs the last good step again where a later one had not a single success and
// was answered all the same: is it the load, or does the server refuse everything?
func (e *evidence) alive() *Order {
	i := len(e.steps) - 1
	if i < 0 || e.last == 0 {
		return nil
	}
	if s := &e.steps[i]; s.Whole.Completed > 0 || !turnedAway(s) || s.Concurrency == e.last || e.count(purposeAlive) > 0 {
		return nil
	}
	o := e.rerun(e.last, 1, nil, purposeAlive, "nothing succeeded any more: does the server still answer what it answered before?")
	o.Requests = min(o.Requests, e.pace().leastProbe)
	o.Rules.MinSuccessRate = 0 // so soon after too much a few may still be turned away
	return o
}

// refusedFrom is the index of the step from which on the server accepted nothing any
// more, whatever the load: a key, a quota or a licence came to its end. -1 where it did
// not. Only what worked before can have ended.
func (e *evidence) refusedFrom() int {
	completed := 0
	for i := range e.steps {
		s := &e.steps[i]
		completed += s.Whole.Completed
		switch {
		case completed == 0:
		case s.Failures[loadgen.Denied] > 0:
			return i
		case s.Purpose == purposeAlive && s.Whole.Completed == 0:
			// Those before it that had no success either, and the one in which it began.
			for i > 0 && !e.steps[i-1].Passed() {
				i--
			}
			return i
		}
	}
	return -1
}

// refusedAll says that in words; empty where it did not happen.
func (e *evidence) refusedAll() string {
	from := e.refusedFrom()
	if from < 0 {
		return ""
	}
	completed := 0
	for i := range e.all {
		completed += e.all[i].Whole.Completed
	}
	if said := e.steps[from].FailureExamples[loadgen.Denied]; e.steps[from].Failures[loadgen.Denied] > 0 {
		return deniedWords(completed, said)
	}
	return refusedWords(completed, &e.steps[len(e.steps)-1])
}
