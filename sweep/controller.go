// Package sweep holds the controllers that decide which load points to run and
// when to stop. It never prints: whoever drives it listens as an Observer.
package sweep

import (
	"context"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Generator runs one load point. loadgen's engine is one.
type Generator interface {
	Run(ctx context.Context, load loadgen.Load) (loadgen.Run, error)
}

// Telemetry watches the server's own metrics. Window sums up what was seen
// between two moments; ok is false where nothing was.
type Telemetry interface {
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
	NumPrompts  int
	Attempt     int               // 1, or 2 for the repeat of a failing step
	Progress    *loadgen.Progress // live counts
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
	SaveStep(r *Result, step *analysis.Step, runs []loadgen.Run) error
	// Save stores the result.
	Save(r *Result) error
}
