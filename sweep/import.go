package sweep

import "github.com/capfind/capfind/analysis"

// Assess answers from steps that were measured elsewhere: it judges every step
// by the rules, takes those up to the first that breaks one for the ladder, and
// says what follows from them. The steps must rise in concurrency. Steps beyond the
// first failing one are kept as single points: a ladder would have stopped before
// them.
func Assess(r *Result, rules StopRules, band analysis.Band) {
	var passed []analysis.Step
	phase := analysis.PhaseLadder
	for i := range r.Steps {
		step := &r.Steps[i]
		step.Phase, step.Stop = phase, nil
		step.Breaches = Judge(passed, step, rules)
		if len(step.Breaches) > 0 {
			step.Stop = &step.Breaches[0]
			phase = analysis.PhasePoint
			continue
		}
		passed = append(passed, *step)
	}
	q := FindLimit{Rules: rules, Band: band}
	h := History{Steps: r.Steps, Server: r.Target.Server}
	e := q.read(h)
	r.Answer, r.Complete = e.answer(h), true
	curve := e.curve()
	r.Curve = &curve
}
