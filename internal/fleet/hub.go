package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/capfind/capfind/loadgen"
)

// Config is what a hub is made of.
type Config struct {
	Name        string         // of the fleet; empty: "fleet"
	URL         string         // of a NATS cluster; empty: a server is embedded
	Listen      string         // where an embedded server listens
	Dir         string         // where it keeps its streams; made, and removed at the end
	Token       loadgen.Secret // that workers join with
	Workers     int            // that a load is sent by
	JoinTimeout time.Duration  // how long they are waited for
	Measured    bool           // shares by the speeds that workers say, and not even ones
	Version     string         // of this program: others may not join
	Notice      func(text string)

	lost  time.Duration // after which a silent worker is lost; 0: lostAfter
	bytes int64         // that the stream of samples may hold; 0: mostSamples
}

// Hub decides what the workers of a fleet send. It sends a load from all of them as an
// engine would from one machine.
type Hub struct {
	config  Config
	id      string
	server  *server.Server // nil where there was one
	nc      *nats.Conn
	js      jetstream.JetStream
	setup   []byte
	stop    func()
	running sync.WaitGroup

	mu      sync.Mutex
	members map[string]*member
	order   *collection // in hand
	orders  int
	news    chan struct{} // something changed among the members
}

// member is a worker as the hub knows it.
type member struct {
	hello
	joined   int // in which place
	ready    bool
	failed   string
	lastBeat time.Time
	beat     beat
	clock    offset
	lost     bool // told so
	relieved int  // how often it was relieved
}

// Open starts the hub, and the server where there is none. setup is what a worker is
// told when it joins.
func Open(ctx context.Context, c Config, setup []byte) (*Hub, error) {
	if c.Name == "" {
		c.Name = "fleet"
	}
	if !names.MatchString(c.Name) {
		return nil, fmt.Errorf("fleet.name: %q: %w", c.Name, ErrName)
	}
	if c.lost == 0 {
		c.lost = lostAfter
	}
	if c.bytes == 0 {
		c.bytes = mostSamples
	}
	h := &Hub{config: c, id: nuid.Next(), setup: setup, members: map[string]*member{}, news: make(chan struct{}, 1), stop: func() {}}
	if err := h.open(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Hub) subjects() subjects { return subjects(h.config.Name) }

func (h *Hub) open(ctx context.Context) (err error) {
	address := h.config.URL
	if address == "" {
		if h.server, err = embed(h.config.Listen, h.config.Dir, h.subjects(), h.config.Token); err != nil {
			return err
		}
		address = h.at("127.0.0.1")
	}
	if h.nc, err = dial(address, h.config.Token, "hub", func(connected bool, err error) {
		if !connected && err != nil {
			h.notice("the fleet's NATS server is away: %v", err)
		}
	}); err != nil {
		return err
	}
	if h.js, err = jetstream.New(h.nc); err != nil {
		return err
	}
	if err := h.makeStreams(ctx); err != nil {
		return fmt.Errorf("%s: %w (JetStream must be enabled there)", redacted(address), err)
	}
	return h.listen(ctx)
}

// makeStreams makes the streams anew: what an earlier hub left in them is of no use.
func (h *Hub) makeStreams(ctx context.Context) error {
	s := h.subjects()
	for name, c := range map[string]jetstream.StreamConfig{
		s.orders():  {Subjects: []string{s.of("down", "order", "*")}, MaxBytes: mostOrders},
		s.samples(): {Subjects: []string{s.of("up", "samples", "*")}, MaxBytes: h.config.bytes},
	} {
		c.Name, c.Retention, c.Storage, c.Discard, c.MaxMsgSize = name, jetstream.WorkQueuePolicy, jetstream.FileStorage, jetstream.DiscardNew, mostPayload
		c.Duplicates = 2 * time.Minute
		stream, err := h.makeStream(ctx, c)
		if err != nil {
			return err
		}
		if err := stream.Purge(ctx); err != nil {
			return err
		}
	}
	return nil
}

// makeStream makes one; in a cluster it is kept on three servers, so that one of them may
// go.
func (h *Hub) makeStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	if h.server == nil {
		c.Replicas = 3
		if stream, err := h.js.CreateOrUpdateStream(ctx, c); err == nil {
			return stream, nil
		}
		c.Replicas = 1 // a single server
	}
	return h.js.CreateOrUpdateStream(ctx, c)
}

