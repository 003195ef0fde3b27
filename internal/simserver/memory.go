package simserver

import "time"

// The KV cache: every running request holds its prompt and the tokens it has
// put out. When the budget is gone the request admitted last is preempted: it
// gives everything back, waits at the front of the queue, and is computed again
// from its first token when there is room; tokens already sent stay sent.

// holds returns the KV tokens of a request in a slot, or on its way into one.
func (c *core) holds(j *Job) float64 {
	return float64(j.Prompt) + c.produced(j)
}

// produced returns the output tokens in the cache, the first not counted: its
// entry is written by the step that makes the second.
func (c *core) produced(j *Job) float64 {
	per := j.perToken()
	if per == 0 {
		return 0
	}
	done := j.done
	if j.phase == phaseDecode {
		done += c.decode - j.origin
	}
	return done / per
}

// kvFull returns when the cache is full if nothing else happens.
func (c *core) kvFull() time.Duration {
	if c.cfg.KVTokens == 0 || c.kvSlope <= 0 || c.running < 2 {
		return forever
	}
	free := float64(c.cfg.KVTokens) - c.kvUsed
	return c.at(free/c.kvSlope, 0, c.decodeUnit())
}

// preempt takes the slot of the request admitted last.
func (c *core) preempt() {
	var victim *Job
	for _, h := range []jobHeap{c.reading, c.prefills, c.decodes} {
		for _, j := range h {
			if victim == nil || j.seq > victim.seq {
				victim = j
			}
		}
	}
	if victim == nil {
		return
	}
	c.stats.Preemptions++
	c.settle(victim)
	c.heapOf(victim).remove(victim)
	done := victim.done
	if victim.phase == phaseDecode {
		done += c.decode - victim.origin
	}
	c.leaveSlot(victim)
	victim.phase, victim.done, victim.resuming = phaseQueued, done, victim.started
	c.queue.pushFront(victim)
	victim.signal()
}

// kvUsage returns the share of the KV cache in use; without a budget, 0.
func (c *core) kvUsage() float64 {
	if c.cfg.KVTokens == 0 {
		return 0
	}
	return min(1, c.kvUsed/float64(c.cfg.KVTokens))
}

// inFlightTokens returns the output tokens of requests that are not finished:
// real servers count tokens as they come, not requests as they end.
func (c *core) inFlightTokens() (n int) {
	for _, j := range c.prefills {
		if j.resuming {
			n += 1 + int(c.produced(j))
		}
	}
	for _, j := range c.decodes {
		n += 1 + int(c.produced(j))
	}
	return n
}
