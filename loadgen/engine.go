// Package loadgen keeps N streaming requests in flight against one endpoint, or
// sends them at a rate, and gives one Sample per request.
//
// An Engine issues requests as a Load says; a Doer sends one. Client is the Doer
// that speaks HTTP.
package loadgen

import (
	"context"
	"sync"
	"time"
)

// Engine runs load points, one at a time.
type Engine struct {
	doer Doer
}

// NewEngine returns an engine that sends its requests through d.
func NewEngine(d Doer) *Engine { return &Engine{doer: d} }

// Run runs one load point to its end. A cancelled context ends the run, with its
// samples so far and no error; an error means that nothing could be measured, and
// comes with what was measured before it.
//
// In a closed loop Concurrency workers each send one request after the other, so
// a freed slot is refilled at once by whoever freed it. In an open loop requests
// follow an absolute schedule, wait for one of Concurrency slots and keep their
// intended start; errors are not held there, since arrivals do not depend on
// answers.
func (e *Engine) Run(ctx context.Context, load Load) (Run, error) {
	if err := load.validate(); err != nil {
		return Run{Load: load}, err
	}
	if p, ok := e.doer.(Preparer); ok {
		p.Prepare(ctx, load.inFlightSoon())
	}
	load.await(ctx)
	watch := startHealth()
	r := newRunner(ctx, e.doer, load)
	stopWatching := r.watch(ctx)
	stopBeat := r.stalls.watch(r.now)
	if load.OpenLoop() {
		r.openLoop()
	} else {
		r.closedLoop()
	}
	r.workers.Wait()
	stopBeat()
	stopWatching()
	run := r.finish(ctx)
	watch.finish(&run.Health)
	if c, ok := e.doer.(interface{ connectMeans() (connect, tls Number) }); ok {
		run.Health.ConnectMeanSeconds, run.Health.TLSMeanSeconds = c.connectMeans()
	}
	return run, r.err
}

// runner is one run under way.
type runner struct {
	doer    Doer
	load    Load
	started time.Time
	ctx     context.Context // of the requests; ends when the run is stopped
	cancel  context.CancelFunc
	workers sync.WaitGroup

	// quit is closed as soon as no further request may be issued. Whoever waits
	// (for its stagger, its hold, its due time, a slot) waits for quit too.
	quit     chan struct{}
	quitOnce sync.Once

	// ends holds a channel for each request that another one of its session waits
	// for; it is closed when that request has ended.
	ends map[int]chan struct{}

	issueMu   sync.Mutex
	issued    int // calls of Do
	numbered  int // requests; more than issued where conversations have later turns
	exhausted bool
	drained   bool

	// emitMu orders completions. It is apart from issueMu, so that a slow
	// OnSample does not keep other workers from sending.
	emitMu  sync.Mutex
	samples []Sample
	stopped bool
	cut     bool // a request was cancelled
	failed  bool // a request failed, by the server
	tailCut bool // what was in flight was not worth waiting for
	elapsed time.Duration
	tally   tally
	err     error
	stalls  stalls
	tail    tail
}

func newRunner(ctx context.Context, d Doer, load Load) *runner {
	r := &runner{doer: d, load: load, quit: make(chan struct{})}
	if !load.DropSamples {
		r.samples = make([]Sample, 0, min(load.Requests, 1<<16))
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if load.CutTail && !load.OpenLoop() {
		r.tail.over = r.cutTail
		r.ctx = r.tail.with(r.ctx)
	}
	if a := load.Arrivals; a != nil {
		r.ends = map[int]chan struct{}{}
		for i := range a.At {
			if before := a.before(i); before >= 0 {
				r.ends[before] = make(chan struct{})
			}
		}
	}
	r.started = time.Now()
	return r
}

func (r *runner) now() time.Duration { return time.Since(r.started) }

// closeIssue ends the issuing of requests.
func (r *runner) closeIssue() { r.quitOnce.Do(func() { close(r.quit) }) }

// watch ends the issuing when the context ends, Drain is closed or the time is
// up. The returned function ends the watching.
func (r *runner) watch(ctx context.Context) (stop func()) {
	var timeUp <-chan time.Time
	var timer *time.Timer
	if r.load.Duration > 0 {
		timer = time.NewTimer(r.load.Duration)
		timeUp = timer.C
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-ctx.Done():
		case <-timeUp:
		case <-r.load.Drain:
			r.issueMu.Lock()
			r.drained = !r.exhausted
			r.issueMu.Unlock()
		case <-done:
		}
		r.closeIssue()
	})
	return func() {
		close(done)
		watching.Wait()
		if timer != nil {
			timer.Stop()
		}
		r.cancel()
	}
}