// listen hears what workers say.
func (h *Hub) listen(ctx context.Context) error {
	s := h.subjects()
	if _, err := h.nc.Subscribe(s.of("up", "hello"), h.hello); err != nil {
		return err
	}
	if _, err := h.nc.Subscribe(s.of("up", "beat", "*"), h.beat); err != nil {
		return err
	}
	consumer, err := h.js.CreateOrUpdateConsumer(ctx, s.samples(), jetstream.ConsumerConfig{
		Durable: "hub", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxAckPending: 256,
	})
	if err != nil {
		return err
	}
	consuming, err := consumer.Consume(h.samples, jetstream.PullMaxMessages(64))
	if err != nil {
		return err
	}
	done := make(chan struct{})
	h.running.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			_ = h.nc.Publish(s.of("down", "here"), pack(here{h.id})) // again in a second
			h.lookAround()
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	h.stop = sync.OnceFunc(func() {
		consuming.Stop()
		close(done)
	})
	return nil
}

// Close ends the fleet: workers wait for another hub.
func (h *Hub) Close() {
	h.stop()
	h.running.Wait()
	if h.nc != nil {
		if h.server == nil && h.js != nil { // streams in a cluster of others are not left behind
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = h.js.DeleteStream(ctx, h.subjects().orders())
			_ = h.js.DeleteStream(ctx, h.subjects().samples())
		}
		h.nc.Close()
	}
	if h.server != nil {
		h.server.Shutdown()
		h.server.WaitForShutdown()
		os.RemoveAll(h.config.Dir)
	}
}

func (h *Hub) notice(format string, args ...any) {
	if h.config.Notice != nil {
		h.config.Notice(fmt.Sprintf(format, args...))
	}
}

// Address is where workers join, as far as this machine knows its own name.
func (h *Hub) Address() string {
	if h.server == nil {
		return redacted(h.config.URL)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "127.0.0.1"
	}
	return h.at(name)
}

// at is the embedded server's address: where it listens, or at this machine's name
// where it does so everywhere.
func (h *Hub) at(everywhere string) string {
	host, _, _ := net.SplitHostPort(h.config.Listen) // it has listened there
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = everywhere
	}
	return fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(host, strconv.Itoa(port(h.server))))
}

// hello lets a worker join.
func (h *Hub) hello(m *nats.Msg) {
	x, err := unpack[hello](m.Data)
	if err != nil {
		return
	}
	w := welcome{Refused: h.refusal(x)}
	if w.Refused == "" {
		if w.Refused = h.admit(x); w.Refused == "" {
			w.Setup = h.setup
		}
	}
	if w.Refused != "" {
		h.notice("worker %s may not join: %s", x.Name, w.Refused)
	}
	_ = m.Respond(pack(w)) // else it asks again
}

// refusal is why a worker may not join; empty where it may.
func (h *Hub) refusal(x hello) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.members[x.Name]
	switch {
	case !names.MatchString(x.Name):
		return ErrName.Error()
	case x.Version != h.config.Version:
		return fmt.Sprintf("it is capfind %s, and the deciding process %s: both must be the same", x.Version, h.config.Version)
	case old != nil && h.alive(old) && old.Host != x.Host:
		return fmt.Sprintf("a worker of that name has joined from %s: give this one another --name", old.Host)
	}
	return ""
}

// admit makes the worker's queue of orders, and counts it in.
func (h *Hub) admit(x hello) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s := h.subjects()
	if _, err := h.js.CreateOrUpdateConsumer(ctx, s.orders(), jetstream.ConsumerConfig{
		Durable: x.Name, FilterSubject: s.of("down", "order", x.Name), AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second,
	}); err != nil {
		return "no queue could be made for it: " + err.Error()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.members[x.Name]
	if m == nil {
		m = &member{joined: len(h.members)}
		h.members[x.Name] = m
	}
	// One that says hello anew has forgotten what it had in hand.
	m.hello, m.ready, m.failed, m.lastBeat, m.beat, m.clock = x, false, "", time.Now(), beat{}, offset{}
	h.changed()
	return ""
}

