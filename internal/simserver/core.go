package simserver

import (
	"container/heap"
	"math"
	"time"
)

// core is the queueing model without any clock of its own: it is told what time
// it is and never asks. With x requests in slots the prefill of each goes on at
// rate 1/p(x) and its decoding at rate 1/t(x), whatever the others are doing, so
// one clock per phase that runs at that rate replaces a timer per token: a job
// finishes when the clock of its phase has gained the job's work. Between two
// events the rates are constant, so every event's time is exact.
type core struct {
	cfg Config // scaled: its times are real ones

	now     time.Duration
	prefill float64 // reading of the prefill clock: full prefills since the start
	decode  float64 // reading of the decode clock: steps since the start

	reading   jobHeap // by time
	prefills  jobHeap // by prefill clock
	decodes   jobHeap // by decode clock
	queue     fifo
	running   int
	seq       uint64
	weather   weather
	bucket    bucket
	deadUntil time.Duration // while dead; forever when it never restarts
	dead      bool
	onCrash   func(downFor time.Duration) // hears of a crash, under the engine's lock; nil: nobody does

	kvUsed  float64 // tokens held by the requests in slots
	kvSlope float64 // tokens by which that grows per unit of the decode clock

	stats Totals
}

const forever = time.Duration(math.MaxInt64)

func newCore(cfg Config) *core {
	cfg = cfg.scaled()
	return &core{cfg: cfg, weather: newWeather(cfg), bucket: newBucket(cfg.RateLimit)}
}

// inServer returns the requests in the server, running and waiting.
func (c *core) inServer() int { return c.running + c.queue.n }

// prefillUnit and decodeUnit return the nanoseconds that a unit of the clock
// takes now: p(x) and t(x), made longer by whatever slows the server. Never 0,
// so that a clock always has a finite rate.
func (c *core) prefillUnit() float64 {
	return max(1, c.cfg.prefillAt(c.load())*c.weather.slow())
}

func (c *core) decodeUnit() float64 {
	return max(1, c.cfg.stepAt(c.load())*c.weather.slow())
}

// load returns x: the running requests per replica.
func (c *core) load() float64 { return float64(c.running) / c.weather.replicas() }

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
	if c.running > 0 {
		dt := float64(t - c.now)
		steps := dt / c.decodeUnit()
		c.prefill += dt / c.prefillUnit()
		c.decode += steps
		c.stats.Steps += steps
		c.stats.BusySteps += steps * float64(c.running)
		c.kvUsed += c.kvSlope * steps
	}
	c.now = t
}

// slack is how far, in ns, a clock may be short of a target that is taken as
// reached: it swallows rounding, a millionth of what a clock of real time shows.
const slack = 2e-3

// at returns when a clock with the given reading and unit reaches the target.
func (c *core) at(target, reading, unit float64) time.Duration {
	ns := math.Ceil((target-reading)*unit - slack/2)
	if ns >= float64(forever-c.now) {
		return forever
	}
	return c.now + max(0, time.Duration(ns))
}

// nextEvent returns when something next happens by itself.
func (c *core) nextEvent() time.Duration {
	if c.running == 0 {
		return c.weather.next()
	}
	next := c.nextFinish()
	if j := c.reading.top(); j != nil {
		next = min(next, time.Duration(j.target))
	}
	if j := c.prefills.top(); j != nil {
		next = min(next, c.at(j.target, c.prefill, c.prefillUnit()))
	}
	return min(next, c.kvFull(), c.weather.next())
}

func (c *core) nextFinish() time.Duration {
	if j := c.decodes.top(); j != nil {
		return c.at(j.target, c.decode, c.decodeUnit())
	}
	return forever
}

// fire handles everything that is due now.
func (c *core) fire() {
	c.weather.turn(c.now, c.inServer())
	for j := c.reading.top(); j != nil && time.Duration(j.target) <= c.now; j = c.reading.top() {
		heap.Pop(&c.reading)
		c.beginPrefill(j)
	}
	for j := c.prefills.top(); j != nil && c.due(j, c.prefill, c.prefillUnit()); j = c.prefills.top() {
		heap.Pop(&c.prefills)
		c.beginDecode(j)
	}
	// The unit is taken once: a finish changes the load, and what else is due at
	// this very moment must not depend on the order of finishing.
	unit := c.decodeUnit()
	for j := c.decodes.top(); j != nil && c.due(j, c.decode, unit); j = c.decodes.top() {
		heap.Pop(&c.decodes)
		c.finish(j)
	}
	if c.kvFull() <= c.now {
		c.preempt()
	}
	c.admit()
}

