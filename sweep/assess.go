package sweep

import "github.com/capfind/capfind/analysis"

// Assess answers from steps that were measured elsewhere: it judges every step
// by the rules, takes those up to the first that breaks one for the ladder, and
// fills in ladder, peak, efficiency, limits, recommendation, verdict and
// sentence. The steps must rise in concurrency. Steps beyond the first failing one
// are kept as single points: a ladder would have stopped before them.
func Assess(r *Result, rules StopRules, band analysis.Band) {
	s := &session{Controller: &Controller{Stop: rules, Band: band}, r: r, fits: map[int]analysis.Curve{}}
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
	r.Ladder, r.Peak, r.Efficiency = ladderOf(r.Steps), analysis.PeakOf(r.Steps), analysis.EfficiencyOf(r.Steps)
	r.Complete = true
	r.Limits = nil
	s.answer()
	s.remarks()
	curve := s.curve()
	r.Curve = &curve
}
