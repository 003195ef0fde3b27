package prompt

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// The data sets.
const (
	Random       = "random"        // words drawn at random, of a given length
	ShareGPT     = "sharegpt"      // a file in the public ShareGPT format
	JSONL        = "jsonl"         // a file with one request a line
	SharedPrefix = "shared_prefix" // random, after one of a few prefixes
	Conversation = "conversation"  // random, over several turns
	Trace        = "trace"         // recorded traffic: package trace
)

// Datasets lists the values of Config.Dataset.
func Datasets() []string { return []string{Random, ShareGPT, JSONL, SharedPrefix, Conversation, Trace} }

// Config is the config's workload section.
type Config struct {
	Dataset     string        `yaml:"dataset"`                 // random, sharegpt, jsonl, shared_prefix, conversation; trace: recorded traffic, of capfind replay alone
	InputLen    int           `yaml:"input_len"`               // tokens; random, shared_prefix (after the prefix), conversation (each turn)
	OutputLen   int           `yaml:"output_len"`              // tokens; 0 with a data set: as long as its answer; a jsonl line's own output_len wins
	RangeRatio  float64       `yaml:"range_ratio"`             // lengths uniform in [len x (1-r), len x (1+r)], as in vLLM; 0: exact
	PrefixLen   int           `yaml:"prefix_len,omitempty"`    // tokens of shared prefix
	Prefixes    int           `yaml:"prefixes,omitempty"`      // number of distinct shared prefixes; 0 means 1
	Turns       int           `yaml:"turns,omitempty"`         // of a conversation; with sharegpt: as many of its turns at most
	ThinkTime   time.Duration `yaml:"think_time,omitempty"`    // pause before each later turn
	Batch       int           `yaml:"batch,omitempty"`         // texts of each request, of input_len each; 0 means 1. For openai-embeddings, rerank and tei-rerank
	Path        string        `yaml:"path,omitempty"`          // of the data set, relative to the config file
	MaxBadLines int           `yaml:"max_bad_lines,omitempty"` // bad lines skipped before it is an error
	DropTooLong bool          `yaml:"drop_too_long,omitempty"` // sharegpt, jsonl: leave out, and count, prompts that are longer than the model's context
	Seed        uint64        `yaml:"seed"`                    // 0: new for every run, and recorded
	Unique      bool          `yaml:"unique"`                  // every prompt differs from its first words on, so that no prefix cache helps; false: repeat as data sets and other tools do
	HoldOutput  bool          `yaml:"hold_output"`             // ask for exactly output_len tokens where the server can (ignore_eos, min_tokens)
	Temperature *float64      `yaml:"temperature,omitempty"`   // sampling temperature; unset: the server's own
}

// Default returns the guide's workload: random, 512 in, 128 out.
func Default() Config {
	return Config{Dataset: Random, InputLen: 512, OutputLen: 128, Unique: true, HoldOutput: true, MaxBadLines: 100}
}

// Problem is something wrong with a config: the key below workload, and what to
// do about it.
type Problem struct{ Key, Text string }

