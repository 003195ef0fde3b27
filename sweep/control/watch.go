package control

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// straightFailures is how many of the first requests sent must have failed, before
// any succeeded, for a run to be lost: at a success rate of 95 % the first four fail
// in one run of 160,000. Failures are often quicker than answers, so that the first
// to finish are not a fair sample of those sent.
const straightFailures = 4

// leastPatience is how many failures in a row, whenever they come, end a run: a
// load that goes on for hours must not go on against a dead server.
const leastPatience = 50

// attempt is one load run of a step.
type attempt struct {
	run  loadgen.Run
	hole string // what of it was lost, so that it is no measurement; empty where nothing was
	why  string // why it was abandoned; empty where it ran to its end
}

// watch follows a run as its requests finish and says when to stop it.
type watch struct {
	session  *session
	order    *sweep.Order
	collect  func(*loadgen.Sample)
	test     *analysis.SPRT // nil without one
	patience int            // failures in a row, at any time, after which the server is taken to be gone
	prompts  int            // handed out
	done     int
	failed   int // by the server
	first    int // failures among the first requests sent
	silent   int // failures in a row up to now
	sent     int // at least; the highest number of a finished request is as many as were sent before it
	anyGood  bool
	why      string // why the run was abandoned
	over     error  // budget used up
}

func (s *session) watch(o *sweep.Order, collect func(*loadgen.Sample)) *watch {
	w := &watch{session: s, order: o, collect: collect, patience: max(leastPatience, 4*o.Concurrency)}
	if o.Abandon.Sequential {
		w.test = analysis.NewSPRT(o.Rules.MinSuccessRate)
		w.test.AddCounts(o.Abandon.Completed, o.Abandon.Failed)
	}
	return w
}

// sample is loadgen.Load.OnSample. It runs on the generator's path, one call at
// a time, and must stay cheap.
func (w *watch) sample(x *loadgen.Sample) (stop bool) {
	spent := &w.session.r.Spent
	spent.Tokens += tokensOf(x)
	if w.collect != nil {
		w.collect(x)
	}
	w.prompts++
	if x.Class != loadgen.Cancelled || x.WasSent {
		spent.Requests++
	}
	if x.Class == loadgen.Cancelled {
		return false
	}
	w.done++
	w.sent = max(w.sent, x.Index+1)
	w.count(x)
	a := &w.order.Abandon
	switch {
	case w.silent >= w.patience:
		w.why = fmt.Sprintf("abandoned: %d requests in a row failed (%s)", w.silent, x.Class)
	case w.overBudget():
		// handled by the caller
	case a.Never:
		return false
	case !w.anyGood && w.first >= straightFailures:
		w.why = fmt.Sprintf("abandoned: the first %d requests sent failed, none succeeded (%s)", w.first, x.Class)
	case a.Allowed >= 0 && w.failed > a.Allowed:
		w.why = fmt.Sprintf("abandoned: %d of %d planned requests had failed after %d, so the step was lost whatever followed",
			w.failed, w.order.Requests, w.done)
	case w.settled():
		w.why = fmt.Sprintf("stopped after %d requests: %d had failed, which settles that the step is lost", w.done, w.failed)
	default:
		return false
	}
	return true
}

func (w *watch) count(x *loadgen.Sample) {
	server := x.Class.ServerFailure()
	if server {
		w.failed++
	}
	if w.test != nil && (server || x.Class == loadgen.Success) {
		w.test.Add(x.Class == loadgen.Success)
	}
	if x.Class == loadgen.Success {
		w.anyGood, w.silent = true, 0
		return
	}
	if x.Index < straightFailures && server {
		w.first++
	}
	// A load that was asked for goes on whatever the server answers, but not against
	// one that does not answer.
	if !w.order.Abandon.Never || noAnswer(x.Class) {
		w.silent++
	}
}

// settled reports whether the sequential test has found the run to be lost.
func (w *watch) settled() bool {
	a := &w.order.Abandon
	if w.test == nil || w.test.Outcome() != analysis.Below {
		return false
	}
	return a.Patience == 0 || float64(w.failed) > a.Patience*float64(w.sent) || a.PastCliff && w.done >= 2*w.order.Concurrency
}

func (w *watch) overBudget() bool {
	b := w.session.Config.Budget
	if b.MaxTokens > 0 && w.session.r.Spent.Tokens > b.MaxTokens {
		w.over = &budgetError{fmt.Sprintf("the budget of %d tokens is used up", b.MaxTokens)}
	}
	return w.over != nil
}

func tokensOf(x *loadgen.Sample) int {
	if !x.WasSent {
		return 0
	}
	prompt := x.PromptTokens
	if prompt == 0 {
		prompt = x.WantPromptTokens
	}
	return prompt + x.OutputTokens
}

