package sweep

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// confirm runs the ladder's failing step once more where nothing that was
// measured since failed in the same way: a passing trouble (a neighbour on the
// same machine, say) must not become a limit.
func (h *hunt) confirm(ctx context.Context) error {
	bad := firstBad(h.r.Steps)
	if bad == nil || h.seenAgain(bad) {
		return nil
	}
	step, err := h.rerun(ctx, bad.Concurrency, h.waves(), h.passedSteps(), "the step that stopped the ladder, which nothing since has confirmed")
	if err != nil || step == nil {
		return err
	}
	if len(bad.Breaches) == 1 && breaks(bad, RuleGain) {
		return h.confirmGain(ctx, bad)
	}
	for _, rule := range bad.Breaches {
		if breaks(step, rule.Rule) {
			return nil
		}
	}
	if failedByChance(bad, step) {
		return h.clear(fmt.Sprintf("with %d more requests it is %s", step.Whole.Completed+step.Whole.Failed, percentOr(step.Whole.SuccessRate)))
	}
	h.doubt("the ladder stopped at %d (%s), but the same step later passed", bad.Concurrency, bad.Stop.Sentence)
	return nil
}

// seenAgain reports whether any of the rules that the step broke was broken
// again later, or the knee that it speaks of was found.
func (h *hunt) seenAgain(bad *analysis.Step) bool {
	limits := h.limits()
	for _, b := range bad.Breaches {
		if b.Rule == RuleGain && limits[RuleGain].Confidence.IsKnown() {
			return true
		}
		for i := range h.r.Steps {
			if s := &h.r.Steps[i]; s.Phase != analysis.PhaseLadder && breaks(s, b.Rule) {
				return true
			}
		}
	}
	return false
}

// rerun measures a concurrency of the ladder once more. prev is what its gain is
// taken over; nil where only its level is wanted, for a gain over a step of few
// requests is itself a matter of chance.
func (h *hunt) rerun(ctx context.Context, n int, waves float64, prev []analysis.Step, why string) (*analysis.Step, error) {
	requests := max(int(math.Ceil(waves*float64(n))), leastProbe)
	h.note("%d requests in flight, %d requests: %s", n, requests, why)
	step, err := h.measure(ctx, order{
		concurrency: n, requests: requests, phase: analysis.PhaseConfirm, prev: prev,
	})
	if err != nil {
		return nil, err
	}
	return &step, nil
}

// drift repeats a step from the middle of the ladder where a limit is about to
// be claimed: if the server is not the one it was, the steps do not belong
// together.
func (h *hunt) drift(ctx context.Context) error {
	if binding(h.limits()) == nil {
		return nil
	}
	i := h.middle()
	if i < 0 {
		return nil
	}
	if _, err := h.rerun(ctx, h.r.Steps[i].Concurrency, 5, nil, "a step of the ladder again: is the server still the same?"); err != nil {
		return err
	}
	return nil
}

// shifts compares every repeated step of the ladder with what it was. The
// ladder's very first requests are let off: a server that was still warming up
// then has not changed since.
func (h *hunt) shifts() {
	before := 0
	for i := range h.r.Steps {
		a := &h.r.Steps[i]
		if a.Phase != analysis.PhaseLadder || !a.Passed() {
			continue
		}
		before += a.Whole.Completed + a.Whole.Failed
		for j := range h.r.Steps {
			b := &h.r.Steps[j]
			if b.Phase != analysis.PhaseConfirm || b.Concurrency != a.Concurrency {
				continue
			}
			// The times of a client at its limit are its own: they show neither that the
			// server changed nor that it did not.
			if a.ClientLimited() || b.ClientLimited() {
				h.warn("the step at %d requests in flight was limited by this client when it was run again, so whether the server was still the same is not known: give the client more CPU", a.Concurrency)
				continue
			}
			text, drifting := h.shift(i, j)
			switch {
			case drifting && before <= warmingUp:
				h.warn("%s: the first requests met a server that was still warming up", text)
			case drifting:
				h.doubt("%s", text)
			}
		}
	}
}

// warmingUp is how many requests at the start of a sweep may have met a cold
// server.
const warmingUp = 200

// middle is the index of the ladder's step to repeat: the one nearest to 20
// requests in flight, large enough to tell and small enough to be cheap.
func (h *hunt) middle() int {
	best, distance := -1, math.Inf(1)
	for i := range h.r.Steps {
		s := &h.r.Steps[i]
		if s.Phase != analysis.PhaseLadder || !s.Passed() || s.Level == nil {
			continue
		}
		if d := math.Abs(math.Log(float64(s.Concurrency) / 20)); d < distance {
			best, distance = i, d
		}
	}
	return best
}

// driftGate is the shift of the mean time in system that counts as a change.
const driftGate = 0.05

