package control_test

import (
	"container/heap"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// model is a server as measurement.md section 7 describes it, in seconds.
type model struct {
	name   string
	slots  int // 0: no bound
	tokens int
	a, b   float64 // step time a + b x
	p0, p1 float64 // prefill p0 + p1 x
	usl    *usl    // instead of step time and prefill

	queue   int // requests that may wait for a slot; 0: no bound
	reject  float64
	rate    float64 // requests/s above which it answers 429; 0: none
	crashAt int     // requests in flight that kill it; 0: none
	downFor float64
	errors  func(inFlight int) float64 // share of requests that fail at the end

	spread float64                 // coefficient of variation of output lengths
	speed  func(t float64) float64 // share of its capacity at a moment; nil: always 1
	bimode float64                 // share of requests that take three times as long
	warm   int                     // first requests that take three times as long
}

type usl struct{ lambda, sigma, kappa, prefill float64 }

func (m *model) service(x int) (prefill, step float64) {
	n := float64(x)
	if u := m.usl; u != nil {
		r := (1 + u.sigma*(n-1) + u.kappa*n*(n-1)) / u.lambda
		prefill = u.prefill * r * u.lambda
		return prefill, (r - prefill) / float64(m.tokens-1)
	}
	return m.p0 + m.p1*n, m.a + m.b*n
}

// engine drives a model by events, without goroutines, and lets the clock of
// the test follow: a sweep of minutes takes milliseconds.
type engine struct {
	m     model
	epoch time.Time
	rng   *rand.Rand
	seed  uint64
	seen  int
	down  float64 // until when the server is dead
	runs  []loadgen.Load
}

func newEngine(m model, seed uint64) *engine {
	return &engine{m: m, epoch: time.Now(), rng: rand.New(rand.NewPCG(seed, 1)), seed: seed, down: -1}
}

func (e *engine) now() float64 { return time.Since(e.epoch).Seconds() }

// Ready makes the engine a control.Health.
func (e *engine) Ready(context.Context) error {
	if e.now() < e.down {
		return errors.New("connection refused")
	}
	return nil
}

func (e *engine) length(prompt int) int {
	if e.m.spread == 0 {
		return e.m.tokens
	}
	rng := rand.New(rand.NewPCG(e.seed, uint64(prompt)+7))
	shape := 1 / (e.m.spread * e.m.spread)
	return max(2, int(math.Round(float64(e.m.tokens)*gamma(rng, shape)/shape)))
}

// gamma draws from the gamma distribution with the given shape (Marsaglia and
// Tsang 2000).
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(rng.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := math.Pow(1+c*x, 3)
		if v > 0 && math.Log(rng.Float64()) < 0.5*x*x+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

type job struct {
	s       loadgen.Sample
	worker  int
	sent    float64
	tokens  float64 // decode work
	first   float64
	due     float64 // of its event
	kind    int
	target  float64 // virtual time at which its decode ends
	pos     int
	queued  bool
	serving bool
	dead    bool
	class   loadgen.Class
}

const (
	evReady = iota
	evFirst
	evEnd
	evArrive
)

type byDue []*job

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due < h[j].due }
func (h byDue) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byDue) Push(x any)        { *h = append(*h, x.(*job)) }
func (h *byDue) Pop() any          { o := *h; x := o[len(o)-1]; *h = o[:len(o)-1]; return x }

type byTarget []*job

func (h byTarget) Len() int           { return len(h) }
func (h byTarget) Less(i, j int) bool { return h[i].target < h[j].target }
func (h byTarget) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].pos = i; h[j].pos = j }
func (h *byTarget) Push(x any)        { j := x.(*job); j.pos = len(*h); *h = append(*h, j) }
func (h *byTarget) Pop() any          { o := *h; x := o[len(o)-1]; *h = o[:len(o)-1]; return x }

