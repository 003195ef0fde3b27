package simserver

import (
	"math"
	"time"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// weather is what changes the server's speed as time goes on: a leak, a noisy
// neighbour, a slow mode, more replicas. Between two of its changes the speed is
// constant, which is what the core's clocks rest on.
type weather struct {
	cfg  *Config
	born time.Duration // when the server (re)started

	leakStep int // of leakSteps
	guests   int // changes of the neighbour so far: odd while it is there
	slowMode bool
	switches uint64
	switchAt time.Duration
	served   int  // requests that were warmed up by
	scaled   bool // the second replica is there
	crowded  bool // as of scaledAt's meaning: load is on the other side of At
	scaleAt  time.Duration
}

// leakSteps is in how many steps a leak grows: each far below what a
// measurement resolves.
const leakSteps = 400

func newWeather(cfg Config) weather {
	return weather{cfg: &cfg, scaleAt: forever}
}

// next returns when the speed changes next.
func (w *weather) next() time.Duration {
	next := min(w.leakAt(), w.guestAt(), w.scaleAt)
	if w.cfg.Bimodal.Share > 0 && w.cfg.Bimodal.Dwell > 0 {
		next = min(next, w.born+w.switchAt)
	}
	return next
}

// turn makes the changes that are due, with so many requests in the server.
func (w *weather) turn(now time.Duration, load int) {
	for w.leakAt() <= now {
		w.leakStep++
	}
	for w.guestAt() <= now {
		w.guests++
	}
	if w.scaleAt <= now {
		w.scaled = !w.scaled
		w.crowded, w.scaleAt = false, forever
		w.observe(now, load)
	}
	w.turnMode(now)
}

func (w *weather) leakAt() time.Duration {
	if w.cfg.Leak.Share <= 0 || w.leakStep >= leakSteps {
		return forever
	}
	return w.born + time.Duration(float64(w.cfg.Leak.Over)*float64(w.leakStep+1)/leakSteps)
}

func (w *weather) guestAt() time.Duration {
	n := w.cfg.NoisyNeighbour
	visit := time.Duration(w.guests / 2)
	if n.Share <= 0 || (visit > 0 && n.Every == 0) {
		return forever
	}
	at := w.born + n.Start + visit*n.Every
	if w.guests%2 == 1 {
		at += n.For
	}
	return at
}

// turnMode switches between the fast and the slow mode. Stays are exponential,
// with means that give the slow mode its share of the time.
func (w *weather) turnMode(now time.Duration) {
	b := w.cfg.Bimodal
	if b.Share <= 0 || b.Dwell <= 0 {
		return
	}
	for w.born+w.switchAt <= now {
		if w.switches > 0 {
			w.slowMode = !w.slowMode
		}
		mean := float64(b.Dwell)
		if !w.slowMode {
			mean *= (1 - b.Share) / b.Share
		}
		stay := -mean * math.Log(1-draw.Chance(w.cfg.Seed, draw.Mode, w.switches))
		w.switches++
		w.switchAt += max(1, time.Duration(stay))
	}
}

// slow returns by how much everything takes longer now.
func (w *weather) slow() float64 {
	f := 1 + w.cfg.Leak.Share*float64(w.leakStep)/leakSteps
	if w.guests%2 == 1 {
		f /= 1 - w.cfg.NoisyNeighbour.Share
	}
	if w.slowMode {
		f *= w.cfg.Bimodal.Factor
	}
	return f
}

// factor returns by how much longer the service of one request takes for
// reasons of its own.
func (w *weather) factor(key uint64) float64 {
	f := 1.0
	if w.served < w.cfg.Warmup.Requests {
		w.served++
		f *= w.cfg.Warmup.Factor
	}
	b := w.cfg.Bimodal
	if b.Dwell == 0 && draw.Chance(w.cfg.Seed, draw.Bimodal, key) < b.Share {
		f *= b.Factor
	}
	return f
}

// replicas returns how many times the server is there.
func (w *weather) replicas() float64 {
	if w.scaled {
		return w.cfg.Autoscaler.Factor
	}
	return 1
}

// observe lets the autoscaler see the load. It acts when the load has been on
// the other side of At for its whole delay.
func (w *weather) observe(now time.Duration, load int) {
	a := w.cfg.Autoscaler
	if a.Factor == 0 {
		return
	}
	above := load >= a.At
	wanted, delay := above && !w.scaled, a.After
	if w.scaled {
		wanted, delay = !above && a.DownAfter > 0, a.DownAfter
	}
	switch {
	case !wanted:
		w.crowded, w.scaleAt = false, forever
	case !w.crowded:
		w.crowded, w.scaleAt = true, now+delay
	}
}
