package simserver

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// refusal says why a request was not served. The zero value is "it was".
type refusal uint8

const (
	served refusal = iota
	refusedDead
	refusedCold
	refusedRate
	refusedError
	refusedQueue
	refusedTooLong
	crashed   // was in the server when it died
	cancelled // the client went away
)

// gate decides whether a request may come in and where it goes, and if it may not
// how long the refusal takes.
func (c *core) gate(j *Job) (refusal, time.Duration) {
	cfg := &c.cfg
	n := c.inServer() + 1
	switch {
	case !c.alive():
		return refusedDead, 0
	case c.cold():
		return refusedCold, 0
	case !c.bucket.take(c.now):
		return refusedRate, cfg.RateLimit.RejectAfter
	case draw.Chance(cfg.Seed, draw.Error, j.key) < cfg.ErrorRate.at(n):
		return refusedError, cfg.ErrorRate.After
	case j.Prompt+j.output > cfg.ContextLength, cfg.KVTokens > 0 && j.Prompt+j.output > cfg.KVTokens:
		return refusedTooLong, 0
	}
	j.at = c.route(j)
	if waiting := j.at.queue.n; cfg.bounded() && waiting >= *cfg.QueueCap && (waiting > 0 || !j.at.fits(j)) {
		return refusedQueue, cfg.QueueRejectAfter
	}
	return served, 0
}

// cold reports whether the server is still loading its model.
func (c *core) cold() bool { return c.now < c.weather.born+c.cfg.ColdStart }

// bucket is a token bucket, kept as the moment at which the next request would
// find exactly one token if the bucket had none to spare (the generic cell rate
// algorithm), so that no rounding error adds up.
type bucket struct {
	interval time.Duration // between two requests at the full rate; 0: no limit
	burst    int
	next     time.Duration
}

func defaultBurst(perSecond float64) int { return max(1, int(math.Ceil(perSecond))) }

func newBucket(r RateLimit) bucket {
	if r.PerSecond <= 0 {
		return bucket{}
	}
	burst := r.Burst
	if burst == 0 {
		burst = defaultBurst(r.PerSecond)
	}
	// Rounded down: a client at exactly the rate must pass.
	return bucket{interval: time.Duration(1e9 / r.PerSecond), burst: burst}
}

// take asks for one token.
func (b *bucket) take(now time.Duration) bool {
	if b.interval == 0 {
		return true
	}
	next := max(b.next, now)
	if next-now > time.Duration(b.burst-1)*b.interval {
		return false
	}
	b.next = next + b.interval
	return true
}

// Answer is an HTTP answer that refuses a request.
type Answer struct {
	Status     int    // 0: none, the server is dead
	Kind       string // error type as the server names it
	Message    string
	Param      string        // that is refused
	RetryAfter time.Duration // whole seconds; 0: no header
	After      time.Duration // how long the refusal takes
}

// Loading is the answer of a server whose model is not loaded yet.
func Loading(cfg Config) Answer { return answerTo(cfg, refusedCold) }

// answerTo returns how the imitated server refuses a request.
func answerTo(cfg Config, why refusal) Answer {
	switch why {
	case refusedDead, crashed:
		return Answer{}
	case refusedCold:
		return Answer{Status: http.StatusServiceUnavailable, Kind: "unavailable_error", Message: "Loading model"}
	case refusedRate:
		return Answer{
			Status: http.StatusTooManyRequests, Kind: "rate_limit_error",
			Message:    fmt.Sprintf("Rate limit of %g requests per second exceeded", cfg.RateLimit.PerSecond),
			RetryAfter: time.Duration(math.Ceil(cfg.RateLimit.RetryAfter.Seconds())) * time.Second,
		}
	case refusedQueue:
		return overloaded(cfg.Server)
	case refusedTooLong:
		most := cfg.ContextLength
		if cfg.KVTokens > 0 {
			most = min(most, cfg.KVTokens)
		}
		return Answer{
			Status: http.StatusBadRequest, Kind: "invalid_request_error",
			Message: fmt.Sprintf("This model's maximum context length is %d tokens; prompt and answer together ask for more", most),
		}
	default:
		return Answer{Status: http.StatusInternalServerError, Kind: "server_error", Message: "Internal server error"}
	}
}

// overloaded returns each server's own way of saying that its queue is full.
func overloaded(k Kind) Answer {
	switch k {
	case TGI:
		return Answer{Status: http.StatusTooManyRequests, Kind: "overloaded", Message: "Model is overloaded"}
	case Ollama:
		return Answer{Status: http.StatusServiceUnavailable, Kind: "overloaded", Message: "server busy, please try again. maximum pending requests exceeded"}
	default:
		return Answer{Status: http.StatusServiceUnavailable, Kind: "overloaded_error", Message: "The server is overloaded: its queue is full"}
	}
}
