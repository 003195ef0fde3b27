package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

// Bottleneck is what saturates, and how we know.
type Bottleneck struct {
	Kind     string   `json:"kind"` // one of the Kind constants
	Sentence string   `json:"sentence"`
	Evidence []string `json:"evidence"`
	Shares   *Shares  `json:"shares"`   // of the response time at the last good step
	Overload *Shares  `json:"overload"` // the same at the most loaded step above it that still answers; null where there is none
}

// Shares splits the mean response time of a step; shares of 1.
type Shares struct {
	Concurrency int    `json:"concurrency"` // of the step; 0 in results that do not say it
	Queue       Number `json:"queue"`
	Prefill     Number `json:"prefill"`
	Decode      Number `json:"decode"`
	FrontEnd    Number `json:"front_end"` // before the model server sees a request and after; null where nothing is lost there
}

// The kinds of bottleneck.
const (
	KindSlots           = "slots"            // the server runs no more requests at once (max-num-seqs and the like)
	KindMemoryBandwidth = "memory_bandwidth" // every further request slows all the others
	KindKVCache         = "kv_cache"         // no room for more contexts
	KindPrefill         = "prefill"          // reading prompts takes all the time there is
	KindRateLimiter     = "rate_limiter"     // turned away by requests per second
	KindQueueCap        = "queue_cap"        // turned away because the queue is full
	KindErrorRate       = "error_rate"       // errors grow with load
	KindCrash           = "crash"            // the server died
	KindFrontEnd        = "front_end"        // time is lost between client and model server
	KindClient          = "client"           // this machine could not make the load
	KindNone            = "none"             // nothing saturates at any load that was tried
	KindUnknown         = "unknown"
)

// What the figures must show for a kind to be named.
const (
	fullKV       = 0.95 // share of the KV cache that is full
	roomyKV      = 0.90 // share below which it is not what limits
	flatSlope    = 0.15 // d ln/d ln N below which a time is flat
	steepSlope   = 0.30 // and above which it grows with N
	queuedShare  = 0.10 // share of the requests in flight that wait, from which there is a queue
	waitedShare  = 0.80 // share of a response time's growth that is spent waiting
	frontShare   = 0.30 // share of the client's TTFT that the server knows nothing of
	frontSeconds = 0.050
	failing      = 0.95 // success rate below which failures are what limits
)

// diagnosis is what the detectors look at.
type diagnosis struct {
	Context
	steps []*Step // ascending concurrency, not limited by the client
	good  *Step   // largest that passed; nil where none did
	bad   *Step   // smallest that failed above it; nil where none did
	full  *Step   // most loaded of those that still answer
	floor Number  // TTFT without a queue: the smallest of all steps
}

// Context is what is known besides the steps; all of it may be missing.
type Context struct {
	Limits map[string]Limit // by criterion
	Curve  *Curve           // the fitted one
	Server string           // kind and version, like "vllm 0.11.0": whose settings are recommended
	Deaths []Death          // of the server, under the load
}

// Death is a moment when the server died under the load.
type Death struct {
	Concurrency      int    // of the step
	InFlight         Number // requests in flight when it died
	RecoveredSeconds Number // until it answered again; unknown where it did not
}

// Diagnose names what saturates, from the steps, the server's telemetry in them
// where there is any, and the shape of the curves. Failures are looked into first
// where the success rate is what binds, queues and slopes otherwise.
func Diagnose(steps []Step, c Context) Bottleneck {
	d := newDiagnosis(steps, c)
	b := d.kind(steps)
	b.Shares = d.shares(d.lastGood(), b.Kind)
	// A step that was cut short shows how the overload began, not how it is.
	if s := d.full; s != nil && b.Shares != nil && s.Abandoned == "" && float64(s.Concurrency) >= 1.1*float64(b.Shares.Concurrency) {
		b.Overload = d.shares(s, b.Kind)
	}
	return b
}

