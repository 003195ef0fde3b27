package simserver

import (
	"math"
	"time"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// weather is what changes the server's speed as time goes on: a leak, a throttle, a
// noisy neighbour, a slow mode, a wandering pace, more replicas. Between two of its
// changes the speed is constant, which is what the core's clocks rest on.
type weather struct {
	cfg  *Config
	born time.Duration // when the server (re)started

	leakStep int // of leakSteps
	guests   int // changes of the neighbour so far: odd while it is there
	slowMode bool
	switches uint64
	switchAt time.Duration
	worked   time.Duration // with requests running; the core counts it
	wandered uint64        // steps of the wander so far
	wander   float64       // standard normal: where it wandered to
	pace     float64       // the speed there
	served   int           // requests that were warmed up by
	scaled   bool          // the second replica is there
	crowded  bool          // as of scaledAt's meaning: load is on the other side of At
	scaleAt  time.Duration
}

// leakSteps is in how many steps a leak grows: each far below what a
// measurement resolves.
const leakSteps = 400

func newWeather(cfg Config) weather {
	z := draw.Normal(cfg.Seed, draw.Wander, 0)
	return weather{cfg: &cfg, scaleAt: forever, wander: z, pace: cfg.Wander.speed(z)}
}

// next returns when the speed changes next if the server stays as busy as it is.
func (w *weather) next(now time.Duration, busy bool) time.Duration {
	next := min(w.leakAt(), w.guestAt(), w.scaleAt, w.wanderAt())
	if busy && w.cfg.Throttle.Share > 0 && !w.throttled() {
		next = min(next, now+w.cfg.Throttle.After-w.worked)
	}
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
	for w.wanderAt() <= now {
		// Exact at any step: an Ornstein-Uhlenbeck process is a chain of the first order.
		w.wandered++
		w.wander = wanderKept*w.wander + math.Sqrt(1-wanderKept*wanderKept)*draw.Normal(w.cfg.Seed, draw.Wander, w.wandered)
		w.pace = w.cfg.Wander.speed(w.wander)
	}
	w.turnMode(now)
}

// throttled reports whether the server has worked for long enough to be.
func (w *weather) throttled() bool { return w.worked >= w.cfg.Throttle.After }

// wanderSteps is in how many steps the pace wanders through its correlation time,
// and wanderKept what of its deviation is left after one of them.
const wanderSteps = 50

var wanderKept = math.Exp(-1.0 / wanderSteps)

func (w *weather) wanderAt() time.Duration {
	if w.cfg.Wander.Share <= 0 {
		return forever
	}
	return w.born + time.Duration(float64(w.cfg.Wander.Time)*float64(w.wandered+1)/wanderSteps)
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
	if t := w.cfg.Throttle; t.Share > 0 && w.throttled() {
		f /= 1 - t.Share
	}
	if w.slowMode {
		f *= w.cfg.Bimodal.Factor
	}
	return f / w.pace
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

// scale returns how many times the server is there.
func (w *weather) scale() float64 {
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
