package simserver

import (
	"container/heap"
	"math"
	"time"
)

// replica is one engine: its slots, and the queue before them. With x requests in
// slots the prefill of each goes on at rate 1/p(x) and its decoding at rate 1/t(x),
// whatever the others are doing, so one clock per phase that runs at that rate
// replaces a timer per token: a job finishes when the clock of its phase has gained
// the job's work. Between two events the rates are constant, so every event's time
// is exact.
type replica struct {
	core  *core
	speed float64 // of 1
	cap   int     // slots, before any autoscaling; 0: no bound

	read    float64 // reading of the clock of what no other request slows down, ns of work
	prefill float64 // reading of the prefill clock: full prefills since the start
	decode  float64 // reading of the decode clock: steps since the start

	reading  jobHeap // by the first of these clocks
	prefills jobHeap // by the second
	decodes  jobHeap // by the third
	queue    fifo
	running  int
	seq      uint64

	kvUsed  float64 // tokens held by the requests in slots
	kvSlope float64 // tokens by which that grows per unit of the decode clock
}

// inside returns the requests here, running and waiting.
func (r *replica) inside() int { return r.running + r.queue.n }

// prefillUnit and decodeUnit return the nanoseconds that a unit of the clock
// takes now: p(x) and t(x), made longer by whatever slows the server. Never 0,
// so that a clock always has a finite rate.
func (r *replica) prefillUnit() float64 {
	return max(1, r.core.cfg.prefillAt(r.load())*r.slow())
}

func (r *replica) decodeUnit() float64 {
	return max(1, r.core.cfg.stepAt(r.load())*r.slow())
}

// slow returns by how much everything takes longer here and now.
func (r *replica) slow() float64 { return r.core.weather.slow() / r.speed }

// load returns x: the running requests, shared with what an autoscaler added.
func (r *replica) load() float64 { return float64(r.running) / r.core.weather.scale() }

// run lets the clocks run for so many ns; no event lies between.
func (r *replica) run(dt float64) {
	if r.running == 0 {
		return
	}
	steps := dt / r.decodeUnit()
	r.read += dt / r.slow()
	r.prefill += dt / r.prefillUnit()
	r.decode += steps
	r.kvUsed += r.kvSlope * steps
	r.core.stats.Steps += steps
	r.core.stats.BusySteps += steps * float64(r.running)
}

// slack is how far, in ns, a clock may be short of a target that is taken as
// reached: it swallows rounding, a millionth of what a clock of real time shows.
const slack = 2e-3

// at returns when a clock with the given reading and unit reaches the target.
func (r *replica) at(target, reading, unit float64) time.Duration {
	ns := math.Ceil((target-reading)*unit - slack/2)
	if ns >= float64(forever-r.core.now) {
		return forever
	}
	return r.core.now + max(0, time.Duration(ns))
}

// nextEvent returns when something next happens here by itself.
func (r *replica) nextEvent() time.Duration {
	next := r.kvFull()
	if j := r.reading.top(); j != nil {
		next = min(next, r.at(j.target, r.read, r.slow()))
	}
	if j := r.prefills.top(); j != nil {
		next = min(next, r.at(j.target, r.prefill, r.prefillUnit()))
	}
	if j := r.decodes.top(); j != nil {
		next = min(next, r.at(j.target, r.decode, r.decodeUnit()))
	}
	return next
}

// fire handles everything that is due here now.
func (r *replica) fire() {
	for j := r.reading.top(); j != nil && r.due(j, r.read, r.slow()); j = r.reading.top() {
		heap.Pop(&r.reading)
		r.beginPrefill(j)
	}
	for j := r.prefills.top(); j != nil && r.due(j, r.prefill, r.prefillUnit()); j = r.prefills.top() {
		heap.Pop(&r.prefills)
		r.beginDecode(j)
	}
	// The unit is taken once: a finish changes the load, and what else is due at
	// this very moment must not depend on the order of finishing.
	unit := r.decodeUnit()
	for j := r.decodes.top(); j != nil && r.due(j, r.decode, unit); j = r.decodes.top() {
		heap.Pop(&r.decodes)
		r.finish(j)
	}
	if r.kvFull() <= r.core.now {
		r.preempt()
	}
	r.admit()
}

