package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/capfind/capfind/loadgen"
)

const token = loadgen.Secret("correct horse battery staple")

// served is a server that answers every request after a while.
type served struct{ after time.Duration }

func (d served) Do(ctx context.Context, began time.Time, first loadgen.Sample, emit func(*loadgen.Sample)) error {
	s := first
	s.WasSent, s.Sent = true, time.Since(began)
	select {
	case <-time.After(d.after):
		s.Streamed, s.OutputEvents, s.OutputTokens = true, 2, 2
		s.FirstOutput, s.LastOutput = time.Since(began), time.Since(began)
	case <-ctx.Done():
		s.Class = loadgen.Cancelled
	}
	s.End = time.Since(began)
	emit(&s)
	return nil
}

// speaking is a server whose answers begin at once and go on for long.
type speaking struct{ rest time.Duration }

func (d speaking) Do(ctx context.Context, began time.Time, s loadgen.Sample, emit func(*loadgen.Sample)) error {
	s.WasSent, s.Streamed, s.Sent = true, true, time.Since(began)
	time.Sleep(5 * time.Millisecond)
	s.FirstOutput, s.OutputEvents = time.Since(began), 1
	loadgen.Begun(ctx)
	select {
	case <-time.After(d.rest):
		s.OutputEvents, s.OutputTokens = 2, 2
	case <-ctx.Done():
		s.Class = loadgen.Cancelled
	}
	s.LastOutput, s.End = time.Since(began), time.Since(began)
	emit(&s)
	return nil
}

// bed is a fleet under test.
type bed struct {
	t       *testing.T
	hub     *Hub
	mu      sync.Mutex
	notices []string
}

func (b *bed) notice(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notices = append(b.notices, text)
}

func (b *bed) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.notices, "\n")
}

// open opens a hub for so many workers.
func open(t *testing.T, workers int, set func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t}
	c := Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Token: token, Workers: workers, JoinTimeout: 20 * time.Second, Notice: b.notice, lost: 2500 * time.Millisecond}
	if set != nil {
		set(&c)
	}
	h, err := Open(t.Context(), c, []byte("setup"))
	if err != nil {
		t.Fatal(err)
	}
	b.hub = h
	t.Cleanup(h.Close)
	return b
}

// join starts a worker; the returned function ends it as a kill would: at once.
func (b *bed) join(name string, set func(*WorkerConfig)) (kill func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := WorkerConfig{Name: name, URL: b.hub.Address(), Token: token, Prepare: func(_ context.Context, setup []byte) (Generator, float64, error) {
		if string(setup) != "setup" {
			return nil, 0, fmt.Errorf("setup %q", setup)
		}
		return loadgen.NewEngine(served{5 * time.Millisecond}), 0, nil
	}}
	if set != nil {
		set(&c)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := Work(ctx, c); err != nil {
			b.notice("worker " + name + ": " + err.Error())
		}
	}()
	kill = func() {
		cancel()
		<-done
	}
	b.t.Cleanup(kill)
	return kill
}

// run sends a load until it comes back whole, as a controller would, and checks that
// every request was counted once.
func (b *bed) run(l loadgen.Load) loadgen.Run {
	b.t.Helper()
	for range 4 {
		seen := map[int]int{}
		l.OnSample = func(s *loadgen.Sample) bool {
			seen[s.Index]++
			return false
		}
		ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute) // else it fails as cancelled
		r, err := b.hub.Run(ctx, l)
		cancel()
		var hole *HoleError
		if errors.As(err, &hole) {
			b.notice("hole: " + hole.Text)
			l.FirstPrompt += l.Requests
			continue
		}
		if err != nil {
			b.t.Fatal(err)
		}
		whole(b.t, &r, seen)
		return r
	}
	b.t.Fatal("never whole:\n" + b.said())
	return loadgen.Run{}
}

// whole checks that a run has every request once.
func whole(t *testing.T, r *loadgen.Run, seen map[int]int) {
	t.Helper()
	var index, prompts []int
	for i := range r.Samples {
		s := &r.Samples[i]
		index, prompts = append(index, s.Index), append(prompts, s.PromptIndex-r.Load.FirstPrompt)
		if seen[s.Index] != 1 {
			t.Errorf("request %d was heard of %d times", s.Index, seen[s.Index])
		}
		if s.Class != loadgen.Success || i > 0 && s.End < r.Samples[i-1].End {
			t.Errorf("sample %d: %q, ends at %v", i, s.Class, s.End)
		}
	}
	slices.Sort(index)
	slices.Sort(prompts)
	if n := r.Load.Requests; len(index) != n || index[0] != 0 || index[n-1] != n-1 || !slices.Equal(index, prompts) || len(slices.Compact(index)) != n {
		t.Errorf("%d of %d requests, each with its own prompt: %t", len(index), n, slices.Equal(index, prompts))
	}
	if r.End != loadgen.EndComplete {
		t.Errorf("ended as %q", r.End)
	}
}

