package sweep

import (
	"context"
	"fmt"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// straightFailures is how many failures in a row from the start of a run mean
// that it is lost: at a success rate of 95 % four in a row come up once in
// 160,000 runs. Failures are often quicker than answers, so that the first
// requests to finish are not a fair sample of those sent: of these, at least
// lostShare must have failed too.
const (
	straightFailures = 4
	lostShare        = 0.5
)

// leastPatience is how many failures in a row, whenever they come, end a run: a
// load that goes on for hours must not go on against a dead server.
const leastPatience = 50

// attempt is one load run of a step.
type attempt struct {
	run loadgen.Run
	why string // why it was abandoned; empty where it ran to its end
}

// finished counts the requests that came to an end of their own.
func (a *attempt) finished() int {
	n := 0
	for i := range a.run.Samples {
		if a.run.Samples[i].Class != loadgen.Cancelled {
			n++
		}
	}
	return n
}

// failed counts the server's failures.
func (a *attempt) failed() int {
	n := 0
	for i := range a.run.Samples {
		if a.run.Samples[i].Class.ServerFailure() {
			n++
		}
	}
	return n
}

// watch follows a run as its requests finish and says when to stop it.
type watch struct {
	session  *session
	lost     func(*loadgen.Sample) bool
	collect  func(*loadgen.Sample)
	allowed  int // server failures beyond which the step is lost whatever follows; -1: no such rule
	planned  int
	patience int // failures in a row, at any time, after which the server is taken to be gone
	prompts  int // handed out
	done     int
	failed   int // by the server
	straight int // failures in a row from the start
	silent   int // failures in a row up to now
	sent     int // at least; the highest number of a finished request is as many as were sent before it
	anyGood  bool
	why      string // why the run was abandoned
	over     error  // budget used up
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
	if x.Class == loadgen.Cancelled {
		return false
	}
	spent.Requests++
	w.done++
	w.sent = max(w.sent, x.Index+1)
	switch {
	case x.Class == loadgen.Success:
		w.anyGood = true
		w.silent = 0
	case x.Class.ServerFailure():
		w.failed++
		fallthrough
	default:
		w.straight++
	}
	if x.Class != loadgen.Success {
		w.silent++
	}
	switch {
	case w.silent >= w.patience:
		w.why = fmt.Sprintf("abandoned: %d requests in a row failed (%s)", w.silent, x.Class)
	case w.lostFromTheStart():
		w.why = fmt.Sprintf("abandoned: the first %d requests to finish failed, none succeeded (%s)", w.straight, x.Class)
	case w.allowed >= 0 && w.failed > w.allowed:
		w.why = fmt.Sprintf("abandoned: %d of %d planned requests had failed after %d, so the step was lost whatever followed",
			w.failed, w.planned, w.done)
	case w.overBudget():
		// handled by the caller
	case w.lost != nil && w.lost(x):
		w.why = fmt.Sprintf("stopped after %d requests: %d had failed, which settles that the step is lost", w.done, w.failed)
	default:
		return false
	}
	return true
}

func (w *watch) lostFromTheStart() bool {
	return !w.anyGood && w.straight >= straightFailures && float64(w.straight) >= lostShare*float64(w.sent)
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
func (s *session) run(ctx context.Context, o order, number int) (attempt, error) {
	if err := s.rest(ctx); err != nil {
		return attempt{}, err
	}
	left, err := s.afford(o.requests)
	if err != nil {
		return attempt{}, err
	}
	w := &watch{session: s, lost: o.lost, collect: o.collect, allowed: o.allowed, planned: o.requests, patience: max(leastPatience, 4*o.concurrency)}
	load := s.load(o, w)
	timed := left > 0 && (load.Duration == 0 || left < load.Duration)
	if timed {
		load.Duration = left
	}
	// The prompts are booked before the first of them is sent: after a kill the
	// resumed run must not send one again, which a prefix cache would answer.
	s.r.Spent.Prompts += promptsFor(o)
	if err := s.save(); err != nil {
		return attempt{}, err
	}
	if s.Observer != nil {
		plan := StepPlan{Concurrency: o.concurrency, Phase: o.phase, NumPrompts: o.requests, Duration: load.Duration, Attempt: number, Progress: load.Progress}
		if load.OpenLoop() {
			plan.RequestRate = loadgen.Known(load.Rate)
		}
		s.Observer.StepStarted(plan)
	}
	load.DropSamples = o.collect != nil
	if s.Telemetry != nil {
		s.Telemetry.Begin()
	}
	run, err := s.Generator.Run(ctx, load)
	s.account()
	if o.kept != nil {
		run.Samples = o.kept()
	}
	// A duration bounds the load; hooks and channels do not belong into what is kept.
	run.Load.OnSample, run.Load.Drain, run.Load.Progress = nil, nil, nil
	s.r.Spent.Prompts = max(s.r.Spent.Prompts, load.FirstPrompt+w.prompts)
	switch {
	case run.End == loadgen.EndDrained || run.End == loadgen.EndCancelled || ctx.Err() != nil:
		return attempt{run: run}, errInterrupted
	case err != nil:
		return attempt{}, fmt.Errorf("load of %d requests in flight: %w", o.concurrency, err)
	case w.over != nil:
		return attempt{run: run}, w.over
	case timed && w.why == "" && run.End == loadgen.EndComplete && (o.requests == 0 || len(run.Samples) < o.requests):
		return attempt{run: run}, &budgetError{fmt.Sprintf("the budget of %v ended in the middle of the step", s.Config.Budget.MaxDuration)}
	}
	return attempt{run: run, why: w.why}, nil
}

func promptsFor(o order) int {
	if o.requests > 0 {
		return o.requests
	}
	return 0 // bounded by time: known only afterwards
}

// load builds the load point of an order.
func (s *session) load(o order, w *watch) loadgen.Load {
	start := s.Config.Start
	return loadgen.Load{
		Concurrency: o.concurrency,
		Requests:    o.requests,
		Duration:    o.duration,
		Rate:        o.rate,
		Burstiness:  o.burstiness,
		// Every run has a schedule of its own, and the same one when repeated
		// with the same seed.
		Seed:        s.Seed + uint64(s.r.Spent.Prompts),
		Start:       start,
		StaggerOver: s.staggerOver(),
		ErrorHold:   s.Config.ErrorHold,
		FirstPrompt: s.r.Spent.Prompts,
		OnSample:    w.sample,
		Drain:       s.Drain,
		Progress:    &loadgen.Progress{},
	}
}

// staggerOver is about one response time: that of the last step that served its
// requests. Refusals are quick, and to start by their measure would be a burst.
// The first step knows none; in the guide's ladder it is one request wide.
func (s *session) staggerOver() time.Duration {
	if s.Config.Start == loadgen.StartBurst {
		return 0
	}
	for i := len(s.r.Steps) - 1; i >= 0; i-- {
		v := s.r.Steps[i].Verdict()
		if r, ok := v.E2E.Mean.Value(); ok && v.Completed >= v.Failed {
			return time.Duration(r * float64(time.Second))
		}
	}
	return 0
}

// allowedFailures is how many of that many requests may fail before the success
// rule is broken whatever follows; -1 without such a rule.
func (s *session) allowedFailures(requests int) int {
	if s.Stop.MinSuccessRate <= 0 || requests == 0 {
		return -1
	}
	const fuzz = 1e-9 // 5 % of 20 must allow 1
	return int((1-s.Stop.MinSuccessRate)*float64(requests) + fuzz)
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