// closedLoop starts the workers, each of which owns one slot.
func (r *runner) closedLoop() {
	for n := range r.load.workers() {
		r.workers.Go(func() { r.worker(n) })
	}
}

// worker sends one request after the other until there are no more.
func (r *runner) worker(n int) {
	if !r.sleep(r.load.staggerOffset(n)) {
		return
	}
	for {
		first, ok := r.next(-1)
		if !ok {
			return
		}
		hold := r.do(first)
		if hold > 0 && !r.sleep(hold) {
			return
		}
	}
}

// openLoop sends requests as they fall due, each on a goroutine of its own that
// holds one of Concurrency slots.
func (r *runner) openLoop() {
	plan := newSchedule(r.load)
	slots := make(chan struct{}, r.load.Concurrency)
	free := time.Duration(0) // when the loop last had nothing else to do
	for {
		number, due, ok := plan.next()
		if !ok {
			return // requests whose session keeps them are still to come
		}
		wait, stop := r.load.pace(r.now(), due)
		if stop || !r.sleep(wait) {
			r.closeIssue()
			return
		}
		if before := r.load.Arrivals.before(number); before >= 0 {
			r.workers.Go(func() { r.afterBefore(number, before, due, slots) })
			continue
		}
		asked := r.now()
		// Time spent waiting for a slot is the load's doing; only what is left is
		// the scheduler's lag.
		if from := max(due, free); !r.stalls.touch(from, asked) {
			r.tally.lag(asked - from)
		}
		first, ok := r.nextInSlot(number, due, slots)
		if !ok {
			return
		}
		free = first.Ready
		r.workers.Go(func() { r.doInSlot(number, first, slots) })
	}
}

// afterBefore sends a request once the one before it in its session has ended, as
// whoever is in a conversation does. From then on it is due.
func (r *runner) afterBefore(number, before int, due time.Duration, slots chan struct{}) {
	select {
	case <-r.ends[before]:
	case <-r.quit:
		return
	}
	if first, ok := r.nextInSlot(number, max(due, r.now()), slots); ok {
		r.doInSlot(number, first, slots)
	}
}

// nextInSlot waits for a slot and issues a request of an open loop; false when no more
// may be issued.
func (r *runner) nextInSlot(number int, due time.Duration, slots chan struct{}) (Sample, bool) {
	select {
	case slots <- struct{}{}:
	case <-r.quit:
		return Sample{}, false
	}
	first, ok := r.next(number)
	first.Intended = due
	return first, ok
}

// doInSlot sends a request of an open loop and gives its slot back.
func (r *runner) doInSlot(number int, first Sample, slots chan struct{}) {
	defer func() { <-slots }()
	r.do(first)
	if ended := r.ends[number]; ended != nil {
		close(ended)
	}
}

// next issues a request: the one with that number in the load's order, or the next
// one where that is negative; false when no more may be issued. Every request that it
// gives out ends in exactly one sample.
func (r *runner) next(number int) (Sample, bool) {
	r.issueMu.Lock()
	defer r.issueMu.Unlock()
	// The watcher closes quit for these too, but it may be late: a request that
	// was just cancelled must not be followed by another.
	select {
	case <-r.quit:
		return Sample{}, false
	case <-r.ctx.Done():
		return Sample{}, false
	case <-r.load.Drain:
		r.drained = !r.exhausted
		return Sample{}, false
	default:
	}
	now := r.now()
	if _, stop := r.load.pace(now, now); stop || r.exhausted {
		return Sample{}, false
	}
	if number < 0 || r.load.Arrivals == nil {
		number = r.issued
	}
	first := Sample{
		Index: r.number(), PromptIndex: r.load.FirstPrompt + r.load.Arrivals.prompt(r.load.Share.number(number)), Conversation: -1,
		Intended: now, Ready: now, CachedTokens: -1,
	}
	r.issued++
	if r.issued == r.load.Requests {
		r.exhausted = true
		r.tail.issued(r.issued)
		r.closeIssue() // nobody needs to sit out a stagger or a hold any more
	}
	r.load.Progress.issued()
	return first, true
}