// sim is one run of the engine.
type sim struct {
	e       *engine
	load    loadgen.Load
	base    float64
	t       float64 // offset in the run
	v       float64 // virtual time: tokens that every decoding request got
	events  byDue
	decode  byTarget
	live    map[*job]bool // in flight
	waiting []*job
	serving int
	issued  int
	bucket  float64
	filled  float64
	run     loadgen.Run
	stopped bool
	free    int // open loop: slots of the client
	backlog []*job
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

func (e *engine) Run(ctx context.Context, load loadgen.Load) (loadgen.Run, error) {
	e.runs = append(e.runs, load)
	s := &sim{e: e, load: load, base: e.now(), live: map[*job]bool{}, bucket: math.Max(1, e.m.rate)}
	s.run = loadgen.Run{Load: load, Started: time.Now(), End: loadgen.EndComplete}
	if load.OpenLoop() {
		s.openLoop()
	} else {
		for w := range load.Concurrency {
			at := 0.0
			if load.Start == loadgen.StartStagger {
				at = load.StaggerOver.Seconds() * float64(w) / float64(load.Concurrency)
			}
			s.push(&job{worker: w, due: at, kind: evReady})
		}
	}
	for !s.stopped && ctx.Err() == nil && !drained(load.Drain) {
		if !s.step() {
			break
		}
	}
	if len(s.live) > 0 {
		s.cancel()
	}
	switch {
	case ctx.Err() != nil:
		s.run.End = loadgen.EndCancelled
	case drained(load.Drain):
		s.run.End = loadgen.EndDrained
	case s.stopped:
		s.run.End = loadgen.EndStopped
	}
	for i := range s.run.Samples {
		s.run.Elapsed = max(s.run.Elapsed, s.run.Samples[i].End)
	}
	time.Sleep(seconds(s.t))
	return s.run, nil
}

func drained(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (s *sim) openLoop() {
	rng := rand.New(rand.NewPCG(s.load.Seed, 3))
	shape := s.load.Burstiness
	if shape == 0 {
		shape = 1
	}
	s.free = s.load.Concurrency
	at := 0.0
	for i := 0; s.load.Requests == 0 || i < s.load.Requests; i++ {
		gap := 1 / s.load.Rate
		if !math.IsInf(shape, 1) {
			gap *= gamma(rng, shape) / shape
		}
		at += gap
		if s.load.Duration > 0 && at >= s.load.Duration.Seconds() {
			break
		}
		j := &job{due: at, kind: evArrive}
		j.s.Intended = seconds(at)
		s.push(j)
	}
}

func (s *sim) push(j *job) { heap.Push(&s.events, j) }

// pace is seconds per token of decode now.
func (s *sim) pace() float64 {
	_, step := s.e.m.service(s.serving)
	if s.e.m.speed != nil {
		step /= s.e.m.speed(s.base + s.t)
	}
	return step
}

// advance moves the clock and the decoding requests with it.
func (s *sim) advance(t float64) {
	if t > s.t {
		if len(s.decode) > 0 {
			s.v += (t - s.t) / s.pace()
		}
		s.t = t
	}
}

const slice = 0.25 // a changing speed is followed in steps of this

func (s *sim) step() bool {
	next, decode := math.Inf(1), false
	if len(s.events) > 0 {
		next = s.events[0].due
	}
	if len(s.decode) > 0 {
		if at := s.t + (s.decode[0].target-s.v)*s.pace(); at < next {
			next, decode = at, true
		}
	}
	if math.IsInf(next, 1) {
		return false
	}
	if s.e.m.speed != nil && next-s.t > slice {
		s.advance(s.t + slice)
		return true
	}
	s.advance(next)
	if decode {
		j := heap.Pop(&s.decode).(*job)
		s.finish(j, j.class)
		return true
	}
	j := heap.Pop(&s.events).(*job)
	if j.dead {
		return true
	}
	switch j.kind {
	case evReady:
		s.send(j.worker, seconds(s.t))
	case evArrive:
		if s.free > 0 {
			s.free--
			s.send(-1, j.s.Intended)
		} else {
			s.backlog = append(s.backlog, j)
		}
	case evFirst:
		j.first = s.t
		j.target = s.v + j.tokens
		heap.Push(&s.decode, j)
	case evEnd:
		s.finish(j, j.class)
	}
	return true
}

func (s *sim) send(worker int, intended time.Duration) {
	l := s.load
	if (l.Requests > 0 && s.issued >= l.Requests) || (l.Duration > 0 && s.t >= l.Duration.Seconds()) {
		return
	}
	m := &s.e.m
	prompt := l.FirstPrompt + s.issued
	n := s.e.length(prompt)
	j := &job{worker: worker, sent: s.t, tokens: float64(n - 1)}
	if m.bimode > 0 && s.e.rng.Float64() < m.bimode {
		j.tokens *= 3
	}
	if s.e.seen < m.warm {
		j.tokens *= 3
	}
	s.e.seen++
	j.s = loadgen.Sample{
		Index: s.issued, PromptIndex: prompt, Conversation: -1, Intended: intended, Ready: seconds(s.t), Sent: seconds(s.t),
		WasSent: true, Streamed: true, WantOutputTokens: n, WantPromptTokens: 512, PromptTokens: 512, CachedTokens: -1, ConnReused: true,
	}
	s.issued++
	s.live[j] = true
	s.admit(j)
}

func (s *sim) admit(j *job) {
	m := &s.e.m
	reject := func(class loadgen.Class, status int) {
		j.class, j.kind, j.due = class, evEnd, s.t+max(m.reject, 1e-3)
		j.s.Status = status
		s.push(j)
	}
	switch {
	case s.base+s.t < s.e.down:
		reject(loadgen.ConnectionRefused, 0)
		return
	case m.crashAt > 0 && len(s.live) >= m.crashAt:
		s.crash()
		return
	case m.rate > 0 && !s.grant():
		reject(loadgen.HTTP429, 429)
		return
	}
	if m.errors != nil && s.e.rng.Float64() < m.errors(len(s.live)) {
		j.class, j.s.Status = loadgen.HTTP5xx, 500
	}
	if m.slots > 0 && s.serving >= m.slots {
		if m.queue > 0 && len(s.waiting) >= m.queue {
			reject(loadgen.HTTP5xx, 503)
			return
		}
		j.queued = true
		s.waiting = append(s.waiting, j)
		return
	}
	s.serve(j)
}

func (s *sim) grant() bool {
	m := &s.e.m
	s.bucket = math.Min(math.Max(1, m.rate), s.bucket+(s.t-s.filled)*m.rate)
	s.filled = s.t
	if s.bucket < 1 {
		return false
	}
	s.bucket--
	return true
}

func (s *sim) serve(j *job) {
	s.serving++
	j.queued, j.serving = false, true
	prefill, _ := s.e.m.service(s.serving)
	if s.e.m.speed != nil {
		prefill /= s.e.m.speed(s.base + s.t)
	}
	j.kind, j.due = evFirst, s.t+prefill
	s.push(j)
}

func (s *sim) crash() {
	s.e.down = s.base + s.t + s.e.m.downFor
	var all []*job
	for j := range s.live {
		all = append(all, j)
	}
	sort.Slice(all, func(i, k int) bool { return all[i].s.Index < all[k].s.Index })
	s.decode, s.waiting, s.serving = nil, nil, 0
	for _, j := range all {
		j.dead = true
		again := &job{s: j.s, worker: j.worker, sent: j.sent, class: loadgen.ConnectionReset, kind: evEnd, due: s.t}
		delete(s.live, j)
		s.live[again] = true
		s.push(again)
	}
}

func (s *sim) finish(j *job, class loadgen.Class) {
	delete(s.live, j)
	x := j.s
	x.End, x.Class = seconds(s.t), class
	if class == loadgen.Success {
		x.Status = 200
		x.FirstOutput, x.LastOutput = seconds(j.first), x.End
		x.FirstAnswer = x.FirstOutput
		x.OutputEvents, x.OutputTokens, x.TokenSource = x.WantOutputTokens, x.WantOutputTokens, loadgen.TokensFromUsage
	}
	if j.serving {
		s.serving--
		if len(s.waiting) > 0 {
			next := s.waiting[0]
			s.waiting = s.waiting[1:]
			s.serve(next)
		}
	}
	s.emit(x)
	if s.stopped {
		return
	}
	if s.load.OpenLoop() {
		if len(s.backlog) > 0 {
			b := s.backlog[0]
			s.backlog = s.backlog[1:]
			s.send(-1, b.s.Intended)
		} else {
			s.free++
		}
		return
	}
	hold := 0.0
	if class != loadgen.Success {
		hold = max(s.load.ErrorHold, x.RetryAfter).Seconds()
	}
	s.push(&job{worker: j.worker, due: s.t + hold, kind: evReady})
}

func (s *sim) emit(x loadgen.Sample) {
	if !s.load.DropSamples {
		s.run.Samples = append(s.run.Samples, x)
	}
	if s.load.OnSample != nil && s.load.OnSample(&x) {
		s.stopped = true
	}
}

func (s *sim) cancel() {
	var all []*job
	for j := range s.live {
		all = append(all, j)
	}
	sort.Slice(all, func(i, k int) bool { return all[i].s.Index < all[k].s.Index })
	for _, j := range all {
		x := j.s
		x.End, x.Class = seconds(s.t), loadgen.Cancelled
		if !s.load.DropSamples {
			s.run.Samples = append(s.run.Samples, x)
		}
	}
}