// run sends one step's load once.
func (s *session) run(ctx context.Context, o *sweep.Order, number int) (attempt, error) {
	if err := s.rest(ctx); err != nil {
		return attempt{}, err
	}
	left, err := s.afford(o.Requests)
	if err != nil {
		return attempt{}, err
	}
	slices := s.slices(o)
	w := s.watch(o, slices.collect())
	load := s.load(o, w)
	timed := left > 0 && (load.Duration == 0 || left < load.Duration)
	if timed {
		load.Duration = left
	}
	// The prompts are booked before the first of them is sent: after a kill the
	// resumed run must not send one again, which a prefix cache would answer.
	s.r.Spent.Prompts += o.Prompts() // 0 where a duration bounds it: known only afterwards
	if err := s.save(); err != nil {
		return attempt{}, err
	}
	if s.Observer != nil {
		plan := StepPlan{Concurrency: o.Concurrency, Phase: o.Phase, NumPrompts: o.Requests, Duration: load.Duration, Attempt: number, Progress: load.Progress,
			IfHeld: sweep.IfHeld(s.strategy, s.h, o), Steps: s.r.Steps}
		if crew, ok := s.Generator.(Crew); ok {
			plan.Workers = crew.Workers
		}
		if load.OpenLoop() {
			plan.RequestRate = loadgen.Known(load.Rate)
		}
		if o.Traffic != nil {
			plan.Speed = loadgen.Known(o.Speed)
		}
		s.Observer.StepStarted(plan)
	}
	if s.Telemetry != nil {
		s.Telemetry.Begin()
	}
	run, err := s.Generator.Run(ctx, load)
	s.account()
	slices.end(&run)
	// A duration bounds the load; hooks and channels do not belong into what is kept.
	run.Load.OnSample, run.Load.Drain, run.Load.Progress = nil, nil, nil
	s.r.Spent.Prompts = max(s.r.Spent.Prompts, load.FirstPrompt+w.prompts)
	switch {
	case incomplete(err) && s.interrupted(ctx) == nil:
		// LOUD: before the run's own end is looked at. Once a machine is lost the others are
		// told to stop, and that is no interruption.
		return attempt{run: run, hole: err.Error()}, nil
	case run.End == loadgen.EndDrained || run.End == loadgen.EndCancelled || ctx.Err() != nil:
		return attempt{run: run}, errInterrupted
	case err != nil:
		return attempt{}, fmt.Errorf("load of %d requests in flight: %w", o.Concurrency, err)
	case w.over != nil:
		return attempt{run: run}, w.over
	case timed && w.why == "" && run.End == loadgen.EndComplete && (o.Requests == 0 || len(run.Samples) < o.Requests):
		return attempt{run: run}, &budgetError{fmt.Sprintf("the budget of %v ended in the middle of the step", s.Config.Budget.MaxDuration)}
	}
	return attempt{run: run, why: w.why}, nil
}

// incomplete reports whether an error says that a part of a load was lost with the
// machine that sent it, so that the load is to be sent again.
func incomplete(err error) bool {
	var x interface{ Incomplete() bool }
	return errors.As(err, &x) && x.Incomplete()
}

// load builds the load point of an order.
func (s *session) load(o *sweep.Order, w *watch) loadgen.Load {
	start := s.Config.Start
	var recorded *loadgen.Arrivals
	if t := o.Traffic; t != nil {
		recorded = t.Arrivals(o.Speed, o.Speedup)
	}
	return loadgen.Load{
		Concurrency: o.Concurrency,
		Requests:    o.Requests,
		Duration:    o.Duration,
		Rate:        o.Rate,
		Burstiness:  o.Burstiness,
		Arrivals:    recorded,
		// Every run has a schedule of its own, and the same one when repeated
		// with the same seed.
		Seed:        s.Seed + uint64(s.r.Spent.Prompts),
		Start:       start,
		StaggerOver: s.staggerOver(o.Concurrency),
		ErrorHold:   s.Config.ErrorHold,
		CutTail:     o.CutTail,
		FirstPrompt: s.r.Spent.Prompts,
		OnSample:    w.sample,
		DropSamples: o.Slice > 0,
		Drain:       s.Drain,
		Progress:    &loadgen.Progress{},
	}
}

// rest is the pause before a run.
func (s *session) rest(ctx context.Context) error {
	pause := max(s.Config.Settle, s.pause)
	if s.rested {
		pause = 0
	}
	s.rested, s.pause = false, 0
	return s.sleep(ctx, pause)
}

// tokensPerRequest is what a request costs on average: as measured so far, else
// as the workload says.
func (s *session) tokensPerRequest() float64 {
	if s.r.Spent.Requests > 0 && s.r.Spent.Tokens > 0 {
		return float64(s.r.Spent.Tokens) / float64(s.r.Spent.Requests)
	}
	return s.Workload.PromptTokens + s.Workload.OutputTokens
}

// afford says whether the budget has room for the requests of that many more prompts, and how
// much time is left (0: no bound).
func (s *session) afford(prompts int) (left time.Duration, err error) {
	b, spent := s.Config.Budget, s.r.Spent
	requests := s.Workload.Requests(prompts)
	if b.MaxRequests > 0 && spent.Requests+requests > b.MaxRequests {
		return 0, &budgetError{fmt.Sprintf("the budget of %d requests has no room for %d more after %d", b.MaxRequests, requests, spent.Requests)}
	}
	if b.MaxTokens > 0 {
		want := int(math.Ceil(float64(requests) * s.tokensPerRequest()))
		if spent.Tokens+want > b.MaxTokens {
			return 0, &budgetError{fmt.Sprintf("the budget of %d tokens has no room for about %d more after %d", b.MaxTokens, want, spent.Tokens)}
		}
	}
	if b.MaxDuration > 0 {
		s.account()
		left = b.MaxDuration - time.Duration(s.r.Spent.Seconds*float64(time.Second))
		if left <= 0 {
			return 0, &budgetError{fmt.Sprintf("the budget of %v is used up", b.MaxDuration)}
		}
	}
	return left, nil
}
