package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capfind/capfind/loadgen"
)

// WorkerConfig is what a worker is made of.
type WorkerConfig struct {
	Name       string // empty: made of the machine's name and the process
	Fleet      string // its name; empty: "fleet"
	URL        string // where the hub, or the cluster, is
	Token      loadgen.Secret
	MaxStreams int // requests in flight that it takes at most; 0: any number
	Version    string
	Notice     func(text string)
	// Prepare makes ready to send requests as the hub's setup says; its error is told to
	// the hub. The speed, where it was to be measured, is told against those of others.
	Prepare func(ctx context.Context, setup []byte) (g Generator, speed float64, err error)
	// Wait is how long a worker stays without a hub; 0: for good.
	Wait time.Duration

	now func() time.Time // for tests: a clock that is wrong
}

// worker is a load machine.
type worker struct {
	WorkerConfig
	nc   *nats.Conn
	js   jetstream.JetStream
	host string

	mu       sync.Mutex
	hub      string // that it has joined
	ready    string
	failed   string
	heard    time.Time // when there was last a hub
	engine   Generator
	speed    float64
	order    string
	progress *loadgen.Progress
	halt     func(drain bool)
	orders   jetstream.ConsumeContext
	joining  atomic.Bool
	working  sync.Mutex // held while a share is sent
}

// ErrNoHub ends a worker that has waited long enough.
var ErrNoHub = errors.New("no deciding process was heard of")

// Work joins a fleet and sends what it is told, until the context ends.
func Work(ctx context.Context, c WorkerConfig) error {
	w := &worker{WorkerConfig: c, heard: time.Now()}
	w.host, _ = os.Hostname()
	if w.Fleet == "" {
		w.Fleet = "fleet"
	}
	if w.now == nil {
		w.now = time.Now
	}
	if !names.MatchString(w.Name) {
		return fmt.Errorf("--name: %q: %w", w.Name, ErrName)
	}
	if err := w.connect(ctx); err != nil {
		return err
	}
	defer w.nc.Close()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.stop(stop{Order: w.current()})
			w.working.Lock() // what is in hand has ended
			defer w.working.Unlock()
			return nil
		case <-tick.C:
		}
		w.sayBeat()
		if silent := w.silent(); w.Wait > 0 && silent > w.Wait {
			return fmt.Errorf("%w for %v", ErrNoHub, silent.Round(time.Second))
		}
	}
}

func (w *worker) subjects() subjects { return subjects(w.Fleet) }

func (w *worker) notice(format string, args ...any) {
	if w.Notice != nil {
		w.Notice(fmt.Sprintf(format, args...))
	}
}

func (w *worker) current() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.order
}

func (w *worker) silent() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.heard)
}

