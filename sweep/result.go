package sweep

import (
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
)

// SchemaVersion is the version of result.json.
const SchemaVersion = 1

// Verdict is the one-word answer of a sweep.
type Verdict string

// The verdicts.
const (
	LimitFound        Verdict = "limit_found"
	NotReached        Verdict = "not_reached"
	FailedAtFirstStep Verdict = "failed_at_first_step"
	ClientLimited     Verdict = "client_limited"
	Unstable          Verdict = "unstable"
	Interrupted       Verdict = "interrupted"

	// Of the commands that check something rather than look for a limit.
	Met    Verdict = "met"     // every stated requirement held
	NotMet Verdict = "not_met" // one of them did not
)

// Result is everything a command found: result.json.
type Result struct {
	SchemaVersion  int            `json:"schema_version"`
	CapfindVersion string         `json:"capfind_version"`
	Command        string         `json:"command"` // sweep, run, qps, rate, soak, import
	Name           string         `json:"name"`
	StartedAt      time.Time      `json:"started_at"`
	FinishedAt     *time.Time     `json:"finished_at"` // null while it runs
	Complete       bool           `json:"complete"`    // false while it runs and after an interruption
	Config         map[string]any `json:"config"`      // as resolved, secrets redacted
	Seed           uint64         `json:"seed"`
	Target         TargetInfo     `json:"target"`
	Environment    Environment    `json:"environment"`

	Answer // what the steps say

	Crashes []Crash  `json:"crashes"`
	Workers []Worker `json:"workers"` // the load machines of a fleet; empty where this machine alone sent the load
	Spent   Spent    `json:"spent"`
}

// Answer is what follows from the steps, and from nothing else.
type Answer struct {
	Verdict        Verdict                   `json:"verdict"`
	Sentence       string                    `json:"sentence"` // the answer in one line
	Limit          *analysis.Limit           `json:"limit"`    // the binding one, null where none was reached
	Limits         map[string]analysis.Limit `json:"limits"`   // by criterion
	Ladder         Ladder                    `json:"ladder"`
	Recommendation *analysis.Recommendation  `json:"recommendation"`
	Peak           analysis.Peak             `json:"peak"`
	Efficiency     analysis.Efficiency       `json:"efficiency"`
	Curve          *analysis.Curve           `json:"curve"`
	Bottleneck     *diagnosis.Bottleneck     `json:"bottleneck"`
	Steps          []analysis.Step           `json:"steps"`    // as measured, with what chance had stopped cleared
	Search         *Search                   `json:"search"`   // null where no exact search was made
	QPS            *QPSAnswer                `json:"qps"`      // of capfind qps, else null
	Rate           *RateAnswer               `json:"rate"`     // of capfind rate, else null
	Headroom       *HeadroomAnswer           `json:"headroom"` // of capfind replay without a speed, else null
	Soak           *SoakAnswer               `json:"soak"`     // of capfind soak, else null
	Warnings       []string                  `json:"warnings"`
}

// Spent is what the server was asked so far; what a budget is held against.
type Spent struct {
	Requests int     `json:"requests"`
	Tokens   int     `json:"tokens"`  // prompt and output tokens
	Seconds  float64 `json:"seconds"` // pauses included, the time between a kill and a resume not
	Prompts  int     `json:"prompts"` // prompts handed out; the next run begins with this number
}

// TargetInfo is what is known of the server.
type TargetInfo struct {
	BaseURL       string   `json:"base_url"` // credentials removed
	API           string   `json:"api"`
	Model         string   `json:"model"`
	Server        string   `json:"server"`         // kind and version, e.g. "vllm 0.11.0"; empty where unknown
	ContextLength int      `json:"context_length"` // 0 where unknown
	MetricsURL    string   `json:"metrics_url"`
	Notes         []string `json:"notes"` // what the probe found: dropped parameters and the like
}

// Environment is the machine that generated the load.
type Environment struct {
	OS            string          `json:"os"`
	Arch          string          `json:"arch"`
	CPUs          analysis.Number `json:"cpus"` // quota, cgroup aware
	MemoryBytes   analysis.Number `json:"memory_bytes"`
	GoVersion     string          `json:"go_version"`
	CommandLine   []string        `json:"command_line"` // secrets redacted
	InsideTarget  bool            `json:"simulated"`    // the target is the embedded simulator
	SimulatorLate analysis.Number `json:"simulator_late_p99_seconds"`
}

// Ladder is what the guide's ladder alone says.
type Ladder struct {
	LastGood         analysis.Number `json:"last_good"`
	FirstBad         analysis.Number `json:"first_bad"`
	StoppedBy        string          `json:"stopped_by"` // the rule, empty where the ladder ran to its end
	Sentence         string          `json:"sentence"`
	ScriptSuggestion analysis.Number `json:"script_suggestion"` // half of the failing step, as the guide's script would print
}

// Search accounts for the exact search after the ladder.
type Search struct {
	Requests  int             `json:"requests"` // beyond the ladder
	Tokens    int             `json:"tokens"`
	Seconds   float64         `json:"seconds"` // of its steps; pauses not included
	Confirmed bool            `json:"confirmed"`
	Drift     bool            `json:"drift"`      // the server changed
	Doubts    []string        `json:"doubts"`     // what speaks against the server being one and the same throughout
	Changes   []Change        `json:"changes"`    // moments at which it became another one; the answer is that of the time since the last
	RunSpread analysis.Number `json:"run_spread"` // by how much runs of one load differ, as a share: relative standard deviation
	Notes     []string        `json:"notes"`      // what it did, step by step, for people
}
