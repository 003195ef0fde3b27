package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// The defaults of a Config.
const (
	DefaultInterval = time.Second
	DefaultTimeout  = 2 * time.Second
	DefaultMaxBody  = 16 << 20
)

// Off as a URL switches an endpoint off, like an empty one.
const Off = "off"

// Config says what to read and how.
type Config struct {
	ServerURL string // the server's Prometheus endpoint; empty or Off: none
	GPUURL    string // DCGM exporter; likewise
	NodeURL   string // node exporter; likewise

	Interval time.Duration // between scrapes; 0: DefaultInterval
	Timeout  time.Duration // of one scrape; 0: DefaultTimeout
	MaxBody  int64         // bytes of one answer, decompressed; 0: DefaultMaxBody

	// Header and Transport are for URLs with the scheme and host of BaseURL only:
	// a key never goes to another host than the one it is for, and a Unix socket
	// or a private certificate authority leads to no other. The exporters get no
	// header. Elsewhere, and where Transport is nil, a transport of the scraper's
	// own is used and closed when Run ends.
	BaseURL   string
	Header    http.Header
	Transport http.RoundTripper

	Fetch Fetch // nil: HTTP; tests put their own here

	Points io.Writer         // server_metrics.jsonl, one line a scrape; nil: not stored
	Notice func(text string) // told what a person should know; called from Run's goroutine; nil: not told
}

// Fetch returns the body of one answer.
type Fetch func(ctx context.Context, url string) ([]byte, error)

// Scraper reads the endpoints while Run runs, and answers Window at any time.
type Scraper struct {
	cfg       Config
	closeIdle func()
	server    *endpoint // nil where there is none; so are gpu and node
	gpu       *endpoint
	node      *endpoint

	// Touched by Run's goroutine only.
	tally  [counters]tally
	cpu    nodeReading
	cpuAt  time.Time // of that reading
	start  float64   // process_start_time_seconds of the last answer, NaN before
	mixed  bool      // answers come from several processes in turn
	xid    map[string]float64
	points io.Writer

	mu      sync.Mutex
	history history
	source  string
	begun   time.Time // when the last load began
	live    *session  // nil unless Run runs
}

// session is one Run: how Begin and Window reach it, and how they learn that
// there is nobody left to reach.
type session struct {
	begin chan struct{}      // a load began
	ask   chan chan struct{} // a scrape is wanted
	done  chan struct{}
}

// New checks the configuration and returns a Scraper. Without any endpoint it
// is valid and sees nothing.
func New(cfg Config) (*Scraper, error) {
	if cfg.Interval < 0 || cfg.Timeout < 0 || cfg.MaxBody < 0 {
		return nil, errors.New("telemetry: interval, timeout and body size cannot be negative")
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.Notice == nil {
		cfg.Notice = func(string) {}
	}
	s := &Scraper{cfg: cfg, points: cfg.Points, start: unknown, xid: map[string]float64{}, closeIdle: func() {}}
	for c := range s.tally {
		s.tally[c].total = unknown
	}
	for _, e := range []struct {
		into                  **endpoint
		what, key, cure, addr string
	}{
		{&s.server, "server metrics", "target.metrics_url", `set target.metrics_url to where they are, or to "off"`, cfg.ServerURL},
		{&s.gpu, "GPU metrics", "target.gpu_metrics_url", "correct target.gpu_metrics_url, or remove it", cfg.GPUURL},
		{&s.node, "host metrics", "target.node_metrics_url", "correct target.node_metrics_url, or remove it", cfg.NodeURL},
	} {
		if e.addr == "" || e.addr == Off {
			continue
		}
		shown, err := checkURL(e.addr)
		if err != nil {
			return nil, fmt.Errorf("telemetry: %s: %w", e.key, err)
		}
		*e.into = &endpoint{what: e.what, cure: e.cure, url: e.addr, shown: shown}
	}
	if cfg.Fetch == nil {
		s.cfg.Fetch, s.closeIdle = httpFetch(cfg)
	}
	return s, nil
}

// Run scrapes until ctx ends. It returns at once where there is no endpoint, and
// leaves no goroutine behind. One Run at a time.
func (s *Scraper) Run(ctx context.Context) {
	if s.server == nil && s.gpu == nil && s.node == nil {
		return
	}
	live := &session{begin: make(chan struct{}, 1), ask: make(chan chan struct{}), done: make(chan struct{})}
	s.setLive(live)
	defer func() {
		s.setLive(nil)
		close(live.done) // after setLive: whoever holds the session stops waiting
		s.closeIdle()
	}()
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	soon := &glances{timer: time.NewTimer(time.Hour), interval: s.cfg.Interval}
	soon.timer.Stop()
	defer soon.timer.Stop()
	for {
		s.scrape(ctx, false)
		if !s.wait(ctx, live, tick.C, soon) {
			return
		}
	}
}

// glances are the close scrapes of a load's beginning: each pause is twice the
// one before, until they come no sooner than the regular ones. A load that lasts
// for a tenth of the interval is seen too, and a long one costs the server no
// more than half a dozen scrapes on top.
type glances struct {
	timer           *time.Timer
	pause, interval time.Duration
}

// firstPause is how long after a load's beginning it is first looked at.
const firstPause = 20 * time.Millisecond

func (g *glances) begin() {
	g.pause = firstPause
	g.next()
}

// next sets the timer, unless the next regular scrape comes as soon.
func (g *glances) next() {
	if g.pause < g.interval {
		g.timer.Reset(g.pause)
	}
	g.pause *= 2
}

// Begin says that a load begins now: the next scrapes come close together, so
// that the gauges are seen in a load that is shorter than the interval, and in
// its window. It does not wait for them.
func (s *Scraper) Begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return
	}
	s.begun = time.Now()
	select {
	case s.live.begin <- struct{}{}:
	default: // the one before was not even heard of yet
	}
}

