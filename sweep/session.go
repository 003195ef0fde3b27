package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// The ways in which a measurement ends before its question is answered. They
// are no failures of the tool: the result says what was found until then.
var (
	errInterrupted = errors.New("interrupted")
	errServerGone  = errors.New("the server stopped answering and did not come back")
)

// budgetError says which cap ended the measurement.
type budgetError struct{ text string }

func (e *budgetError) Error() string { return e.text }

// StoreError says that the journal could not keep something: the disk is full,
// say. The measurement ends there, and what was stored before stays as it was.
type StoreError struct {
	What string // e.g. the step at 5 requests in flight
	Err  error
}

func (e *StoreError) Error() string { return "storing " + e.What + ": " + e.Err.Error() }

func (e *StoreError) Unwrap() error { return e.Err }

// cutShort begins the reason of a step that is no finished one and is measured
// anew when the run is resumed.
const cutShort = "cut short: "

// session is one question being answered.
type session struct {
	*Controller
	r       *Result
	before  []analysis.Step        // finished steps of an earlier run that were not yet reached again
	crashes []Crash                // of the same, by step
	rested  bool                   // the pause before the next run was already made
	fits    map[int]analysis.Curve // by the number of steps that they were fitted to
	pause   time.Duration          // longer pause that the server asked for
	mark    time.Time              // until when Spent.Seconds is accounted for
}

func (c *Controller) begin(command string) *session {
	r := c.Result
	if r == nil {
		r = &Result{}
	}
	s := &session{Controller: c, r: r, before: r.Steps, crashes: r.Crashes, mark: time.Now(), rested: true, fits: map[int]analysis.Curve{}}
	if n := len(s.before); n > 0 && strings.HasPrefix(s.before[n-1].Abandoned, cutShort) {
		s.before = s.before[:n-1]
	}
	// They come back one by one as the controller reaches them again: each of its
	// decisions must see what it saw the first time, and nothing that came later.
	r.Steps, r.Crashes = nil, nil
	unclear(s.before)
	r.SchemaVersion, r.Command, r.Seed = SchemaVersion, command, c.Seed
	if r.StartedAt.IsZero() {
		r.StartedAt = time.Now().UTC()
	}
	r.FinishedAt, r.Complete, r.Verdict = nil, false, Interrupted
	// What follows from the steps is worked out anew, so that a resumed run says
	// what an uninterrupted one would.
	r.Warnings, r.Search, r.Limit, r.Limits, r.Recommendation = nil, nil, nil, map[string]analysis.Limit{}, nil
	if n := len(s.before); n > 0 {
		s.notice("resuming: %d finished steps are kept", n)
	}
	return s
}

// order is a step to be measured.
type order struct {
	concurrency int
	requests    int // 0 with a duration: as many as fit
	duration    time.Duration
	rate        float64 // requests/s; 0: closed loop
	burstiness  float64
	phase       analysis.Phase
	repeat      bool            // run it once more if it fails
	prev        []analysis.Step // what its throughput gain is taken over
	goodput     *analysis.Goodput
	rules       *StopRules // what it is judged by; nil: the controller's
	// verdict, where set, judges the step in the place of the rules.
	verdict func(*analysis.Step, []loadgen.Run) []analysis.Stop
	partial bool // keep what was measured when it is interrupted
	// collect, where set, sees every request; the run keeps only what kept
	// returns at its end.
	collect func(*loadgen.Sample)
	kept    func() []loadgen.Sample
	allowed int // server failures beyond which it is lost whatever follows; -1: no such rule
	// lost, where set, is asked after every request whether the step has failed
	// beyond doubt, instead of counting against the planned requests.
	lost func(*loadgen.Sample) bool
}

