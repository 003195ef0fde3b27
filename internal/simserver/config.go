package simserver

import (
	"cmp"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Kind is the server that is imitated: its endpoints, its metric names and how
// it refuses work.
type Kind string

// The servers that can be imitated. Every kind answers OpenAI's protocols and its
// own, and has the administrative paths, the metric names and the overload
// answers of the real one; the paths of others are a 404.
const (
	VLLM     Kind = "vllm"
	SGLang   Kind = "sglang"
	TGI      Kind = "tgi"
	LlamaCpp Kind = "llamacpp"
	Ollama   Kind = "ollama"
)

// Config describes the simulated server: the config's target.simulator section.
// Default gives the values before the file is read. A section whose fields are
// all zero is off. Times are in the server's own time: TimeScale speeds all of
// them up together.
type Config struct {
	Server        Kind           `yaml:"server" json:"server"`                                     // vllm, sglang, tgi, llamacpp or ollama; default vllm
	Model         string         `yaml:"model" json:"model"`                                       // name that /v1/models lists; default simulated-model
	APIKey        loadgen.Secret `yaml:"api_key,omitempty" json:"api_key,omitzero"`                // every path but /health then wants "Authorization: Bearer" with it
	ContextLength int            `yaml:"context_length" json:"context_length"`                     // tokens of prompt and output together; a longer request gets a 400; default 8192
	OutputLength  int            `yaml:"output_length,omitempty" json:"output_length,omitzero"`    // mean natural length of an answer, tokens; 0: as long as was asked for
	LengthSpread  float64        `yaml:"length_spread,omitempty" json:"length_spread,omitzero"`    // coefficient of variation c of the natural length (log-normal); a request that holds its length (ignore_eos) gets exactly that
	StrictParams  []string       `yaml:"strict_params,omitempty" json:"strict_params,omitempty"`   // request fields refused with a 400 that names them, e.g. stream_options, ignore_eos, max_tokens
	IgnoredParams []string       `yaml:"ignored_params,omitempty" json:"ignored_params,omitempty"` // request fields accepted and without effect, e.g. ignore_eos
	Stamp         bool           `yaml:"stamp,omitempty" json:"stamp,omitzero"`                    // every event carries the moment of its sending in a field sent_ns, Unix time in ns
	Seed          uint64         `yaml:"seed" json:"seed"`                                         // of everything drawn by chance; default 1
	TimeScale     float64        `yaml:"time_scale" json:"time_scale"`                             // all times are divided by it and all rates multiplied; 1 is real time; default 1
	Listen        string         `yaml:"listen,omitempty" json:"listen,omitzero"`                  // address of the HTTP server, or unix: and the path of a socket; empty: a free port of 127.0.0.1

	Slots              int           `yaml:"slots" json:"slots"`                                                    // S: requests that run at once; 0: no bound; default 64
	StepTime           time.Duration `yaml:"step_time" json:"step_time"`                                            // a: time per output token with an empty server; default 20ms
	StepTimePerRequest time.Duration `yaml:"step_time_per_request,omitempty" json:"step_time_per_request,omitzero"` // b: added to it by each running request
	Prefill            time.Duration `yaml:"prefill" json:"prefill"`                                                // p0: time to the first token; default 100ms
	PrefillPerRequest  time.Duration `yaml:"prefill_per_request,omitempty" json:"prefill_per_request,omitzero"`     // p1: added to it by each running request
	PrefillPerToken    time.Duration `yaml:"prefill_per_token,omitempty" json:"prefill_per_token,omitzero"`         // added to it by each prompt token
	USL                USL           `yaml:"usl,omitempty" json:"usl,omitzero"`                                     // Universal Scalability Law; takes the place of the step time

	BatchMultiple int      `yaml:"batch_multiple,omitempty" json:"batch_multiple,omitzero"` // running requests are padded to a multiple of it, for step and prefill time; 0 or 1: they are not
	BatchSizes    []int    `yaml:"batch_sizes,omitempty" json:"batch_sizes,omitempty"`      // rising batch sizes that the engine has prepared, as with CUDA graphs: a step takes as long as one of the next size up; above the last they are not padded
	Replicas      Replicas `yaml:"replicas,omitempty" json:"replicas,omitzero"`

	QueueCap         *int          `yaml:"queue_cap,omitempty" json:"queue_cap,omitempty"`                  // requests that may wait; more are refused; absent or -1: no bound
	QueueRejectAfter time.Duration `yaml:"queue_reject_after,omitempty" json:"queue_reject_after,omitzero"` // how long a refusal by the full queue takes
	RateLimit        RateLimit     `yaml:"rate_limit,omitempty" json:"rate_limit,omitzero"`
	CrashAt          int           `yaml:"crash_at,omitempty" json:"crash_at,omitzero"`           // requests in the server, running and waiting, at which it dies; 0: never
	RestartAfter     time.Duration `yaml:"restart_after,omitempty" json:"restart_after,omitzero"` // how long it stays dead after a crash; 0: for good
	ErrorRate        ErrorRate     `yaml:"error_rate,omitempty" json:"error_rate,omitzero"`
	KVTokens         int           `yaml:"kv_tokens,omitempty" json:"kv_tokens,omitzero"` // KV cache: tokens that all running requests hold together; the newest is preempted and recomputed where it runs out; 0: no bound
	PrefixCache      PrefixCache   `yaml:"prefix_cache,omitempty" json:"prefix_cache,omitzero"`

	ColdStart      time.Duration  `yaml:"cold_start,omitempty" json:"cold_start,omitzero"` // 503 for this long after the start, /health included
	Warmup         Warmup         `yaml:"warmup,omitempty" json:"warmup,omitzero"`
	Throttle       Throttle       `yaml:"throttle,omitempty" json:"throttle,omitzero"`
	Wander         Wander         `yaml:"wander,omitempty" json:"wander,omitzero"`
	Leak           Leak           `yaml:"leak,omitempty" json:"leak,omitzero"`
	Autoscaler     Autoscaler     `yaml:"autoscaler,omitempty" json:"autoscaler,omitzero"`
	NoisyNeighbour NoisyNeighbour `yaml:"noisy_neighbour,omitempty" json:"noisy_neighbour,omitzero"`
	Bimodal        Bimodal        `yaml:"bimodal,omitempty" json:"bimodal,omitzero"`

	Faults []Fault `yaml:"faults,omitempty" json:"faults,omitempty"` // HTTP server only: misbehaviour on the wire
}

// Replicas are several servers behind a balancer: slots, queue and KV cache are
// those of each.
type Replicas struct {
	Speeds  []float64 `yaml:"speeds" json:"speeds"`                      // speed of each against what the service times say, e.g. [1, 1, 0.5]; empty: off
	Slots   []int     `yaml:"slots,omitempty" json:"slots,omitempty"`    // of each; empty: as many as the server has
	Balance Balance   `yaml:"balance,omitempty" json:"balance,omitzero"` // round_robin or least_connections; empty: round_robin
}

// Balance is how requests are spread over replicas.
type Balance string

// The balancers.
const (
	RoundRobin       Balance = "round_robin"       // one after the other in turn
	LeastConnections Balance = "least_connections" // where the fewest requests are, running and waiting
)

// count returns how many replicas there are, 1 where the section is off.
func (r Replicas) count() int { return max(1, len(r.Speeds)) }

func (r Replicas) speed(i int) float64 {
	if len(r.Speeds) == 0 {
		return 1
	}
	return r.Speeds[i]
}

// slots returns S of the i-th, where the server's own is s.
func (r Replicas) slots(i, s int) int {
	if len(r.Slots) == 0 {
		return s
	}
	return r.Slots[i]
}

// USL makes throughput follow X(N) = Lambda N / (1 + Sigma (N-1) + Kappa N (N-1)).
// A request then takes N/X in all, whatever its length, Prefill times R(N)/R(1) of it
// before the first token; step_time has no effect.
type USL struct {
	Lambda float64 `yaml:"lambda" json:"lambda"` // requests per second of one request at a time; 0: off
	Sigma  float64 `yaml:"sigma" json:"sigma"`   // contention, share of 1
	Kappa  float64 `yaml:"kappa" json:"kappa"`   // coherence
}

// RateLimit refuses requests above a rate with a 429 (token bucket).
type RateLimit struct {
	PerSecond   float64       `yaml:"per_second" json:"per_second"`                        // requests per second; 0: off
	Burst       int           `yaml:"burst,omitempty" json:"burst,omitzero"`               // size of the bucket; 0: one second's worth, at least 1
	RejectAfter time.Duration `yaml:"reject_after,omitempty" json:"reject_after,omitzero"` // how long a refusal takes
	RetryAfter  time.Duration `yaml:"retry_after,omitempty" json:"retry_after,omitzero"`   // Retry-After header, whole seconds, rounded up and not scaled; 0: none
}

// ErrorRate fails requests with a 500 with probability
// Base + PerRequest x max(0, n - From), n being the requests in the server with the new one.
type ErrorRate struct {
	Base       float64       `yaml:"base,omitempty" json:"base,omitzero"`
	PerRequest float64       `yaml:"per_request,omitempty" json:"per_request,omitzero"`
	From       int           `yaml:"from,omitempty" json:"from,omitzero"`
	After      time.Duration `yaml:"after,omitempty" json:"after,omitzero"` // how long the failure takes
}

// PrefixCache skips the prefill of a prompt's blocks that were seen before.
type PrefixCache struct {
	Tokens    int `yaml:"tokens" json:"tokens"`                            // prompt tokens kept, least recently used go first; 0: off
	BlockSize int `yaml:"block_size,omitempty" json:"block_size,omitzero"` // tokens per block; 0: 16
}

// Warmup makes the first requests slow, as a cold model's are.
type Warmup struct {
	Requests int     `yaml:"requests" json:"requests"` // how many; 0: off
	Factor   float64 `yaml:"factor" json:"factor"`     // by which their service takes longer, at least 1
}

// Leak makes service slower as time goes on: by Share of itself after Over, and
// no further.
type Leak struct {
	Share float64       `yaml:"share" json:"share"` // 0.2: 20 % slower in the end; 0: off
	Over  time.Duration `yaml:"over" json:"over"`
}

// Throttle takes a share of the speed for good, as a processor does that got hot.
type Throttle struct {
	Share float64       `yaml:"share" json:"share"` // of the speed, below 1; 0: off
	After time.Duration `yaml:"after" json:"after"` // how long requests must have been running, all in all
}

// Wander makes the speed of everything wander: its logarithm is a stationary
// Ornstein-Uhlenbeck process. The mean of the speed over time is 1, so that over a
// long run the mean times of requests are those of the server without it.
type Wander struct {
	Share float64       `yaml:"share" json:"share"` // standard deviation of the speed, share of 1; 0: off
	Time  time.Duration `yaml:"time" json:"time"`   // its correlation time: after it 1/e of a deviation is left
}

// Autoscaler adds replicas after a delay: with Factor 2 there are twice the
// slots, and each running request counts half towards step and prefill time.
type Autoscaler struct {
	Factor    float64       `yaml:"factor" json:"factor"`                            // 0: off
	At        int           `yaml:"at" json:"at"`                                    // requests in the server that call for it
	After     time.Duration `yaml:"after" json:"after"`                              // for how long they must have been there
	DownAfter time.Duration `yaml:"down_after,omitempty" json:"down_after,omitzero"` // back to one replica after this long below At; 0: never
}

// NoisyNeighbour takes a share of the machine's speed for a while.
type NoisyNeighbour struct {
	Share float64       `yaml:"share" json:"share"`                    // of the speed, below 1; 0: off
	Start time.Duration `yaml:"start" json:"start"`                    // when it first comes
	For   time.Duration `yaml:"for" json:"for"`                        // how long it stays
	Every time.Duration `yaml:"every,omitempty" json:"every,omitzero"` // how often it comes back; 0: it does not
}

// Bimodal makes a share of the service slower by a factor.
type Bimodal struct {
	Share  float64       `yaml:"share" json:"share"`                    // 0: off
	Factor float64       `yaml:"factor" json:"factor"`                  // at least 1
	Dwell  time.Duration `yaml:"dwell,omitempty" json:"dwell,omitzero"` // 0: each request is drawn by itself; else the whole server stays this long, on the mean, in its slow mode
}

// Default returns the server that an empty simulator section gives: 64 slots,
// 20 ms a token, 100 ms to the first.
func Default() Config {
	return Config{
		Server:        VLLM,
		Model:         "simulated-model",
		ContextLength: 8192,
		Seed:          1,
		TimeScale:     1,
		Slots:         64,
		StepTime:      20 * time.Millisecond,
		Prefill:       100 * time.Millisecond,
	}
}

// WithDefaults fills what a Config written in Go may leave out because no
// server can be without it. Service times and slots stay as they are.
func (c Config) WithDefaults() Config {
	d := Default()
	c.Server = cmp.Or(c.Server, d.Server)
	c.Model = cmp.Or(c.Model, d.Model)
	c.ContextLength = cmp.Or(c.ContextLength, d.ContextLength)
	c.TimeScale = cmp.Or(c.TimeScale, 1)
	c.PrefixCache.BlockSize = cmp.Or(c.PrefixCache.BlockSize, 16)
	return c
}

// scaled returns the config in real time: every duration divided by TimeScale,
// every rate multiplied. The Retry-After header counts whole seconds of the
// client's own time and stays.
func (c Config) scaled() Config {
	c = c.WithDefaults()
	k := c.TimeScale
	if k == 1 {
		return c
	}
	for _, d := range []*time.Duration{
		&c.StepTime, &c.StepTimePerRequest, &c.Prefill, &c.PrefillPerRequest, &c.PrefillPerToken,
		&c.QueueRejectAfter, &c.RateLimit.RejectAfter, &c.RestartAfter, &c.ErrorRate.After,
		&c.ColdStart, &c.Throttle.After, &c.Wander.Time, &c.Leak.Over, &c.Autoscaler.After, &c.Autoscaler.DownAfter,
		&c.NoisyNeighbour.Start, &c.NoisyNeighbour.For, &c.NoisyNeighbour.Every, &c.Bimodal.Dwell,
	} {
		*d = time.Duration(float64(*d) / k)
	}
	c.USL.Lambda *= k
	if c.RateLimit.PerSecond > 0 && c.RateLimit.Burst == 0 {
		c.RateLimit.Burst = defaultBurst(c.RateLimit.PerSecond) // a number of requests: not scaled
	}
	c.RateLimit.PerSecond *= k
	c.TimeScale = 1
	return c
}
