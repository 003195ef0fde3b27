package simserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Workload is what is asked of the server: tokens in and out of each request.
type Workload struct {
	InputLen  int // 0: 512
	OutputLen int // 0: 128
}

func (w Workload) withDefaults() Workload {
	if w.InputLen == 0 {
		w.InputLen = 512
	}
	if w.OutputLen == 0 {
		w.OutputLen = 128
	}
	return w
}

// Doer is the simulated server in process: a loadgen.Doer without sockets. It
// runs in real time and under testing/synctest, where thousands of requests take
// milliseconds; there it gives the same samples for the same requests every time.
// Its length spread is that of the workload: WantOutputTokens varies with the
// prompt's number, and the answer is as long as wanted. Faults do not apply, and
// prompts have no text that a prefix cache could know.
type Doer struct {
	cfg      Config
	workload Workload

	driver
	pending []*job // arrived at pendAt, not yet shown to the core
	pendAt  time.Duration
}

var _ loadgen.Doer = (*Doer)(nil)

// NewDoer returns a server that starts with its first request. The error names
// what is wrong with the config.
func NewDoer(cfg Config, w Workload) (*Doer, error) {
	if err := firstProblem(cfg); err != nil {
		return nil, err
	}
	d := &Doer{cfg: cfg.withDefaults(), workload: w.withDefaults()}
	d.driver = driver{core: newCore(cfg), before: d.flush}
	return d, nil
}

func firstProblem(cfg Config) error {
	var errs []error
	for _, p := range cfg.Validate() {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// Do implements loadgen.Doer. Its error is always nil: a simulated server can
// always be measured.
func (d *Doer) Do(ctx context.Context, start time.Time, s loadgen.Sample, emit func(*loadgen.Sample)) error {
	key := uint64(s.PromptIndex)
	s.WantPromptTokens = d.workload.InputLen
	s.WantOutputTokens = d.cfg.length(d.workload.OutputLen, key)
	s.CachedTokens = -1
	s.Conversation = -1
	if ctx.Err() != nil {
		s.End, s.Class = time.Since(start), loadgen.Cancelled
		emit(&s)
		return nil
	}
	j := &job{key: key, prompt: s.WantPromptTokens, output: s.WantOutputTokens, wake: make(chan struct{}, 1)}
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
func (d *Doer) arrive(j *job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if len(d.pending) > 0 && now > d.pendAt {
		d.flush()
	}
	// What is due now ends now: the timer set below may replace the one that was
	// to say so, and did not yet get its turn in this same instant.
	d.core.advance(now)
	d.pending = append(d.pending, j)
	d.pendAt = now
	d.wakeIn(1)
}

// flush shows the core what is pending.
func (d *Doer) flush() {
	if len(d.pending) == 0 {
		return
	}
	d.core.advance(d.pendAt)
	slices.SortStableFunc(d.pending, func(a, b *job) int { return cmp.Compare(a.key, b.key) })
	for _, j := range d.pending {
		d.core.arrive(j)
		if j.phase == phaseDone {
			j.signal()
		}
	}
	d.pending = d.pending[:0]
}

// wait returns when the request is over, its refusal's time included.
func (d *Doer) wait(ctx context.Context, j *job) {
	for {
		select {
		case <-ctx.Done():
			d.leave(j)
			return
		case <-j.wake:
		}
		d.mu.Lock()
		over, left := j.phase == phaseDone, j.finished-d.now()
		d.mu.Unlock()
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
			d.leave(j)
		}
		return
	}
}

// fill writes what became of the request into its sample. The core's moments
// are turned into the run's by way of the arrival, known on both clocks.
func (d *Doer) fill(s *loadgen.Sample, j *job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := func(t time.Duration) time.Duration { return s.Sent + t - j.arrived }
	s.End = at(j.finished)
	s.ConnReused = true
	s.Stamp = loadgen.StampUser
	s.Streamed = true
	s.TokenSource = loadgen.TokensFromUsage
	if j.started {
		s.Status = http.StatusOK
		s.PromptTokens = j.prompt
		s.FirstOutput = at(j.first)
		s.FirstAnswer = s.FirstOutput
		s.LastOutput = at(j.last)
		s.OutputTokens, s.OutputEvents = j.tokens, j.tokens
	}
	if j.why != served {
		s.TokenSource = loadgen.TokensFromEvents
		s.Class, s.Status, s.Message = d.failure(j.why, s.Status)
		if j.why == refusedRate {
			s.RetryAfter = retryAfter(d.cfg.RateLimit)
		}
	}
}

// failure says how a client sees each way of not being served.
func (d *Doer) failure(why refusal, status int) (loadgen.Class, int, string) {
	switch why {
	case refusedDead:
		return loadgen.ConnectionRefused, 0, "connection refused: the simulated server is down"
	case crashed:
		return loadgen.ConnectionReset, status, "connection reset: the simulated server died"
	case cancelled:
		return loadgen.Cancelled, status, ""
	}
	a := answerTo(d.cfg, why)
	class := loadgen.HTTP5xx
	switch {
	case a.status == http.StatusTooManyRequests:
		class = loadgen.HTTP429
	case a.status < 500:
		class = loadgen.HTTP4xx
	}
	return class, a.status, a.message
}

// Ready returns nil when the server would take a request: a controller's
// readiness check.
func (d *Doer) Ready(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.catchUp()
	switch {
	case !d.core.alive():
		return errors.New("connection refused: the simulated server is down")
	case d.core.cold():
		return fmt.Errorf("HTTP 503: the simulated server is still loading its model")
	}
	return nil
}

// State returns what the server's own metrics would show now.
func (d *Doer) State() State { return d.state() }