// measure runs a step, judges it, keeps it in the result and on disk. A step
// that an earlier run already measured is returned as it was. Beside a step that
// was kept the error is nil, or errServerGone.
func (s *session) measure(ctx context.Context, o order) (analysis.Step, error) {
	if step, ok := s.replay(o); ok {
		return step, nil
	}
	o.allowed = s.allowedFailures(o.requests)
	if o.lost != nil {
		o.allowed = -1
	}
	first, err := s.run(ctx, o, 1)
	if err != nil && o.partial && isEnding(err) && len(first.run.Samples) > 0 {
		runs := []loadgen.Run{first.run}
		step := s.judge(o, runs, cutShort+err.Error())
		return step, errors.Join(err, s.keep(&step, runs))
	}
	if err != nil {
		return analysis.Step{}, err
	}
	runs := []loadgen.Run{first.run}
	step := s.judge(o, runs, first.why)
	outage, gone := s.aftermath(ctx, o, first)
	if gone == nil && o.repeat && len(step.Breaches) > 0 {
		s.notice("%s; running the step once more", step.Stop.Sentence)
		again, err := s.run(ctx, s.repeated(o, first, outage), 2)
		if err != nil {
			return analysis.Step{}, err
		}
		runs = append(runs, again.run)
		judged := runs
		if outage {
			judged = runs[1:]
		}
		step = s.judge(o, judged, again.why)
		_, gone = s.aftermath(ctx, o, again)
		if gone == nil && s.Config.Exact {
			if step, runs, err = s.settle(ctx, o, step, judged, runs); err != nil {
				return analysis.Step{}, err
			}
		}
	}
	if errors.Is(gone, errInterrupted) {
		return analysis.Step{}, gone
	}
	if err := s.keep(&step, runs); err != nil {
		return step, err
	}
	return step, gone
}

// settle goes on with a step whose success rate alone is short of its threshold,
// and not by much, until the sequential test decides: of twenty requests at a
// true rate of 98 % two fail in one case of twenty.
func (s *session) settle(ctx context.Context, o order, step analysis.Step, judged, all []loadgen.Run) (analysis.Step, []loadgen.Run, error) {
	most := max(2*o.requests, settleMost)
	for len(step.Breaches) == 1 && breaks(&step, RuleSuccess) && step.Whole.Completed > step.Whole.Failed {
		test := analysis.NewSPRT(s.Stop.MinSuccessRate)
		for i := range judged {
			addTo(test, judged[i].Samples)
		}
		if test.Outcome() != analysis.Undecided || test.N() >= most {
			break
		}
		s.notice("%s: too few requests to be sure, going on until it is settled", step.Stop.Sentence)
		more := o
		more.requests = min(max(o.requests, settleRun), most-test.N())
		more.lost = func(x *loadgen.Sample) bool {
			addTo(test, []loadgen.Sample{*x})
			return test.Outcome() == analysis.Below
		}
		a, err := s.run(ctx, more, len(all)+1)
		if err != nil {
			return step, all, err
		}
		judged, all = append(judged, a.run), append(all, a.run)
		step = s.judge(o, judged, a.why)
	}
	return step, all, nil
}

// Bounds on how a step near its threshold is settled: requests of one more run,
// and of all of them unless the step itself has more.
const (
	settleRun  = 60
	settleMost = 600
)

func addTo(test *analysis.SPRT, samples []loadgen.Sample) {
	for i := range samples {
		if c := samples[i].Class; c == loadgen.Success || c.ServerFailure() {
			test.Add(c == loadgen.Success)
		}
	}
}

// repeated is the order of the second run of a failing step. A first run that
// was cut short is made up for, so that both together come to twice the planned
// requests: cutting short then only saves what could no longer change the
// verdict, and does not weigh the failures that led to it twice.
//
// After an outage the second run stands alone: what the first one measured was
// the outage, and if it was the load that brought it about it will again.
func (s *session) repeated(o order, first attempt, outage bool) order {
	if outage || o.requests == 0 {
		return o
	}
	again := o
	again.requests = 2*o.requests - first.finished()
	if o.allowed >= 0 {
		again.allowed = max(0, s.allowedFailures(2*o.requests)-first.failed())
	}
	return again
}

// replay returns the next step if an earlier run has measured it.
func (s *session) replay(o order) (analysis.Step, bool) {
	if len(s.before) == 0 {
		return analysis.Step{}, false
	}
	step := s.before[0]
	if step.Concurrency != o.concurrency || step.Phase != o.phase {
		s.warn("the steps on disk from number %d on do not belong to this plan and are measured again", len(s.r.Steps)+1)
		s.before = nil
		return analysis.Step{}, false
	}
	for _, c := range s.crashes {
		if c.Step == len(s.r.Steps) {
			s.r.Crashes = append(s.r.Crashes, c)
		}
	}
	s.before = s.before[1:]
	s.r.Steps = append(s.r.Steps, step)
	if s.Observer != nil {
		s.Observer.StepDone(step)
	}
	s.soFar()
	return step, true
}

