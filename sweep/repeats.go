package sweep

import (
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
)

// Bounds on the repeats that show by how much runs of one load differ.
const (
	suspectRepeats = 2 // of a step that was not what it had been
	ladderRepeats  = 4 // steps of the ladder
	wideRepeats    = 14
	uneven         = 0.02 // spread between runs from which it is worth more repeats
)

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
	if _, died := e.diedAt(); died && e.pace().frugal {
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
	if done < e.pace().repeats || e.between().Tau > uneven && e.affordable() {
		if n := e.unrepeated(); n > 0 && done <= suspectRepeats+ladderRepeats {
			return e.rerun(n, 5, nil, purposeRepeat, "a step of the ladder again: is the server still the same?")
		}
	}
	at, low, high := l.Concurrency.Or(0), l.Low.Or(0), l.High.Or(math.Inf(1))
	if (high-low)/2 <= 2*e.near(at) || !e.between().Restless() && l.Confidence.IsKnown() || done >= wideRepeats || !e.affordable() || e.ceiling() < 1 {
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