func (d *diagnosis) kind(steps []Step) Bottleneck {
	if b, ok := d.client(steps); ok {
		return b
	}
	failures := []func() (Bottleneck, bool){d.crash, d.noRoom, d.turnedAway, d.errorRate}
	shapes := []func() (Bottleneck, bool){d.kvCache, d.frontEnd, d.slots, d.prefill, d.memoryBandwidth, d.slowAlone, d.unstreamed}
	order := append(failures, shapes...)
	by := binding(d.Limits, d.bad)
	if by != "success_rate" {
		order = append(shapes, failures...)
	}
	for _, look := range order {
		if b, ok := look(); ok {
			return b
		}
	}
	if by == "" && d.good != nil {
		return Bottleneck{Kind: KindNone, Sentence: fmt.Sprintf("nothing saturates up to %s", inFlight(d.good.Concurrency))}
	}
	return Bottleneck{Kind: KindUnknown, Sentence: "what saturates cannot be told from these figures"}
}

// lastGood is the largest step that passed and does not lie above the smallest
// limit; for want of one the largest that passed, or the most loaded that answers.
func (d *diagnosis) lastGood() *Step {
	top := math.Inf(1)
	for _, l := range d.Limits {
		top = min(top, l.Concurrency.Or(math.Inf(1)))
	}
	for _, s := range slices.Backward(d.steps) {
		if s.Passed() && float64(s.Concurrency) <= top {
			return s
		}
	}
	if d.good != nil {
		return d.good
	}
	return d.full
}

