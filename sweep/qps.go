package sweep

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// QPSConfig is the guide's second method: how many requests in flight a rate
// needs.
type QPSConfig struct {
	Rate        float64 // target, requests/s
	Burstiness  float64 // of the arrivals; 0 means 1: Poisson
	Share       float64 // of the target that must be reached; 0 means the guide's 0.95
	Concurrency Steps   // tried one after the other; nil: the guide's 10 20 50 100 200
	Requests    int     // per step; 0 means the guide's 1000
}

func (q QPSConfig) withDefaults() QPSConfig {
	if q.Share == 0 {
		q.Share = 0.95
	}
	if q.Requests == 0 {
		q.Requests = 1000
	}
	if len(q.Concurrency) == 0 {
		q.Concurrency = Steps{10, 20, 50, 100, 200}
	}
	return q
}

// QPSAnswer is the smallest concurrency that holds a rate.
type QPSAnswer struct {
	Target      float64         `json:"target"`       // requests/s
	Share       float64         `json:"share"`        // of it that must be reached
	Reached     bool            `json:"reached"`      // some step held the rate
	FirstHit    analysis.Number `json:"first_hit"`    // the first step that held it
	LastMiss    analysis.Number `json:"last_miss"`    // the last that did not
	Concurrency analysis.Number `json:"concurrency"`  // the smallest that holds it
	Low         analysis.Number `json:"low"`          // of its interval, or of the bracket of steps
	High        analysis.Number `json:"high"`         // likewise
	Confidence  analysis.Number `json:"confidence"`   // null where low and high are only a bracket
	FullTarget  analysis.Number `json:"full_target"`  // for all of the target, by Little's law: rate x response time
	HighestRate analysis.Number `json:"highest_rate"` // requests/s that were reached
	Why         string          `json:"why"`          // where the target was not reached
}

// FindConcurrency finds the smallest concurrency that holds a request rate: the
// guide's steps until one reaches its share of the target, then exactly between the
// last miss and the first hit.
//
// With too few slots the server is as full as the slots allow, whatever the
// rate: a step below the answer is a closed loop. That is why the exact part
// measures closed loops, whose throughput does not carry the luck of the
// arrivals, and turns them into the answer by Little's law: C = share x rate x R.
type FindConcurrency struct {
	Target QPSConfig
	Rules  StopRules
	Exact  bool // search between the steps
}

// Next tries the steps one after the other and then closes in on the answer.
func (f FindConcurrency) Next(h History) (*Order, Answer) {
	q := f.Target.withDefaults()
	a := &QPSAnswer{Target: q.Rate, Share: q.Share}
	o := f.ladder(h.Steps, q, a)
	if o == nil && a.Reached && f.Exact {
		o = f.closeIn(h.Steps, q, a)
	}
	if o != nil && h.End == nil {
		return o, Answer{}
	}
	out := Answer{Steps: h.Steps, QPS: a, Warnings: remarks(h.Steps, h.Crashes, f.Rules)}
	out.Verdict, out.Sentence = a.conclude(h)
	return nil, out
}

// onlySuccess are the rules that a step at a given rate is judged by: what else
// it does is for the report to show, not what was asked.
func onlySuccess(rules StopRules) StopRules {
	return StopRules{MinSuccessRate: rules.MinSuccessRate, TTFTStatistic: rules.TTFTStatistic}
}

// order is one of its loads.
func (f FindConcurrency) order(n, requests int, phase analysis.Phase) *Order {
	return &Order{Concurrency: n, Requests: requests, Phase: phase, Rules: onlySuccess(f.Rules), Abandon: Abandon{Allowed: allowedFailures(f.Rules, requests)}}
}