func (r *replica) due(j *Job, reading, unit float64) bool {
	return (j.target-reading)*unit <= slack
}

// admit moves waiting requests into free slots, first come first served.
func (r *replica) admit() {
	for {
		j := r.queue.peek()
		if j == nil || !r.fits(j) {
			return
		}
		r.queue.pop()
		r.running++
		r.seq++
		j.seq = r.seq
		if !j.resuming {
			j.admitted = r.core.now
		}
		r.kvUsed += r.holds(j)
		r.beginRead(j)
	}
}

// fits reports whether a slot and, with a hundredth of the cache kept free as
// real servers do, KV memory are there for the request. One that is alone
// always fits: the gate refused what is larger than the cache.
func (r *replica) fits(j *Job) bool {
	if s := r.slots(); s > 0 && r.running >= s {
		return false
	}
	if r.core.cfg.KVTokens == 0 || r.running == 0 {
		return true
	}
	budget := float64(r.core.cfg.KVTokens)
	return r.kvUsed+r.holds(j)+1 <= budget-budget/100
}

// slots returns S now; 0 means no bound.
func (r *replica) slots() int { return int(math.Round(float64(r.cap) * r.core.weather.scale())) }

func (r *replica) beginRead(j *Job) {
	read := float64(r.core.cfg.PrefillPerToken) * float64(j.Prompt) * j.uncached() * j.factor
	if read < 1 || r.core.cfg.USL.Lambda > 0 {
		r.beginPrefill(j)
		return
	}
	j.phase = phaseRead
	r.reading.add(j, r.read+read)
}

func (r *replica) beginPrefill(j *Job) {
	j.phase = phasePrefill
	r.prefills.add(j, r.prefill+j.uncached()*j.factor)
}

func (r *replica) beginDecode(j *Job) {
	if !j.started {
		j.started, j.first = true, r.core.now
		j.signal()
	}
	if j.output < 2 {
		r.finish(j)
		return
	}
	j.phase = phaseDecode
	j.origin = r.decode
	r.decodes.add(j, r.decode+j.work-j.done)
	r.kvSlope += 1 / j.perToken()
	if j.resuming {
		j.signal() // its owner waits for the tokens to go on
	}
}

// finish ends a request that was served; the caller took it from its heap.
func (r *replica) finish(j *Job) {
	j.pace = j.perToken() * r.decodeUnit()
	r.leaveSlot(j)
	j.phase, j.finished = phaseDone, r.core.now
	j.tokens, j.last = j.output, r.core.now
	r.core.stats.Finished++
	r.core.stats.PromptTokens += uint64(j.Prompt)
	r.core.stats.OutputTokens += uint64(j.output)
	r.core.stats.QueueTime.add(j.admitted - j.arrived)
	r.core.stats.PrefillTime.add(j.first - j.admitted)
	r.core.stats.TTFT.add(j.first - j.arrived)
	r.core.stats.E2E.add(j.finished - j.arrived)
	j.signal()
	r.core.weather.observe(r.core.now, r.core.inServer())
}

// tokenDue returns when the k-th token (from 0) of a decoding job comes if the
// load stays as it is; it may lie in the past. ok is false where the job is not
// decoding: its owner then waits for the job's signal.
func (r *replica) tokenDue(j *Job, k int) (due time.Duration, ok bool) {
	switch {
	case j.phase == phaseDone && j.why == served:
		// A stream that lags behind asks for tokens of the past.
		return j.finished - time.Duration(float64(j.output-1-k)*j.pace), true
	case j.phase != phaseDecode:
		return 0, false
	}
	work := float64(k)*j.perToken() - j.done
	ns := (j.origin + work - r.decode) * r.decodeUnit()
	return r.core.now + time.Duration(math.Ceil(ns-slack/2)), true
}