func newDiagnosis(steps []Step, c Context) *diagnosis {
	d := &diagnosis{Context: c}
	for i := range steps {
		if !steps[i].ClientLimited() {
			d.steps = append(d.steps, &steps[i])
		}
	}
	slices.SortStableFunc(d.steps, func(a, b *Step) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	for _, s := range d.steps {
		if s.Passed() {
			d.good = s
		}
		sum := s.Verdict()
		if ttft := sum.TTFT.Mean; ttft.IsKnown() && sum.SuccessRate.Or(0) >= 0.5 {
			d.full = s
			d.floor = smaller(d.floor, ttft)
		}
	}
	for _, s := range slices.Backward(d.steps) {
		if !s.Passed() && (d.good == nil || s.Concurrency > d.good.Concurrency) {
			d.bad = s
		}
	}
	return d
}

// binding is the criterion of the smallest limit; of equals the success rate, for
// what is turned away explains a throughput that stands still. Without limits it
// is what stopped the first bad step.
func binding(limits map[string]Limit, bad *Step) string {
	name, at := "", math.Inf(1)
	for criterion, l := range limits {
		n, ok := l.Concurrency.Value()
		if !ok {
			continue
		}
		if n < at || n == at && (criterion == "success_rate" || name != "success_rate" && criterion < name) {
			name, at = criterion, n
		}
	}
	if name == "" && bad != nil && bad.Stop != nil {
		return bad.Stop.Rule
	}
	return name
}

// client blames this machine where it could not make the load and nothing that it
// did measure failed above what passed: then the server was never at its limit.
func (d *diagnosis) client(steps []Step) (Bottleneck, bool) {
	if d.bad != nil {
		return Bottleneck{}, false
	}
	for i := range steps {
		s := &steps[i]
		if s.ClientLimited() && (d.good == nil || s.Concurrency > d.good.Concurrency) {
			return Bottleneck{Kind: KindClient, Evidence: s.Client.Limits,
				Sentence: fmt.Sprintf("client: at %d this machine could not make the load, so the server's own limit was not seen", s.Concurrency)}, true
		}
	}
	return Bottleneck{}, false
}

// shares splits the response time of a step; nil where it cannot be split.
func (d *diagnosis) shares(s *Step, kind string) *Shares {
	if s == nil {
		return nil
	}
	sum := s.Verdict()
	e2e, ok1 := sum.E2E.Mean.Value()
	ttft, ok2 := sum.TTFT.Mean.Value()
	if !ok1 || !ok2 || e2e <= 0 {
		return nil
	}
	out := &Shares{Concurrency: s.Concurrency, Decode: loadgen.Known((e2e - ttft) / e2e)}
	front := 0.0
	if kind == KindFrontEnd && s.Server != nil && s.Server.ServerTTFTMean.IsKnown() {
		front = max(0, ttft-s.Server.ServerTTFTMean.Or(0))
		out.FrontEnd = loadgen.Known(front / e2e)
	}
	queue, ok := d.queueTime(s, ttft-front, kind).Value()
	if !ok {
		return out
	}
	queue = min(max(queue, 0), ttft-front)
	out.Queue, out.Prefill = loadgen.Known(queue/e2e), loadgen.Known((ttft-front-queue)/e2e)
	return out
}

// queueTime is how long, on the mean, a request of the step waited for its turn,
// in seconds. The server's own figures come first. Those of a whole step hold its
// beginning too, when nothing waited yet; what it spends on the prompt is the same
// then as later, so that prefill is taken from there and the rest of TTFT waited.
// Without them the kind of bottleneck tells what made TTFT grow: a queue, or
// prompts that slow each other down.
func (d *diagnosis) queueTime(s *Step, ttft float64, kind string) Number {
	if t := s.Server; t != nil {
		served, ok1 := t.ServerTTFTMean.Value()
		queued, ok2 := t.ServerQueueMean.Value()
		if ok1 && ok2 {
			if queued <= 0 {
				return loadgen.Known(0)
			}
			return loadgen.Known(ttft - max(0, served-queued))
		}
		waiting, ok := t.WaitingMean.Value()
		if x := s.Verdict().RequestThroughput.Or(0); ok && t.Scrapes > 1 && x > 0 {
			return loadgen.Known(waiting / x) // Little's law
		}
		if ok2 {
			return t.ServerQueueMean
		}
	}
	if len(d.steps) < 2 {
		return Number{}
	}
	if kind == KindPrefill || kind == KindMemoryBandwidth && d.waitingBehindSlots(s) <= queuedShare*float64(s.Concurrency) {
		return loadgen.Known(0)
	}
	return loadgen.Known(ttft - d.floor.Or(ttft))
}

// slope is the elasticity d ln y/d ln N between two steps, unknown where a value is.
func slope(a, b *Step, of func(*Step) Number) (float64, bool) {
	x, ok1 := of(a).Value()
	y, ok2 := of(b).Value()
	if !ok1 || !ok2 || x <= 0 || y <= 0 || a.Concurrency >= b.Concurrency {
		return 0, false
	}
	return math.Log(y/x) / math.Log(float64(b.Concurrency)/float64(a.Concurrency)), true
}

func tpotOf(s *Step) Number { return s.Verdict().TPOT.Mean }
func ttftOf(s *Step) Number { return s.Verdict().TTFT.Mean }

// before returns the step below s to compare it with: the nearest of at most
// half, or else of at most nine tenths its concurrency.
func (d *diagnosis) before(s *Step) *Step {
	for _, share := range []float64{0.5, 0.9} {
		for _, b := range slices.Backward(d.steps) {
			if float64(b.Concurrency) <= share*float64(s.Concurrency) && ttftOf(b).IsKnown() {
				return b
			}
		}
	}
	return nil
}

// queued is how many of the requests in flight wait at a step by the shape alone:
// by Little's law X (TTFT - TTFT without a queue).
func (d *diagnosis) queued(s *Step) Number {
	x, ok1 := s.Verdict().RequestThroughput.Value()
	ttft, ok2 := ttftOf(s).Value()
	floor, ok3 := d.floor.Value()
	if !ok1 || !ok2 || !ok3 {
		return Number{}
	}
	return loadgen.Known(max(0, x*(ttft-floor)))
}

// inFlight writes a concurrency with its noun.
func inFlight(n int) string {
	if n == 1 {
		return "1 request in flight"
	}
	return fmt.Sprintf("%d requests in flight", n)
}

func millis(n Number) string {
	if v, ok := n.Value(); ok {
		if v < 0.0995 {
			return fmt.Sprintf("%.1f ms", 1e3*v)
		}
		return fmt.Sprintf("%.0f ms", 1e3*v)
	}
	return "n/a"
}

func percent(n Number) string {
	if v, ok := n.Value(); ok {
		return fmt.Sprintf("%.0f %%", math.Round(100*v)+0) // the sum of -0 and 0 is 0
	}
	return "n/a"
}
