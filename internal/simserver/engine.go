package simserver

import (
	"errors"
	"sort"
	"sync"
	"time"
)

// Engine is the server without a face: the core, and the clock that gives it its
// time. It runs the core up to the present before every use, and wakes it for its
// next event. Everything of the core and its jobs is read and written under mu.
type Engine struct {
	cfg    Config // as given, defaults filled in; service times are in core.cfg
	mu     sync.Mutex
	core   *core
	prefix *prefixCache
	base   time.Time // the core's offset 0; zero until it is first used
	timer  *time.Timer
	before func() // ahead of every advance, under mu; nil: nothing
}

// NewEngine returns a server that starts now. onCrash hears of its deaths, under
// the engine's lock, and for how long it stays dead (0: for good); nil: nobody
// does. The error names what is wrong with the config.
func NewEngine(cfg Config, onCrash func(downFor time.Duration)) (*Engine, error) {
	e, err := newEngine(cfg)
	if err != nil {
		return nil, err
	}
	e.core.onCrash = onCrash
	e.base = time.Now()
	return e, nil
}

func newEngine(cfg Config) (*Engine, error) {
	var errs []error
	for _, p := range cfg.Validate() {
		errs = append(errs, p)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	cfg = cfg.WithDefaults()
	return &Engine{cfg: cfg, core: newCore(cfg), prefix: newPrefixCache(cfg.PrefixCache)}, nil
}

// Close stops the engine's clock.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
	}
}

// Submit takes a request in, given as its prompt's token ids and the number of
// tokens to put out; or says what it is refused with.
func (e *Engine) Submit(key uint64, prompt []uint32, output int) (*Job, *Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	j := newJob(key, len(prompt), output)
	now := e.catchUp()
	e.enter(j, prompt)
	e.rearm()
	if j.phase == phaseDone {
		a := answerTo(e.cfg, j.why)
		a.After = j.finished - now
		return nil, &a
	}
	return j, nil
}

// enter shows a request to the prefix cache and to the core.
func (e *Engine) enter(j *Job, prompt []uint32) {
	j.Cached = e.prefix.lookup(prompt)
	e.core.arrive(j)
	if e.prefix != nil && j.phase != phaseDone {
		e.core.stats.PrefixQueries += uint64(j.Prompt)
		e.core.stats.PrefixHits += uint64(j.Cached)
	}
}

// Token returns in how long the k-th output token (from 0) of a request comes if
// the load stays as it is: 0 or less when it is there, the longest Duration when
// only the job's wake will tell. lost: it never comes, the request ended unserved.
func (e *Engine) Token(j *Job, k int) (in time.Duration, lost bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	due, ok := j.at.tokenDue(j, k)
	lost = j.phase == phaseDone && j.why != served
	if lost || !ok {
		return forever, lost
	}
	now := e.now()
	if due <= now && k == j.output-1 { // the account at the end wants the core to be done with it
		e.catchUp()
		e.rearm()
	}
	return due - now, false
}

// Leave takes out a request whose client went away. What had ended before keeps
// its end; a refusal still on its way counts as cancelled as well.
func (e *Engine) Leave(j *Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.catchUp()
	e.core.cancel(j)
	if j.why != served && j.finished > now {
		j.why, j.finished = cancelled, now
	}
	e.rearm()
}

// Health reports whether the server is alive, and whether its model is loaded.
func (e *Engine) Health() (alive, loaded bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catchUp()
	return e.core.alive(), !e.core.cold()
}

// State returns what the server's own metrics would show now.
func (e *Engine) State() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catchUp()
	return e.core.state()
}

// Kill makes the server die, for so long; 0: for good.
func (e *Engine) Kill(downFor time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catchUp()
	e.core.kill(downFor)
}

// now returns the core's time. The first call starts it.
func (e *Engine) now() time.Duration {
	if e.base.IsZero() {
		e.base = time.Now()
	}
	return time.Since(e.base)
}

// catchUp brings the core to the present and returns it.
func (e *Engine) catchUp() time.Duration {
	if e.before != nil {
		e.before()
	}
	now := e.now()
	e.core.advance(now)
	return now
}

// tick is the timer's function.
func (e *Engine) tick() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catchUp()
	e.rearm()
}

// rearm sets the timer for the core's next event. An empty server needs none:
// what changes meanwhile is caught up with by the next arrival.
func (e *Engine) rearm() {
	if e.core.inServer() == 0 {
		return
	}
	if at := e.core.nextEvent(); at < forever {
		e.wakeIn(at - e.now())
	}
}

func (e *Engine) wakeIn(in time.Duration) {
	if e.timer == nil {
		e.timer = time.AfterFunc(in, e.tick)
		return
	}
	e.timer.Reset(in)
}

// State is what the server knows of itself at one moment.
type State struct {
	Running, Waiting int
	KVUsage          float64 // share of the KV cache in use; 0 without a budget
	TokenRate        float64 // output tokens per second
	InFlightTokens   uint64  // output of the requests that are not finished
	Totals
}

// Totals count from the start.
type Totals struct {
	Finished, Refused, Crashes, Preemptions uint64
	PromptTokens, OutputTokens              uint64    // of finished requests
	PrefixQueries, PrefixHits               uint64    // tokens
	Steps, BusySteps                        float64   // decode steps; requests in a slot, summed over them
	QueueTime, PrefillTime, TTFT, E2E       Histogram // of finished requests
}

// Bounds are the upper bounds of a Histogram's buckets, in seconds; above the
// last there is one more bucket.
var Bounds = [...]float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160}

// Histogram counts times, as a server's metrics show them.
type Histogram struct {
	Counts [len(Bounds) + 1]uint64
	Sum    time.Duration
}

func (h *Histogram) add(x time.Duration) {
	h.Counts[sort.SearchFloat64s(Bounds[:], x.Seconds())]++
	h.Sum += x
}

func (c *core) state() State {
	s := State{Totals: c.stats}
	for _, r := range c.replicas {
		s.Running += r.running
		s.Waiting += r.queue.n
		s.TokenRate += r.kvSlope / r.decodeUnit() * 1e9
		s.InFlightTokens += uint64(r.inFlightTokens())
		if c.cfg.KVTokens > 0 {
			s.KVUsage += min(1, r.kvUsed/float64(c.cfg.KVTokens)) / float64(len(c.replicas))
		}
	}
	return s
}
