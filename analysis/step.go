// Package analysis turns samples into steps, curves, limits and recommendations.
// It is pure: no clocks, no I/O, no goroutines; it never learns where its
// samples came from.
package analysis

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Phase says why a step was run.
type Phase string

// The phases of a sweep.
const (
	PhaseLadder  Phase = "ladder"  // the guide's steps
	PhaseProbe   Phase = "probe"   // the search between the steps
	PhaseConfirm Phase = "confirm" // the runs that confirm the answer
	PhaseLook    Phase = "look"    // a short closed loop that says at which arrival rate to begin
	PhasePoint   Phase = "point"   // a single load point, a fixed-QPS step, a soak
)

// Basis says which set of figures a verdict was taken from.
type Basis string

// The bases of a verdict.
const (
	BasisSteady Basis = "steady"
	BasisWhole  Basis = "whole"
)

// Step is one load point: what was asked, what was measured, what to make of it.
type Step struct {
	Concurrency  int       `json:"concurrency"`
	Phase        Phase     `json:"phase"`
	Purpose      string    `json:"purpose"`      // what the search measured it for: a rule's name, climb, alive, confirm or repeat; empty outside a search
	Why          string    `json:"why"`          // the same in words
	Runs         int       `json:"runs"`         // load runs judged together: 2 after a repeat, else 1
	NumPrompts   int       `json:"num_prompts"`  // planned requests, all runs together
	RequestRate  Number    `json:"request_rate"` // requests/s; null: inf
	Speed        Number    `json:"speed"`        // of recorded traffic, as a factor on its own; null where the requests were not recorded
	StartedAt    time.Time `json:"started_at"`
	VerdictBasis Basis     `json:"verdict_basis"`
	Whole        Summary   `json:"whole"`
	Steady       *Summary  `json:"steady"` // null where there is no window
	Window       *Window   `json:"window"` // the steady window, null where there is none
	Level        *Level    `json:"level"`  // for estimates between steps, null where too little succeeded

	Failures        map[loadgen.Class]int    `json:"failures"`         // count by class; cancelled and client_limit included
	FailureExamples map[loadgen.Class]string `json:"failure_examples"` // one message a class

	Validity  []Check    `json:"validity"`
	Stop      *Stop      `json:"stop"`      // the first rule that this step broke, null where it passed
	Breaches  []Stop     `json:"breaches"`  // every rule that it broke
	Cleared   *Stop      `json:"cleared"`   // a rule that it broke by chance: run again it held; null otherwise
	Abandoned string     `json:"abandoned"` // why it was cut short; empty where it ran to its end
	Lengths   Lengths    `json:"lengths"`
	Client    Client     `json:"client"`
	Workers   []Worker   `json:"workers"` // of a fleet, else empty: what each had of the step
	Server    *Telemetry `json:"server"`  // null without telemetry

	Backlog *Backlog `json:"backlog"` // of an open loop, null otherwise

	TTFTBins []Bin   `json:"ttft_bins"` // distribution of TTFT over successes
	Series   []Slice `json:"series"`    // the step over time
}

// Verdict returns the figures that the step's verdict is taken from.
func (s *Step) Verdict() *Summary {
	if s.VerdictBasis == BasisSteady && s.Steady != nil {
		return s.Steady
	}
	return &s.Whole
}

// Passed reports whether the step broke no rule.
func (s *Step) Passed() bool { return s.Stop == nil }

// Valid reports whether every validity check with a known value held.
func (s *Step) Valid() bool {
	for _, c := range s.Validity {
		if !c.OK {
			return false
		}
	}
	return true
}

// FailureClasses lists the classes of the step's failures, the most frequent first.
func (s *Step) FailureClasses() []loadgen.Class {
	return slices.SortedFunc(maps.Keys(s.Failures), func(a, b loadgen.Class) int {
		return cmp.Or(cmp.Compare(s.Failures[b], s.Failures[a]), cmp.Compare(a, b))
	})
}

// ClientLimited reports whether a gate of the client's own health broke, so that
// the figures are not the server's.
func (s *Step) ClientLimited() bool { return len(s.Client.Limits) > 0 }

// Check is one law that must hold if the step's figures mean what they say.
type Check struct {
	Check string `json:"check"` // short name, e.g. "little", "think_time", "in_flight"
	Value Number `json:"value"`
	Gate  Number `json:"gate"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"` // one sentence with the figures
}

// Stop says that a rule was broken: which, by what, against what.
type Stop struct {
	Rule      string `json:"rule"`      // success_rate, ttft, throughput_gain, resources, or an SLO's name
	Metric    string `json:"metric"`    // e.g. "mean TTFT"
	Value     Number `json:"value"`     // in base units: shares of 1, seconds
	Threshold Number `json:"threshold"` // in the same unit
	Unit      string `json:"unit"`      // share, s, tok/s or empty
	Sentence  string `json:"sentence"`  // for people, the same on the console and in the report
}

// Lengths compares the lengths asked for with those achieved, over successes.
type Lengths struct {
	WantPromptTokens Number `json:"want_prompt_tokens"` // mean
	PromptTokens     Number `json:"prompt_tokens"`      // mean
	WantOutputTokens Number `json:"want_output_tokens"` // mean
	OutputTokens     Number `json:"output_tokens"`      // mean
	CachedShare      Number `json:"cached_share"`       // prompt tokens served from a prefix cache
}

// Backlog says whether what arrives piles up: the mean number in the system, from
// the intended start on, over the first and over the second half of the arrivals of
// the last run. Between the middles of the halves a server that cannot keep up falls
// behind by Growth of what arrives.
type Backlog struct {
	Early  float64 `json:"early"`  // requests
	Late   float64 `json:"late"`   // requests
	Growth float64 `json:"growth"` // share of the arrivals
}

// Client is the client's health over a step and which gates it broke.
type Client struct {
	loadgen.Health
	Limits       []string `json:"limits"`        // one sentence a broken gate; empty when the client was not the limit
	StalledShare Number   `json:"stalled_share"` // of the requests whose times were left out, for this client stood still during them
	Spoilt       bool     `json:"spoilt"`        // that share is too large for the rest to stand for the load
}

// Worker is what one machine of a fleet had in a step.
type Worker struct {
	Name              string         `json:"name"`
	Concurrency       int            `json:"concurrency"`         // its share of the requests in flight
	NumPrompts        int            `json:"num_prompts"`         // its share of the planned requests
	ClockErrorSeconds Number         `json:"clock_error_seconds"` // by which its times may be off against the others', at most
	Limits            []string       `json:"limits"`              // one sentence a broken gate
	Health            loadgen.Health `json:"health"`
}

// Short reports whether much of a closed loop's load was missing in its steady window,
// and how many requests were in flight there on average.
func (s *Step) Short() (inFlight float64, short bool) {
	if s.Steady == nil || s.RequestRate.IsKnown() || s.Concurrency == 0 {
		return 0, false
	}
	n, ok := s.Steady.MeanInFlight.Value()
	return n, ok && n < inFlightGate*float64(s.Concurrency)
}

// heldBack reports whether workers whose request had failed waited through the steady
// window, as a server asks for by Retry-After: it shows how those fared that were let
// in, at a load that is not the step's, and leaves out those that were not.
func (s *Step) heldBack() bool {
	_, short := s.Short()
	return short && s.Whole.SuccessRate.Or(1) < s.Steady.SuccessRate.Or(1)
}
