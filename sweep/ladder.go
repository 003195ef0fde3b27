package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

const commandSweep = "sweep"

// Sweep finds the limit: the guide's ladder and then, unless Config.Exact is
// false, the exact search between its steps.
//
// An interruption, a used-up budget and a server that went away end it early:
// the result then says what was found until then and why it ended, and the error
// is nil. The error is for what cannot be measured or stored at all; the result
// beside it is still what was found so far.
func (c *Controller) Sweep(ctx context.Context) (*Result, error) {
	s := c.begin(commandSweep)
	err := s.ladder(ctx)
	for err == nil && c.Config.Exact {
		if err = s.search(ctx); !errors.Is(err, errCleared) {
			break
		}
		err = s.ladder(ctx)
	}
	return s.close(err, s.answer)
}

// ladder climbs the configured steps, from where it left off, until one of them
// breaks a rule.
func (s *session) ladder(ctx context.Context) error {
	passed := s.passedSteps()
	top := 0
	if len(passed) > 0 {
		top = passed[len(passed)-1].Concurrency
	}
	for _, n := range s.Config.Concurrency {
		if n <= top {
			continue
		}
		step, err := s.measure(ctx, order{
			concurrency: n,
			requests:    s.promptsAt(n),
			phase:       analysis.PhaseLadder,
			repeat:      s.Config.Repeat,
			prev:        passed,
		})
		if err != nil {
			return err
		}
		if !step.Passed() {
			return nil
		}
		passed = append(passed, step)
	}
	return nil
}

// passedSteps are the ladder's steps that broke no rule.
func (s *session) passedSteps() []analysis.Step {
	var out []analysis.Step
	for _, step := range s.r.Steps {
		if step.Phase == analysis.PhaseLadder && step.Passed() {
			out = append(out, step)
		}
	}
	return out
}

// promptsAt is the guide's number of requests for a step.
func (s *session) promptsAt(concurrency int) int {
	return max(s.Config.PromptsPerConcurrency*concurrency, s.Config.MinPrompts, 1)
}

// soFar works out what the steps say up to now, so that what is on disk is
// whole at any moment. Only a sweep's steps are a ladder of concurrencies.
func (s *session) soFar() {
	if s.r.Command != commandSweep {
		return
	}
	steps := s.r.Steps
	s.r.Ladder = ladderOf(steps)
	s.r.Peak = analysis.PeakOf(steps)
	s.r.Efficiency = analysis.EfficiencyOf(steps)
}

// ladderOf is what the guide's ladder alone says.
func ladderOf(steps []analysis.Step) Ladder {
	var l Ladder
	for i := range steps {
		step := &steps[i]
		if step.Phase != analysis.PhaseLadder {
			continue
		}
		n := loadgen.Known(float64(step.Concurrency))
		if step.Passed() {
			l.LastGood = n
			continue
		}
		l.FirstBad = n
		l.StoppedBy = step.Stop.Rule
		l.Sentence = step.Stop.Sentence
		// The guide's script prints half of the failing step, in the shell's
		// whole numbers.
		l.ScriptSuggestion = loadgen.Known(math.Floor(float64(step.Concurrency) / 2))
		if step.Runs > 1 {
			l.Sentence += fmt.Sprintf(" (%d runs together)", step.Runs)
		}
	}
	return l
}