// ladder reads the steps made so far into the answer and returns the next one, if
// any.
func (f FindConcurrency) ladder(steps []analysis.Step, q QPSConfig, a *QPSAnswer) *Order {
	for i, n := range q.Concurrency {
		if i >= len(steps) {
			o := f.order(n, q.Requests, analysis.PhaseLadder)
			o.Rate, o.Burstiness = q.Rate, q.Burstiness
			return o
		}
		step := &steps[i]
		if !step.Passed() {
			a.Why = step.Stop.Sentence
			return nil
		}
		if step.ClientLimited() {
			a.Why = "the client was the limit: " + step.Client.Limits[0]
			return nil
		}
		reached, _ := reachedRate(step)
		a.HighestRate = loadgen.Known(max(reached, a.HighestRate.Or(0)))
		if holdsRate(step, q) {
			a.Reached, a.FirstHit = true, loadgen.Known(float64(n))
			return nil
		}
		a.LastMiss = loadgen.Known(float64(n))
	}
	return nil
}

// reachedRate is the throughput of a step, in steady state where it has one: the
// last answers come after the last arrival, and over the whole run they make 1000
// requests at 20/s look like 19.2/s.
func reachedRate(step *analysis.Step) (float64, bool) {
	sum := &step.Whole
	if step.Steady != nil {
		sum = step.Steady
	}
	return sum.RequestThroughput.Value()
}

// holdsRate reports whether a step reached the wanted share of the target. The
// arrivals of 1000 requests at random are 3 % too quick or too slow by luck,
// which the server has no part in: where requests hardly waited for a slot, the
// rate that was offered was reached, whatever it came to.
func holdsRate(step *analysis.Step, q QPSConfig) bool {
	x, ok := reachedRate(step)
	if !ok {
		return false
	}
	return x >= q.Share*q.Rate || slotsToSpare(step)
}

// slotsToSpare reports whether the cap on requests in flight hardly ever bound:
// at the cap the mean in flight is the cap itself. Only a steady state can tell: a
// few requests that all come before the first is answered need no slot twice.
func slotsToSpare(step *analysis.Step) bool {
	sum := step.Steady
	if sum == nil {
		return false
	}
	n, ok := sum.MeanInFlight.Value()
	return ok && n <= 0.95*float64(step.Concurrency) && waitShare(sum) < 0.05
}

// waitShare is the part of the time since the intended start that a request
// waited for a slot.
func waitShare(sum *analysis.Summary) float64 {
	whole, ok := sum.E2EIntended.Mean.Value()
	served, okServed := sum.E2E.Mean.Value()
	if !ok || !okServed || whole <= 0 {
		return 1
	}
	return max(0, whole-served) / whole
}

const maxQPSProbes = 4

// closeIn measures closed loops around the answer, which Little's law gives from
// each: the concurrency at which a throughput is reached is that throughput times
// the response time there. It reads those made so far and returns the next, if any.
func (f FindConcurrency) closeIn(steps []analysis.Step, q QPSConfig, a *QPSAnswer) *Order {
	want := q.Share * q.Rate
	guess := 0.0
	for i := range steps {
		if steps[i].Phase == analysis.PhaseLadder {
			guess = want * steps[i].Verdict().MeanResidenceSeconds.Or(0)
		}
	}
	for range maxQPSProbes {
		n := max(1, int(math.Round(guess)))
		if float64(n) > a.FirstHit.Or(0) {
			n = int(a.FirstHit.Or(0))
		}
		i := slices.IndexFunc(steps, func(s analysis.Step) bool { return s.Concurrency == n && !s.RequestRate.IsKnown() })
		if i < 0 {
			o := f.order(n, max(8*n, 4*leastProbe), analysis.PhaseProbe)
			o.Purpose, o.Why = "rate", "a closed loop where the rate seems to be reached"
			return o
		}
		at, low, high, ok := concurrencyFor(steps, i, want)
		if !ok {
			return nil
		}
		a.setExact(at, low, high)
		// A mean in flight, as Little's law gives it, to the nearest whole: a
		// thousandth of response time over the round figure is no request more.
		a.FullTarget = loadgen.Known(math.Round(at / q.Share))
		if math.Abs(at-float64(n)) <= (Config{}).near(at) {
			return nil
		}
		guess = at
	}
	return nil
}

