// Package control does what package sweep decides: it asks a strategy, measures what
// it orders, keeps what was found, and asks again. Caps, signals, pauses, crashes and
// the journal live here and nowhere else. It never prints: whoever drives it listens
// as an Observer.
package control

import (
	"context"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// Generator measures a load: this machine, or many. loadgen's engine is one.
type Generator interface {
	Run(ctx context.Context, load loadgen.Load) (loadgen.Run, error)
}

// Telemetry watches the server's own metrics. Begin says that a load begins now,
// and does not wait. Window sums up what was seen between two moments; ok is
// false where nothing was.
type Telemetry interface {
	Begin()
	Window(from, to time.Time) (t analysis.Telemetry, ok bool)
}

// Health says whether the server is ready to answer; nil when it is.
type Health interface {
	Ready(ctx context.Context) error
}

// StepPlan is a step about to be run.
type StepPlan struct {
	Concurrency int
	Phase       analysis.Phase
	NumPrompts  int               // 0: as many as fit into Duration
	Duration    time.Duration     // 0: until NumPrompts are done
	RequestRate analysis.Number   // requests/s; null: inf
	Speed       analysis.Number   // of recorded traffic; null: none
	Attempt     int               // 1, or 2 for the repeat of a failing step
	Progress    *loadgen.Progress // live counts
	IfHeld      *sweep.Order      // what comes next if it holds; nil: not known, or nothing
	Steps       []analysis.Step   // those so far, with what chance had stopped cleared
	Workers     func() []Worker   // who makes the load, as they are now; nil: this machine alone
}

// Worker is one of several machines that make the load together.
type Worker struct {
	Name     string
	Share    int    // of the step's concurrency
	InFlight int64  // requests
	Trouble  string // what is wrong with it; empty: nothing
}

// Crew is a Generator that can tell its workers apart.
type Crew interface {
	Workers() []Worker
	// Relieve gives workers less of the loads that follow, and reports whether it could:
	// others must be there who have more.
	Relieve(names []string) bool
}

// Observer hears what a controller does, from one goroutine at a time.
type Observer interface {
	StepStarted(StepPlan)
	StepDone(analysis.Step)
	Notice(text string) // something a person should know now: a wait, a repeat, a warning
}

// Journal keeps what was found so far, so that nothing is lost.
type Journal interface {
	// SaveStep stores a finished step's samples and the result so far.
	SaveStep(r *sweep.Result, step *analysis.Step, runs []loadgen.Run) error
	// Save stores the result.
	Save(r *sweep.Result) error
}

// Controller answers a question: one controller, one question. Generator is required;
// of the other fields the zero value means none. Fields are not to be changed while
// Answer runs.
type Controller struct {
	Generator Generator
	Config    sweep.Config // pauses, holds, budget, recovery; what is to be measured is the strategy's
	Workload  sweep.Workload
	Observer  Observer
	Journal   Journal
	Telemetry Telemetry
	Health    Health // nil: a single request stands in for it
	// Drain, where set, ends the measurement when it is closed: nothing more is
	// sent, what is in flight runs to its end, and the result is marked
	// incomplete.
	Drain <-chan struct{}
	// Response is about one response time of the server, alone: over it the first load
	// begins; 0: not known, and it begins all at once. Later ones begin over what was measured.
	Response time.Duration
	// Seed makes the arrival schedules; a repeated run with the same seed sends the
	// same requests.
	Seed uint64
	// Result, where set, is filled in instead of a new one: it holds what is
	// known before the first request (name, target, environment, config). The
	// finished steps that it already holds, of a run that was interrupted, are
	// kept and not run again.
	Result *sweep.Result
}
