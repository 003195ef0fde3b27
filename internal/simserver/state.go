package simserver

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// State is what the server knows of itself at one moment. Counters count from
// the start.
type State struct {
	Running, Waiting          int
	KVUsage                   float64 // share of the KV cache in use; 0 without a budget
	Finished, Refused         uint64  // requests
	Crashes, Preemptions      uint64
	PromptTokens              uint64
	OutputTokens              uint64        // of finished requests
	PrefixQueries, PrefixHits uint64        // tokens
	QueueTime, TTFT, E2E      time.Duration // sums over finished requests
}

func (c *core) state() State {
	s := c.stats
	return State{
		Running: c.running, Waiting: c.queue.n, KVUsage: c.kvUsage(),
		Finished: s.finished, Refused: s.refused, Crashes: s.crashes, Preemptions: s.preemptions,
		PromptTokens: s.promptTokens, OutputTokens: s.outputTokens,
		PrefixQueries: s.prefixQueries, PrefixHits: s.prefixHits,
		QueueTime: s.queueTime.sum, TTFT: s.ttft.sum, E2E: s.e2e.sum,
	}
}

// answer is an HTTP answer that refuses a request.
type answer struct {
	status     int
	kind       string // error type as the server names it
	message    string
	param      string // that is refused
	retryAfter time.Duration
}

// answerTo returns how the imitated server refuses a request.
func answerTo(cfg Config, why refusal) answer {
	switch why {
	case refusedCold:
		return answer{status: http.StatusServiceUnavailable, kind: "unavailable_error", message: "Loading model"}
	case refusedRate:
		return answer{
			status: http.StatusTooManyRequests, kind: "rate_limit_error", retryAfter: retryAfter(cfg.RateLimit),
			message: fmt.Sprintf("Rate limit of %g requests per second exceeded", cfg.RateLimit.PerSecond),
		}
	case refusedQueue:
		return overloaded(cfg.Server)
	case refusedTooLong:
		return answer{
			status: http.StatusBadRequest, kind: "invalid_request_error",
			message: fmt.Sprintf("This model's maximum context length is %d tokens; prompt and answer together ask for more", cfg.limitTokens()),
		}
	default:
		return answer{status: http.StatusInternalServerError, kind: "server_error", message: "Internal server error"}
	}
}

// overloaded returns each server's own way of saying that its queue is full.
func overloaded(k Kind) answer {
	switch k {
	case TGI:
		return answer{status: http.StatusTooManyRequests, kind: "overloaded", message: "Model is overloaded"}
	case Ollama:
		return answer{status: http.StatusServiceUnavailable, kind: "overloaded", message: "server busy, please try again. maximum pending requests exceeded"}
	default:
		return answer{status: http.StatusServiceUnavailable, kind: "overloaded_error", message: "The server is overloaded: its queue is full"}
	}
}

func (c Config) limitTokens() int {
	if c.KVTokens > 0 {
		return min(c.ContextLength, c.KVTokens)
	}
	return c.ContextLength
}

// retryAfter returns what the header says: whole seconds.
func retryAfter(r RateLimit) time.Duration {
	return time.Duration(math.Ceil(r.RetryAfter.Seconds())) * time.Second
}
