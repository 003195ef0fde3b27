package loadgen

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// phase is what a request waits for.
type phase int

const (
	phaseFirst  phase = iota // the first output
	phasePlain               // an answer that does not stream: only the total counts
	phaseStream              // more of the stream
	phaseRest                // what may follow a finish mark, or the text of an error
)

// restGrace bounds what is waited for once the answer is known.
const restGrace = 2 * time.Second

// restOver is the watchdog's cause where only the rest was cut off, which is no
// failure.
const restOver Class = "rest_over"

// watchdog ends a request that takes too long or is cancelled, by closing what it
// reads from. One timer a request: an event costs a store, not a timer.
type watchdog struct {
	heard  atomic.Int64
	limits Timeouts
	start  time.Time // offset 0

	mu        sync.Mutex
	timer     *time.Timer
	phase     phase
	sent      time.Duration
	abort     func() // nil while there is nothing to abort, and once the request is over
	cause     Class
	unwatched func() bool
}

// begin starts watching the context.
func (w *watchdog) begin(ctx context.Context) {
	w.unwatched = context.AfterFunc(ctx, func() { w.end(Cancelled) })
}

// arm starts the request's time-outs at the offset sent; abort must make every
// pending read and write fail.
func (w *watchdog) arm(sent time.Duration, p phase, abort func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent, w.phase, w.abort = sent, p, abort
	w.heard.Store(int64(sent))
	if w.cause != Success {
		abort()
		return
	}
	w.wait()
}

// disarm forgets what arm was given: the connection is somebody else's now.
func (w *watchdog) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abort = nil
	if w.timer != nil {
		w.timer.Stop()
	}
}

// hear notes that bytes arrived.
func (w *watchdog) hear(at time.Duration) { w.heard.Store(int64(at)) }

// enter moves on to a later phase.
func (w *watchdog) enter(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = p
	w.wait()
}

// ended reports whether the watchdog ended the request.
func (w *watchdog) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause != Success
}

// deadline returns when the request is to be ended and as what; false where
// nothing bounds it.
func (w *watchdog) deadline() (at time.Duration, cause Class, bounded bool) {
	earlier := func(from, limit time.Duration, class Class) {
		if limit > 0 && (!bounded || from+limit < at) {
			at, cause, bounded = from+limit, class, true
		}
	}
	heard := time.Duration(w.heard.Load())
	switch w.phase {
	case phaseFirst:
		earlier(w.sent, w.limits.FirstToken, TimeoutFirstToken)
	case phaseStream:
		earlier(heard, w.limits.Idle, TimeoutIdle)
	case phaseRest:
		earlier(heard, restGrace, restOver)
	}
	earlier(w.sent, w.limits.Total, TimeoutTotal)
	return at, cause, bounded
}

// wait sets the timer to the deadline as it is now; w.mu is held. Bytes that
// arrive later move the deadline, which the timer finds out when it fires.
func (w *watchdog) wait() {
	at, _, bounded := w.deadline()
	if !bounded || w.abort == nil {
		return
	}
	in := max(0, at-time.Since(w.start))
	if w.timer == nil {
		w.timer = time.AfterFunc(in, w.check)
		return
	}
	w.timer.Reset(in)
}

// check ends the request if its deadline has passed, else waits on.
func (w *watchdog) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A late timer of an earlier phase: the deadline is computed afresh, and
	// nothing happens once the request is over. Without this a connection could
	// be closed under the next request that uses it.
	if w.abort == nil {
		return
	}
	at, cause, bounded := w.deadline()
	if bounded && time.Since(w.start) >= at {
		w.endLocked(cause)
		return
	}
	w.wait()
}

func (w *watchdog) end(cause Class) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLocked(cause)
}

func (w *watchdog) endLocked(cause Class) {
	if w.cause != Success {
		return
	}
	w.cause = cause
	if w.abort != nil {
		w.abort()
	}
}

// stop ends the watching and returns why the request was ended, if it was. After
// it abort is not called any more.
func (w *watchdog) stop() Class {
	w.unwatched()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abort = nil
	if w.timer != nil {
		w.timer.Stop()
	}
	return w.cause
}