// connect reaches the server, for as long as a worker waits, and listens.
func (w *worker) connect(ctx context.Context) (err error) {
	until := time.Now().Add(w.Wait)
	for told := false; ; {
		w.nc, err = dial(w.URL, w.Token, "worker", func(connected bool, err error) {
			switch {
			case !connected:
				w.notice("the connection to %s was lost; waiting for it", redacted(w.URL))
			case err == nil:
				w.notice("connected to %s again", redacted(w.URL))
			}
		})
		if err == nil {
			break
		}
		if w.Wait > 0 && time.Now().After(until) {
			return err
		}
		if !told {
			told = true
			w.notice("%v; trying again until it is there", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
	if w.js, err = jetstream.New(w.nc); err != nil {
		return err
	}
	s := w.subjects()
	for subject, hear := range map[string]nats.MsgHandler{
		s.of("down", "here"): func(m *nats.Msg) { w.here(ctx, m) },
		s.of("down", "stop"): func(m *nats.Msg) {
			if x, err := unpack[stop](m.Data); err == nil {
				w.stop(x)
			}
		},
		s.of("down", "clock", w.Name): func(m *nats.Msg) { tell(m, w.now()) },
	} {
		if _, err := w.nc.Subscribe(subject, hear); err != nil {
			return err
		}
	}
	w.notice("worker %s: waiting for a deciding process at %s", w.Name, redacted(w.URL))
	return w.nc.FlushTimeout(5 * time.Second)
}

// here hears of a hub, and joins one that is new.
func (w *worker) here(ctx context.Context, m *nats.Msg) {
	x, err := unpack[here](m.Data)
	if err != nil {
		return
	}
	w.mu.Lock()
	w.heard = time.Now()
	known := w.hub == x.Hub
	w.mu.Unlock()
	if known || !w.joining.CompareAndSwap(false, true) {
		return
	}
	go func() { // the subscription must go on hearing
		defer w.joining.Store(false)
		w.join(ctx, x.Hub)
	}()
}

// join says hello to a hub and makes ready.
func (w *worker) join(ctx context.Context, hub string) {
	w.stop(stop{Order: w.current()}) // of a hub that is no more
	asked, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	reply, err := w.nc.RequestWithContext(asked, w.subjects().of("up", "hello"), pack(hello{Name: w.Name, Version: w.Version, Host: w.host, MaxStreams: w.MaxStreams}))
	if err != nil {
		return // heard of again in a second
	}
	answer, err := unpack[welcome](reply.Data)
	if err != nil {
		return
	}
	w.mu.Lock()
	w.hub, w.ready, w.failed, w.engine = hub, "", answer.Refused, nil
	w.mu.Unlock()
	if answer.Refused != "" {
		w.notice("the deciding process does not take this worker: %s", answer.Refused)
		return
	}
	w.notice("joined; making ready")
	engine, speed, err := w.Prepare(ctx, answer.Setup)
	if err == nil {
		err = w.takeOrders(ctx)
	}
	w.mu.Lock()
	if w.hub == hub {
		w.ready, w.engine, w.speed = hub, engine, speed
		if err != nil {
			w.failed = err.Error()
		}
	}
	w.mu.Unlock()
	w.sayBeat()
	if err != nil {
		w.notice("not ready: %v", err)
		return
	}
	w.notice("ready")
}

// takeOrders begins to take orders out of the worker's queue.
func (w *worker) takeOrders(ctx context.Context) error {
	if w.orders != nil {
		w.orders.Stop()
	}
	consumer, err := w.js.Consumer(ctx, w.subjects().orders(), w.Name)
	if err != nil {
		return fmt.Errorf("its queue of orders: %w", err)
	}
	w.orders, err = consumer.Consume(func(m jetstream.Msg) {
		o, err := unpack[order](m.Data())
		_ = m.Ack() // an order that is lost now is noticed by its hole
		if err == nil {
			w.carryOut(ctx, &o)
		}
	}, jetstream.PullMaxMessages(1))
	return err
}

// sayBeat tells the hub that this worker is alive.
func (w *worker) sayBeat() {
	w.mu.Lock()
	b := beat{Ready: w.ready, Failed: w.failed, Speed: w.speed, Order: w.order}
	if w.progress != nil {
		b.Sent, b.InFlight = w.progress.Sent.Load(), w.progress.InFlight.Load()
	}
	joined := w.hub != ""
	w.mu.Unlock()
	if joined {
		_ = w.nc.Publish(w.subjects().of("up", "beat", w.Name), pack(b)) // again in a second
	}
}

// stop ends the order in hand.
func (w *worker) stop(x stop) {
	w.mu.Lock()
	halt := w.halt
	if w.order != x.Order || x.Order == "" {
		halt = nil
	}
	w.mu.Unlock()
	if halt != nil {
		halt(x.Drain)
	}
}

// carryOut sends a share and gives back what came of it.
func (w *worker) carryOut(ctx context.Context, o *order) {
	w.working.Lock()
	defer w.working.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := newOutbox(ctx, w, o)
	load := o.Load.load()
	drain := make(chan struct{})
	draining := sync.OnceFunc(func() { close(drain) })
	runCtx, stopRun := context.WithCancel(ctx)
	defer stopRun()
	load.Drain, load.Progress, load.DropSamples = drain, &loadgen.Progress{}, true
	load.OnSample = out.add
	begin := time.Now().Add(time.Unix(0, o.Begin).Sub(w.now()))
	load.Begin = begin
	w.mu.Lock()
	engine := w.engine
	w.order, w.progress = o.ID, load.Progress
	w.halt = func(gently bool) {
		draining()
		if !gently {
			stopRun()
		}
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.order, w.progress, w.halt = "", nil, nil
		w.mu.Unlock()
		w.sayBeat()
	}()
	switch {
	case engine == nil:
		out.refuse("it is not ready")
		return
	case w.MaxStreams > 0 && load.Concurrency > w.MaxStreams:
		out.refuse(fmt.Sprintf("%d requests in flight are more than its --max-streams of %d", load.Concurrency, w.MaxStreams))
		return
	}
	run, err := engine.Run(runCtx, load)
	report := wireRun{Late: int64(run.Started.Sub(begin)), Elapsed: int64(run.Elapsed), End: run.End, Health: run.Health, Stalls: run.Stalls}
	if err != nil {
		report.Failed = err.Error()
	}
	out.close(report)
}

// outbox sends samples in batches, in the order in which they were measured. It never
// holds up the load: what cannot be sent yet waits in memory.
type outbox struct {
	ctx    context.Context
	w      *worker
	order  *order
	mu     sync.Mutex
	kept   []loadgen.Sample
	full   chan struct{}
	done   chan struct{}
	sender sync.WaitGroup
	number int
}

func newOutbox(ctx context.Context, w *worker, o *order) *outbox {
	b := &outbox{ctx: ctx, w: w, order: o, full: make(chan struct{}, 1), done: make(chan struct{})}
	b.sender.Go(b.loop)
	return b
}

// add is loadgen.Load.OnSample.
func (b *outbox) add(s *loadgen.Sample) bool {
	b.mu.Lock()
	b.kept = append(b.kept, *s)
	full := len(b.kept) >= batchSize
	b.mu.Unlock()
	if full {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
	return false
}

func (b *outbox) loop() {
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.full:
		case <-b.done:
			return
		case <-b.ctx.Done():
			return
		}
		b.flush()
	}
}

// flush sends what there is.
func (b *outbox) flush() {
	for {
		b.mu.Lock()
		n := min(len(b.kept), batchSize)
		some := b.kept[:n:n]
		b.kept = b.kept[n:]
		b.mu.Unlock()
		if n == 0 {
			return
		}
		b.send(batch{Samples: some})
	}
}

func (b *outbox) send(x batch) {
	x.Order, x.Share, x.Number = b.order.ID, b.order.Share, b.number
	b.number++
	id := fmt.Sprintf("%s/%d/%d", x.Order, x.Share, x.Number)
	if err := publish(b.ctx, b.w.js, b.w.subjects().of("up", "samples", b.w.Name), id, x); err != nil {
		b.w.notice("samples could not be handed over: %v", err)
	}
}

// close sends the rest.
func (b *outbox) close(r wireRun) {
	close(b.done)
	b.sender.Wait()
	b.flush()
	r.Batches = b.number + 1
	text, err := json.Marshal(r)
	if err != nil {
		b.w.notice("the run could not be written: %v", err)
	}
	b.send(batch{Last: true, Run: text})
}

// refuse says that the order is not carried out.
func (b *outbox) refuse(why string) {
	close(b.done)
	b.sender.Wait()
	b.send(batch{Refused: why})
}