// wait serves Begin and Window until the next tick; false when ctx has ended.
// Whoever asks goes before a tick that is due as well: he has waited for one
// scrape already.
func (s *Scraper) wait(ctx context.Context, live *session, tick <-chan time.Time, soon *glances) bool {
	for {
		select {
		case reply := <-live.ask:
			s.scrape(ctx, true)
			close(reply)
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case <-live.begin:
			soon.begin()
		case <-soon.timer.C:
			s.glance(ctx)
			soon.next()
		case reply := <-live.ask:
			s.scrape(ctx, true)
			close(reply)
		}
	}
}

func (s *Scraper) setLive(live *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
}

// Window sums up what was seen between two moments: gauges over the scrapes
// inside, counters between the scrapes around it. Where the last scrape was asked
// for before the window's end it asks for one more and waits for it, two timeouts at
// most. ok is false where nothing was seen.
func (s *Scraper) Window(from, to time.Time) (t analysis.Telemetry, ok bool) {
	s.catchUp(to)
	return s.Seen(from, to)
}

// Seen is Window of what was read already: it asks the server for nothing.
func (s *Scraper) Seen(from, to time.Time) (t analysis.Telemetry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, j := s.history.within(from, to)
	var all span
	for k := i; k < j; k++ {
		all.merge(&s.history.spans[k])
	}
	t = analysis.Telemetry{
		Source:            s.source,
		Scrapes:           all.answered,
		RunningMean:       loadgen.Known(all.gauges[running].mean()),
		RunningMax:        loadgen.Known(all.gauges[running].max()),
		WaitingMean:       loadgen.Known(all.gauges[waiting].mean()),
		WaitingMax:        loadgen.Known(all.gauges[waiting].max()),
		KVCacheMean:       loadgen.Known(all.gauges[kvCache].mean()),
		KVCacheMax:        loadgen.Known(all.gauges[kvCache].max()),
		GPUMemoryMax:      loadgen.Known(all.gauges[gpuMemory].max()),
		GPUUtilMean:       loadgen.Known(all.gauges[gpuUtil].mean()),
		GPUMemoryBusyMean: loadgen.Known(all.gauges[gpuMemoryBusy].mean()),
		GPUBandwidthMean:  loadgen.Known(all.gauges[gpuBandwidth].mean()),
		GPUTensorMean:     loadgen.Known(all.gauges[gpuTensor].mean()),
		KVCapacity:        loadgen.Known(all.gauges[kvCapacity].max()),
		BatchTokensMax:    loadgen.Known(all.gauges[batchTokens].max()),
		OutputRateMean:    loadgen.Known(all.gauges[outputRate].mean()),
		HostMemoryMax:     loadgen.Known(all.gauges[hostMemory].max()),
		WentAway:          all.away,
	}
	if all.gauges[resident].n > 0 {
		t.ResidentBytes = loadgen.Known(all.gauges[resident].last)
	}
	s.fillHostCPU(&t, from, i, j)
	counted := s.fillCounters(&t, from, to)
	if !t.PrefixHitRate.IsKnown() {
		t.PrefixHitRate = loadgen.Known(all.gauges[prefixRate].mean())
	}
	return t, all.answered > 0 || all.away || counted
}

// fillHostCPU leaves out a share of CPU time that reaches back to a scrape before
// the window.
func (s *Scraper) fillHostCPU(t *analysis.Telemetry, from time.Time, i, j int) {
	var cpu aggregate
	for k := i; k < j; k++ {
		if x := &s.history.spans[k]; !x.hostSince.Before(from) {
			cpu.merge(x.gauges[hostCPU])
		}
	}
	if cpu.n > 0 {
		t.HostCPUMean, t.HostCPUMin = loadgen.Known(cpu.mean()), loadgen.Known(cpu.min())
	}
}

// fillCounters fills in what comes from counters, and reports whether any did.
func (s *Scraper) fillCounters(t *analysis.Telemetry, from, to time.Time) bool {
	slack := 3 * max(s.cfg.Interval, s.cfg.Timeout)
	var grown [counters]float64
	counted := false
	for c := range grown {
		grown[c] = s.history.growth(counter(c), from, to, slack)
		counted = counted || !math.IsNaN(grown[c])
	}
	t.Preemptions = loadgen.Known(grown[preemptions])
	t.PromptTokens = loadgen.Known(grown[promptTokens])
	t.GenerationTokens = loadgen.Known(grown[generationTokens])
	// A division by zero, nothing having happened, is unknown too.
	t.PrefixHitRate = loadgen.Known(grown[prefixHits] / grown[prefixQueries])
	t.ServerTTFTMean = loadgen.Known(grown[ttftSum] / grown[ttftCount])
	t.ServerQueueMean = loadgen.Known(grown[queueSum] / grown[queueCount])
	t.ServerPrefillMean = loadgen.Known(grown[prefillSum] / grown[prefillCount])
	t.PassTokensMean = loadgen.Known(grown[passTokens] / grown[passes])
	t.BatchMean = loadgen.Known(grown[slotPasses] / grown[slotted])
	return counted
}

// catchUp has a scrape made where the last one was asked for before moment.
func (s *Scraper) catchUp(moment time.Time) {
	s.mu.Lock()
	live, asked := s.live, s.history.asked()
	s.mu.Unlock()
	if live == nil || !asked.Before(moment) || time.Now().Before(moment) {
		return
	}
	reply := make(chan struct{})
	select {
	case live.ask <- reply:
	case <-live.done:
		return
	}
	select {
	case <-reply:
	case <-live.done:
	}
}