func (c *core) due(j *Job, reading, unit float64) bool {
	return (j.target-reading)*unit <= slack
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
	c.queue.push(j)
	if c.cfg.CrashAt > 0 && c.inServer() >= c.cfg.CrashAt {
		c.crash()
		return
	}
	c.weather.observe(c.now, c.inServer())
	c.admit()
}

// admit moves waiting requests into free slots, first come first served.
func (c *core) admit() {
	for {
		j := c.queue.peek()
		if j == nil || !c.fits(j) {
			return
		}
		c.queue.pop()
		c.running++
		c.seq++
		j.seq = c.seq
		if !j.resuming {
			j.admitted = c.now
		}
		c.kvUsed += c.holds(j)
		c.beginRead(j)
	}
}

// fits reports whether a slot and, with a hundredth of the cache kept free as
// real servers do, KV memory are there for the request. One that is alone
// always fits: the gate refused what is larger than the cache.
func (c *core) fits(j *Job) bool {
	if s := c.slots(); s > 0 && c.running >= s {
		return false
	}
	if c.cfg.KVTokens == 0 || c.running == 0 {
		return true
	}
	budget := float64(c.cfg.KVTokens)
	return c.kvUsed+c.holds(j)+1 <= budget-budget/100
}

// slots returns S over all replicas; 0 means no bound.
func (c *core) slots() int {
	return int(math.Round(float64(c.cfg.Slots) * c.weather.replicas()))
}

func (c *core) beginRead(j *Job) {
	read := float64(c.cfg.PrefillPerToken) * float64(j.Prompt) * j.uncached() * j.factor
	if read < 1 || c.cfg.USL.Lambda > 0 {
		c.beginPrefill(j)
		return
	}
	j.phase = phaseRead
	c.reading.add(j, float64(c.now)+math.Round(read*c.weather.slow()))
}

func (c *core) beginPrefill(j *Job) {
	j.phase = phasePrefill
	c.prefills.add(j, c.prefill+j.uncached()*j.factor)
}

func (c *core) beginDecode(j *Job) {
	if !j.started {
		j.started, j.first = true, c.now
		j.signal()
	}
	if j.output < 2 {
		c.finish(j)
		return
	}
	j.phase = phaseDecode
	j.origin = c.decode
	c.decodes.add(j, c.decode+j.work-j.done)
	c.kvSlope += 1 / j.perToken()
	if j.resuming {
		j.signal() // its owner waits for the tokens to go on
	}
}

// finish ends a request that was served; the caller took it from its heap.
func (c *core) finish(j *Job) {
	j.pace = j.perToken() * c.decodeUnit()
	c.leaveSlot(j)
	j.phase, j.finished = phaseDone, c.now
	j.tokens, j.last = j.output, c.now
	c.stats.Finished++
	c.stats.PromptTokens += uint64(j.Prompt)
	c.stats.OutputTokens += uint64(j.output)
	c.stats.QueueTime.add(j.admitted - j.arrived)
	c.stats.PrefillTime.add(j.first - j.admitted)
	c.stats.TTFT.add(j.first - j.arrived)
	c.stats.E2E.add(j.finished - j.arrived)
	j.signal()
	c.weather.observe(c.now, c.inServer())
}

// tokenDue returns when the k-th token (from 0) of a decoding job comes if the
// load stays as it is; it may lie in the past. ok is false where the job is not
// decoding: its owner then waits for the job's signal.
func (c *core) tokenDue(j *Job, k int) (due time.Duration, ok bool) {
	switch {
	case j.phase == phaseDone && j.why == served:
		// A stream that lags behind asks for tokens of the past.
		return j.finished - time.Duration(float64(j.output-1-k)*j.pace), true
	case j.phase != phaseDecode:
		return 0, false
	}
	work := float64(k)*j.perToken() - j.done
	ns := (j.origin + work - c.decode) * c.decodeUnit()
	return c.now + time.Duration(math.Ceil(ns-slack/2)), true
}
