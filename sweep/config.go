package sweep

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Config is the config's sweep section.
type Config struct {
	Effort                Effort            `yaml:"effort"`                  // guide: the literal ladder, the limit to 2 %; quick: about a fifth of its requests, to about 5 %; thorough: to 1 %, with loads repeated in turn
	Concurrency           Steps             `yaml:"concurrency"`             // list of steps
	PromptsPerConcurrency int               `yaml:"prompts_per_concurrency"` // requests per step = this x concurrency
	MinPrompts            int               `yaml:"min_prompts"`             // floor for low concurrencies; 59 without a failure support ">= 95 %" with 95 % confidence
	Exact                 bool              `yaml:"exact"`                   // search the exact limit between the ladder's steps
	SearchRequests        int               `yaml:"search_requests"`         // where requests fail ever more often as the load grows, content with a wide interval after this many; half the width takes four times as many
	Start                 loadgen.StartMode `yaml:"start"`                   // how a step begins: stagger spreads the first requests over about one response time, burst sends them at once
	Repeat                bool              `yaml:"repeat"`                  // run a failing step once more before stopping
	ErrorHold             time.Duration     `yaml:"error_hold"`              // pause of a worker after an error
	Settle                time.Duration     `yaml:"settle"`                  // pause between steps
	Budget                Budget            `yaml:"budget"`                  // of the whole sweep
	RecoverWait           time.Duration     `yaml:"recover_wait"`            // how long to wait for a crashed server before giving up; 0: do not wait
}

// Steps are the concurrencies of the ladder, ascending. The YAML form is a list
// or {from, to}.
type Steps []int

// Range returns the steps of the series 1, 2, 5, 10, 20, 50, ... that lie within
// from and to, both ends included even where the series does not hold them.
func Range(from, to int) Steps {
	if from < 1 || to < from {
		return nil
	}
	steps := Steps{from}
	for decade := 1; decade <= to; decade *= 10 {
		for _, n := range []int{decade, 2 * decade, 5 * decade} {
			if n > from && n < to {
				steps = append(steps, n)
			}
		}
		if decade > math.MaxInt/10 {
			break
		}
	}
	if to > from {
		steps = append(steps, to)
	}
	return steps
}

// UnmarshalYAML reads a list of steps, or a range as {from: 1, to: 1000}. It
// has the form that needs no YAML package here: whoever parses hands over the
// decoder of the value.
func (s *Steps) UnmarshalYAML(unmarshal func(any) error) error {
	var list []int
	listErr := unmarshal(&list)
	if listErr == nil {
		*s = list
		return nil
	}
	var ends map[string]int
	if err := unmarshal(&ends); err != nil {
		return fmt.Errorf("want a list of whole numbers such as [1, 2, 5, 10], or {from: 1, to: 1000}: %w", listErr)
	}
	for key := range ends {
		if key != "from" && key != "to" {
			return fmt.Errorf("unknown key %q: a range of steps has the keys from and to", key)
		}
	}
	from, hasFrom := ends["from"]
	to, hasTo := ends["to"]
	if !hasTo {
		return fmt.Errorf("a range of steps needs the key to, e.g. {from: 1, to: 1000}")
	}
	if !hasFrom {
		from = 1
	}
	if from < 1 || to < from {
		return fmt.Errorf("a range of steps needs 1 <= from <= to, but from is %d and to is %d", from, to)
	}
	*s = Range(from, to)
	return nil
}

// Budget bounds a sweep. Zero means no bound.
type Budget struct {
	MaxRequests int           `yaml:"max_requests"` // requests in all; 0: no bound
	MaxTokens   int           `yaml:"max_tokens"`   // prompt and output tokens
	MaxDuration time.Duration `yaml:"max_duration"` // of the whole sweep; 0: no bound
}