// judge turns the runs of a step into its figures and its verdict.
func (s *session) judge(o order, runs []loadgen.Run, why string) analysis.Step {
	opts := analysis.Options{Phase: o.phase, Abandoned: why, SharedPrefix: s.Workload.SharedPrefix, Goodput: o.goodput}
	step := analysis.Summarize(runs, opts)
	if t, ok := s.telemetry(runs, &step); ok {
		opts.Server = &t
		step = analysis.Summarize(runs, opts)
	}
	step.NumPrompts = max(step.NumPrompts, o.requests)
	rules := s.Stop
	if o.rules != nil {
		rules = *o.rules
	}
	step.Breaches = Judge(o.prev, &step, rules)
	if o.verdict != nil {
		step.Breaches = o.verdict(&step, runs)
	}
	if len(step.Breaches) > 0 {
		stop := step.Breaches[0]
		step.Stop = &stop
	}
	return step
}

// telemetry sums up what the server's metrics said over the steady window of
// the last run, or over all of it where there is no window.
func (s *session) telemetry(runs []loadgen.Run, step *analysis.Step) (analysis.Telemetry, bool) {
	if s.Telemetry == nil {
		return analysis.Telemetry{}, false
	}
	last := runs[len(runs)-1]
	from, to := last.Started, last.Started.Add(last.Elapsed)
	if w := step.Window; w != nil && step.VerdictBasis == analysis.BasisSteady {
		from = last.Started.Add(time.Duration(w.FromSeconds * float64(time.Second)))
		to = last.Started.Add(time.Duration(w.ToSeconds * float64(time.Second)))
	}
	return s.Telemetry.Window(from, to)
}

// keep adds a finished step to the result and stores both.
func (s *session) keep(step *analysis.Step, runs []loadgen.Run) error {
	s.r.Steps = append(s.r.Steps, *step)
	s.account()
	s.soFar()
	if s.Observer != nil {
		s.Observer.StepDone(*step)
	}
	if s.Journal == nil {
		return nil
	}
	if err := s.Journal.SaveStep(s.r, step, runs); err != nil {
		return &StoreError{fmt.Sprintf("the step at %d requests in flight", step.Concurrency), err}
	}
	return nil
}

// save stores the result where there is a journal.
func (s *session) save() error {
	if s.Journal == nil {
		return nil
	}
	if err := s.Journal.Save(s.r); err != nil {
		return &StoreError{"the result", err}
	}
	return nil
}

// account adds the time since the last call to what was spent.
func (s *session) account() {
	now := time.Now()
	s.r.Spent.Seconds += now.Sub(s.mark).Seconds()
	s.mark = now
}

func (s *session) notice(format string, args ...any) {
	if s.Observer != nil {
		s.Observer.Notice(fmt.Sprintf(format, args...))
	}
}

// warn is a notice that is kept in the result, once.
func (s *session) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, w := range s.r.Warnings {
		if w == text {
			return
		}
	}
	s.r.Warnings = append(s.r.Warnings, text)
	s.notice("%s", text)
}

// sleep waits; it returns errInterrupted where it was woken before its time.
func (s *session) sleep(ctx context.Context, d time.Duration) error {
	if err := s.interrupted(ctx); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
	case <-s.Drain:
	}
	return errInterrupted
}

func (s *session) interrupted(ctx context.Context) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	select {
	case <-s.Drain:
		return errInterrupted
	default:
		return nil
	}
}

// tokensPerRequest is what a request costs on average: as measured so far, else
// as the workload says.
func (s *session) tokensPerRequest() float64 {
	if s.r.Spent.Requests > 0 && s.r.Spent.Tokens > 0 {
		return float64(s.r.Spent.Tokens) / float64(s.r.Spent.Requests)
	}
	return s.Workload.PromptTokens + s.Workload.OutputTokens
}

// afford says whether the budget has room for that many more requests, and how
// much time is left (0: no bound).
func (s *session) afford(requests int) (left time.Duration, err error) {
	b, spent := s.Config.Budget, s.r.Spent
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
