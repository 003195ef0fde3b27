// Package sweep decides which loads to measure and what the answer is. Everything
// in it is a pure function of the steps measured so far: it knows no context,
// clock, file or socket, and prints nothing. Package control does what is decided
// here, package store keeps what was found.
package sweep

import (
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Strategy is a question being answered.
type Strategy interface {
	// Next returns the next load to measure, or no order where nothing more needs to
	// be, or can be (History.End). The answer is what the steps so far say; it is
	// filled in where there is no order. The same history gives the same order.
	Next(h History) (*Order, Answer)
}

// History is everything that is known when a decision is made.
type History struct {
	Steps   []analysis.Step // in the order in which they were measured
	Crashes []Crash
	Slices  []SoakSlice // of a soak: what lies behind it
	Server  string      // kind and version where known, for what the advice names
	End     *End        // why nothing more can be measured; nil while it can
}

// End is why a measurement ended before its question was answered.
type End struct {
	Why string
	// Unfinished says that it can be gone on with: it was interrupted, not bounded.
	Unfinished bool
}

// complete reports whether nothing is missing that could still be measured.
func (h *History) complete() bool { return h.End == nil || !h.End.Unfinished }

// Crash is a moment when the server died under the load.
type Crash struct {
	At               time.Time       `json:"at"`
	Step             int             `json:"step"`        // index in the result's steps
	Concurrency      int             `json:"concurrency"` // of that step
	InFlight         analysis.Number `json:"in_flight"`   // requests in flight when it died
	Sentence         string          `json:"sentence"`
	RecoveredSeconds analysis.Number `json:"recovered_seconds"` // until it answered again; null where it did not
}

// Order is a load to be measured and judged.
type Order struct {
	Concurrency int
	Requests    int           // 0 with a duration: as many as fit
	Duration    time.Duration // stop issuing after this long; 0: no bound
	Rate        float64       // requests/s; 0: closed loop
	Burstiness  float64       // of the gaps of a rate
	Traffic     *Traffic      // recorded requests, in place of those that a rate draws; nil: none
	Speed       float64       // of the traffic, as a factor on its own
	Speedup     Speedup       // how the traffic becomes that much more
	Phase       analysis.Phase
	Purpose     string // what the search measures it for; empty outside a search
	Why         string // the same for people
	Goodput     *analysis.Goodput
	Rules       StopRules       // that the step is judged by
	Prev        []analysis.Step // what its throughput gain is taken over
	Intended    bool            // judge latencies from the intended start, and whether requests pile up
	Repeat      bool            // run it once more where it fails, and judge both runs together
	Settle      bool            // go on where only the success rate is short, until a sequential test decides
	Abandon     Abandon
	CutTail     bool          // end it once every request has its first output, if none failed
	Partial     bool          // keep what was measured where it is interrupted
	Slice       time.Duration // of a soak: count the requests in slices this long, and keep only some; 0: keep all
}

// Abandon says when a run is lost before its end.
type Abandon struct {
	Never bool // the load was asked for, whatever becomes of it
	// Allowed is how many server failures may come before the success rule is broken
	// whatever follows; -1: no such rule.
	Allowed int
	// Sequential ends a run once a sequential test finds the success rate below the
	// threshold. Completed and Failed are what the test starts from: runs before.
	Sequential        bool
	Completed, Failed int
	// Patience adds to Sequential that such a share of what was sent must have failed, or that
	// PastCliff, a load known to be more than the server admits, has two waves behind it.
	// Where success falls slowly, to stop at a bad moment would count the moment as the
	// rate; and a server that turns requests away shows by the others how many it can
	// serve, once two waves are through.
	Patience  float64
	PastCliff bool
}

// judge is every rule that the order's step breaks.
func (o *Order) judge(step *analysis.Step) []analysis.Stop {
	switch {
	case o.Traffic != nil:
		return judgeRecorded(step, o.Rules)
	case o.Intended:
		return judgeArrivals(step, o.Rules)
	}
	return Judge(o.Prev, step, o.Rules)
}

// Hold holds a step against the order's rules and writes down which it breaks.
func (o *Order) Hold(step *analysis.Step) {
	step.Stop, step.Breaches = nil, o.judge(step)
	if len(step.Breaches) > 0 {
		stop := step.Breaches[0]
		step.Stop = &stop
	}
}

// allowedFailures is how many of that many requests may fail before the success
// rule is broken whatever follows; -1 without such a rule.
func allowedFailures(rules StopRules, requests int) int {
	if rules.MinSuccessRate <= 0 || requests == 0 {
		return -1
	}
	const fuzz = 1e-9 // 5 % of 20 must allow 1
	return int((1-rules.MinSuccessRate)*float64(requests) + fuzz)
}

// Runs is what the runs of an order gave so far, for the decision whether it takes
// another one.
type Runs struct {
	Step    *analysis.Step // of those that count
	Made    int            // those that count, and the ones that an outage took the place of
	Stalled int            // made besides and thrown away, for this client stood still in them
	Outage  bool           // the server was away during the last one and came back
}

// Bounds on how a step near its threshold is settled: requests of one more run,
// and of all of them unless the step itself has more.
const (
	settleRun  = 60
	settleMost = 600
)

// stallRepeats is how often a run that the client's own stalls have spoilt is made
// again.
const stallRepeats = 2

// Again returns the run that an order takes beside those it had, if any; drop says
// that the last of these does not count.
//
// A step that fails is run once more. A first run that was cut short is made up for,
// so that both together come to twice the planned requests: cutting short then only
// saves what could no longer change the verdict, and does not weigh the failures
// that led to it twice. After an outage the second run stands alone: what the first
// one measured was the outage, and if it was the load that brought it about it will
// again.
//
// Where the success rate alone is short of its threshold, and not by much, the step
// goes on until the sequential test decides: of twenty requests at a true rate of
// 98 % two fail in one case of twenty.
func (o *Order) Again(r Runs) (again *Order, drop bool) {
	step, next := r.Step, *o
	switch {
	case step.Client.Spoilt && r.Stalled < stallRepeats && !o.Abandon.Never:
		return &next, true
	case step.Passed() || !o.Repeat && !(o.Settle && successAlone(step)):
		return nil, false
	case r.Made == 1 && r.Outage:
		return &next, true
	case r.Made == 1:
		if o.Requests > 0 {
			next.Requests = 2*o.Requests - finished(step)
		}
		if o.Abandon.Allowed >= 0 {
			next.Abandon.Allowed = max(0, allowedFailures(o.Rules, 2*o.Requests)-step.Whole.Failed)
		}
		return &next, false
	case !o.Settle || r.Outage || !successAlone(step):
		return nil, false
	}
	completed, failed := step.Whole.Completed, step.Whole.Failed
	most := max(2*o.Requests, settleMost)
	test := analysis.NewSPRT(o.Rules.MinSuccessRate)
	test.AddCounts(completed, failed)
	if test.Outcome() != analysis.Undecided || completed+failed >= most {
		return nil, false
	}
	next.Requests = min(max(o.Requests, settleRun), most-completed-failed)
	next.Abandon = Abandon{Allowed: -1, Sequential: true, Completed: completed, Failed: failed}
	return &next, false
}

// successAlone reports whether a step's success rate alone is short, and not by much.
func successAlone(step *analysis.Step) bool {
	return len(step.Breaches) == 1 && breaks(step, RuleSuccess) && step.Whole.Completed > step.Whole.Failed
}

// finished counts the requests of a step that came to an end of their own.
func finished(step *analysis.Step) int {
	return step.Whole.Completed + step.Whole.Failed + step.Failures[loadgen.ClientLimit]
}
