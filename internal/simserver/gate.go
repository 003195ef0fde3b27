package simserver

import (
	"math"
	"time"
)

// gate decides whether a request may come in, and if not how long the refusal
// takes.
func (c *core) gate(j *job) (refusal, time.Duration) {
	cfg := &c.cfg
	n := c.inServer() + 1
	switch {
	case !c.alive():
		return refusedDead, 0
	case c.cold():
		return refusedCold, 0
	case !c.bucket.take(c.now):
		return refusedRate, cfg.RateLimit.RejectAfter
	case chance(cfg.Seed, drawError, j.key) < cfg.ErrorRate.at(n):
		return refusedError, cfg.ErrorRate.After
	case j.prompt+j.output > cfg.ContextLength, cfg.KVTokens > 0 && j.prompt+j.output > cfg.KVTokens:
		return refusedTooLong, 0
	case cfg.bounded() && c.queue.n >= *cfg.QueueCap && (c.queue.n > 0 || !c.fits(j)):
		return refusedQueue, cfg.QueueRejectAfter
	}
	return served, 0
}

// bounded reports whether the queue has a cap.
func (c Config) bounded() bool { return c.QueueCap != nil && *c.QueueCap >= 0 }

// cold reports whether the server is still loading its model.
func (c *core) cold() bool { return c.now < c.weather.born+c.cfg.ColdStart }

// at returns the chance of an error with n requests in the server.
func (e ErrorRate) at(n int) float64 { return e.atMean(float64(n)) }

func (e ErrorRate) atMean(n float64) float64 {
	return min(1, e.Base+e.PerRequest*max(0, n-float64(e.From)))
}

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

// The purposes of chance; each draws from a sequence of its own.
const (
	drawError = iota + 1
	drawLength
	drawLength2
	drawBimodal
	drawMode
	drawFault
	drawText
)

// chance returns a number in [0, 1) that depends on nothing but its arguments
// (SplitMix64 over their mix), so that a request's fate does not depend on the
// order in which goroutines ran.
func chance(seed uint64, purpose, key uint64) float64 {
	x := seed*0x9e3779b97f4a7c15 ^ purpose*0xd1342543de82ef95 ^ mix(key)
	return float64(mix(x)>>11) / (1 << 53)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// length draws an answer's natural length around the mean: log-normal, whose
// mean and coefficient of variation are exactly what was asked for, whole tokens.
func (c Config) length(mean int, key uint64) int {
	if c.LengthSpread == 0 {
		return mean
	}
	variance := math.Log1p(c.LengthSpread * c.LengthSpread)
	u, w := chance(c.Seed, drawLength, key), chance(c.Seed, drawLength2, key)
	normal := math.Sqrt(-2*math.Log(1-u)) * math.Cos(2*math.Pi*w) // Box-Muller
	n := float64(mean) * math.Exp(math.Sqrt(variance)*normal-variance/2)
	return max(1, int(math.Round(n)))
}
