package sweep

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// evidence is a history as the search for a limit reads it.
type evidence struct {
	ask     FindLimit
	all     []analysis.Step // copies: what chance has stopped is cleared in them
	crashes []Crash

	stopped bool // the ladder ran into a step that failed
	climbed int  // largest step of the ladder that held; of those since it began

	changes []Change        // of the server on the way
	since   int             // index of the first step since the last of them
	steps   []analysis.Step // all since
	levels  []*analysis.Level
	last    int // largest rung that held, below the first that failed; 0: none
	broken  int // the first that failed; 0: none

	odd     []string // what disturbed single steps
	curved  *analysis.Curve
	crossed *analysis.Crossing
	spreadB *analysis.Between
	scatter analysis.Scatter      // of the loads around the curve, once between is known
	slotsIn []*analysis.SlotsSeen // what was looked for is kept: one element, which may be nil
}

// read prepares a history. Where the server has changed on the way only what was
// measured since counts: unlike servers have no limit in common.
func (q FindLimit) read(h History) *evidence {
	q.Rules.eachDoubling = q.Config.pace().frugal
	e := &evidence{ask: q, all: slices.Clone(h.Steps), crashes: h.Crashes}
	for {
		e.look()
		e.clear()
		next, ok := e.changed()
		if !ok {
			break
		}
		e.changes, e.since = append(e.changes, next), next.Step
	}
	return e
}

// look takes in the steps since the last change.
func (e *evidence) look() {
	e.steps = e.all[e.since:]
	e.levels = make([]*analysis.Level, len(e.steps))
	tokens := meanTokens(e.steps)
	for i := range e.steps {
		s := &e.steps[i]
		if s.Level != nil && !s.ClientLimited() && s.Abandoned == "" {
			e.levels[i] = s.Level.ForLength(tokens, queued(e.steps, i))
		}
	}
	e.curved, e.spreadB, e.slotsIn = nil, nil, nil
	e.bounds()
}

// bounds finds where the ladder stands.
func (e *evidence) bounds() {
	e.stopped, e.climbed, e.last, e.broken = false, 0, 0, 0
	e.crossed = nil
	for i := range e.all {
		if s := &e.all[i]; s.Phase == analysis.PhaseLadder {
			if s.Passed() {
				e.climbed = max(e.climbed, s.Concurrency)
			} else {
				e.stopped = true
			}
		}
	}
	for i := range e.steps {
		if s := &e.steps[i]; e.rung(s) && !s.Passed() && (e.broken == 0 || s.Concurrency < e.broken) {
			e.broken = s.Concurrency
		}
	}
	for i := range e.steps {
		if s := &e.steps[i]; e.rung(s) && s.Passed() && (e.broken == 0 || s.Concurrency < e.broken) {
			e.last = max(e.last, s.Concurrency)
		}
	}
	if b := e.firstBad(); b != nil && b.ClientLimited() {
		e.broken = 0 // the client failed there, not the server
	}
}

// firstBad is the smallest rung that failed, or nil.
func (e *evidence) firstBad() *analysis.Step {
	var found *analysis.Step
	for i := range e.steps {
		if s := &e.steps[i]; e.rung(s) && !s.Passed() && (found == nil || s.Concurrency < found.Concurrency) {
			found = s
		}
	}
	return found
}

// clear takes back what stopped the ladder where more runs of the same loads, taken
// together with it, break no rule: it was chance, and the ladder goes on.
func (e *evidence) clear() {
	for {
		bad := e.firstBad()
		if bad == nil || bad.ClientLimited() || bad.Concurrency <= e.last || !e.holdsTogether(bad) {
			return
		}
		stop := bad.Stop
		n := bad.Concurrency
		for i := range e.steps {
			if s := &e.steps[i]; s.Concurrency == n && !s.Passed() {
				s.Cleared, s.Stop, s.Breaches = stop, nil, []analysis.Stop{}
			}
		}
		e.look()
	}
}

// holdsTogether reports whether a step that failed has been run again, and breaks
// none of the same rules together with those runs.
func (e *evidence) holdsTogether(bad *analysis.Step) bool {
	var runs []analysis.Step
	for _, s := range e.steps {
		if s.Concurrency == bad.Concurrency && !s.ClientLimited() {
			runs = append(runs, s)
		}
	}
	if len(runs) < 2 && !e.gainAtEqualLengths(bad) {
		return false
	}
	for _, b := range bad.Breaches {
		if !e.together(b.Rule, bad.Concurrency, runs) {
			return false
		}
	}
	return true
}

