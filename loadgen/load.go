package loadgen

import (
	"math"
	"sync/atomic"
	"time"
)

// StartMode says how the first requests of a run are sent.
type StartMode string

// The ways to start a run.
const (
	StartStagger StartMode = "stagger" // spread over about one response time
	StartBurst   StartMode = "burst"   // all at once, as the guide's script does
)

// Load describes one load point.
type Load struct {
	Concurrency int           // requests in flight at most, at least 1
	Requests    int           // how many to issue; 0: as many as fit into Duration
	Duration    time.Duration // stop issuing after this long; 0: no bound
	Rate        float64       // requests per second; +Inf or 0: closed loop, a freed slot is refilled at once
	Arrivals    *Arrivals     `json:"-"` // recorded, in place of those that a rate draws; Rate is then their mean
	Burstiness  float64       // shape of the gamma-distributed gaps of a finite rate: 1 Poisson, +Inf constant; 0 means 1
	Seed        uint64        // of the arrival schedule
	Start       StartMode     // empty means StartBurst
	StaggerOver time.Duration // over how long StartStagger spreads the first Concurrency requests
	ErrorHold   time.Duration // how long a worker holds after an error, unless Retry-After says longer
	MaxHold     time.Duration // cap on Retry-After; 0 means 30 s
	FirstPrompt int           // number of the first prompt, so that no prompt is sent twice in a sweep
	Share       Share         // where several machines send the load together: which part this is
	Begin       time.Time     `json:"-"` // send nothing before, but open connections; zero: at once
	// CutTail ends a closed loop as soon as every request was sent and has its first
	// output, if none failed: those that go on decode under a load that falls, for as long
	// as the longest of them. They are cancelled, and how far each came stands in its sample.
	CutTail bool

	// OnSample, where set, is called with every finished request, one call at a
	// time, in order of completion. Returning true ends the run: nothing more is
	// issued and what is in flight is cancelled.
	OnSample func(*Sample) (stop bool) `json:"-"`
	// DropSamples leaves Run.Samples empty, so that a run of hours stays in
	// bounded memory; OnSample sees every sample all the same.
	DropSamples bool
	// Drain, where set, ends the issuing of requests when it is closed; what is
	// in flight runs to its end.
	Drain <-chan struct{} `json:"-"`
	// Progress, where set, is kept up to date while the run goes on.
	Progress *Progress `json:"-"`
}

// OpenLoop reports whether requests follow a schedule rather than freed slots.
func (l Load) OpenLoop() bool { return l.Arrivals != nil || l.Rate > 0 && !math.IsInf(l.Rate, 1) }

// Arrivals says when each request of a load is due, and which one it waits for. A
// request has its own prompt, whenever it is sent.
type Arrivals struct {
	At     []time.Duration // ascending, from the beginning
	Before []int32         // the request of the same session that must have ended, by number; -1: none. nil: there are no sessions
	Speed  float64         // At is divided by it; 0 means 1
	// OwnPace says that the speed is in At already: there are more requests, and not
	// the same ones closer together.
	OwnPace bool
	Prompts []int32 // which prompt each one is, from the load's first one on; nil: they are in order
}

// due is when a request is due, at the load's speed.
func (a *Arrivals) due(i int) time.Duration {
	if pace := a.Pace(); pace != 1 {
		return time.Duration(float64(a.At[i]) / pace)
	}
	return a.At[i]
}

// Pace is how many seconds of At pass in one.
func (a *Arrivals) Pace() float64 {
	if a.Speed > 0 && !a.OwnPace {
		return a.Speed
	}
	return 1
}

// prompt is which prompt a request is, from the load's first one on.
func (a *Arrivals) prompt(i int) int {
	if a == nil || a.Prompts == nil {
		return i
	}
	return int(a.Prompts[i])
}

// before is the request that one waits for; -1 for none.
func (a *Arrivals) before(i int) int {
	if a == nil || a.Before == nil {
		return -1
	}
	return int(a.Before[i])
}

// Progress counts a run as it goes; safe for concurrent use.
type Progress struct {
	Sent, InFlight, Succeeded, Failed, OutputTokens atomic.Int64
	TTFTs, TTFTNanos                                atomic.Int64 // successes with a TTFT, and the sum of it
}

// EndReason says why a run ended.
type EndReason string

// The reasons why a run ended.
const (
	EndComplete  EndReason = "complete"  // every request issued and finished
	EndStopped   EndReason = "stopped"   // OnSample asked for it
	EndCut       EndReason = "cut"       // Load.CutTail: every request had its first output
	EndDrained   EndReason = "drained"   // Load.Drain was closed: what was in flight finished
	EndCancelled EndReason = "cancelled" // the context was cancelled
	EndFailed    EndReason = "failed"    // a request could not be made at all; the error beside the run says why
)

// Run is what one load point gave.
type Run struct {
	Load    Load
	Started time.Time     // wall clock of offset 0
	Elapsed time.Duration // offset at which the last request ended
	End     EndReason
	Samples []Sample // in order of completion
	Health  Health   // of several machines the worst, figure by figure
	Stalls  []Stall  // when this process stood still
	Parts   []Part   // of a load that several machines sent together, else nil
}

// Part is what one of several machines had in a run.
type Part struct {
	Worker      string
	Concurrency int
	Requests    int           // planned; 0: as many as fitted into the duration
	ClockError  time.Duration // by which its times may be off against the others', at most
	Health      Health
}

// Stall is a stretch between two offsets of a run in which the process was not run.
type Stall struct{ From, To time.Duration }
