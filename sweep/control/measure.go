package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// mostHoles is how often a load is sent again because a machine was lost that sent a
// part of it.
const mostHoles = 5

// mostReliefs is how often a load is sent again because one of the machines that send it
// was the limit.
const mostReliefs = 3

// measure runs an order as often as it takes and judges it. A step beside an error was
// measured all the same: it is one that was cut short and is worth keeping, or the
// last before the server went away.
func (s *session) measure(ctx context.Context, o *sweep.Order) (*analysis.Step, []loadgen.Run, error) {
	var runs []loadgen.Run // those that count
	got, holes, reliefs := sweep.Runs{}, 0, 0
	for next := o; ; {
		a, err := s.run(ctx, next, got.Made+got.Stalled+1)
		if err != nil {
			if o.Partial && endOf(err) != nil && len(a.run.Samples) > 0 {
				runs = []loadgen.Run{a.run}
				step := s.judge(o, runs, sweep.CutShort+err.Error())
				return &step, runs, err
			}
			return nil, nil, err
		}
		if a.hole != "" {
			if holes++; holes > mostHoles {
				return nil, nil, fmt.Errorf("the load of %d requests in flight could not be sent whole in %d attempts: %s", o.Concurrency, holes, a.hole)
			}
			s.warn("%s; the load of %d requests in flight is sent again", a.hole, o.Concurrency)
			continue
		}
		runs = append(runs, a.run)
		step := s.judge(o, runs, a.why)
		outage, gone := s.aftermath(ctx, o, a)
		if errors.Is(gone, errInterrupted) {
			return nil, nil, gone
		}
		if gone == nil && !outage && reliefs < mostReliefs && s.relieve(o, &step) {
			reliefs++
			runs = runs[:len(runs)-1]
			continue
		}
		got.Step, got.Outage = &step, outage
		got.Made++
		again, drop := o.Again(got)
		if gone != nil || again == nil {
			return &step, runs, gone
		}
		if drop {
			runs = runs[:len(runs)-1]
			if !outage {
				got.Made, got.Stalled = got.Made-1, got.Stalled+1
			}
		}
		s.sayAgain(&step, got, drop)
		next = again
	}
}

// relieve gives the machines less that were the limit of a load while others were not, and
// reports whether the load is to be sent again for that. A load that goes on for hours is
// not.
func (s *session) relieve(o *sweep.Order, step *analysis.Step) bool {
	crew, ok := s.Generator.(Crew)
	if !ok || o.Slice > 0 {
		return false
	}
	var names []string
	why := ""
	for _, w := range step.Workers {
		if len(w.Limits) > 0 {
			names, why = append(names, w.Name), w.Limits[0]
		}
	}
	if len(names) == 0 || len(names) == len(step.Workers) || !crew.Relieve(names) {
		return false
	}
	s.warn("worker %s was the limit at %d in flight (%s): it has less from here on, and the load is sent again", strings.Join(names, ", "), o.Concurrency, why)
	return true
}

// sayAgain tells why a step is run once more.
func (s *session) sayAgain(step *analysis.Step, got sweep.Runs, drop bool) {
	switch {
	case drop && !got.Outage:
		s.notice("this client stood still during %s of the requests at %d in flight: running the step once more", step.Client.StalledShare, step.Concurrency)
	case got.Made > 1 && step.Stop != nil:
		s.notice("%s: too few requests to be sure, going on until it is settled", step.Stop.Sentence)
	case step.Stop != nil:
		s.notice("%s; running the step once more", step.Stop.Sentence)
	}
}

// judge turns the runs of a step into its figures and its verdict.
func (s *session) judge(o *sweep.Order, runs []loadgen.Run, why string) analysis.Step {
	opts := analysis.Options{Phase: o.Phase, Abandoned: why, SharedPrefix: s.Workload.SharedPrefix, Goodput: o.Goodput}
	step := analysis.Summarize(runs, opts)
	if t, ok := s.telemetry(runs, &step); ok {
		opts.Server = &t
		step = analysis.Summarize(runs, opts)
	}
	step.NumPrompts = max(step.NumPrompts, o.Requests)
	step.Purpose, step.Why = o.Purpose, o.Why
	o.Hold(&step)
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
