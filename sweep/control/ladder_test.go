package control_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// The worked cases of the method's description, with what its ladder must say.
var workedCases = []struct {
	model
	lastGood, firstBad int
	stoppedBy          string
}{
	{model{name: "slots", slots: 64, tokens: 101, a: .020, p0: .100}, 50, 100, sweep.RuleTTFT},
	{model{name: "decode", tokens: 256, a: .008, b: .0002, p0: .020, p1: .002}, 100, 200, sweep.RuleGain},
	{model{name: "rate limit", tokens: 101, a: .024, p0: .100, rate: 12, reject: .010}, 20, 50, sweep.RuleSuccess},
	{model{name: "crash", tokens: 128, a: .012, b: .00003, p0: .050, p1: .001, crashAt: 137, downFor: 20}, 100, 200, sweep.RuleSuccess},
	{model{name: "queue cap", slots: 32, queue: 16, tokens: 101, a: .014, p0: .100, reject: .005}, 20, 50, sweep.RuleSuccess},
	{model{name: "USL", tokens: 101, usl: &usl{2, .02, 3e-4, .100}}, 50, 100, sweep.RuleGain},
}

// ears collects what an observer hears.
type ears struct {
	plans   []control.StepPlan
	steps   []analysis.Step
	notices []string
}

func (e *ears) StepStarted(p control.StepPlan) { e.plans = append(e.plans, p) }
func (e *ears) StepDone(s analysis.Step)       { e.steps = append(e.steps, s) }
func (e *ears) Notice(text string)             { e.notices = append(e.notices, text) }

func controllerFor(e *engine) *asking {
	a := &asking{Stop: sweep.DefaultStopRules(), Band: sweep.DefaultBand()}
	a.Generator, a.Health, a.Config, a.Seed = e, e, sweep.Default(), e.seed
	a.Workload = sweep.Workload{PromptTokens: 512, OutputTokens: float64(e.m.tokens)}
	return a
}

// bubble runs f under fake time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestLadderStopsWhereTheGuideDoes(t *testing.T) {
	for _, c := range workedCases {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%s/%d", c.name, seed), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					e := newEngine(c.model, seed)
					ctl := controllerFor(e)
					ctl.Config.Exact = false
					r, err := ctl.Sweep(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					if got, want := r.Ladder.LastGood.Or(0), float64(c.lastGood); got != want {
						t.Errorf("last good step %v, want %v", got, want)
					}
					if got, want := r.Ladder.FirstBad.Or(0), float64(c.firstBad); got != want {
						t.Errorf("first bad step %v, want %v", got, want)
					}
					if r.Ladder.StoppedBy != c.stoppedBy {
						t.Errorf("stopped by %q (%s), want %q", r.Ladder.StoppedBy, r.Ladder.Sentence, c.stoppedBy)
					}
					if r.Verdict != sweep.LimitFound {
						t.Errorf("verdict %q, want %q", r.Verdict, sweep.LimitFound)
					}
					t.Log(r.Sentence, "|", r.Ladder.Sentence, "|", r.Spent)
				})
			})
		}
	}
}

func TestNoPromptIsSentTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEngine(workedCases[3].model, 1)
		if _, err := controllerFor(e).Sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		next := 0
		for i, l := range e.runs {
			if l.FirstPrompt < next {
				t.Errorf("run %d begins with prompt %d, but %d were handed out before", i, l.FirstPrompt, next)
			}
			next = l.FirstPrompt + l.Requests
		}
	})
}
