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
	for _, part := range []func() *Order{e.alive, e.success, e.tell, e.latencies, e.others, e.knee, e.confirm, e.repeat} {
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
	steps := e.ask.Config.Concurrency
	if !e.stopped {
		for _, n := range steps {
			if n > e.climbed {
				o := e.order(n, e.promptsAt(n), analysis.PhaseLadder)
				o.Repeat, o.Settle, o.Prev = e.ask.Config.Repeat, e.ask.Config.Exact, e.passed()
				return o
			}
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

// promptsAt is the guide's number of requests for a step.
func (e *evidence) promptsAt(concurrency int) int {
	c := e.ask.Config
	return max(c.PromptsPerConcurrency*concurrency, c.MinPrompts, 1)
}

// order is a load to be judged by the rules.
func (e *evidence) order(n, requests int, phase analysis.Phase) *Order {
	return &Order{Concurrency: n, Requests: requests, Phase: phase, Rules: e.ask.Rules,
		Abandon: Abandon{Allowed: allowedFailures(e.ask.Rules, requests)}}
}

// What the search measures a step for, beside the criteria by their names.
const (
	purposeClimb   = "climb"
	purposeAlive   = "alive"
	purposeConfirm = "confirm"
	purposeRepeat  = "repeat"
)

// leastProbe is the fewest requests of a probe: without a failure they support a
// success rate of 95 % with 95 % confidence, and the sequential test accepts.
const leastProbe = 72

// probe measures a concurrency for about waves requests per request in flight. The
// first two waves warm up and the last one drains, so that four leave one to measure;
// more where the lengths of answers vary.
func (e *evidence) probe(n int, waves float64, purpose, why string) *Order {
	o := e.order(n, max(int(math.Ceil(waves*float64(n))), leastProbe), analysis.PhaseProbe)
	o.Purpose, o.Why = purpose, why
	served, ok := e.served()
	o.Abandon = Abandon{Allowed: -1}
	if e.ask.Rules.MinSuccessRate > 0 {
		o.Abandon.Sequential, o.Abandon.Patient = true, true
		o.Abandon.PastCliff = ok && float64(n) > served && !e.gradual()
	}
	return o
}

// rerun measures a concurrency once more. prev is what its gain is taken over; nil
// where only its level is wanted, for a gain over a step of few requests is itself a
// matter of chance.
func (e *evidence) rerun(n int, waves float64, prev []analysis.Step, purpose, why string) *Order {
	o := e.order(n, max(int(math.Ceil(waves*float64(n))), leastProbe), analysis.PhaseConfirm)
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

// waves is how long a probe for a level must be.
func (e *evidence) waves() float64 { return 4 + 2*e.spread() }

// near is how close to an answer is close enough: 2 %, or one request.
func near(n float64) float64 { return max(1, 0.02*n) }

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
			requests += s.Whole.Completed + s.Whole.Failed
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
	return requests < max(e.ask.Config.SearchRequests, 12*e.ceiling())
}

// ceiling is the largest concurrency that may be probed: what the success rate held
// at, and no more than the ladder went to.
func (e *evidence) ceiling() int {
	top := e.broken
	if top == 0 {
		top = e.last
	}
	for i := range e.steps {
		if s := &e.steps[i]; breaks(s, RuleSuccess) {
			top = min(top, s.Concurrency-1)
		}
	}
	return top
}

// confirm runs the step that stopped the ladder once more where nothing that was
// measured since failed in the same way: a passing trouble (a neighbour on the same
// machine, say) must not become a limit. For a gain the step before it is run again
// as well: a gain is a ratio, and of two steps of a few requests each either may be
// the odd one.
func (e *evidence) confirm() *Order {
	bad := e.firstBad()
	if bad == nil || bad.ClientLimited() || e.seenAgain(bad) {
		return nil
	}
	if l := e.binding(); l != nil && l.Confidence.IsKnown() && !breaks(bad, l.BoundBy) && 1.1*l.High.Or(math.Inf(1)) < float64(bad.Concurrency) {
		return nil // it cannot alter the answer
	}
	again := func(n int) bool {
		return slices.ContainsFunc(e.steps, func(s analysis.Step) bool { return s.Concurrency == n && s.Purpose == purposeConfirm })
	}
	if !again(bad.Concurrency) {
		return e.rerun(bad.Concurrency, e.waves(), e.passed(), purposeConfirm, "the step that stopped the ladder, which nothing since has confirmed")
	}
	if len(bad.Breaches) == 1 && breaks(bad, RuleGain) && !again(e.last) {
		return e.rerun(e.last, e.waves(), nil, purposeConfirm, "the step before it, over which the gain was taken")
	}
	return nil
}

// seenAgain reports whether any of the rules that the step broke was broken again
// later, or the knee that it speaks of was found.
func (e *evidence) seenAgain(bad *analysis.Step) bool {
	for _, b := range bad.Breaches {
		if b.Rule == RuleGain && e.gainLimit().Confidence.IsKnown() {
			return true
		}
		for i := range e.steps {
			if s := &e.steps[i]; !e.rung(s) && breaks(s, b.Rule) {
				return true
			}
		}
	}
	return false
}

// Bounds on the repeats that show by how much runs of one load differ.
const (
	suspectRepeats = 2 // of a step that was not what it had been
	ladderRepeats  = 4 // steps of the ladder
	wideRepeats    = 14
	uneven         = 0.02 // spread between runs from which it is worth more repeats
)

// repeat runs a step from the middle of the ladder again where a limit is about to be
// claimed: by how much do runs of one load differ, and is the server still the same?
// Where the two differ by more than chance within them explains it goes on until that
// is told, and where runs differ at all, with other steps of the ladder, which were
// run as long ago: a speed that wanders slowly shows only over time. Where the answer
// stays wide for that reason, loads on either side of it are repeated in turn, low,
// high, high, low, so that a slow drift cancels.
func (e *evidence) repeat() *Order {
	l := e.binding()
	if l == nil {
		return nil
	}
	done := e.count(purposeRepeat)
	if n := e.contradicted(); n > 0 && done < wideRepeats && e.affordable() {
		return e.rerun(n, e.waves(), nil, purposeRepeat, "it speaks against the curve through all others: was it disturbed?")
	}
	if done == 0 || e.between().Tau > uneven && e.affordable() {
		if n := e.unrepeated(); n > 0 && done <= suspectRepeats+ladderRepeats {
			return e.rerun(n, 5, nil, purposeRepeat, "a step of the ladder again: is the server still the same?")
		}
	}
	at, low, high := l.Concurrency.Or(0), l.Low.Or(0), l.High.Or(math.Inf(1))
	if (high-low)/2 <= 2*near(at) || !e.between().Restless() && l.Confidence.IsKnown() || done >= wideRepeats || !e.affordable() {
		return nil
	}
	n := math.Round(at * 0.7)
	if k := done % 4; k == 1 || k == 2 {
		n = math.Round(at * 1.4)
	}
	at = min(max(n, 1), float64(e.ceiling()))
	return e.rerun(int(at), e.waves(), nil, purposeRepeat, "its runs differ: loads on either side of the answer in turn")
}

// tell runs loads again where it is not known what they say: one whose runs differ, one
// that a curve had to leave out, and, where loads lie off every curve, the one that does
// most: is it the runs, which differ, or the server, whose throughput has a shape of its
// own?
func (e *evidence) tell() *Order {
	if e.broken == 0 || !e.affordable() {
		return nil
	}
	again := func(n int, why string) *Order {
		if n <= 0 || n > e.ceiling() || len(e.runsAt(n)) != 1 {
			return nil
		}
		return e.rerun(n, e.waves(), nil, purposeRepeat, why)
	}
	if n := e.suspect(); n > 0 {
		return e.rerun(n, 5, nil, purposeRepeat, "it was not what it had been: did the server change, or do its runs differ?")
	}
	for _, n := range e.curve().Disturbed {
		if o := again(int(n), "it does not lie on the curve through all others: was it disturbed?"); o != nil {
			return o
		}
	}
	b := e.between()
	if b.Tau <= uneven || b.Free >= 2 || e.count(purposeRepeat) >= ladderRepeats {
		return nil
	}
	for _, n := range []int{int(e.scatter.Worst), e.last} {
		if o := again(n, "loads lie off every curve: do its runs differ, or has it a shape of its own?"); o != nil {
			return o
		}
	}
	return nil
}

// unrepeated is the step of the ladder to repeat next: of those that were not yet, the
// one nearest to 20 requests in flight, large enough to tell and small enough to be
// cheap; 0 where there is none.
func (e *evidence) unrepeated() int {
	best, distance, repeated := 0, math.Inf(1), 0
	for i := range e.steps {
		s := &e.steps[i]
		if !e.rung(s) || !s.Passed() || s.Level == nil {
			continue
		}
		if len(e.runsAt(s.Concurrency)) > 1 {
			repeated++
			continue
		}
		if d := math.Abs(math.Log(float64(s.Concurrency) / 20)); d < distance {
			best, distance = s.Concurrency, d
		}
	}
	if repeated >= ladderRepeats {
		return 0
	}
	return best
}

// suspect is a load whose latest run differs from those before it by more than their
// own errors allow, and was not repeated often enough to tell why; 0 for none.
func (e *evidence) suspect() int {
	for i := range e.steps {
		s := &e.steps[i]
		if s.Phase != analysis.PhaseConfirm || e.levels[i] == nil {
			continue
		}
		runs := e.runsAt(s.Concurrency)
		if len(runs) < 2 || len(runs) >= 2+suspectRepeats {
			continue
		}
		first, last := runs[0], runs[len(runs)-1]
		se := math.Hypot(first.SE/first.Value, last.SE/last.Value)
		if off := math.Abs(math.Log(last.Value / first.Value)); off > suspectShift && off > 4*se {
			return s.Concurrency
		}
		if k := len(runs); k > 2 {
			continue // the repeat agrees with the first run: the one between was the odd one
		}
	}
	return 0
}

// suspectShift is the change of a time in system that is worth another run.
const suspectShift = 0.05

// runsAt are the times in system of the runs at a concurrency, in order.
func (e *evidence) runsAt(n int) []analysis.Repeated {
	var out []analysis.Repeated
	for i, r := range e.repeated() {
		if r.Value > 0 && e.steps[i].Concurrency == n {
			out = append(out, r)
		}
	}
	return out
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
	o.Requests = min(o.Requests, leastProbe)
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
