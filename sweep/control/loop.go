package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
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

// endOf is the ending that an error is; nil where it is a failure.
func endOf(err error) *sweep.End {
	var budget *budgetError
	switch {
	case errors.Is(err, errInterrupted):
		return &sweep.End{Why: err.Error(), Unfinished: true}
	case errors.Is(err, errServerGone), errors.As(err, &budget):
		return &sweep.End{Why: err.Error()}
	}
	return nil
}

// StoreError says that the journal could not keep something: the disk is full,
// say. The measurement ends there, and what was stored before stays as it was.
type StoreError struct {
	What string // e.g. the step at 5 requests in flight
	Err  error
}

func (e *StoreError) Error() string { return "storing " + e.What + ": " + e.Err.Error() }

func (e *StoreError) Unwrap() error { return e.Err }

// session is one question being answered.
type session struct {
	*Controller
	strategy sweep.Strategy
	r        *sweep.Result
	h        sweep.History
	said     []string      // warnings of what happened, beside those that follow from the steps
	rested   bool          // the pause before the next run was already made
	cleared  map[int]bool  // loads of which it was said that chance had stopped them
	pause    time.Duration // longer pause that the server asked for
	mark     time.Time     // until when Spent.Seconds is accounted for
}

// Answer asks a strategy what to measure, measures and keeps it, and asks again until
// there is an answer. command names the question in the result.
//
// An interruption, a used-up budget and a server that went away end it early: the
// result then says what was found until then and why it ended, and the error is nil.
// The error is for what cannot be measured or stored at all; the result beside it is
// still what was found so far.
func (c *Controller) Answer(ctx context.Context, command string, strategy sweep.Strategy) (*sweep.Result, error) {
	s := c.begin(command, strategy)
	for {
		order, answer := strategy.Next(s.h)
		if order == nil {
			return s.close(answer)
		}
		step, runs, err := s.measure(ctx, order)
		if step != nil {
			s.h.Steps = append(s.h.Steps, *step)
			if err := s.keep(step, runs); err != nil {
				return s.fail(err)
			}
		}
		if err == nil {
			continue
		}
		if s.h.End = endOf(err); s.h.End == nil {
			return s.fail(err)
		}
	}
}

// begin takes up what an earlier, interrupted run has measured, as far as the
// strategy would order the same again.
func (c *Controller) begin(command string, strategy sweep.Strategy) *session {
	r := c.Result
	if r == nil {
		r = &sweep.Result{}
	}
	s := &session{Controller: c, strategy: strategy, r: r, mark: time.Now(), rested: true}
	stored := sweep.Measured(r)
	s.h = sweep.History{Crashes: stored.Crashes, Slices: stored.Slices, Server: r.Target.Server}
	for i, step := range stored.Steps {
		order, _ := strategy.Next(s.before(stored, i))
		if order == nil || order.Concurrency != step.Concurrency || order.Phase != step.Phase || order.Speed != step.Speed.Or(0) || order.Traffic != nil && order.Requests != step.NumPrompts {
			s.warn("the steps on disk from number %d on do not belong to this plan and are measured again", i+1)
			s.h.Crashes = s.before(stored, i).Crashes
			break
		}
		order.Hold(&stored.Steps[i])
		s.h.Steps = stored.Steps[:i+1]
		if c.Observer != nil {
			c.Observer.StepDone(step)
		}
	}
	if n := len(s.h.Steps); n > 0 {
		s.notice("resuming: %d finished steps are kept", n)
	}
	r.SchemaVersion, r.Command, r.Seed = sweep.SchemaVersion, command, c.Seed
	if r.StartedAt.IsZero() {
		r.StartedAt = time.Now().UTC()
	}
	r.FinishedAt, r.Complete = nil, false
	s.soFar()
	return s
}

// before is a history as it was before its step i.
func (s *session) before(h sweep.History, i int) sweep.History {
	h.Steps = h.Steps[:i]
	h.Crashes = slices.DeleteFunc(slices.Clone(h.Crashes), func(c sweep.Crash) bool { return c.Step > i })
	return h
}

// soFar fills in what an interruption at this moment would leave, so that what is on
// disk is whole at any moment.
func (s *session) soFar() {
	h := s.h
	if h.End == nil {
		h.End = &sweep.End{Why: errInterrupted.Error(), Unfinished: true}
	}
	_, s.r.Answer = s.strategy.Next(h)
	s.settle()
}

// settle adds to the answer what happened on the way.
func (s *session) settle() {
	s.r.Crashes, s.r.Workers = s.h.Crashes, sweep.WorkersOf(s.h.Steps)
	s.r.Warnings = append(slices.Clone(s.said), s.r.Warnings...)
}

// keep stores a step that was measured.
func (s *session) keep(step *analysis.Step, runs []loadgen.Run) error {
	s.account()
	if s.Observer != nil {
		s.Observer.StepDone(*step)
	}
	if s.Journal == nil {
		return nil
	}
	s.soFar()
	s.sayCleared()
	if err := s.Journal.SaveStep(s.r, step, runs); err != nil {
		return &StoreError{fmt.Sprintf("the step at %d requests in flight", step.Concurrency), err}
	}
	return nil
}

// sayCleared tells of the loads whose failure turned out to be chance.
func (s *session) sayCleared() {
	for i := range s.r.Steps {
		step := &s.r.Steps[i]
		if step.Cleared == nil || s.cleared[step.Concurrency] {
			continue
		}
		if s.cleared == nil {
			s.cleared = map[int]bool{}
		}
		s.cleared[step.Concurrency] = true
		if sweep.AtEqualLengths(s.r.Steps, step) {
			s.notice("%s: its answers were longer than others, at equal lengths it gains enough", step.Cleared.Sentence)
			continue
		}
		s.notice("%s: that was chance, together with its other runs the step holds", step.Cleared.Sentence)
	}
}

// close ends the question with its answer.
func (s *session) close(answer sweep.Answer) (*sweep.Result, error) {
	s.account()
	if end := s.h.End; end != nil && !end.Unfinished {
		s.warn("ended early: %s", end.Why)
	}
	s.r.Answer, s.r.Complete = answer, (s.h.End == nil || !s.h.End.Unfinished) && answer.Verdict != sweep.Interrupted
	s.settle()
	now := s.mark.UTC()
	s.r.FinishedAt = &now
	return s.r, s.save()
}

// fail ends it with a failure. Where a step could not be stored, what is on disk stays
// as it is: a result that speaks of a step whose samples were not stored could not be
// gone on with.
func (s *session) fail(err error) (*sweep.Result, error) {
	var lost *StoreError
	if errors.As(err, &lost) {
		return s.r, lost
	}
	s.account()
	s.soFar()
	now := s.mark.UTC()
	s.r.FinishedAt = &now
	return s.r, errors.Join(err, s.save())
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
	if !slices.Contains(s.said, text) {
		s.said = append(s.said, text)
		s.notice("%s", text)
	}
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
