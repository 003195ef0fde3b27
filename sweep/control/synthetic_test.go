package control_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// against returns a controller that drives the real engine against a simulated
// server, for use under fake time.
func against(w simserver.Worked, seed uint64) *asking {
	w.Config.Seed = seed
	doer := w.Doer()
	a := &asking{Stop: sweep.DefaultStopRules(), Band: sweep.DefaultBand()}
	a.Generator, a.Health, a.Config, a.Seed = loadgen.NewEngine(doer), doer, sweep.Default(), seed
	a.Workload = sweep.Workload{PromptTokens: float64(w.Rules.Workload.InputLen), OutputTokens: float64(w.Rules.Workload.OutputLen)}
	return a
}

func worked(t *testing.T, name string) simserver.Worked {
	t.Helper()
	w, ok := simserver.Case(name)
	if !ok {
		t.Fatalf("no worked case %q", name)
	}
	return w
}

// answerOf runs a sweep under fake time.
func answerOf(t *testing.T, w simserver.Worked, seed uint64, set func(*asking)) *sweep.Result {
	t.Helper()
	r, err := resultOf(t, w, seed, set)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func resultOf(t *testing.T, w simserver.Worked, seed uint64, set func(*asking)) (r *sweep.Result, err error) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		c := against(w, seed)
		if set != nil {
			set(c)
		}
		r, err = c.Sweep(context.Background())
	})
	return r, err
}

func TestLadderOfTheWorkedCases(t *testing.T) {
	for _, w := range simserver.Cases() {
		truth := w.Truth().Ladder
		for seed := range uint64(3) {
			r := answerOf(t, w, 1+seed, func(c *asking) { c.Config.Exact = false })
			got := fmt.Sprintf("%.0f %.0f %s", r.Ladder.LastGood.Or(0), r.Ladder.FirstBad.Or(0), r.Ladder.StoppedBy)
			want := fmt.Sprintf("%d %d %s", truth.LastGood, truth.FirstBad, truth.StoppedBy)
			if got != want || r.Verdict != sweep.LimitFound {
				t.Errorf("%s: ladder %s (%s), verdict %s; want %s", w.Name, got, r.Ladder.Sentence, r.Verdict, want)
			}
		}
	}
}

func TestExactLimitOfTheWorkedCases(t *testing.T) {
	for _, w := range simserver.Cases() {
		truth := w.Truth()
		r := answerOf(t, w, 1, nil)
		if r.Verdict != sweep.LimitFound || r.Limit == nil {
			t.Errorf("%s: verdict %s: %s", w.Name, r.Verdict, r.Sentence)
			continue
		}
		if off := r.Limit.Concurrency.Or(0) - float64(truth.Limit.N); off < -1 || off > 1 {
			t.Errorf("%s: %s; the truth is %d by %s", w.Name, r.Sentence, truth.Limit.N, truth.BoundBy)
		}
		t.Log(w.Name, r.Sentence, r.Search.Requests)
	}
}

// A quick sweep is content with 5 % and asks for far less, a thorough one is not.
func TestEffortsOnTheWorkedCases(t *testing.T) {
	guide, quick := 0, 0 // requests of all: of a full queue quick saves little, and not each time
	for _, w := range simserver.Cases() {
		truth := float64(w.Truth().Limit.N)
		guide += answerOf(t, w, 1, nil).Spent.Requests
		for effort, near := range map[sweep.Effort]float64{sweep.EffortQuick: max(1, 0.05*truth), sweep.EffortThorough: max(1, 0.01*truth)} {
			r := answerOf(t, w, 1, func(c *asking) { c.Config.Effort = effort })
			if r.Limit == nil || r.Limit.Concurrency.Or(0) < truth-near || r.Limit.Concurrency.Or(0) > truth+near || r.Limit.Low.Or(0) > truth || r.Limit.High.Or(truth) < truth {
				t.Errorf("%s, %s: %s, the truth is %v", w.Name, effort, r.Sentence, truth)
			}
			if effort == sweep.EffortQuick {
				quick += r.Spent.Requests
			}
		}
	}
	t.Logf("%d requests in place of %d", quick, guide)
	if 2*quick > guide {
		t.Errorf("%d requests in place of %d", quick, guide)
	}
}
