package simserver

import "time"

// The ways out of the server other than being served.

// leaveSlot gives slot and memory back. The phase still says where the job was.
func (c *core) leaveSlot(j *Job) {
	c.kvUsed -= c.holds(j)
	if j.phase == phaseDecode {
		c.kvSlope -= 1 / j.perToken()
	}
	c.running--
	if c.running == 0 {
		c.kvUsed, c.kvSlope = 0, 0 // no rounding error outlives a busy period
	}
}

// cancel takes out a request whose client went away.
func (c *core) cancel(j *Job) {
	if j.phase == phaseDone {
		return
	}
	c.settle(j)
	if j.phase == phaseQueued {
		c.queue.leave()
	} else {
		c.heapOf(j).remove(j)
		c.leaveSlot(j)
	}
	j.phase, j.why, j.finished = phaseDone, cancelled, c.now
	c.weather.observe(c.now, c.inServer())
	c.admit()
}

// settle notes how far a job came that will not get to its end: its whole
// tokens, and when the last of them came. A preempted one keeps what it had
// when it was last seen decoding.
func (c *core) settle(j *Job) {
	if !j.started {
		return
	}
	j.tokens = 1 + int(c.produced(j)+1e-9)
	j.last = max(j.first, j.last)
	if due, ok := c.tokenDue(j, j.tokens-1); ok {
		j.last = max(j.last, min(due, c.now))
	}
}

func (c *core) heapOf(j *Job) *jobHeap {
	switch j.phase {
	case phaseRead:
		return &c.reading
	case phasePrefill:
		return &c.prefills
	default:
		return &c.decodes
	}
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
	for _, h := range []*jobHeap{&c.reading, &c.prefills, &c.decodes} {
		for _, j := range *h {
			c.lose(j)
		}
		*h = nil
	}
	for _, j := range c.queue.jobs[c.queue.head:] {
		if j != nil && j.phase == phaseQueued {
			c.lose(j)
		}
	}
	c.queue = fifo{}
	c.running, c.kvUsed, c.kvSlope = 0, 0, 0
	c.dead, c.deadUntil = true, forever
	if downFor > 0 {
		c.deadUntil = c.now + downFor
	}
}

func (c *core) lose(j *Job) {
	c.settle(j)
	j.phase, j.why, j.finished = phaseDone, crashed, c.now
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