func (h *Hub) alive(m *member) bool { return time.Since(m.lastBeat) < h.config.lost }

// changed wakes whoever waits for the members; mu is held.
func (h *Hub) changed() {
	select {
	case h.news <- struct{}{}:
	default:
	}
	if h.order != nil {
		h.order.wake()
	}
}

func (h *Hub) beat(msg *nats.Msg) {
	b, err := unpack[beat](msg.Data)
	if err != nil {
		return
	}
	name := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.members[name]
	if m == nil {
		return // says hello again when it hears of this hub
	}
	before := *m
	m.lastBeat, m.beat, m.lost = time.Now(), b, false
	m.ready, m.failed = b.Ready == h.id && b.Failed == "", b.Failed
	if m.ready != before.ready || before.lost || b.Failed != "" || b.Order != before.beat.Order {
		h.changed()
	}
	if b.Order != "" && (h.order == nil || h.order.id != b.Order) {
		// It has slept through the end of that one.
		_ = h.nc.Publish(h.subjects().of("down", "stop"), pack(stop{Order: b.Order}))
	}
}

// lookAround finds out who has fallen silent.
func (h *Hub) lookAround() {
	h.mu.Lock()
	var lost []string
	for name, m := range h.members {
		if !h.alive(m) && !m.lost {
			m.lost, m.ready = true, false
			lost = append(lost, name)
			h.changed()
		}
	}
	h.mu.Unlock()
	slices.Sort(lost)
	for _, name := range lost {
		h.notice("worker %s has not been heard of for %v", name, h.config.lost)
	}
}

// ready are the workers that a load can be sent by, in the order in which they joined,
// and what keeps the others.
func (h *Hub) ready() (who []*member, missing []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		switch {
		case m.ready && h.alive(m) && m.beat.Order != "":
			missing = append(missing, m.Name+" is still busy with an earlier load")
		case m.ready && h.alive(m):
			who = append(who, m)
		case m.failed != "":
			missing = append(missing, fmt.Sprintf("%s cannot: %s", m.Name, m.failed))
		case m.lost:
			missing = append(missing, m.Name+" was lost")
		default:
			missing = append(missing, m.Name+" is not ready yet")
		}
	}
	slices.SortFunc(who, func(a, b *member) int { return a.joined - b.joined })
	slices.Sort(missing)
	return who[:min(len(who), h.config.Workers)], missing
}

// Gather waits until as many workers as are wanted have joined and are ready. Its error
// says who is missing.
func (h *Hub) Gather(ctx context.Context) error { return h.gather(ctx, nil) }

// errDrained says that nobody wants to wait any more.
var errDrained = errors.New("drained")

func (h *Hub) gather(ctx context.Context, drain <-chan struct{}) error {
	late := time.NewTimer(h.config.JoinTimeout)
	defer late.Stop()
	told := -1
	for {
		who, missing := h.ready()
		if len(who) >= h.config.Workers {
			return nil
		}
		if len(who) > told {
			told = len(who)
			h.notice("%d of %d workers are ready", told, h.config.Workers)
		}
		select {
		case <-h.news:
		case <-ctx.Done():
			return ctx.Err()
		case <-drain:
			return errDrained
		case <-late.C:
			text := fmt.Sprintf("only %d of %d workers were ready within %v (--join-timeout)", len(who), h.config.Workers, h.config.JoinTimeout)
			if len(missing) > 0 {
				text += ": " + strings.Join(missing, "; ")
			}
			return errors.New(text + "; start the others with the line above, or give fewer --workers")
		}
	}
}

// Dir is where a hub keeps its streams below a result directory.
func Dir(result string) string { return filepath.Join(result, ".fleet") }
