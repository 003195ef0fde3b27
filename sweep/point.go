package sweep

import (
	"fmt"
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
)

// LoadPoint is one load, as the config's load section describes it.
type LoadPoint struct {
	Concurrency int               // requests in flight at most
	Rate        float64           // requests/s; +Inf or 0: a freed slot is refilled at once
	Burstiness  float64           // of the gaps of a finite rate: 1 Poisson, +Inf constant; 0 means 1
	Requests    int               // how many; 0: as many as fit into Duration
	Duration    time.Duration     // stop issuing after this long; 0: no bound
	Traffic     *Traffic          // recorded requests, in place of all that; nil: none
	Speed       float64           // of the traffic, as a factor on its own
	Speedup     Speedup           // how the traffic becomes that much more
	Goodput     *analysis.Goodput // what a request must meet to count as good; nil: no goodput
}

func (p LoadPoint) order(phase analysis.Phase) *Order {
	o := &Order{Concurrency: p.Concurrency, Requests: p.Requests, Duration: p.Duration, Burstiness: p.Burstiness, Phase: phase, Goodput: p.Goodput, Partial: true}
	o.Abandon = Abandon{Never: true, Allowed: -1}
	if p.Rate > 0 && !math.IsInf(p.Rate, 1) {
		o.Rate = p.Rate
	}
	if p.Traffic != nil {
		o.follow(p.Traffic, p.Speed, p.Speedup)
	}
	return o
}

// SinglePoint is one load, held against the rules. That on throughput gain has
// nothing to compare with and does not apply.
type SinglePoint struct {
	Load  LoadPoint
	Rules StopRules
}

// Next is the load, then the answer. Interrupted, it holds what was measured until
// then.
func (p SinglePoint) Next(h History) (*Order, Answer) {
	if h.End == nil && len(h.Steps) == 0 {
		o := p.Load.order(analysis.PhasePoint)
		o.Rules = p.Rules
		return o, Answer{}
	}
	a := Answer{Steps: h.Steps, Warnings: remarks(h.Steps, h.Crashes, p.Rules)}
	if len(h.Steps) == 0 {
		a.Verdict, a.Sentence = Interrupted, "interrupted before the load point was finished"
		return nil, a
	}
	step := &h.Steps[len(h.Steps)-1]
	a.Verdict, a.Sentence = verdictOf(step), stepWords(step)
	if !h.complete() {
		a.Verdict = Interrupted
	}
	return nil, a
}

// verdictOf is the verdict on a single step.
func verdictOf(step *analysis.Step) Verdict {
	switch {
	case step.ClientLimited():
		return ClientLimited
	case step.Passed() && step.Whole.Completed > 0: // of nothing every figure is unknown, and breaks no rule
		return Met
	}
	return NotMet
}

// stepWords is a step in one line.
func stepWords(step *analysis.Step) string {
	v := step.Verdict()
	what := fmt.Sprintf("%d requests in flight", step.Concurrency)
	if step.Speed.IsKnown() {
		what = recordedAt(step)
	} else if rate, ok := step.RequestRate.Value(); ok {
		what = fmt.Sprintf("%s req/s with at most %d in flight", figure(rate), step.Concurrency)
	}
	words := fmt.Sprintf("%s: %s success, %s req/s", what, percentOr(v.SuccessRate), v.RequestThroughput.Format(2))
	if t, ok := v.TTFT.Mean.Value(); ok {
		words += fmt.Sprintf(", mean TTFT %s", millis(t))
	} else if t, ok := v.E2E.Mean.Value(); ok {
		words += fmt.Sprintf(", mean E2E %s", millis(t))
	}
	if step.ClientLimited() {
		return words + "; limited by the client: " + step.Client.Limits[0]
	}
	if step.Stop != nil {
		return words + "; " + step.Stop.Sentence
	}
	return words
}

func percentOr(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return "n/a"
	}
	return percent(v)
}