// number gives out the next Index; issueMu is held.
func (r *runner) number() int {
	r.numbered++
	return r.numbered - 1
}

// do sends one request and returns how long its worker holds afterwards.
func (r *runner) do(first Sample) (hold time.Duration) {
	emitted := false
	err := r.doer.Do(r.ctx, r.started, first, func(s *Sample) {
		emitted = true
		r.emit(s)
		hold = r.load.hold(s)
	})
	if err == nil && !emitted {
		// Not to be: but a request that vanishes would falsify every count.
		first.Class, first.Message, first.End = Malformed, "the request ended without a sample", r.now()
		r.emit(&first)
	}
	r.load.Progress.ended()
	if err != nil {
		r.fail(err)
	}
	return hold
}

// emit counts a finished request.
func (r *runner) emit(s *Sample) {
	r.emitMu.Lock()
	defer r.emitMu.Unlock()
	if s.Turn > 0 { // the Doer cannot know the next free number
		r.issueMu.Lock()
		s.Index = r.number()
		r.issueMu.Unlock()
	}
	r.elapsed = max(r.elapsed, s.End)
	s.Stalled = r.stalls.touch(s.Ready, s.End)
	r.cut = r.cut || s.Class == Cancelled
	r.failed = r.failed || s.Class.ServerFailure()
	r.tally.add(s)
	r.load.Progress.Count(s)
	if !r.load.DropSamples {
		r.samples = append(r.samples, *s)
	}
	if r.load.OnSample != nil && r.load.OnSample(s) && !r.stopped {
		r.stopped = true
		r.closeIssue()
		r.cancel()
	}
}

// cutTail ends the run because all of its requests have begun to be answered.
func (r *runner) cutTail() {
	r.emitMu.Lock()
	defer r.emitMu.Unlock()
	if !r.failed && !r.stopped {
		r.tailCut = true
		r.cancel()
	}
}

// fail ends the run because a request could not be made at all.
func (r *runner) fail(err error) {
	r.emitMu.Lock()
	defer r.emitMu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.closeIssue()
	r.cancel()
}

// sleep waits for d and reports whether requests may still be issued.
func (r *runner) sleep(d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.quit:
			return false
		}
	}
	select {
	case <-r.quit:
		return false
	default:
		return true
	}
}

// finish builds the run's result once all workers are done.
func (r *runner) finish(ctx context.Context) Run {
	run := Run{Load: r.load, Started: r.started, Elapsed: r.elapsed, Samples: r.samples, End: EndComplete, Stalls: r.stalls.seen}
	complete := r.exhausted && !r.cut
	switch {
	case r.stopped:
		run.End = EndStopped
	case r.tailCut && r.cut && ctx.Err() == nil:
		run.End = EndCut
	case r.err != nil && !complete:
		run.End = EndFailed
	case ctx.Err() != nil && !complete:
		run.End = EndCancelled
	case r.drained:
		run.End = EndDrained
	}
	r.tally.health(&run.Health)
	return run
}

// issued counts a request sent out; on no Progress it does nothing.
func (p *Progress) issued() {
	if p != nil {
		p.Sent.Add(1)
		p.InFlight.Add(1)
	}
}

// ended counts a request (or conversation) that gave its slot back.
func (p *Progress) ended() {
	if p != nil {
		p.InFlight.Add(-1)
	}
}

// Count counts what became of a request; on no Progress it does nothing.
func (p *Progress) Count(s *Sample) {
	switch {
	case p == nil:
		return
	case s.Class == Success:
		p.Succeeded.Add(1)
		if ttft, ok := s.TTFT(); ok {
			p.TTFTNanos.Add(int64(ttft))
			p.TTFTs.Add(1)
		}
	case s.Class != Cancelled:
		p.Failed.Add(1)
	}
	if s.Turn > 0 {
		p.Sent.Add(1)
	}
	p.OutputTokens.Add(int64(s.OutputTokens))
}
