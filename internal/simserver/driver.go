package simserver

import (
	"sync"
	"time"
)

// driver gives a core its time: it runs it up to the present before every use,
// and wakes it for its next event. Everything of the core and its jobs is read
// and written under mu.
type driver struct {
	mu    sync.Mutex
	core  *core
	base  time.Time // the core's offset 0
	timer *time.Timer
	// before, where set, runs under mu ahead of every advance.
	before func()
}

// now returns the core's time. The first call starts it.
func (d *driver) now() time.Duration {
	if d.base.IsZero() {
		d.base = time.Now()
	}
	return time.Since(d.base)
}

// catchUp brings the core to the present and returns it.
func (d *driver) catchUp() time.Duration {
	if d.before != nil {
		d.before()
	}
	now := d.now()
	d.core.advance(now)
	return now
}

// tick is the timer's function.
func (d *driver) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.catchUp()
	d.rearm()
}

// rearm sets the timer for the core's next event. An empty server needs none:
// what changes meanwhile is caught up with by the next arrival.
func (d *driver) rearm() {
	if d.core.inServer() == 0 {
		return
	}
	if at := d.core.nextEvent(); at < forever {
		d.wakeIn(at - d.now())
	}
}

func (d *driver) wakeIn(in time.Duration) {
	if d.timer == nil {
		d.timer = time.AfterFunc(in, d.tick)
		return
	}
	d.timer.Reset(in)
}

// leave takes out a request whose client went away. What had ended before keeps
// its end; a refusal still on its way counts as cancelled as well.
func (d *driver) leave(j *job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.catchUp()
	d.core.cancel(j)
	if j.why != served && j.finished > now {
		j.why, j.finished = cancelled, now
	}
	d.rearm()
}

// state returns what the server's own metrics would show now.
func (d *driver) state() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.catchUp()
	return d.core.state()
}
