package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// LoadPoint is one load, as the config's load section describes it.
type LoadPoint struct {
	Concurrency int               // requests in flight at most
	Rate        float64           // requests/s; +Inf or 0: a freed slot is refilled at once
	Burstiness  float64           // of the gaps of a finite rate: 1 Poisson, +Inf constant; 0 means 1
	Requests    int               // how many; 0: as many as fit into Duration
	Duration    time.Duration     // stop issuing after this long; 0: no bound
	Goodput     *analysis.Goodput // what a request must meet to count as good; nil: no goodput
}

func (p LoadPoint) order(phase analysis.Phase) order {
	o := order{concurrency: p.Concurrency, requests: p.Requests, duration: p.Duration, burstiness: p.Burstiness, phase: phase, goodput: p.Goodput}
	if p.Rate > 0 && !math.IsInf(p.Rate, 1) {
		o.rate = p.Rate
	}
	return o
}

// Point runs one load point and holds it against the stop rules: Met or NotMet.
// The rule on throughput gain has nothing to compare with and does not apply.
// Interrupted, the result holds what was measured until then, and is marked
// incomplete.
func (c *Controller) Point(ctx context.Context, p LoadPoint) (*Result, error) {
	s := c.begin("run")
	o := p.order(analysis.PhasePoint)
	o.partial = true
	o.lost = func(*loadgen.Sample) bool { return false }
	_, err := s.measure(ctx, o)
	return s.close(err, s.pointAnswer)
}

// pointAnswer sums up a single load point.
func (s *session) pointAnswer() {
	r := s.r
	if len(r.Steps) == 0 {
		r.Verdict, r.Sentence = Interrupted, "interrupted before the load point was finished"
		return
	}
	step := &r.Steps[len(r.Steps)-1]
	r.Verdict, r.Sentence = verdictOf(step), stepWords(step)
	if !r.Complete {
		r.Verdict = Interrupted
	}
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
	if rate, ok := step.RequestRate.Value(); ok {
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

// close ends a question: answer works out the verdict and the answer in one line
// from what was measured. The endings that are findings and not failures turn
// into a nil error.
func (s *session) close(err error, answer func()) (*Result, error) {
	s.account()
	s.soFar()
	var lost *StoreError
	if errors.As(err, &lost) {
		// What is on disk stays as it is: a result that speaks of a step whose samples
		// were not stored could not be gone on with.
		return s.r, lost
	}
	var budget *budgetError
	switch {
	case errors.Is(err, errInterrupted):
		err = nil
	case errors.As(err, &budget), errors.Is(err, errServerGone):
		s.r.Complete = true
		s.warn("ended early: %v", err)
		err = nil
	case err == nil:
		s.r.Complete = true
	}
	answer()
	s.remarks()
	now := s.mark.UTC()
	s.r.FinishedAt = &now
	return s.r, errors.Join(err, s.save())
}