// gainAtEqualLengths reports whether a single run may be cleared: of a quick step that is
// short of throughput alone. A few dozen requests whose answers happen to be long show little
// throughput, and by how much that is their lengths is known.
func (e *evidence) gainAtEqualLengths(bad *analysis.Step) bool {
	return e.pace().frugal && len(bad.Breaches) == 1 && breaks(bad, RuleGain)
}

// AtEqualLengths reports whether a step was cleared by its own run: at equal lengths of
// answers it broke no rule.
func AtEqualLengths(steps []analysis.Step, cleared *analysis.Step) bool {
	runs := 0
	for i := range steps {
		if steps[i].Concurrency == cleared.Concurrency {
			runs++
		}
	}
	return runs == 1
}

// together reports whether the runs of a load, taken together, meet a rule.
func (e *evidence) together(rule string, n int, runs []analysis.Step) bool {
	switch rule {
	case RuleSuccess:
		return e.succeedTogether(runs)
	case RuleGain:
		from, to := e.throughput(e.last), e.throughput(n)
		return from > 0 && to/from-1 >= e.ask.Rules.gainAsked(e.last, n)
	}
	for _, t := range e.timedRules() {
		if t.rule == rule {
			sum, weight := 0.0, 0.0
			for _, p := range e.points(t) {
				if p.Concurrency == float64(n) {
					v := p.SE*p.SE + p.Value*p.Value*e.between().Tau*e.between().Tau
					sum, weight = sum+p.Value/v, weight+1/v
				}
			}
			return weight > 0 && sum/weight <= t.threshold
		}
	}
	return runs[len(runs)-1].Passed()
}

// succeedTogether reports whether the runs of a load succeed often enough together. A
// run that failed was ended when it did, which makes it look worse than it was: where
// the others meet the threshold, and it differs from them by no more than chance
// would make it in one case of a thousand, it was chance (G test of two counts,
// chi-square distributed with one degree of freedom; Sokal and Rohlf, "Biometry").
func (e *evidence) succeedTogether(runs []analysis.Step) bool {
	var good, bad analysis.Successes
	meets := func(s analysis.Successes) bool {
		return float64(s.Completed) >= e.ask.Rules.MinSuccessRate*float64(s.Completed+s.Failed)
	}
	for i := range runs {
		w := &runs[i].Whole
		if breaks(&runs[i], RuleSuccess) {
			bad.Completed, bad.Failed = bad.Completed+w.Completed, bad.Failed+w.Failed
			continue
		}
		good.Completed, good.Failed = good.Completed+w.Completed, good.Failed+w.Failed
	}
	all := analysis.Successes{Completed: good.Completed + bad.Completed, Failed: good.Failed + bad.Failed}
	return meets(all) || good.Completed > 0 && meets(good) && differ(good, bad) < distuv.ChiSquared{K: 1}.Quantile(0.999)
}

// differ is the G statistic of two counts of successes and failures.
func differ(a, b analysis.Successes) float64 {
	counts := [2][2]float64{{float64(a.Completed), float64(a.Failed)}, {float64(b.Completed), float64(b.Failed)}}
	g, total := 0.0, 0.0
	var rows, columns [2]float64
	for i, row := range counts {
		for j, n := range row {
			rows[i], columns[j], total = rows[i]+n, columns[j]+n, total+n
		}
	}
	for i, row := range counts {
		for j, n := range row {
			if n > 0 {
				g += 2 * n * math.Log(n*total/(rows[i]*columns[j]))
			}
		}
	}
	return g
}

// throughput is that of all runs at a concurrency together, at equal lengths of
// answers, by Little's law; 0 where it is unknown.
func (e *evidence) throughput(n int) float64 {
	sum, requests := 0.0, 0.0
	for i, l := range e.levels {
		if l != nil && e.steps[i].Concurrency == n {
			sum += l.Mean().Residence * float64(l.Requests)
			requests += float64(l.Requests)
		}
	}
	if sum <= 0 {
		return 0
	}
	return float64(n) * requests / sum
}

// meanTokens is the mean length of an answer over all steps; 1 where unknown,
// which adjusts nothing. Of a run whose tail was cut the short answers came to their end
// rather than the long ones: there it is that of the level, which has both.
func meanTokens(steps []analysis.Step) float64 {
	tokens, requests := 0.0, 0.0
	for i := range steps {
		s := &steps[i]
		if s.Level != nil && s.Whole.Cancelled > 0 {
			tokens += s.Level.Mean().OutputTokens * float64(s.Level.Requests)
			requests += float64(s.Level.Requests)
			continue
		}
		tokens += float64(s.Whole.OutputTokens)
		requests += float64(s.Whole.Completed)
	}
	if requests == 0 {
		return 1
	}
	return tokens / requests
}