// StopRules is the config's stop section.
type StopRules struct {
	MinSuccessRate    float64       `yaml:"min_success_rate"`    // share of 1; 0: no rule
	MaxTTFT           time.Duration `yaml:"max_ttft"`            // 0: no rule
	TTFTStatistic     string        `yaml:"ttft_statistic"`      // mean, p50, p90, p95, p99
	MinThroughputGain float64       `yaml:"min_throughput_gain"` // share of 1 over the previous step, or over a doubling where steps are closer; 0: no rule
	MinGoodput        float64       `yaml:"min_goodput"`         // share of 1 of the requests that must meet all of load.goodput, in run and replay; 0: no rule
	Resources         Resources     `yaml:"resources"`           // exhausted resources of the server
	SLO               []SLO         `yaml:"slo"`                 // further requirements, each with metric, statistic and max or min

	eachDoubling bool // the gain is asked of each doubling, of a leap as much more
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
	Statistic string        `yaml:"statistic"` // mean, p50, p90, p95, p99; empty: mean
	Max       time.Duration `yaml:"max"`       // for times
	Min       float64       `yaml:"min"`       // for tokens_per_second
}

// Title is how the requirement is called: its name, or what it is made of.
func (s SLO) Title() string {
	if s.Name != "" {
		return s.Name
	}
	if s.Metric == metricTokenRate {
		return s.Metric
	}
	return s.statistic() + "_" + s.Metric
}

func (s SLO) statistic() string {
	if s.Statistic == "" {
		return "mean"
	}
	return s.Statistic
}

