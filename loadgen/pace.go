package loadgen

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// validate reports what is impossible about a load.
func (l Load) validate() error {
	switch {
	case l.Concurrency < 1:
		return fmt.Errorf("load: concurrency must be at least 1, not %d", l.Concurrency)
	case l.Requests < 0:
		return fmt.Errorf("load: the number of requests must not be negative: %d", l.Requests)
	case l.Requests == 0 && l.Duration <= 0:
		return fmt.Errorf("load: needs a number of requests or a duration, or it would never end")
	case l.Rate < 0 || math.IsNaN(l.Rate):
		return fmt.Errorf("load: the request rate must be positive, not %v", l.Rate)
	case l.Burstiness < 0 || math.IsNaN(l.Burstiness):
		return fmt.Errorf("load: burstiness must be positive, not %v", l.Burstiness)
	case l.Arrivals != nil && (l.Requests != len(l.Arrivals.At) || l.Arrivals.Before != nil && len(l.Arrivals.Before) != l.Requests ||
		l.Arrivals.Prompts != nil && len(l.Arrivals.Prompts) != l.Requests):
		return fmt.Errorf("load: %d requests cannot follow %d recorded arrivals", l.Requests, len(l.Arrivals.At))
	case l.Start != "" && l.Start != StartBurst && l.Start != StartStagger:
		return fmt.Errorf("load: start must be %s or %s, not %q", StartBurst, StartStagger, l.Start)
	}
	return nil
}

// workers is how many of a closed loop's slots the requests can fill.
func (l Load) workers() int {
	if l.Requests > 0 {
		return min(l.Concurrency, l.Requests)
	}
	return l.Concurrency
}

// inFlightSoon is for how many requests in flight connections are opened in
// advance: all of a closed loop's, and those of an open loop's first second,
// whose cap may be far above what will ever be in flight.
func (l Load) inFlightSoon() int {
	if l.OpenLoop() && l.Rate < float64(l.Concurrency) {
		return min(l.workers(), int(math.Ceil(l.Rate)))
	}
	return l.workers()
}

// await waits until the load may begin.
func (l Load) await(ctx context.Context) {
	if l.Begin.IsZero() {
		return
	}
	timer := time.NewTimer(time.Until(l.Begin))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.Drain:
	case <-ctx.Done():
	}
}

// pace is the load policy: at the offset elapsed, how long to wait before
// sending a request that is due at the offset due, and whether issuing stops
// instead because the request would fall outside the load's duration.
//
//	0 ───────── elapsed ─────── due ───────── Duration
//	               └── wait ────┘ send              stop
//
// The schedule is absolute: a request sent late does not delay those after it.
func (l Load) pace(elapsed, due time.Duration) (wait time.Duration, stop bool) {
	if l.Duration > 0 && max(elapsed, due) >= l.Duration {
		return 0, true
	}
	return max(0, due-elapsed), false
}

// staggerOffset is when worker n of a closed loop sends its first request.
func (l Load) staggerOffset(n int) time.Duration {
	if l.Start != StartStagger {
		return 0
	}
	all := l.Concurrency
	if l.Share.part() {
		all = l.Share.Concurrency
	}
	return time.Duration(float64(l.StaggerOver) * float64(l.Share.number(n)) / float64(all))
}

// hold is how long a worker pauses after s, so that instant rejects do not flood
// the count.
func (l Load) hold(s *Sample) time.Duration {
	if !s.Class.ServerFailure() && s.Class != ClientLimit {
		return 0
	}
	most := l.MaxHold
	if most <= 0 {
		most = 30 * time.Second
	}
	return max(l.ErrorHold, min(s.RetryAfter, most))
}

// schedule gives the intended starts of an open loop, one after the other, the
// first at 0. It is a pure function of the load.
//
// Gaps are gamma-distributed with shape = burstiness and mean 1/rate, as in
// vLLM's bench: 1 is a Poisson process, less is burstier, +Inf is constant. Where
// the number of requests is known the gaps are scaled, as vLLM does, so that
// their mean is 1/rate exactly.
type schedule struct {
	mean  float64 // seconds between requests
	shape float64
	scale float64
	rng   *rand.Rand
	hits  int
	at    float64   // seconds
	given *Arrivals // in place of all that
	share Share
}

func newSchedule(l Load) *schedule {
	if l.Arrivals != nil {
		return &schedule{given: l.Arrivals}
	}
	s := &schedule{mean: 1 / l.Rate, shape: l.Burstiness, scale: 1, share: l.Share}
	if s.shape == 0 {
		s.shape = 1
	}
	requests := l.Requests
	if l.Share.part() {
		requests = l.Share.Requests
	}
	if gaps := requests - 1; gaps > 0 && !math.IsInf(s.shape, 1) {
		s.rewind(l.Seed)
		sum := 0.0
		for range gaps {
			sum += s.gap()
		}
		if sum > 0 {
			s.scale = float64(gaps) * s.mean / sum
		}
	}
	s.rewind(l.Seed)
	return s
}

func (s *schedule) rewind(seed uint64) { s.rng = rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

// next returns the next request's number and its intended start; false where the
// arrivals have ended.
func (s *schedule) next() (number int, due time.Duration, ok bool) {
	if s.given == nil {
		due = s.draw()
		for !s.share.has(s.hits - 1) {
			due = s.draw()
		}
		return s.hits - 1, due, true
	}
	if s.hits == len(s.given.At) {
		return 0, 0, false
	}
	s.hits++
	return s.hits - 1, s.given.due(s.hits - 1), true
}

// draw returns the next intended start of a rate.
func (s *schedule) draw() time.Duration {
	if s.hits > 0 {
		if math.IsInf(s.shape, 1) {
			s.at = float64(s.hits) * s.mean // no sum of rounding errors
		} else {
			s.at += s.gap()
		}
	}
	s.hits++
	return time.Duration(s.at * float64(time.Second))
}

// gap draws the seconds between two requests.
func (s *schedule) gap() float64 {
	return gamma(s.rng, s.shape) * s.mean / s.shape * s.scale
}

// gamma draws from the gamma distribution of the given shape and scale 1:
// Marsaglia and Tsang, "A simple method for generating gamma variables", 2000,
// with their boost for shapes below 1.
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(1-rng.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