// shift compares two steps of one concurrency: whether the mean time in system
// differs by more than 5 % and 2 standard errors.
func (h *hunt) shift(i, j int) (text string, drifting bool) {
	a, b := level(h.r.Steps, i), level(h.r.Steps, j)
	n := h.r.Steps[i].Concurrency
	if a == nil || b == nil {
		return fmt.Sprintf("at %d requests in flight the server no longer does what it did", n), b == nil
	}
	residence := func(x analysis.LevelBatch) float64 { return x.Residence }
	before, after := a.Mean().Residence, b.Mean().Residence
	seA, dofA := a.SE(residence)
	seB, dofB := b.SE(residence)
	se := math.Hypot(seA.Or(before), seB.Or(after))
	change := after/before - 1
	drifting = math.Abs(change) > driftGate && math.Abs(after-before) > max(2, studentT(dofA+dofB))*se
	return fmt.Sprintf("at %d requests in flight the mean response time was %s in the ladder and %s at the end (%s)",
		n, millis(before), millis(after), signedPercent(change)), drifting
}

// studentT is the two-sided 95 % quantile of Student's t.
func studentT(dof float64) float64 {
	return distuv.StudentsT{Sigma: 1, Nu: max(1, dof)}.Quantile(0.975)
}

// disorder looks for steps that contradict each other: with more requests in
// flight none of the times may fall.
func (h *hunt) disorder() {
	var residence, ttft []analysis.CrossingPoint
	for i := range h.r.Steps {
		l := level(h.r.Steps, i)
		if l == nil || breaks(&h.r.Steps[i], RuleSuccess) || l.Requests < leastOrdered {
			continue
		}
		n := float64(h.r.Steps[i].Concurrency)
		m := l.Mean()
		seR, dof := l.SE(func(b analysis.LevelBatch) float64 { return b.Residence })
		seT, _ := l.SE(func(b analysis.LevelBatch) float64 { return b.TTFT })
		residence = append(residence, analysis.CrossingPoint{Concurrency: n, Value: m.Residence, SE: seR.Or(m.Residence), Dof: dof})
		ttft = append(ttft, analysis.CrossingPoint{Concurrency: n, Value: m.TTFT, SE: seT.Or(m.TTFT), Dof: dof})
	}
	for _, v := range analysis.Violations(residence) {
		h.doubt("response times do not grow with the concurrency: %v", v)
	}
	for _, v := range analysis.Violations(ttft) {
		h.doubt("TTFT does not grow with the concurrency: %v", v)
	}
}

// noCurve doubts a server whose throughputs no curve goes near. Small lumps, such
// as batch sizes that a server is tuned for, are no reason for doubt.
func (h *hunt) noCurve() {
	c := h.curve()
	if chi2 := c.Chi2PerDof.Or(0); misfit(&c) && chi2 > wildMisfit {
		h.doubt("no curve comes near the throughputs of the steps (chi2/dof %.0f): they seem to be those of different servers", chi2)
	}
}

// wildMisfit is the chi2 per degree of freedom of points that miss the best curve
// by about 3.5 % where their errors are at their floor of 0.5 %.
const wildMisfit = 50

// leastOrdered is how many requests a step must rest on to speak against others.
const leastOrdered = 20

// limits are the criteria's limits as the steps so far give them.
func (h *hunt) limits() map[string]analysis.Limit {
	out := map[string]analysis.Limit{}
	for _, rule := range h.criteria() {
		out[rule] = bracket(rule, h.r.Steps)
	}
	if h.Stop.MinSuccessRate > 0 && out[RuleSuccess].Reached() {
		out[RuleSuccess] = h.successLimit(out[RuleSuccess])
	}
	for _, t := range h.timedRules() {
		exact := analysis.LatencyLimit(h.points(t), t.threshold, t.rule)
		if exact.Confidence.IsKnown() {
			out[t.rule] = exact
		}
	}
	if h.Stop.MinThroughputGain > 0 {
		out[RuleGain] = h.gainLimit(out[RuleGain])
	}
	return out
}

// successLimit is exact where the bracket has closed around a cliff. Under a rate
// limiter, whether one probe passes is a matter of its length and luck: what was
// served while others were turned away is the better estimate.
func (h *hunt) successLimit(l analysis.Limit) analysis.Limit {
	good, bad := h.successBracket()
	if !h.gradual() && h.closed(good, bad) {
		at, low, high := float64(good), float64(good), float64(bad-1)
		note := fmt.Sprintf("a cliff: held at %d, broken at %d", good, bad)
		if served, ok := h.served(); ok && h.rateLimited() && math.Abs(served-at) < 0.1*at {
			at = math.Floor(served)
			luck := h.burstLuck(at)
			low, high = min(low, at)-luck, max(high, math.Ceil(served), at+luck)
			note += "; a rate limiter lets bursts pass and stops others, so that one more or less makes no difference in the long run"
		}
		return analysis.Limit{Concurrency: loadgen.Known(at), Low: loadgen.Known(low), High: loadgen.Known(high),
			Confidence: loadgen.Known(0.95), BoundBy: RuleSuccess, Note: note}
	}
	exact := analysis.SuccessLimit(h.successes(), h.Stop.MinSuccessRate)
	if exact.Confidence.IsKnown() {
		if h.gradual() {
			exact.Note = h.slopeNote(&exact)
		}
		return exact
	}
	if h.gradual() {
		// A single step that passed or failed says little on a slope.
		from, to := exact.Low.Or(float64(h.last)), exact.High.Or(float64(h.broken))
		l.Concurrency, l.Low, l.High = loadgen.Known(from), loadgen.Known(from), loadgen.Known(to)
	}
	l.Note = exact.Note
	return l
}