func TestFleetSendsWhatOneMachineWould(t *testing.T) {
	t.Parallel()
	b := open(t, 3, nil)
	for i := range 3 {
		b.join(fmt.Sprintf("w%d", i), nil)
	}
	for _, l := range []loadgen.Load{
		{Concurrency: 8, Requests: 240, FirstPrompt: 1000},
		{Concurrency: 2, Requests: 20},
		{Concurrency: 50, Requests: 90, Rate: 300, Seed: 3},
		{Concurrency: 20, Requests: 40, Rate: 100, Arrivals: &loadgen.Arrivals{At: make([]time.Duration, 40)}},
	} {
		l.Progress = &loadgen.Progress{}
		r := b.run(l)
		slots := 0
		for _, p := range r.Parts {
			slots += p.Concurrency
			if p.ClockError <= 0 || p.ClockError > 100*time.Millisecond {
				t.Errorf("clock known to %v", p.ClockError)
			}
		}
		if want := min(3, l.Concurrency); len(r.Parts) != want || slots != l.Concurrency {
			t.Errorf("%d in flight were sent as %d by %d machines", l.Concurrency, slots, len(r.Parts))
		}
		if n := l.Progress.Succeeded.Load(); n != int64(l.Requests) {
			t.Errorf("%d of %d successes were told", n, l.Requests)
		}
	}
}

// A hook that has seen enough ends the run on all machines.
func TestHookEndsAFleetsRun(t *testing.T) {
	t.Parallel()
	b := open(t, 2, nil)
	b.join("a", nil)
	b.join("b", nil)
	n := 0
	began := time.Now()
	r, err := b.hub.Run(t.Context(), loadgen.Load{Concurrency: 4, Requests: 40000, OnSample: func(*loadgen.Sample) bool {
		n++
		return n == 50
	}})
	if err != nil || r.End != loadgen.EndStopped || n > 20000 || time.Since(began) > 15*time.Second {
		t.Errorf("%v, %q after %d samples", err, r.End, n)
	}
	// And so does closing Drain: what is in flight ends well.
	drain := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(drain) })
	r, err = b.hub.Run(t.Context(), loadgen.Load{Concurrency: 4, Requests: 40000, Drain: drain})
	if err != nil || r.End != loadgen.EndDrained || len(r.Samples) == 0 || slices.ContainsFunc(r.Samples, func(s loadgen.Sample) bool { return s.Class != loadgen.Success }) {
		t.Errorf("%v, %q with %d samples", err, r.End, len(r.Samples))
	}
}

// The clocks of load machines may be wrong: what is common is the hub's.
func TestClockThatIsWrong(t *testing.T) {
	t.Parallel()
	b := open(t, 2, nil)
	b.join("right", nil)
	b.join("wrong", func(c *WorkerConfig) { c.now = func() time.Time { return time.Now().Add(5 * time.Minute) } })
	r := b.run(loadgen.Load{Concurrency: 4, Requests: 200})
	var first [2]time.Duration
	for i := range r.Samples {
		if k := r.Samples[i].Index % 2; first[k] == 0 || r.Samples[i].Sent < first[k] {
			first[k] = r.Samples[i].Sent
		}
	}
	if off := first[1] - first[0]; off.Abs() > 150*time.Millisecond {
		t.Errorf("the two began %v apart", off)
	}
	if since := time.Since(r.Started); since > time.Minute || since < 0 {
		t.Errorf("it began %v ago", since)
	}
}

func TestWorkerIsLostInMidRun(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		again func(b *bed) // what happens after
	}{
		{"it comes back by another name", func(b *bed) { b.join("c", nil) }},
		{"it comes back by the same name", func(b *bed) { b.join("b", nil) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			b := open(t, 2, nil)
			b.join("a", nil)
			kill := b.join("b", nil)
			if err := b.hub.Gather(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() {
				kill()
				x.again(b)
			})
			r := b.run(loadgen.Load{Concurrency: 4, Requests: 1200})
			if !strings.Contains(b.said(), "hole: worker b was lost") || r.Load.FirstPrompt == 0 {
				t.Errorf("nothing was lost:\n%s", b.said())
			}
		})
	}
}

