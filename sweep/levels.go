package sweep

import (
	"math"

	"github.com/capfind/capfind/analysis"
)

// meanTokens is the mean length of an answer over all steps; 1 where unknown,
// which adjusts nothing.
func meanTokens(steps []analysis.Step) float64 {
	tokens, requests := 0.0, 0.0
	for i := range steps {
		tokens += float64(steps[i].Whole.OutputTokens)
		requests += float64(steps[i].Whole.Completed)
	}
	if requests == 0 {
		return 1
	}
	return tokens / requests
}

// level is a step's level at the mean length of all steps; nil where the step
// has none or its figures are not the server's own.
func level(steps []analysis.Step, i int) *analysis.Level {
	step := &steps[i]
	if step.Level == nil || step.ClientLimited() || step.Abandoned != "" {
		return nil
	}
	return step.Level.ForLength(meanTokens(steps), queued(steps, i))
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

// superseded reports whether a step of the ladder was run again later to see
// whether it was typical: the later run then stands for both.
func superseded(steps []analysis.Step, i int) bool {
	if steps[i].Phase != analysis.PhaseLadder {
		return false
	}
	for j := i + 1; j < len(steps); j++ {
		if steps[j].Phase == analysis.PhaseConfirm && steps[j].Concurrency == steps[i].Concurrency && level(steps, j) != nil &&
			steps[j].Level.Requests >= steps[i].Level.Requests/3 {
			return true
		}
	}
	return false
}

// curveInputs are the points that the throughput curve is fitted to: every step
// at which the server did what it was asked.
func curveInputs(steps []analysis.Step, minSuccess float64) []analysis.CurveInput {
	var in []analysis.CurveInput
	for i := range steps {
		l := level(steps, i)
		if l == nil || steps[i].Verdict().SuccessRate.Or(0) < minSuccess || superseded(steps, i) {
			continue
		}
		residence := func(b analysis.LevelBatch) float64 { return b.Residence }
		se, _ := l.SE(residence)
		p := analysis.CurveInput{
			Concurrency: float64(steps[i].Concurrency), Residence: l.Mean().Residence, SE: se.Or(0), Requests: l.Requests,
		}
		for _, b := range l.Batches {
			p.Batches = append(p.Batches, b.Residence)
		}
		in = append(in, p)
	}
	return in
}