// Validate returns everything that is wrong with the config. A path must already
// be resolved: relative to the working directory, or absolute.
func (c Config) Validate() []Problem {
	var all []Problem
	add := func(key, format string, args ...any) {
		all = append(all, Problem{key, fmt.Sprintf(format, args...)})
	}
	if !slices.Contains(Datasets(), c.Dataset) {
		add("dataset", "unknown data set %q: use one of %s", c.Dataset, strings.Join(Datasets(), ", "))
		return all
	}
	if c.Generated() {
		c.validateGenerated(add)
	} else {
		c.validateFile(add)
	}
	if c.RangeRatio < 0 || c.RangeRatio >= 1 || math.IsNaN(c.RangeRatio) {
		add("range_ratio", "%v is outside 0 to 1 (1 excluded): 0.2 means lengths from 80 %% to 120 %%", c.RangeRatio)
	}
	if c.Dataset != SharedPrefix && c.PrefixLen != 0 {
		add("prefix_len", "only the data set %s has a shared prefix: remove it, or set dataset: %s", SharedPrefix, SharedPrefix)
	}
	if c.Dataset != SharedPrefix && c.Prefixes != 0 {
		add("prefixes", "only the data set %s has shared prefixes: remove it, or set dataset: %s", SharedPrefix, SharedPrefix)
	}
	if c.Batch < 0 || c.Batch > maxBatch {
		add("batch", "%d is outside 1 to %d", c.Batch, maxBatch)
	}
	if c.Batch > 1 && c.Dataset != Random {
		add("batch", "only the data set %s has several texts in a request: remove it, or set dataset: %s", Random, Random)
	}
	if c.Turns < 0 || c.Turns != 0 && c.Dataset != Conversation && c.Dataset != ShareGPT {
		add("turns", "%d turns: only the data sets %s and %s have them, and at least 1", c.Turns, Conversation, ShareGPT)
	}
	if c.ThinkTime < 0 {
		add("think_time", "%v is negative", c.ThinkTime)
	}
	if c.ThinkTime > 0 && c.Turns < 2 {
		add("think_time", "there is no later turn to think before: set turns to at least 2, or remove it")
	}
	if c.DropTooLong && c.Generated() {
		add("drop_too_long", "the data set %s makes prompts of the length asked for: lower input_len or output_len instead", c.Dataset)
	}
	if c.MaxBadLines < 0 {
		add("max_bad_lines", "%d is negative: 0 allows none", c.MaxBadLines)
	}
	if t := c.Temperature; t != nil && !(*t >= 0 && *t <= 10) {
		add("temperature", "%v is outside 0 to 10", *t)
	}
	return all
}

// Generated reports whether the prompts are made here, with lengths in tokens,
// rather than read from a file.
func (c Config) Generated() bool { return c.Dataset != ShareGPT && c.Dataset != JSONL }

// maxLength is the longest prompt or answer that can be asked for, in tokens:
// beyond every model's context, and short of what memory could not hold.
const maxLength = 10_000_000

// maxBatch is the most texts of a request.
const maxBatch = 10_000

func (c Config) validateGenerated(add func(key, format string, args ...any)) {
	for _, length := range []struct {
		key    string
		tokens int
	}{{"input_len", c.InputLen}, {"output_len", c.OutputLen}} {
		if length.tokens < 1 || length.tokens > maxLength {
			add(length.key, "%d tokens is outside 1 to %d", length.tokens, maxLength)
		}
	}
	if c.Dataset == SharedPrefix && (c.PrefixLen < 1 || c.PrefixLen > maxLength) {
		add("prefix_len", "%d tokens is outside 1 to %d: the data set %s needs a prefix", c.PrefixLen, maxLength, SharedPrefix)
	}
	if c.Dataset == SharedPrefix && (c.Prefixes < 0 || c.Prefixes > 100_000) {
		add("prefixes", "%d is outside 1 to 100000", c.Prefixes)
	}
	if c.Dataset == Conversation && c.Turns < 1 {
		add("turns", "the data set %s needs at least 1 turn, 2 or more to be one", Conversation)
	}
	if c.Dataset == Trace {
		c.validatePath(add)
	} else if c.Path != "" {
		add("path", "the data set %s is not read from a file: remove it, or set dataset: %s or %s", c.Dataset, ShareGPT, JSONL)
	}
}

func (c Config) validateFile(add func(key, format string, args ...any)) {
	if c.OutputLen < 0 || c.OutputLen > maxLength {
		add("output_len", "%d tokens is outside 0 to %d", c.OutputLen, maxLength)
	}
	c.validatePath(add)
}

func (c Config) validatePath(add func(key, format string, args ...any)) {
	if c.Path == "" {
		add("path", "the data set %s needs the path of its file", c.Dataset)
		return
	}
	switch info, err := os.Stat(c.Path); {
	case err != nil:
		add("path", "cannot read the data set: %v", err)
	case !info.Mode().IsRegular():
		add("path", "%s is not a regular file", c.Path)
	}
}