// Default returns the sweep section before the file is read: the guide's ladder.
func Default() Config {
	return Config{
		Effort:                EffortGuide,
		Concurrency:           Steps{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000},
		PromptsPerConcurrency: 10,
		Exact:                 true,
		SearchRequests:        3000,
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

// Problem is one thing wrong with a config section.
type Problem struct {
	Key  string // within the section, e.g. concurrency[2] or slo[0].metric
	Text string // what is wrong with it and what is wanted
}

// problems collects what is wrong.
type problems []Problem

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (p *problems) notNegative(key string, v int) {
	if v < 0 {
		p.add(key, "is %d, but must not be negative", v)
	}
}

func (p *problems) noTimeBack(key string, v time.Duration) {
	if v < 0 {
		p.add(key, "is %v, but must not be negative", v)
	}
}

func (p *problems) share(key string, v float64) {
	if math.IsNaN(v) || v < 0 || v > 1 {
		p.add(key, "is %v, but must be a share between 0 and 1 (0.95 for 95 %%)", v)
	}
}

func (p *problems) oneOf(key, v string, allowed ...string) {
	if !slices.Contains(allowed, v) {
		p.add(key, "is %q, but must be one of %s", v, strings.Join(allowed, ", "))
	}
}

// Validate returns everything that is wrong with the section; none is nil.
func (c Config) Validate() []Problem {
	var p problems
	if c.Effort != "" { // as in results of before there was a choice
		p.oneOf("effort", string(c.Effort), efforts...)
	}
	p.steps("concurrency", c.Concurrency)
	if c.PromptsPerConcurrency < 1 {
		p.add("prompts_per_concurrency", "is %d, but must be at least 1 (the guide uses 10)", c.PromptsPerConcurrency)
	}
	p.notNegative("min_prompts", c.MinPrompts)
	p.notNegative("search_requests", c.SearchRequests)
	p.oneOf("start", string(c.Start), string(loadgen.StartStagger), string(loadgen.StartBurst))
	p.noTimeBack("error_hold", c.ErrorHold)
	p.noTimeBack("settle", c.Settle)
	p.noTimeBack("recover_wait", c.RecoverWait)
	p.notNegative("budget.max_requests", c.Budget.MaxRequests)
	p.notNegative("budget.max_tokens", c.Budget.MaxTokens)
	p.noTimeBack("budget.max_duration", c.Budget.MaxDuration)
	return p
}

// maxConcurrency bounds a step: more is a slip of the pen, or a job for more
// than one client.
const maxConcurrency = 1_000_000

func (p *problems) steps(key string, steps Steps) {
	if len(steps) == 0 {
		p.add(key, "is empty, but needs at least one step, e.g. [1, 2, 5, 10]")
	}
	for i, n := range steps {
		at := key + "[" + strconv.Itoa(i) + "]"
		switch {
		case n < 1 || n > maxConcurrency:
			p.add(at, "is %d, but a concurrency is a whole number from 1 to %d", n, maxConcurrency)
		case i > 0 && n <= steps[i-1]:
			p.add(at, "is %d after %d, but the steps must rise", n, steps[i-1])
		}
	}
}

// Validate returns everything that is wrong with the section; none is nil.
func (r StopRules) Validate() []Problem {
	var p problems
	p.share("min_success_rate", r.MinSuccessRate)
	p.share("min_goodput", r.MinGoodput)
	p.noTimeBack("max_ttft", r.MaxTTFT)
	p.oneOf("ttft_statistic", r.TTFTStatistic, statistics...)
	if math.IsNaN(r.MinThroughputGain) || r.MinThroughputGain < 0 || r.MinThroughputGain >= 1 {
		p.add("min_throughput_gain", "is %v, but must be a share from 0 to below 1 (0.2 for 20 %%): "+
			"no server gains 100 %% for every doubling", r.MinThroughputGain)
	}
	p.share("resources.max_kv_cache", r.Resources.MaxKVCache)
	p.share("resources.max_gpu_memory", r.Resources.MaxGPUMemory)
	p.share("resources.max_host_cpu", r.Resources.MaxHostCPU)
	seen := map[string]int{}
	for i, s := range r.SLO {
		at := "slo[" + strconv.Itoa(i) + "]"
		s.validate(&p, at)
		if j, ok := seen[s.Title()]; ok {
			p.add(at+".name", "%q names slo[%d] too: give one of them another name", s.Title(), j)
		}
		if slices.Contains(guideRules, s.Title()) || s.Title() == RuleGoodput {
			p.add(at+".name", "%q is the name of one of the guide's rules: choose another", s.Title())
		}
		seen[s.Title()] = i
	}
	return p
}

func (s SLO) validate(p *problems, at string) {
	p.oneOf(at+".metric", s.Metric, metricTTFT, metricTPOT, metricE2E, metricGap, metricTokenRate)
	if s.Metric == metricTokenRate {
		if !(s.Min > 0) {
			p.add(at+".min", "is %v, but tokens_per_second needs a smallest rate above 0", s.Min)
		}
		if s.Max != 0 {
			p.add(at+".max", "is for times: tokens_per_second has min")
		}
		if s.Statistic != "" && s.Statistic != "mean" {
			p.add(at+".statistic", "is %q, but of tokens_per_second only the mean is known", s.Statistic)
		}
		return
	}
	if s.Statistic != "" {
		p.oneOf(at+".statistic", s.Statistic, statistics...)
	}
	if s.Max <= 0 {
		p.add(at+".max", "is %v, but %s needs a longest time above 0, e.g. 500ms", s.Max, s.Metric)
	}
	if s.Min != 0 {
		p.add(at+".min", "is for tokens_per_second: %s has max", s.Metric)
	}
}

// ValidateBand returns everything that is wrong with the recommend section;
// none is nil.
func ValidateBand(b analysis.Band) []Problem {
	var p problems
	for _, e := range []struct {
		key string
		v   float64
	}{{"low", b.Low}, {"high", b.High}} {
		if math.IsNaN(e.v) || e.v <= 0 || e.v > 1 {
			p.add(e.key, "is %v, but must be a share of the limit above 0 and up to 1 (the guide's band is 0.7 to 0.8)", e.v)
		}
	}
	if len(p) == 0 && b.Low > b.High {
		p.add("low", "is %v and high is %v, but low must not be above high", b.Low, b.High)
	}
	return p
}