// concurrencyFor is the concurrency that gives a throughput, with a 95 % interval,
// from the closed loop of a step: N = X R. What runs of one load differ by is part of
// it.
func concurrencyFor(steps []analysis.Step, i int, throughput float64) (at, low, high float64, ok bool) {
	s := &steps[i]
	if s.Level == nil || s.ClientLimited() || s.Abandoned != "" {
		return 0, 0, 0, false
	}
	l := s.Level.ForLength(meanTokens(steps), queued(steps, i))
	r := l.Mean().Residence
	se, dof := l.SE(residence)
	half := throughput * distuv.StudentsT{Sigma: 1, Nu: max(1, dof)}.Quantile(0.975) * max(se.Or(r), 0.002*r)
	at = throughput * r
	return at, at - half, at + half, true
}

// setExact rounds up to whole requests: the smallest concurrency that reaches a
// rate is the next whole one.
func (a *QPSAnswer) setExact(at, low, high float64) {
	up := func(v float64) analysis.Number { return loadgen.Known(max(1, math.Ceil(v-1e-6))) }
	a.Concurrency, a.Low, a.High, a.Confidence = up(at), up(low), up(high), loadgen.Known(0.95)
}

// conclude is the verdict and the answer in one line.
func (a *QPSAnswer) conclude(h History) (Verdict, string) {
	if !h.complete() {
		return Interrupted, "interrupted before the rate was reached"
	}
	if a.Reached {
		if !a.Concurrency.IsKnown() {
			a.Concurrency, a.Low, a.High = a.FirstHit, a.LastMiss, a.FirstHit
		}
		return Met, a.words()
	}
	if a.Why == "" {
		a.Why = whyNotReached(h.Steps)
	}
	if slices.ContainsFunc(h.Steps, func(s analysis.Step) bool { return s.ClientLimited() }) {
		return ClientLimited, a.missed()
	}
	return NotMet, a.missed()
}

// missed says that the rate was not reached; no step may have told what was.
func (a *QPSAnswer) missed() string {
	if !a.HighestRate.IsKnown() {
		return fmt.Sprintf("whether %s req/s can be reached was not seen: %s", figure(a.Target), a.Why)
	}
	return fmt.Sprintf("%s req/s was not reached: the highest rate was %s req/s; %s", figure(a.Target), a.HighestRate.Format(2), a.Why)
}

func (a *QPSAnswer) words() string {
	need := figure(a.Share * a.Target)
	if !a.Confidence.IsKnown() {
		if a.LastMiss.IsKnown() {
			return fmt.Sprintf("%.0f requests in flight hold %s req/s (%s of %s), %.0f do not", a.FirstHit.Or(0), need, percent(a.Share), figure(a.Target), a.LastMiss.Or(0))
		}
		return fmt.Sprintf("%.0f requests in flight, the first step, hold %s req/s (%s of %s) already", a.FirstHit.Or(0), need, percent(a.Share), figure(a.Target))
	}
	return fmt.Sprintf("%.0f requests in flight (95 %% CI %.0f-%.0f) hold %s req/s, %s of %s; all of it takes %.0f (rate x response time)",
		a.Concurrency.Or(0), a.Low.Or(0), a.High.Or(0), need, percent(a.Share), figure(a.Target), a.FullTarget.Or(0))
}

// whyNotReached says what kept the rate down: too few steps, or a server that is
// full.
func whyNotReached(steps []analysis.Step) string {
	if len(steps) == 0 {
		return "no step was run"
	}
	last := &steps[len(steps)-1]
	x, _ := reachedRate(last)
	if len(steps) < 2 {
		return fmt.Sprintf("at %d requests in flight, the only step, response times of %s allow no more: try more in flight",
			last.Concurrency, millis(last.Verdict().MeanResidenceSeconds.Or(0)))
	}
	before := &steps[len(steps)-2]
	y, _ := reachedRate(before)
	if x < 1.05*y {
		return fmt.Sprintf("the server is full: from %d to %d requests in flight its throughput went from %s to %s req/s",
			before.Concurrency, last.Concurrency, figure(y), figure(x))
	}
	return fmt.Sprintf("throughput still grew from %s to %s req/s between %d and %d requests in flight: try more in flight",
		figure(y), figure(x), before.Concurrency, last.Concurrency)
}
