package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

const (
	healthPause   = time.Second      // between two looks at a server that is away
	healthTimeout = 5 * time.Second  // of one look
	longestPause  = 30 * time.Second // cap on the pause that rejections ask for
)

// aftermath looks after the server when a run was abandoned: it keeps what
// pause rejections asked for, and where the requests were not answered at all it
// waits until the server is ready again, so that a sweep never goes on hitting a
// server that has gone. outage reports that it was away and came back.
func (s *session) aftermath(ctx context.Context, o *sweep.Order, a attempt) (outage bool, err error) {
	if a.why == "" {
		return false, nil
	}
	s.pause = min(askedPause(a.run.Samples), longestPause)
	unanswered, refused := lastFailures(a.run.Samples)
	if !unanswered {
		return false, nil
	}
	ready := s.ready(ctx)
	if err := s.interrupted(ctx); err != nil {
		return false, err
	}
	if ready == nil && !refused {
		return false, nil // slow to the point of time-outs, but alive
	}
	crash := sweep.Crash{
		At: time.Now().UTC(), Step: len(s.h.Steps), Concurrency: o.Concurrency, InFlight: inFlightAtFirstLoss(a.run.Samples),
		Sentence: fmt.Sprintf("the server stopped answering under %d requests in flight after having answered", o.Concurrency),
	}
	if !s.answeredBefore(a) {
		crash.Sentence = fmt.Sprintf("the server did not answer at %d requests in flight", o.Concurrency)
	}
	away := time.Now()
	if ready != nil {
		s.notice("%s; waiting up to %v for it", crash.Sentence, s.Config.RecoverWait)
		ready = s.awaitReady(ctx)
	}
	if err := s.interrupted(ctx); err != nil {
		return false, err
	}
	if ready == nil {
		crash.RecoveredSeconds = loadgen.Known(time.Since(away).Seconds())
	}
	s.h.Crashes = append(s.h.Crashes, crash)
	if ready != nil {
		return false, fmt.Errorf("%w within %v: %w", errServerGone, s.Config.RecoverWait, ready)
	}
	s.notice("the server answers again")
	return true, nil
}

// askedPause is the longest Retry-After among the samples.
func askedPause(samples []loadgen.Sample) time.Duration {
	var longest time.Duration
	for i := range samples {
		longest = max(longest, samples[i].RetryAfter)
	}
	return longest
}

// lastFailures looks at what failed after the last success. unanswered: nothing
// there was an answer of the server; refused: connections were refused.
func lastFailures(samples []loadgen.Sample) (unanswered, refused bool) {
	for i := len(samples) - 1; i >= 0; i-- {
		switch samples[i].Class {
		case loadgen.Success:
			return unanswered, refused
		case loadgen.ConnectionRefused:
			unanswered, refused = true, true
		case loadgen.Cancelled, loadgen.ClientLimit:
		default:
			if !noAnswer(samples[i].Class) {
				return false, refused
			}
			unanswered = true
		}
	}
	return unanswered, refused
}

// noAnswer reports whether a failure was no answer of the server.
func noAnswer(c loadgen.Class) bool {
	switch c {
	case loadgen.ConnectionRefused, loadgen.ConnectionReset, loadgen.Truncated, loadgen.DNS, loadgen.TimeoutConnect,
		loadgen.TimeoutFirstToken, loadgen.TimeoutIdle, loadgen.TimeoutTotal:
		return true
	}
	return false
}

// inFlightAtFirstLoss counts the requests in flight when the first connection
// was lost or refused. Under a staggered start this is where a server that dies
// of too many requests died.
func inFlightAtFirstLoss(samples []loadgen.Sample) loadgen.Number {
	at, found := time.Duration(0), false
	for i := range samples {
		x := &samples[i]
		lost := x.Class == loadgen.ConnectionReset || x.Class == loadgen.ConnectionRefused || x.Class == loadgen.Truncated
		if lost && (!found || x.End < at) {
			at, found = x.End, true
		}
	}
	if !found {
		return loadgen.Number{}
	}
	n := 0
	for i := range samples {
		if x := &samples[i]; x.WasSent && x.Sent <= at && x.End >= at {
			n++
		}
	}
	return loadgen.Known(float64(n))
}

func (s *session) answeredBefore(a attempt) bool {
	for i := range s.h.Steps {
		if s.h.Steps[i].Whole.Completed > 0 {
			return true
		}
	}
	for i := range a.run.Samples {
		if a.run.Samples[i].Class == loadgen.Success {
			return true
		}
	}
	return false
}

// ready asks once whether the server answers.
func (s *session) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if s.Health != nil {
		return s.Health.Ready(ctx)
	}
	return s.canary(ctx)
}

// canary sends one request, for want of a health check.
func (s *session) canary(ctx context.Context) error {
	first := s.r.Spent.Prompts
	s.r.Spent.Prompts++
	s.r.Spent.Requests++
	run, err := s.Generator.Run(ctx, loadgen.Load{Concurrency: 1, Requests: 1, FirstPrompt: first, Drain: s.Drain})
	if err != nil {
		return err
	}
	for i := range run.Samples {
		if x := &run.Samples[i]; x.Class != loadgen.Success {
			return fmt.Errorf("a single request failed: %s %s", x.Class, x.Message)
		}
	}
	if len(run.Samples) == 0 {
		return errors.New("a single request gave no answer in time")
	}
	return nil
}

// awaitReady waits for the server to come back, as long as Config.RecoverWait.
func (s *session) awaitReady(ctx context.Context) error {
	until := time.Now().Add(s.Config.RecoverWait)
	err := errServerGone
	for time.Now().Before(until) {
		if err := s.sleep(ctx, healthPause); err != nil {
			return err
		}
		last := s.ready(ctx)
		if last == nil {
			return nil
		}
		err = last
	}
	return err
}
