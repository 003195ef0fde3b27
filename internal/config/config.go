// Package config reads the one configuration file: YAML straight into the
// structs of the packages that use the values, over their defaults, with
// presets below the file and the environment and flags above it. All problems
// are found at once, each with its place. It is the only importer of yaml.
package config

import (
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/sweep"
)

// File is the whole configuration, one field a section.
type File struct {
	Preset    string             `yaml:"preset,omitempty"` // start from one of the guide's settings; any key of this file overrides it
	Target    Target             `yaml:"target"`           // the server under test
	Workload  prompt.Config      `yaml:"workload"`         // what is asked of it
	Load      Load               `yaml:"load"`             // one load point: run, qps, rate, soak
	Replay    sweep.ReplayConfig `yaml:"replay"`           // recorded traffic: replay
	Sweep     sweep.Config       `yaml:"sweep"`            // the ladder and the exact search
	Stop      sweep.StopRules    `yaml:"stop"`             // what counts as too much
	Recommend analysis.Band      `yaml:"recommend"`        // share of the limit that production should be set to
	Telemetry Telemetry          `yaml:"telemetry"`        // how the server's own metrics are read
	Output    Output             `yaml:"output"`           // where results go
	Report    Report             `yaml:"report"`           // how the report is written
	Fleet     Fleet              `yaml:"fleet,omitempty"`  // many machines that send the load together
	Web       Web                `yaml:"web"`              // the page that shows the measurement as it goes

	source string           // name of the file, for messages; empty without one
	places map[string]place // where each given key stands
	absent map[string]bool  // keys whose absence was asked for, and so is kept
}

// Target is the endpoint under test, or a simulated one.
type Target struct {
	loadgen.Target `yaml:",inline"`
	Simulator      *simserver.Config `yaml:"simulator,omitempty"` // instead of base_url: a simulated server whose true limits are known, started for the run
}

// Load is one load point: the guide's three core parameters and what belongs to
// them.
type Load struct {
	MaxConcurrency    int           `yaml:"max_concurrency"`    // requests in flight at most
	RequestRate       float64       `yaml:"request_rate"`       // requests per second; inf: a freed slot is refilled at once
	NumPrompts        int           `yaml:"num_prompts"`        // requests in this run, of conversations the number of those; 0 with a duration: as many as fit into it
	Burstiness        float64       `yaml:"burstiness"`         // shape of the gaps of a finite rate: 1 Poisson, above 1 smoother, inf constant
	Duration          time.Duration `yaml:"duration,omitempty"` // stop issuing after this long; 0: no bound
	ConcurrencyFactor float64       `yaml:"concurrency_factor"` // max_concurrency is multiplied by this, e.g. 1.5 for growth
	RateFactor        float64       `yaml:"rate_factor"`        // request_rate is multiplied by this, e.g. 0.8 for a stability check
	Rates             []float64     `yaml:"rates,omitempty"`    // arrival rates that capfind rate tries, rising; empty: 1 2 5 10 ... 1000
	Goodput           Goodput       `yaml:"goodput,omitempty"`  // what a request must meet to count as good
}

// Goodput is what a request must meet to count as good; zero asks nothing.
type Goodput struct {
	TTFT time.Duration `yaml:"ttft,omitempty"` // longest time to first token of a good request
	TPOT time.Duration `yaml:"tpot,omitempty"` // longest time per output token of a good request
	E2E  time.Duration `yaml:"e2e,omitempty"`  // longest time of a whole good request
}

// Asked returns what is asked of a good request, nil where nothing is.
func (g Goodput) Asked() *analysis.Goodput {
	if g == (Goodput{}) {
		return nil
	}
	return &analysis.Goodput{TTFT: g.TTFT, TPOT: g.TPOT, E2E: g.E2E}
}

// Concurrency returns the requests in flight after the factor, rounded up so
// that a factor above 1 never gives less than it says.
func (l Load) Concurrency() int {
	return int(math.Ceil(float64(l.MaxConcurrency)*l.ConcurrencyFactor - 1e-9))
}

// Rate returns the request rate after the factor; +Inf stays +Inf.
func (l Load) Rate() float64 { return l.RequestRate * l.RateFactor }

// Telemetry says how the server's own metrics are read; target says where they
// are.
type Telemetry struct {
	Interval time.Duration `yaml:"interval"` // between two readings of the metrics, 100ms to 1m
}

// Output says where results go.
type Output struct {
	Dir   string `yaml:"dir"`                   // folder that result directories are made in, relative to where capfind runs
	Name  string `yaml:"name,omitempty"`        // start of the result directory's name; empty: the command
	Texts bool   `yaml:"store_texts,omitempty"` // keep prompts and generated texts in the result files
}

// Report says how the report is written.
type Report struct {
	Language string `yaml:"language"`        // en or zh
	Font     string `yaml:"font,omitempty"`  // file of a font with Chinese characters, for the pictures where language is zh; empty: one that the system has
	Title    string `yaml:"title,omitempty"` // headline of the report; empty: made from model and server
}

// Fleet says which machines send the load. With no workers this one does.
type Fleet struct {
	Workers      int           `yaml:"workers,omitempty"`       // load machines that send the load together, each by capfind worker; 0: this machine alone
	LocalWorkers bool          `yaml:"local_workers,omitempty"` // start them as processes on this machine: the way to try it
	Listen       string        `yaml:"listen,omitempty"`        // where workers join: address and port of the NATS server that is started for them
	NATSURL      string        `yaml:"nats_url,omitempty"`      // a NATS cluster with JetStream, in place of a server started for the run
	Name         string        `yaml:"name,omitempty"`          // tells several fleets on one cluster apart
	Shares       string        `yaml:"shares,omitempty"`        // even, or measured: by what each worker can drive, which takes it five seconds when it joins
	JoinTimeout  time.Duration `yaml:"join_timeout"`            // how long workers are waited for, at the start and when one is lost
}

// How a load is shared among the workers of a fleet.
const (
	EvenShares     = "even"
	MeasuredShares = "measured"
)

// Web says whether and where a page shows the measurement as it goes.
type Web struct {
	Listen string `yaml:"listen,omitempty"` // address to serve the page on, e.g. 127.0.0.1:0 for any free port; beyond loopback its URL carries a token; empty: no page
}

// Default returns the configuration before anything is read: the guide's
// progressive test.
func Default() *File {
	return &File{
		Target:    Target{Target: loadgen.DefaultTarget()},
		Workload:  prompt.Default(),
		Load:      Load{MaxConcurrency: 10, RequestRate: math.Inf(1), NumPrompts: 50, Burstiness: 1, ConcurrencyFactor: 1, RateFactor: 1},
		Replay:    sweep.ReplayConfig{Speedup: sweep.Closer, Piece: 10 * time.Minute},
		Sweep:     sweep.Default(),
		Stop:      sweep.DefaultStopRules(),
		Recommend: sweep.DefaultBand(),
		Telemetry: Telemetry{Interval: time.Second},
		Output:    Output{Dir: "results"},
		Report:    Report{Language: "en"},
		Fleet:     Fleet{Listen: ":4222", Name: "fleet", Shares: EvenShares, JoinTimeout: 2 * time.Minute},
	}
}
