package prompt

import "time"

// Config is the config's workload section.
type Config struct {
	Dataset     string        `yaml:"dataset"`                 // random, sharegpt, jsonl, shared_prefix, conversation
	InputLen    int           `yaml:"input_len"`               // tokens; random, shared_prefix, conversation
	OutputLen   int           `yaml:"output_len"`              // tokens; 0 with a data set: as the data set says
	RangeRatio  float64       `yaml:"range_ratio"`             // lengths uniform in [len x (1-r), len x (1+r)], as in vLLM; 0: exact
	PrefixLen   int           `yaml:"prefix_len,omitempty"`    // tokens of shared prefix
	Prefixes    int           `yaml:"prefixes,omitempty"`      // number of distinct shared prefixes
	Turns       int           `yaml:"turns,omitempty"`         // of a conversation
	ThinkTime   time.Duration `yaml:"think_time,omitempty"`    // pause before each later turn
	Path        string        `yaml:"path,omitempty"`          // of the data set, relative to the config file
	MaxBadLines int           `yaml:"max_bad_lines,omitempty"` // bad lines skipped before it is an error
	Seed        uint64        `yaml:"seed"`                    // 0: new for every run, and recorded
	HoldOutput  bool          `yaml:"hold_output"`             // ask for exactly output_len tokens where the server can (ignore_eos, min_tokens)
	Temperature *float64      `yaml:"temperature,omitempty"`   // sampling temperature; unset: the server's own
}

// Default returns the guide's workload: random, 512 in, 128 out.
func Default() Config {
	return Config{Dataset: "random", InputLen: 512, OutputLen: 128, HoldOutput: true, MaxBadLines: 100}
}
