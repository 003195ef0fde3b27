// Package analysis turns samples into steps, curves, limits and recommendations.
// It is pure: no clocks, no I/O, no goroutines; it never learns where its
// samples came from.
package analysis

import (
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Number is a figure that may be unknown; unknown is null in JSON, never 0.
type Number = loadgen.Number

// Phase says why a step was run.
type Phase string

// The phases of a sweep.
const (
	PhaseLadder  Phase = "ladder"  // the guide's steps
	PhaseProbe   Phase = "probe"   // the search between the steps
	PhaseConfirm Phase = "confirm" // the runs that confirm the answer
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
	Runs         int       `json:"runs"`         // load runs judged together: 2 after a repeat, else 1
	NumPrompts   int       `json:"num_prompts"`  // planned requests, all runs together
	RequestRate  Number    `json:"request_rate"` // requests/s; null: inf
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
	Server    *Telemetry `json:"server"` // null without telemetry

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

// ClientLimited reports whether a gate of the client's own health broke, so that
// the figures are not the server's.
func (s *Step) ClientLimited() bool { return len(s.Client.Limits) > 0 }

// Summary is one set of per-step figures, over the whole run or the steady window.
type Summary struct {
	DurationSeconds      Number  `json:"duration_seconds"` // first send to last completion, or the window's length
	Completed            int     `json:"completed"`        // successes
	Failed               int     `json:"failed"`           // server failures
	Cancelled            int     `json:"cancelled"`        // stopped by the tool: in neither
	SuccessRate          Number  `json:"success_rate"`     // completed / (completed + failed)
	RequestThroughput    Number  `json:"request_throughput"`
	RequestThroughputSE  Number  `json:"request_throughput_se"`         // standard error by batch means
	OutputThroughput     Number  `json:"output_throughput"`             // output tokens of successes per second
	TotalTokenThroughput Number  `json:"total_token_throughput"`        // prompt and output tokens per second
	PeakOutputThroughput Number  `json:"peak_output_throughput"`        // highest rate of output tokens over a second or a little more, from the samples; null where there is no whole second
	PeakInFlight         int     `json:"peak_in_flight"`                // most requests in flight at once
	MeanInFlight         Number  `json:"mean_in_flight"`                // time average
	MeanResidenceSeconds Number  `json:"mean_residence_seconds"`        // mean time in system, failures at their own duration
	Efficiency           Number  `json:"efficiency"`                    // request_throughput / concurrency
	InputTokens          int     `json:"total_input_tokens"`            // of successes; asked-for lengths where the server gave no count
	OutputTokens         int     `json:"total_output_tokens"`           // of successes
	TokenSource          string  `json:"token_source"`                  // usage, events or mixed
	TTFT                 Dist    `json:"ttft_seconds"`                  // over successes
	TTFTIntended         Dist    `json:"ttft_intended_seconds"`         // from the intended start
	TTFTAnswer           Dist    `json:"ttft_answer_seconds"`           // first output that is not reasoning, where there was reasoning
	TPOT                 Dist    `json:"tpot_seconds"`                  // one value per request
	ChunkGap             Dist    `json:"chunk_gap_seconds"`             // pooled; vLLM calls it ITL
	E2E                  Dist    `json:"e2e_seconds"`                   // over successes
	E2EIntended          Dist    `json:"e2e_intended_seconds"`          // from the intended start
	TTFTSE               Number  `json:"ttft_se_seconds"`               // standard error of the mean TTFT by batch means: TTFT.SE
	RequestTokensPerSec  Number  `json:"tokens_per_second_per_request"` // mean over requests of 1/TPOT: tokens/s as one user sees them
	RequestGoodput       Number  `json:"request_goodput"`               // successes/s that met Options.Goodput; null without one
	Batches              []Batch `json:"batches"`                       // in order of dispatch; what the standard errors come from
}

// Batch is a stretch of consecutive requests of a summary.
type Batch struct {
	Requests         int     `json:"requests"`          // finished, failures included
	Completed        int     `json:"completed"`         // successes
	OutputTokens     int     `json:"output_tokens"`     // of successes
	ResidenceSeconds float64 `json:"residence_seconds"` // sum over all that were sent
	TTFT             Number  `json:"ttft_seconds"`      // mean over successes
	TPOT             Number  `json:"tpot_seconds"`      // likewise
	E2E              Number  `json:"e2e_seconds"`       // likewise
}

// Dist describes the distribution of one quantity in seconds. Percentiles
// interpolate linearly between order statistics, as numpy does and so vLLM.
// They are stored whatever N is; Percentile says which of them mean something.
// Standard errors allow for the correlation of requests that share a queue;
// they are null where there are too few requests to tell.
type Dist struct {
	Mean  Number `json:"mean"`
	Std   Number `json:"std"` // population standard deviation, as vLLM reports
	Min   Number `json:"min"`
	P50   Number `json:"p50"`
	P90   Number `json:"p90"`
	P95   Number `json:"p95"`
	P99   Number `json:"p99"`
	Max   Number `json:"max"`
	N     int    `json:"n"`
	SE    Number `json:"se"` // of the mean, by batch means
	P50SE Number `json:"p50_se"`
	P90SE Number `json:"p90_se"`
	P95SE Number `json:"p95_se"`
	P99SE Number `json:"p99_se"`
}

// Window is the steady part of a step: from the N-th completion to the last
// dispatch, as offsets from the run's start. Where several runs were judged
// together it is that of the last one, and Requests counts all of them.
type Window struct {
	FromSeconds float64 `json:"from_seconds"`
	ToSeconds   float64 `json:"to_seconds"`
	Requests    int     `json:"requests"` // dispatched inside it and counted
}

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

// Client is the client's health over a step and which gates it broke.
type Client struct {
	loadgen.Health
	Limits []string `json:"limits"` // one sentence a broken gate; empty when the client was not the limit
}

// Telemetry is what the server's own metrics said over the step's window.
type Telemetry struct {
	Source           string `json:"source"` // vllm, sglang, tgi, llamacpp, none known
	Scrapes          int    `json:"scrapes"`
	RunningMean      Number `json:"running_mean"`
	RunningMax       Number `json:"running_max"`
	WaitingMean      Number `json:"waiting_mean"`
	WaitingMax       Number `json:"waiting_max"`
	KVCacheMax       Number `json:"kv_cache_max"` // share of 1
	KVCacheMean      Number `json:"kv_cache_mean"`
	KVCapacity       Number `json:"kv_capacity_tokens"` // that the KV caches hold, all engines together
	Preemptions      Number `json:"preemptions"`        // during the step
	PrefixHitRate    Number `json:"prefix_hit_rate"`    // during the step, share of 1
	ServerTTFTMean   Number `json:"server_ttft_mean"`   // seconds, the server's own view
	ServerQueueMean  Number `json:"server_queue_mean"`  // seconds waiting in its queue
	PromptTokens     Number `json:"prompt_tokens"`      // counter difference
	GenerationTokens Number `json:"generation_tokens"`  // counter difference
	// How full a pass through the model was: the requests in it (llama.cpp's busy
	// slots per decode), and its tokens, of prompts and answers alike (vLLM).
	BatchMean         Number `json:"batch_mean"`
	PassTokensMean    Number `json:"pass_tokens_mean"`
	BatchTokensMax    Number `json:"batch_tokens_max"`    // TGI: tokens that the batch may grow to, its budget when requests wait
	OutputRateMean    Number `json:"output_rate_mean"`    // SGLang: output tokens/s, the server's own view
	ServerPrefillMean Number `json:"server_prefill_mean"` // seconds from leaving the queue to the first token
	GPUMemoryMax      Number `json:"gpu_memory_max"`      // share of 1
	GPUUtilMean       Number `json:"gpu_util_mean"`       // share of 1
	// What the GPU's time went into: its memory being read or written at all
	// (MEM_COPY_UTIL), the share of its peak bandwidth in use (DRAM_ACTIVE), and
	// its tensor cores computing (PIPE_TENSOR_ACTIVE); shares of 1, mean over GPUs.
	GPUMemoryBusyMean Number `json:"gpu_memory_busy_mean"`
	GPUBandwidthMean  Number `json:"gpu_bandwidth_mean"`
	GPUTensorMean     Number `json:"gpu_tensor_mean"`
	HostCPUMean       Number `json:"host_cpu_mean"`   // share of 1, of the server's host
	HostCPUMin        Number `json:"host_cpu_min"`    // lowest scrape within the window
	HostMemoryMax     Number `json:"host_memory_max"` // share of 1
	ResidentBytes     Number `json:"resident_bytes"`  // process_resident_memory_bytes, last
	WentAway          bool   `json:"went_away"`       // scrapes answered and then stopped answering
}

// Bin is one bar of a histogram; bounds in seconds.
type Bin struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int     `json:"count"`
}

// Slice is a short stretch of a step.
type Slice struct {
	AtSeconds        float64 `json:"at_seconds"` // middle of the slice, from the step's start
	InFlight         Number  `json:"in_flight"`
	RequestRate      Number  `json:"request_throughput"`
	OutputThroughput Number  `json:"output_throughput"`
	TTFTMean         Number  `json:"ttft_seconds"` // of requests sent in the slice
	TPOTMean         Number  `json:"tpot_seconds"` // likewise
	E2EMean          Number  `json:"e2e_seconds"`  // likewise
	Completed        int     `json:"completed"`    // ended in the slice
	Failed           int     `json:"failed"`       // likewise
}

// TelemetryPoint is one scrape of the server's metrics: a line of
// server_metrics.jsonl.
type TelemetryPoint struct {
	At            time.Time `json:"at"`
	Running       Number    `json:"running"`
	Waiting       Number    `json:"waiting"`
	KVCache       Number    `json:"kv_cache"` // share of 1
	Preemptions   Number    `json:"preemptions_total"`
	GPUMemory     Number    `json:"gpu_memory"` // share of 1, the fullest GPU
	GPUUtil       Number    `json:"gpu_util"`   // share of 1, mean over GPUs
	GPUPower      Number    `json:"gpu_power_watts"`
	GPUMemoryBusy Number    `json:"gpu_memory_busy"` // share of 1, mean over GPUs; so are the next two
	GPUBandwidth  Number    `json:"gpu_bandwidth"`
	GPUTensor     Number    `json:"gpu_tensor"`
	HostCPU       Number    `json:"host_cpu"`    // share of 1
	HostMemory    Number    `json:"host_memory"` // share of 1
	Resident      Number    `json:"resident_bytes"`
	Error         string    `json:"error,omitempty"` // why this scrape gave nothing
}