// Whoever interrupts a measurement does not wait for workers first.
func TestInterruptedWhileWorkersAreMissing(t *testing.T) {
	t.Parallel()
	b := open(t, 1, nil)
	drain := make(chan struct{})
	time.AfterFunc(100*time.Millisecond, func() { close(drain) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r, err := b.hub.Run(ctx, loadgen.Load{Concurrency: 4, Requests: 40, Drain: drain}); err != nil || r.End != loadgen.EndDrained {
		t.Errorf("%v, %q", err, r.End)
	}
}

// Who is missing is said, and how many.
func TestFleetThatIsNotComplete(t *testing.T) {
	t.Parallel()
	b := open(t, 3, func(c *Config) { c.JoinTimeout = 3 * time.Second })
	b.join("a", nil)
	b.join("b", func(c *WorkerConfig) {
		c.Prepare = func(context.Context, []byte) (Generator, float64, error) {
			return nil, 0, errors.New("no way to the target")
		}
	})
	_, err := b.hub.Run(t.Context(), loadgen.Load{Concurrency: 4, Requests: 40})
	if err == nil || !strings.Contains(err.Error(), "only 1 of 3 workers") || !strings.Contains(err.Error(), "b cannot: no way to the target") {
		t.Errorf("%v", err)
	}
}

func TestWorkersThatMayNotJoin(t *testing.T) {
	t.Parallel()
	b := open(t, 1, func(c *Config) { c.Version, c.JoinTimeout = "1", 2*time.Second })
	b.join("old", func(c *WorkerConfig) { c.Version = "0" })
	if err := b.hub.Gather(t.Context()); err == nil {
		t.Error("another version joined")
	}
	if !strings.Contains(b.said(), "worker old may not join: it is capfind 0, and the deciding process 1") {
		t.Error(b.said())
	}
	err := Work(t.Context(), WorkerConfig{Name: "thief", URL: b.hub.Address(), Token: "guessed", Wait: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "another token") {
		t.Errorf("with another token: %v", err)
	}
	if err := Work(t.Context(), WorkerConfig{Name: "a b", URL: b.hub.Address(), Token: token}); !errors.Is(err, ErrName) {
		t.Errorf("%v", err)
	}
}

// A worker's token is good for what a worker does, and no more.
func TestWorkerMayDoNoMore(t *testing.T) {
	t.Parallel()
	b := open(t, 1, nil)
	nc, err := nats.Connect(strings.Replace(b.hub.Address(), scheme, "tls", 1), nats.UserInfo("worker", passwordOf(token, "worker")), nats.Secure(pinned(token)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.notice(err.Error()) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{">", "capfind.fleet.up.>", "capfind.other.down.>", "$JS.>"} {
		if _, err := nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"capfind.fleet.down.stop", "$JS.API.STREAM.DELETE.CAPFIND_fleet_ORDERS", "$JS.API.CONSUMER.CREATE.CAPFIND_fleet_SAMPLES"} {
		_ = nc.Publish(subject, nil)
	}
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if n := strings.Count(b.said(), "nats: permissions violation"); n != 7 {
		t.Errorf("%d of 7 were refused:\n%s", n, b.said())
	}
}

func TestWorkerKeepsItsBound(t *testing.T) {
	t.Parallel()
	b := open(t, 1, nil)
	b.join("a", func(c *WorkerConfig) { c.MaxStreams = 10 })
	if _, err := b.hub.Run(t.Context(), loadgen.Load{Concurrency: 11, Requests: 110}); err == nil || !strings.Contains(err.Error(), "--max-streams") {
		t.Errorf("%v", err)
	}
	b.run(loadgen.Load{Concurrency: 10, Requests: 100})
}

// Shares go by what workers can drive where that was asked for, less for one that was
// relieved, and never above what one takes.
func TestUnevenShares(t *testing.T) {
	t.Parallel()
	b := open(t, 3, func(c *Config) { c.Measured = true })
	for name, speed := range map[string]float64{"a": 600, "b": 100, "c": 100} {
		b.join(name, func(c *WorkerConfig) {
			c.MaxStreams = 12
			c.Prepare = func(context.Context, []byte) (Generator, float64, error) {
				return loadgen.NewEngine(served{5 * time.Millisecond}), speed, nil
			}
		})
	}
	slots := func(n int) string {
		r := b.run(loadgen.Load{Concurrency: n, Requests: 4 * n})
		slices.SortFunc(r.Parts, func(x, y loadgen.Part) int { return strings.Compare(x.Worker, y.Worker) })
		out := ""
		for _, p := range r.Parts {
			out += fmt.Sprintf("%s%d ", p.Worker, p.Concurrency)
		}
		return out
	}
	check := func(n int, want string) {
		t.Helper()
		if got := slots(n); got != want {
			t.Errorf("%d in flight are shared as %s, want %s", n, got, want)
		}
	}
	check(8, "a6 b1 c1 ")
	check(20, "a12 b4 c4 ")
	relieve := func(want bool, names ...string) {
		t.Helper()
		if got := b.hub.Relieve(names); got != want {
			t.Errorf("relieving %v: %t", names, got)
		}
	}
	relieve(true, "a")
	check(10, "a6 b2 c2 ")
	for range mostRelieved {
		relieve(true, "a")
	}
	relieve(false, "a") // has nothing any more
	check(10, "b5 c5 ")
	check(30, "a6 b12 c12 ") // but where the others are full
	relieve(false, "a", "b", "c")
}

// A worker behind a slow line takes part all the same: it begins at the common moment, and
// how well its clock is known says how slow the line is.
func TestSlowLine(t *testing.T) {
	t.Parallel()
	b := open(t, 2, nil)
	line := stretch(t, strings.TrimPrefix(b.hub.Address(), scheme+"://"), 150*time.Millisecond)
	b.join("near", nil)
	b.join("far", func(c *WorkerConfig) { c.URL = scheme + "://" + line.address })
	r := b.run(loadgen.Load{Concurrency: 4, Requests: 600})
	for _, p := range r.Parts {
		if far := p.ClockError > 100*time.Millisecond; far != (p.Worker == "far") || p.ClockError > 400*time.Millisecond {
			t.Errorf("the clock of %s is known to %v", p.Worker, p.ClockError)
		}
	}
}

// A worker that is not heard of for a while is lost, its load is sent again without what it
// had in hand, and it takes part again once it is back.
func TestWorkerIsPaused(t *testing.T) {
	t.Parallel()
	b := open(t, 2, nil)
	line := stretch(t, strings.TrimPrefix(b.hub.Address(), scheme+"://"), 0)
	b.join("a", nil)
	b.join("b", func(c *WorkerConfig) { c.URL = scheme + "://" + line.address })
	if err := b.hub.Gather(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() {
		line.held.Lock()
		time.Sleep(6 * time.Second)
		line.held.Unlock()
	})
	r := b.run(loadgen.Load{Concurrency: 4, Requests: 1200})
	if !strings.Contains(b.said(), "hole: worker b was lost") || len(r.Parts) != 2 {
		t.Errorf("%d took part in the end:\n%s", len(r.Parts), b.said())
	}
}

// The deciding process is started again: workers go over to it.
func TestHubIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := open(t, 2, nil)
	address := strings.TrimPrefix(b.hub.Address(), scheme+"://")
	b.join("a", nil)
	b.join("b", nil)
	b.run(loadgen.Load{Concurrency: 4, Requests: 100})
	go func() { // dies in mid-run
		time.Sleep(300 * time.Millisecond)
		b.hub.server.Shutdown()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	_, _ = b.hub.Run(ctx, loadgen.Load{Concurrency: 4, Requests: 100000})
	b.hub.Close()
	again := open(t, 2, func(c *Config) { c.Listen = address })
	again.run(loadgen.Load{Concurrency: 4, Requests: 400})
}

// The stream is full for a while, as on a full disk: workers wait, and nothing is lost.
func TestStreamThatIsFull(t *testing.T) {
	t.Parallel()
	b := open(t, 2, func(c *Config) { c.bytes = 64 << 10 })
	b.join("a", nil)
	b.join("b", nil)
	seen := map[int]int{}
	l := loadgen.Load{Concurrency: 40, Requests: 60000, OnSample: func(s *loadgen.Sample) bool {
		if len(seen) == 0 {
			time.Sleep(6 * time.Second) // the hub takes nothing in meanwhile
		}
		seen[s.Index]++
		return false
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := b.hub.Run(ctx, l)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, &r, seen)
}

// A batch that comes twice, for its acknowledgement was lost, is counted once.
func TestBatchThatComesTwice(t *testing.T) {
	heard := 0
	load := loadgen.Load{OnSample: func(*loadgen.Sample) bool {
		heard++
		return false
	}}
	g := &gathering{collection: &collection{load: &load, number: func(_, i int) int { return i }, parts: []*part{{got: map[int]bool{}}}}}
	b := batch{Number: 3, Samples: make([]loadgen.Sample, 5)}
	for range 2 {
		g.take(b)
	}
	if heard != 5 || len(g.run.Samples) != 5 {
		t.Errorf("5 samples were counted %d times", heard)
	}
}

// natsServer is a server of a cluster that is there already.
func natsServer(t *testing.T, name, dir string, port, cluster int, routes string) *server.Server {
	t.Helper()
	o := &server.Options{ServerName: name, Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir, MaxPayload: mostPayload}
	if cluster != 0 {
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: cluster}
		o.Routes = server.RoutesFromStr(routes)
	}
	ns, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("no NATS server")
	}
	t.Cleanup(ns.Shutdown)
	return ns
}

// The NATS server is started again in mid-run: what was not acknowledged is sent again,
// and counted once.
func TestServerIsStartedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ns := natsServer(t, "one", dir, server.RANDOM_PORT, 0, "")
	address := ns.ClientURL()
	outside := func(c *Config) { c.URL, c.Listen, c.lost = address, "", 20*time.Second }
	b := open(t, 2, outside)
	at := func(c *WorkerConfig) { c.URL = address }
	b.join("a", at)
	b.join("b", at)
	number := port(ns)
	go func() {
		time.Sleep(1500 * time.Millisecond)
		ns.Shutdown()
		ns.WaitForShutdown()
		natsServer(t, "one", dir, number, 0, "")
	}()
	b.run(loadgen.Load{Concurrency: 4, Requests: 2400})
	if strings.Contains(b.said(), "hole") {
		t.Errorf("a part was lost:\n%s", b.said())
	}
}

// One of three servers goes for good.
func TestClusterLosesAServer(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 3)
	routes := fmt.Sprintf("nats://127.0.0.1:%d,nats://127.0.0.1:%d,nats://127.0.0.1:%d", ports[0], ports[1], ports[2])
	var all []*server.Server
	for i := range 3 {
		all = append(all, natsServer(t, fmt.Sprintf("s%d", i), t.TempDir(), server.RANDOM_PORT, ports[i], routes))
	}
	until(t, "the cluster has a leader", func() bool {
		return slices.ContainsFunc(all, func(s *server.Server) bool { return s.JetStreamIsLeader() })
	})
	address := all[0].ClientURL() + "," + all[1].ClientURL() + "," + all[2].ClientURL()
	b := open(t, 2, func(c *Config) { c.URL, c.lost = address, 20*time.Second })
	at := func(c *WorkerConfig) { c.URL = address }
	b.join("a", at)
	b.join("b", at)
	stream, err := b.hub.js.Stream(t.Context(), b.hub.subjects().samples())
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.Cluster == nil {
		t.Fatal(err, info)
	}
	k := slices.IndexFunc(all, func(s *server.Server) bool { return s.Name() == info.Cluster.Leader })
	if k < 0 {
		t.Fatalf("no server is called %q", info.Cluster.Leader)
	}
	time.AfterFunc(1500*time.Millisecond, all[k].Shutdown) // the one that has the samples
	b.run(loadgen.Load{Concurrency: 4, Requests: 2400})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 300 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("never: " + what)
}

// Each worker of a fleet cuts the tail of its own requests, and the run that they make up
// says that it was cut.
func TestTailsAreCut(t *testing.T) {
	const rest = time.Second
	b := open(t, 2, nil)
	for _, name := range []string{"a", "b"} {
		b.join(name, func(c *WorkerConfig) {
			c.Prepare = func(context.Context, []byte) (Generator, float64, error) {
				return loadgen.NewEngine(speaking{rest}), 0, nil
			}
		})
	}
	r, err := b.hub.Run(t.Context(), loadgen.Load{Concurrency: 4, Requests: 8, CutTail: true})
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Class == loadgen.Cancelled && s.HasOutput() {
			cut++
		}
	}
	if r.End != loadgen.EndCut || len(r.Samples) != 8 || cut != 4 || r.Elapsed >= 2*rest {
		t.Errorf("%s after %v: %d samples, %d of them cut", r.End, r.Elapsed, len(r.Samples), cut)
	}
	if r := b.run(loadgen.Load{Concurrency: 4, Requests: 4}); r.End != loadgen.EndComplete {
		t.Errorf("a load whose tail is not cut ended with %s", r.End)
	}
}
