package sweep

import (
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Config is the config's sweep section.
type Config struct {
	Concurrency           Steps             `yaml:"concurrency"`             // list of steps
	PromptsPerConcurrency int               `yaml:"prompts_per_concurrency"` // requests per step = this x concurrency
	MinPrompts            int               `yaml:"min_prompts"`             // floor for low concurrencies; 59 without a failure support ">= 95 %" with 95 % confidence
	Exact                 bool              `yaml:"exact"`                   // search the exact limit between the ladder's steps
	Start                 loadgen.StartMode `yaml:"start"`
	Repeat                bool              `yaml:"repeat"`       // run a failing step once more before stopping
	ErrorHold             time.Duration     `yaml:"error_hold"`   // pause of a worker after an error
	Settle                time.Duration     `yaml:"settle"`       // pause between steps
	Budget                Budget            `yaml:"budget"`       // of the whole sweep
	RecoverWait           time.Duration     `yaml:"recover_wait"` // how long to wait for a crashed server before giving up
}

// Steps are the concurrencies of the ladder, ascending. The YAML form is a list
// or {from, to}.
type Steps []int

// Budget bounds a sweep. Zero means no bound.
type Budget struct {
	MaxRequests int           `yaml:"max_requests"`
	MaxTokens   int           `yaml:"max_tokens"` // prompt and output tokens
	MaxDuration time.Duration `yaml:"max_duration"`
}

// StopRules is the config's stop section.
type StopRules struct {
	MinSuccessRate    float64       `yaml:"min_success_rate"`    // share of 1
	MaxTTFT           time.Duration `yaml:"max_ttft"`            // 0: no rule
	TTFTStatistic     string        `yaml:"ttft_statistic"`      // mean, p50, p90, p95, p99
	MinThroughputGain float64       `yaml:"min_throughput_gain"` // share of 1 over the previous step; 0: no rule
	Resources         Resources     `yaml:"resources"`
	SLO               []SLO         `yaml:"slo"`
}

// Resources is the guide's fourth criterion; shares of 1, 0: no rule.
type Resources struct {
	MaxKVCache   float64 `yaml:"max_kv_cache"`   // with preemptions or a waiting queue
	MaxGPUMemory float64 `yaml:"max_gpu_memory"` // of DCGM's used / (used + free)
	MaxHostCPU   float64 `yaml:"max_host_cpu"`   // for the whole window
}

// SLO is a further requirement on a step.
type SLO struct {
	Name      string        `yaml:"name"`      // how it is called in the report; empty: metric and statistic
	Metric    string        `yaml:"metric"`    // ttft, tpot, e2e, chunk_gap, tokens_per_second (per request)
	Statistic string        `yaml:"statistic"` // mean, p50, p90, p95, p99
	Max       time.Duration `yaml:"max"`       // for times
	Min       float64       `yaml:"min"`       // for tokens_per_second
}

// Default returns the sweep section before the file is read: the guide's ladder.
func Default() Config {
	return Config{
		Concurrency:           Steps{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000},
		PromptsPerConcurrency: 10,
		Exact:                 true,
		Start:                 loadgen.StartStagger,
		Repeat:                true,
		ErrorHold:             loadgen.ErrorHoldDefault,
		Settle:                500 * time.Millisecond,
		RecoverWait:           2 * time.Minute,
	}
}

// DefaultStopRules returns the guide's criteria.
func DefaultStopRules() StopRules {
	return StopRules{
		MinSuccessRate:    0.95,
		MaxTTFT:           time.Second,
		TTFTStatistic:     "mean",
		MinThroughputGain: 0.20,
		Resources:         Resources{MaxKVCache: 0.95, MaxGPUMemory: 0.98, MaxHostCPU: 0.95},
	}
}

// DefaultBand returns the guide's 70-80 %.
func DefaultBand() analysis.Band { return analysis.Band{Low: 0.70, High: 0.80} }
