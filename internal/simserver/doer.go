package simserver

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/capfind/capfind/internal/simserver/draw"
	"github.com/capfind/capfind/loadgen"
)

// Workload is what is asked of the server: tokens in and out of each request.
type Workload struct {
	InputLen  int // 0: 512
	OutputLen int // 0: 128
	// Prompts may share what they begin with: the i-th begins with the (i mod
	// Prefixes)-th of so many prefixes, PrefixLen of its InputLen tokens. 0: no two
	// prompts are alike.
	Prefixes, PrefixLen int
}

func (w Workload) withDefaults() Workload {
	w.InputLen, w.OutputLen = cmp.Or(w.InputLen, 512), cmp.Or(w.OutputLen, 128)
	return w
}

// Doer is the simulated server in process: a loadgen.Doer without sockets. It
// runs in real time and under testing/synctest, where thousands of requests take
// milliseconds; there it gives the same samples for the same requests every time.
// Its length spread is that of the workload: WantOutputTokens varies with the
// prompt's number, and the answer is as long as wanted. Faults do not apply.
type Doer struct {
	workload Workload
	engine   *Engine
	pending  []*Job // arrived at pendAt, not yet shown to the core
	pendAt   time.Duration
}

var _ loadgen.Doer = (*Doer)(nil)

// NewDoer returns a server that starts with its first request. The error names
// what is wrong with the config.
func NewDoer(cfg Config, w Workload) (*Doer, error) {
	e, err := newEngine(cfg)
	if err != nil {
		return nil, err
	}
	d := &Doer{workload: w.withDefaults(), engine: e}
	e.before = d.flush
	return d, nil
}

// Do implements loadgen.Doer. Its error is always nil: a simulated server can
// always be measured.
func (d *Doer) Do(ctx context.Context, start time.Time, s loadgen.Sample, emit func(*loadgen.Sample)) error {
	key := uint64(s.PromptIndex)
	s.WantPromptTokens = d.workload.InputLen
	s.WantOutputTokens = d.engine.cfg.Length(d.workload.OutputLen, key)
	s.CachedTokens = -1
	s.Conversation = -1
	if ctx.Err() != nil {
		s.End, s.Class = time.Since(start), loadgen.Cancelled
		emit(&s)
		return nil
	}
	j := newJob(key, s.WantPromptTokens, s.WantOutputTokens)
	s.Sent, s.WasSent = time.Since(start), true
	d.arrive(j)
	d.wait(ctx, j)
	d.fill(&s, j)
	emit(&s)
	return nil
}

// arrive puts a request in front of the core. Under fake time all requests of
// one instant are gathered first: the timer a nanosecond later fires only when
// every goroutine has had its turn, and the core then takes them in the order of
// their keys, not in that of the scheduler.
func (d *Doer) arrive(j *Job) {
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	now := d.engine.now()
	if len(d.pending) > 0 && now > d.pendAt {
		d.flush()
	}
	// What is due now ends now: the timer set below may replace the one that was
	// to say so, and did not yet get its turn in this same instant.
	d.engine.core.advance(now)
	d.pending = append(d.pending, j)
	d.pendAt = now
	d.engine.wakeIn(1)
}

// flush shows the core what is pending.
func (d *Doer) flush() {
	if len(d.pending) == 0 {
		return
	}
	d.engine.core.advance(d.pendAt)
	slices.SortStableFunc(d.pending, func(a, b *Job) int { return cmp.Compare(a.key, b.key) })
	for _, j := range d.pending {
		d.engine.enter(j, d.prompt(j.key))
		if j.phase == phaseDone {
			j.signal()
		}
	}
	d.pending = d.pending[:0]
}

// prompt returns the token ids of a prompt; nil where nobody looks at them.
func (d *Doer) prompt(key uint64) []uint32 {
	w := d.workload
	if d.engine.prefix == nil || w.Prefixes == 0 {
		return nil
	}
	ids := make([]uint32, w.InputLen)
	for i := range ids {
		whose := key%uint64(w.Prefixes) + 1
		if i >= w.PrefixLen {
			whose = ^key
		}
		ids[i] = uint32(draw.Mix(whose<<20 + uint64(i)))
	}
	return ids
}

// wait returns when the request is over, its refusal's time included.
func (d *Doer) wait(ctx context.Context, j *Job) {
	begun := false
	for {
		select {
		case <-ctx.Done():
			d.engine.Leave(j)
			return
		case <-j.Wake:
		}
		d.engine.mu.Lock()
		over, left, started := j.phase == phaseDone, j.finished-d.engine.now(), j.started
		d.engine.mu.Unlock()
		if started && !begun {
			begun = true
			loadgen.Begun(ctx)
		}
		if !over {
			continue // the first token, or a preemption
		}
		if left <= 0 {
			return
		}
		rest := time.NewTimer(left)
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			d.engine.Leave(j)
		}
		return
	}
}

// fill writes what became of the request into its sample. The core's moments
// are turned into the run's by way of the arrival, known on both clocks.
func (d *Doer) fill(s *loadgen.Sample, j *Job) {
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	at := func(t time.Duration) time.Duration { return s.Sent + t - j.arrived }
	s.End = at(j.finished)
	s.ConnReused = true
	s.Stamp = loadgen.StampUser
	s.Streamed = true
	s.TokenSource = loadgen.TokensFromUsage
	if d.engine.prefix != nil {
		s.CachedTokens = j.Cached
	}
	if j.started {
		s.Status = http.StatusOK
		s.PromptTokens = j.Prompt
		s.FirstOutput = at(j.first)
		s.FirstAnswer = s.FirstOutput
		s.LastOutput = at(j.last)
		s.OutputTokens, s.OutputEvents = j.tokens, j.tokens
	}
	if j.why != served {
		s.TokenSource = loadgen.TokensFromEvents
		d.fail(s, j.why)
	}
}

// fail says how a client sees each way of not being served.
func (d *Doer) fail(s *loadgen.Sample, why refusal) {
	switch why {
	case refusedDead:
		s.Class, s.Message = loadgen.ConnectionRefused, "connection refused: the simulated server is down"
		return
	case crashed:
		s.Class, s.Message = loadgen.ConnectionReset, "connection reset: the simulated server died"
		return
	case cancelled:
		s.Class = loadgen.Cancelled
		return
	}
	a := answerTo(d.engine.cfg, why)
	s.Class, s.Status, s.Message, s.RetryAfter = loadgen.HTTP5xx, a.Status, a.Message, a.RetryAfter
	switch {
	case a.Status == http.StatusTooManyRequests:
		s.Class = loadgen.HTTP429
	case a.Status < 500:
		s.Class = loadgen.HTTP4xx
	}
}

// Ready returns nil when the server would take a request: a controller's
// readiness check.
func (d *Doer) Ready(context.Context) error {
	switch alive, loaded := d.engine.Health(); {
	case !alive:
		return errors.New("connection refused: the simulated server is down")
	case !loaded:
		return errors.New("HTTP 503: the simulated server is still loading its model")
	}
	return nil
}
