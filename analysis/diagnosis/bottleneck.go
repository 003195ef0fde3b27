package diagnosis

import "github.com/capfind/capfind/analysis"

// Bottleneck is what saturates, and how we know.
type Bottleneck struct {
	Kind     string   `json:"kind"` // one of the Kind constants
	Sentence string   `json:"sentence"`
	Evidence []string `json:"evidence"`
	Shares   *Shares  `json:"shares"`   // of the response time at the last good step
	Overload *Shares  `json:"overload"` // the same at the most loaded step above it that still answers; null where there is none
}

// Shares splits the mean response time of a step; shares of 1.
type Shares struct {
	Concurrency int             `json:"concurrency"` // of the step; 0 in results that do not say it
	Queue       analysis.Number `json:"queue"`
	Prefill     analysis.Number `json:"prefill"`
	Decode      analysis.Number `json:"decode"`
	FrontEnd    analysis.Number `json:"front_end"` // before the model server sees a request and after; null where nothing is lost there
}

// The kinds of bottleneck.
const (
	KindSlots           = "slots"            // the server runs no more requests at once (max-num-seqs and the like)
	KindMemoryBandwidth = "memory_bandwidth" // every further request slows all the others
	KindKVCache         = "kv_cache"         // no room for more contexts
	KindPrefill         = "prefill"          // reading prompts takes all the time there is
	KindRateLimiter     = "rate_limiter"     // turned away by requests per second
	KindQueueCap        = "queue_cap"        // turned away because the queue is full
	KindErrorRate       = "error_rate"       // errors grow with load
	KindCrash           = "crash"            // the server died
	KindFrontEnd        = "front_end"        // time is lost between client and model server
	KindClient          = "client"           // this machine could not make the load
	KindNone            = "none"             // nothing saturates at any load that was tried
	KindUnknown         = "unknown"
)
