package simserver

import (
	"math"
	"time"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// core is the queueing model without any clock of its own: it is told what time
// it is and never asks. It knows who is let in, to which replica, and what the
// weather is; what happens in a slot is the replica's.
type core struct {
	cfg Config // scaled: its times are real ones

	now       time.Duration
	replicas  []*replica
	routed    int // requests that a replica was chosen for
	weather   weather
	bucket    bucket
	deadUntil time.Duration // while dead; forever when it never restarts
	dead      bool
	onCrash   func(downFor time.Duration) // hears of a crash, under the engine's lock; nil: nobody does

	stats Totals
}

const forever = time.Duration(math.MaxInt64)

func newCore(cfg Config) *core {
	cfg = cfg.scaled()
	c := &core{cfg: cfg, weather: newWeather(cfg), bucket: newBucket(cfg.RateLimit)}
	for i := range cfg.Replicas.count() {
		c.replicas = append(c.replicas, &replica{core: c, speed: cfg.Replicas.speed(i), cap: cfg.Replicas.slots(i, cfg.Slots)})
	}
	return c
}

// running and inServer return the requests in slots, and with those that wait.
func (c *core) running() (n int) {
	for _, r := range c.replicas {
		n += r.running
	}
	return n
}

func (c *core) inServer() (n int) {
	for _, r := range c.replicas {
		n += r.inside()
	}
	return n
}

// advance moves the core to the given moment, through every event on the way
// and at it.
func (c *core) advance(to time.Duration) {
	for {
		at := c.nextEvent()
		if at > to {
			break
		}
		c.moveTo(at)
		c.fire()
	}
	c.moveTo(to)
}

// moveTo lets the clocks run; no event lies between.
func (c *core) moveTo(t time.Duration) {
	if t <= c.now {
		return
	}
	busy := c.running() > 0
	for _, r := range c.replicas {
		r.run(float64(t - c.now))
	}
	if busy {
		c.weather.worked += t - c.now
	}
	c.now = t
}

// nextEvent returns when something next happens by itself.
func (c *core) nextEvent() time.Duration {
	next := c.weather.next(c.now, c.running() > 0)
	for _, r := range c.replicas {
		next = min(next, r.nextEvent())
	}
	return next
}

// fire handles everything that is due now.
func (c *core) fire() {
	c.weather.turn(c.now, c.inServer())
	for _, r := range c.replicas {
		r.fire()
	}
}

// arrive takes a request in, or refuses it: then job.why and job.finished, the
// moment at which the refusal is complete, say so. The core must have been
// advanced to the present.
func (c *core) arrive(j *Job) {
	j.arrived = c.now
	if why, after := c.gate(j); why != served {
		c.stats.Refused++
		j.phase, j.why, j.finished = phaseDone, why, c.now+after
		return
	}
	j.factor = c.weather.factor(j.key)
	j.work = c.cfg.decodeWork(j.output) * j.factor
	j.phase = phaseQueued
	j.at.queue.push(j)
	if c.cfg.CrashAt > 0 && c.inServer() >= c.cfg.CrashAt {
		c.crash()
		return
	}
	c.weather.observe(c.now, c.inServer())
	j.at.admit()
}

// route chooses the replica of the next request. Of those with equally few
// connections chance takes one.
func (c *core) route(j *Job) *replica {
	c.routed++
	if c.cfg.Replicas.Balance != LeastConnections {
		return c.replicas[(c.routed-1)%len(c.replicas)]
	}
	var least []*replica
	for _, r := range c.replicas {
		switch {
		case len(least) == 0 || r.inside() < least[0].inside():
			least = append(least[:0], r)
		case r.inside() == least[0].inside():
			least = append(least, r)
		}
	}
	return least[int(draw.Chance(c.cfg.Seed, draw.Balance, j.key)*float64(len(least)))]
}
