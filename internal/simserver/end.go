package simserver

import "time"

// The ways out of the server other than being served.

// leaveSlot gives slot and memory back. The phase still says where the job was.
func (r *replica) leaveSlot(j *Job) {
	r.kvUsed -= r.holds(j)
	if j.phase == phaseDecode {
		r.kvSlope -= 1 / j.perToken()
	}
	r.running--
	if r.running == 0 {
		r.kvUsed, r.kvSlope = 0, 0 // no rounding error outlives a busy period
	}
}

// settle notes how far a job came that will not get to its end: its whole
// tokens, and when the last of them came. A preempted one keeps what it had
// when it was last seen decoding.
func (r *replica) settle(j *Job) {
	if !j.started {
		return
	}
	j.tokens = 1 + int(r.produced(j)+1e-9)
	j.last = max(j.first, j.last)
	if due, ok := r.tokenDue(j, j.tokens-1); ok {
		j.last = max(j.last, min(due, r.core.now))
	}
}

func (r *replica) heapOf(j *Job) *jobHeap {
	switch j.phase {
	case phaseRead:
		return &r.reading
	case phasePrefill:
		return &r.prefills
	default:
		return &r.decodes
	}
}

// cancel takes out a request whose client went away.
func (c *core) cancel(j *Job) {
	if j.phase == phaseDone {
		return
	}
	r := j.at
	r.settle(j)
	if j.phase == phaseQueued {
		r.queue.leave()
	} else {
		r.heapOf(j).remove(j)
		r.leaveSlot(j)
	}
	j.phase, j.why, j.finished = phaseDone, cancelled, c.now
	c.weather.observe(c.now, c.inServer())
	r.admit()
}

// crash kills everything in the server. It stays dead until deadUntil and then
// starts with empty hands.
func (c *core) crash() {
	c.stats.Crashes++
	c.kill(c.cfg.RestartAfter)
	if c.onCrash != nil {
		c.onCrash(c.cfg.RestartAfter)
	}
}

// kill ends all requests and keeps the server dead for so long; 0: for good.
func (c *core) kill(downFor time.Duration) {
	for _, r := range c.replicas {
		r.kill()
	}
	c.dead, c.deadUntil = true, forever
	if downFor > 0 {
		c.deadUntil = c.now + downFor
	}
}

func (r *replica) kill() {
	for _, h := range []*jobHeap{&r.reading, &r.prefills, &r.decodes} {
		for _, j := range *h {
			r.lose(j)
		}
		*h = nil
	}
	for _, j := range r.queue.jobs[r.queue.head:] {
		if j != nil && j.phase == phaseQueued {
			r.lose(j)
		}
	}
	r.queue = fifo{}
	r.running, r.kvUsed, r.kvSlope = 0, 0, 0
}

func (r *replica) lose(j *Job) {
	r.settle(j)
	j.phase, j.why, j.finished = phaseDone, crashed, r.core.now
	j.signal()
}

// alive reports whether the server answers now, and revives it when its time
// has come: everything that depends on its age starts anew.
func (c *core) alive() bool {
	if c.dead && c.now >= c.deadUntil {
		c.dead = false
		c.stats = Totals{Crashes: c.stats.Crashes}
		c.weather = newWeather(c.cfg)
		c.weather.born = c.deadUntil
		c.bucket = newBucket(c.cfg.RateLimit)
	}
	return !c.dead
}