// slopeNote says why an interval stayed wide, and what a narrow one would take:
// each halving of the interval takes four times as many requests.
func (h *hunt) slopeNote(l *analysis.Limit) string {
	half := (l.High.Or(math.Inf(1)) - l.Low.Or(0)) / 2
	want := near(l.Concurrency.Or(0))
	spent := float64(h.searchSpent().Requests)
	if half <= want || math.IsInf(half, 1) || spent == 0 {
		return ""
	}
	more := spent * half * half / want / want
	return fmt.Sprintf("the success rate falls slowly with the load, which %.0f requests tell to within %.0f; to within %.0f would take about %s (sweep.search_requests)",
		spent, math.Ceil(half), math.Ceil(want), roundUp(more))
}

// roundUp writes a number with two digits, upwards.
func roundUp(v float64) string {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return fmt.Sprintf("%.0f", math.Ceil(v/unit)*unit)
}

// burstLuck is by how many requests in flight a probe of a few hundred may be wrong
// about a rate limiter: answers of random lengths end, and make room for the next
// request, in bursts of about the root of their number, and half of such a burst
// decides whether the bucket runs empty. Counted on a simulated one with a limit of
// 28 at c = 1: of a hundred answers ninety lay from 25 to 29.
func (h *hunt) burstLuck(at float64) float64 {
	return max(1, math.Round(h.spread()*math.Sqrt(at)/2))
}

// rateLimited reports whether requests failed by being too many a second.
func (h *hunt) rateLimited() bool {
	limited, others := 0, 0
	for i := range h.r.Steps {
		for class, n := range h.r.Steps[i].Failures {
			switch {
			case class == loadgen.HTTP429:
				limited += n
			case class.ServerFailure():
				others += n
			}
		}
	}
	return limited > others && !h.queues()
}

// queues reports whether requests wait for others before they are served: a server
// that says 429 then does so because its queue is full, not because of a rate.
func (h *hunt) queues() bool {
	for i := range h.r.Steps {
		if l := h.r.Steps[i].Level; l != nil && queued(h.r.Steps, i) > waitsNoticeably*l.Mean().Residence {
			return true
		}
	}
	return false
}

// waitsNoticeably is the share of the time in system spent waiting for a slot that
// is more than a prefill's own ups and downs.
const waitsNoticeably = 0.1

// gainLimit is the knee of the fitted curve where one is claimed. Where no model
// is trusted the steps themselves bracket it.
func (h *hunt) gainLimit(l analysis.Limit) analysis.Limit {
	c := h.curve()
	exact := analysis.GainLimit(c)
	if exact.Confidence.IsKnown() {
		return exact
	}
	if misfit(&c) || l.Reached() {
		if low, high, ok := h.kneeBracket(); ok {
			l = analysis.Limit{Concurrency: loadgen.Known(low), Low: loadgen.Known(low), High: loadgen.Known(high), BoundBy: RuleGain}
		}
		if l.Reached() {
			l.Note = "cannot be resolved further: " + exact.Note
			return l
		}
	}
	return exact
}

// conclude writes down what the search found. err says what ended it early, if
// anything did.
func (h *hunt) conclude(err error) {
	h.r.Limits = h.limits()
	h.shifts()
	h.disorder()
	h.noCurve()
	h.restless()
	h.turns()
	found := h.r.Search
	spent := h.searchSpent()
	found.Requests, found.Tokens = spent.Requests, spent.Tokens
	found.Seconds = h.searchSeconds()
	found.Drift = len(h.doubts) > 0
	l := binding(h.r.Limits)
	found.Confirmed = err == nil && l != nil && l.Confidence.IsKnown() && !found.Drift
	if err != nil {
		h.note("ended early: %v; what is still only bracketed would need more", err)
	}
	found.Doubts = h.doubts
}

// searchSeconds is the time that the search's steps took, without the pauses
// between them. The moments at which they began say nothing of it: a run may be
// resumed the next day, and the wall clock be set in between.
func (h *hunt) searchSeconds() float64 {
	sum := 0.0
	for i := range h.r.Steps {
		if s := &h.r.Steps[i]; s.Phase != analysis.PhaseLadder {
			sum += s.Whole.DurationSeconds.Or(0)
		}
	}
	return sum
}
