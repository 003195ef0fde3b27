package sweep

import (
	"fmt"
	"strconv"
	"time"

	"github.com/capfind/capfind/analysis"
)

// Traffic is recorded traffic, as far as a decision depends on it.
type Traffic struct {
	At     []time.Duration // when its requests came, ascending, the first at 0
	Before []int32         // the request of the same session that each one waits for, -1: none; nil: there are no sessions
	// Prompts and Answers are how long those of each request are, over their means; nil: all the same.
	Prompts, Answers []float32

	Seed  uint64   // of which sessions are sent more often than others
	Whole *Traffic // all that was recorded, where this is a piece of it; nil: this is all
}

// Span is the time from its first request to its last.
func (t *Traffic) Span() time.Duration {
	if len(t.At) == 0 {
		return 0
	}
	return t.At[len(t.At)-1]
}

// Rate is its mean rate, in requests/s, as recorded. Of one request, or of several at
// once, it is a request a second: they are sent at once all the same.
func (t *Traffic) Rate() float64 {
	if span := t.Span().Seconds(); span > 0 {
		return float64(len(t.At)-1) / span
	}
	return 1
}

// ReplayConfig is the config's replay section.
type ReplayConfig struct {
	Speed   float64       `yaml:"speed"`          // this many times the recorded traffic, sessions waiting for their answers all the same; 0: find the largest speed that holds
	Speedup Speedup       `yaml:"speedup"`        // closer: the same requests closer together; sessions: more sessions, each at its own pace
	From    time.Duration `yaml:"from,omitempty"` // leave out what came before this time after the first request
	For     time.Duration `yaml:"for,omitempty"`  // only this much of the recorded time; 0: to its end
	Piece   time.Duration `yaml:"piece"`          // where the speed is to be found: send no more than the busiest stretch of this length; 0: all
}

// Validate returns what is wrong with the section.
func (c ReplayConfig) Validate() []Problem {
	var p problems
	if !(c.Speed >= 0 && c.Speed <= mostSpeed) {
		p.add("speed", "must be from 0 to %d, not %v", mostSpeed, c.Speed)
	}
	return p
}

// mostSpeed bounds a speed: beyond, everything comes at once.
const mostSpeed = 1_000_000

// follow makes an order send recorded traffic.
func (o *Order) follow(t *Traffic, speed float64, how Speedup) {
	o.Traffic, o.Speed, o.Speedup = t, speed, how
	o.Requests, o.Rate, o.Intended = len(t.At), speed*t.Rate(), true
	if how == MoreSessions {
		o.Requests = len(t.Arrivals(speed, how).At)
	}
}

// Prompts is how many numbers of prompts the order takes.
func (o *Order) Prompts() int {
	if o.Traffic != nil {
		return o.Traffic.takes(o.Speed, o.Speedup)
	}
	return o.Requests
}

// recordedAt names recorded traffic at a speed.
func recordedAt(step *analysis.Step) string {
	return fmt.Sprintf("%s x the recorded traffic (%s req/s on average)", speedText(step.Speed.Or(0)), figure(step.RequestRate.Or(0)))
}

// speedText writes a speed with three digits or so.
func speedText(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