// queued is the mean time in seconds that requests of a step wait for a slot. A
// prefill grows with the concurrency at most in proportion, so what the TTFT is
// above the smallest proportion seen so far is time in a queue.
func queued(steps []analysis.Step, i int) float64 {
	n := float64(steps[i].Concurrency)
	least := math.Inf(1)
	for j := range steps {
		m := float64(steps[j].Concurrency)
		if steps[j].Level == nil || m > n {
			continue
		}
		if t := steps[j].Level.Mean().TTFT; t > 0 {
			least = min(least, t/m)
		}
	}
	if math.IsInf(least, 1) {
		return 0
	}
	return max(0, steps[i].Level.Mean().TTFT-least*n)
}

func residence(b analysis.LevelBatch) float64 { return b.Residence }

// curveSuccess is the success rate below which throughput is shaped by failures
// rather than by the concurrency.
const curveSuccess = 0.99

// telling is the level of a step at which the server did what it was asked, or nil.
func (e *evidence) telling(i int) *analysis.Level {
	if e.steps[i].Verdict().SuccessRate.Or(0) < curveSuccess {
		return nil
	}
	return e.levels[i]
}

// repeated are the times in system of all steps that tell one, in their order; of the
// others the value is 0.
func (e *evidence) repeated() []analysis.Repeated {
	out := make([]analysis.Repeated, len(e.steps))
	for i := range e.steps {
		if l := e.telling(i); l != nil {
			se, _ := l.SE(residence)
			m := l.Mean().Residence
			out[i] = analysis.Repeated{Concurrency: float64(e.steps[i].Concurrency), Value: m, SE: se.Or(m)}
		}
	}
	return out
}

// curveInputs are the points that the throughput curve is fitted to: of the steps
// that keep wants, or of all.
func (e *evidence) curveInputs(keep func(i int) bool) []analysis.CurveInput {
	var in []analysis.CurveInput
	for i := range e.steps {
		l := e.telling(i)
		if l == nil || keep != nil && !keep(i) {
			continue
		}
		se, dof := l.SE(residence)
		in = append(in, analysis.CurveInput{Concurrency: float64(e.steps[i].Concurrency), Residence: l.Mean().Residence, SE: se.Or(0), Dof: dof, Requests: l.Requests})
	}
	return in
}

// slots is how many requests the server runs at once, nil where it does not show.
func (e *evidence) slots() *analysis.SlotsSeen {
	if e.slotsIn == nil {
		e.slotsIn = []*analysis.SlotsSeen{analysis.SeeSlots(e.waiting())}
	}
	return e.slotsIn[0]
}

// waiting is what the loads say of requests that wait.
func (e *evidence) waiting() []analysis.Waiting {
	var loads []analysis.Waiting
	for i := range e.steps {
		l := e.telling(i)
		if l == nil {
			continue
		}
		m := l.Mean()
		w := analysis.Waiting{Concurrency: float64(e.steps[i].Concurrency), Residence: m.Residence, TTFT: m.TTFT, Batches: l.Batches}
		if t := e.steps[i].Server; t != nil {
			w.Running, w.Queued = t.RunningMax, t.WaitingMean
		}
		loads = append(loads, w)
	}
	return loads
}

// between is by how much runs of one load differ: by the repeats, and by how close
// the points lie to a curve where one fits.
func (e *evidence) between() analysis.Between {
	if e.spreadB == nil {
		var runs []analysis.Repeated
		for _, r := range e.repeated() {
			if r.Value > 0 {
				runs = append(runs, r)
			}
		}
		e.scatter = analysis.ScatterOf(e.curveInputs(nil), e.fitOptions(analysis.Between{}))
		b := analysis.SpreadBetween(runs, e.scatter)
		if b.Free == 0 {
			b.Tau = max(b.Tau, e.pace().unseen)
		}
		e.spreadB = &b
	}
	return *e.spreadB
}

func (e *evidence) fitOptions(b analysis.Between) analysis.FitOptions {
	return analysis.FitOptions{Gain: e.ask.Rules.MinThroughputGain, Between: b, Fewest: e.pace().loads, Slots: e.slots()}
}

// curve fits throughput over concurrency to the steps.
func (e *evidence) curve() analysis.Curve {
	if e.curved == nil {
		c := analysis.Fit(e.curveInputs(nil), e.fitOptions(e.between()))
		e.curved = &c
	}
	return *e.curved
}

// turnedAway reports whether the failures of a step were answers: refusals, not
// silence.
func turnedAway(s *analysis.Step) bool {
	refused, others := 0, 0
	for class, n := range s.Failures {
		switch class {
		case loadgen.HTTP429, loadgen.HTTP5xx, loadgen.HTTP4xx, loadgen.Denied:
			refused += n
		case loadgen.Cancelled, loadgen.ClientLimit:
		default:
			others += n
		}
	}
	return refused > others
}
