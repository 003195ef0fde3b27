package simserver

import "time"

// The KV cache: every running request holds its prompt and the tokens it has
// put out. When the budget is gone the request admitted last is preempted: it
// gives everything back, waits at the front of the queue, and is computed again
// from its first token when there is room; tokens already sent stay sent.

// holds returns the KV tokens of a request in a slot, or on its way into one.
func (r *replica) holds(j *Job) float64 {
	return float64(j.Prompt) + r.produced(j)
}

// produced returns the output tokens in the cache, the first not counted: its
// entry is written by the step that makes the second.
func (r *replica) produced(j *Job) float64 {
	per := j.perToken()
	if per == 0 {
		return 0
	}
	done := j.done
	if j.phase == phaseDecode {
		done += r.decode - j.origin
	}
	return done / per
}

// kvFull returns when the cache is full if nothing else happens.
func (r *replica) kvFull() time.Duration {
	if r.core.cfg.KVTokens == 0 || r.kvSlope <= 0 || r.running < 2 {
		return forever
	}
	free := float64(r.core.cfg.KVTokens) - r.kvUsed
	return r.at(free/r.kvSlope, 0, r.decodeUnit())
}

// preempt takes the slot of the request admitted last.
func (r *replica) preempt() {
	var victim *Job
	for _, h := range []jobHeap{r.reading, r.prefills, r.decodes} {
		for _, j := range h {
			if victim == nil || j.seq > victim.seq {
				victim = j
			}
		}
	}
	if victim == nil {
		return
	}
	r.core.stats.Preemptions++
	r.settle(victim)
	r.heapOf(victim).remove(victim)
	done := victim.done
	if victim.phase == phaseDecode {
		done += r.decode - victim.origin
	}
	r.leaveSlot(victim)
	victim.phase, victim.done, victim.resuming = phaseQueued, done, victim.started
	r.queue.pushFront(victim)
	victim.signal()
}

// inFlightTokens returns the output tokens of requests that are not finished:
// real servers count tokens as they come, not requests as they end.
func (r *replica) inFlightTokens() (n int) {
	for _, j := range r.prefills {
		if j.resuming {
			n += 1 + int(r.produced(j))
		}
	}
	for _, j := range r.decodes {
		n += 1 + int(r.produced(j))
	}
	return n
}
