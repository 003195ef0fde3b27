package simserver

import (
	"math"
	"time"
)

// state is what a server that changes is like at one time.
type state struct {
	slow  float64  // by how much everything takes longer
	scale float64  // how many times the server is there
	when  []string // says which state it is; nil where the server does not change
}

// stateAt returns the state at a time after the start, with n requests in the
// server since then. The time and the config are in the client's own time.
func stateAt(cfg Config, n int, t time.Duration) state {
	cfg = cfg.scaled()
	now := state{slow: 1, scale: 1}
	if l := cfg.Leak; l.Share > 0 {
		now.slow *= 1 + l.Share*min(1, t.Seconds()/l.Over.Seconds())
	}
	if th := cfg.Throttle; t >= th.After {
		now.slow /= 1 - th.Share
	}
	if nb := cfg.NoisyNeighbour; nb.here(t) {
		now.slow /= 1 - nb.Share
	}
	if a := cfg.Autoscaler; a.Factor > 0 && n >= a.At && t >= a.After {
		now.scale = a.Factor
	}
	return now
}

// here reports whether the neighbour is there at a time.
func (n NoisyNeighbour) here(t time.Duration) bool {
	t -= n.Start
	if n.Every > 0 && t > 0 {
		t %= n.Every
	}
	return n.Share > 0 && t >= 0 && t < n.For
}

// laterState returns the state that a server which changes ends in; of one that
// goes to and fro that in which it is for most of the time.
func laterState(cfg Config) state {
	guest := cfg.NoisyNeighbour
	stays := 2*guest.For > guest.Every && guest.Every > 0
	cfg.NoisyNeighbour = NoisyNeighbour{}
	later := stateAt(cfg, math.MaxInt, forever)
	if stays {
		later.slow /= 1 - guest.Share
	}
	for _, c := range []struct {
		is   bool
		when string
	}{
		{guest.Share > 0 && !stays, "without its neighbour"},
		{guest.Share > 0 && stays, "with its neighbour, who is there for most of the time"},
		{cfg.Throttle.Share > 0, "once it is throttled"},
		{cfg.Leak.Share > 0, "once its leak has done its worst"},
		{cfg.Autoscaler.Factor > 0, "with all its replicas"},
		{cfg.Wander.Share > 0, "at its mean speed"},
	} {
		if c.is {
			later.when = append(later.when, c.when)
		}
	}
	return later
}

// Stationary reports whether the server is the same at all times, but for what
// chance does to it.
func (c Config) Stationary() bool {
	return c.ColdStart == 0 && c.Warmup.Requests == 0 && c.Leak.Share == 0 && c.Throttle.Share == 0 &&
		c.NoisyNeighbour.Share == 0 && c.Autoscaler.Factor == 0 && c.PrefixCache.Tokens == 0
}

// slow returns by how much service takes longer on the mean: of requests where
// each is drawn by itself, else over a long run of a server that is slow for a share
// of the time.
func (b Bimodal) slow() float64 {
	switch {
	case b.Share == 0:
		return 1
	case b.Dwell == 0:
		return 1 + b.Share*(b.Factor-1)
	}
	return 1 / (1 - b.Share + b.Share/b.Factor)
}

// uncached returns the share of a prompt that a warm prefix cache leaves to be
// computed. ok is false where that depends on more than the config and the workload
// say: the prompts share nothing, or the cache has no room for all of two rounds.
func (c Config) uncached(w Workload) (share float64, ok bool) {
	cache := c.PrefixCache
	if cache.Tokens == 0 {
		return 1, true
	}
	if w.Prefixes == 0 || cache.Tokens < 2*w.Prefixes*w.InputLen {
		return 1, false
	}
	cached := w.PrefixLen / cache.BlockSize * cache.BlockSize
	if cached == w.InputLen {
		cached -= cache.BlockSize
	}
	return 1 - float64(cached)/float64(w.InputLen), true
}
