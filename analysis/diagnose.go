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
	Shares   *Shares  `json:"shares"` // of the response time at the last good step
}

// Shares splits the mean response time; shares of 1.
type Shares struct {
	Queue   Number `json:"queue"`
	Prefill Number `json:"prefill"`
	Decode  Number `json:"decode"`
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
	KindUnknown         = "unknown"
)

// What the figures must show for a kind to be named.
const (
	fullKV       = 0.95 // share of the KV cache that is full
	roomyKV      = 0.90 // share below which it is not what limits
	flatSlope    = 0.15 // d ln/d ln N below which a time is flat
	steepSlope   = 0.30 // and above which it grows with N
	queuedShare  = 0.10 // share of the requests in flight that wait, from which there is a queue
	frontShare   = 0.30 // share of the client's TTFT that the server knows nothing of
	frontSeconds = 0.050
	failing      = 0.95 // success rate below which failures are what limits
)

// diagnosis is what the detectors look at.
type diagnosis struct {
	steps []*Step // ascending concurrency, not limited by the client
	good  *Step   // largest that passed; nil where none did
	bad   *Step   // smallest that failed above it; nil where none did
	full  *Step   // most loaded of those that still answer
	curve *Curve
	floor Number // TTFT without a queue: the smallest of all steps
}

// Diagnose names what saturates, from the steps, the server's telemetry in them
// where there is any, and the shape of the curves. limits are those found by
// criterion, curve the fitted one; both may be nil. Failures are looked into
// first where the success rate is what binds, queues and slopes otherwise.
func Diagnose(steps []Step, limits map[string]Limit, curve *Curve) Bottleneck {
	d := newDiagnosis(steps, curve)
	shares := d.shares()
	if b, ok := clientBottleneck(steps, d.good); ok {
		b.Shares = shares
		return b
	}
	failures := []func() (Bottleneck, bool){d.crash, d.turnedAway, d.errorRate}
	shapes := []func() (Bottleneck, bool){d.kvCache, d.frontEnd, d.slots, d.prefill, d.memoryBandwidth}
	order := append(failures, shapes...)
	if by := binding(limits, d.bad); by != "success_rate" {
		order = append(shapes, failures...)
	}
	for _, look := range order {
		if b, ok := look(); ok {
			b.Shares = shares
			return b
		}
	}
	return Bottleneck{Kind: KindUnknown, Sentence: "what saturates cannot be told from these figures", Shares: shares}
}

func newDiagnosis(steps []Step, curve *Curve) *diagnosis {
	d := &diagnosis{curve: curve}
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

func clientBottleneck(steps []Step, good *Step) (Bottleneck, bool) {
	for i := range steps {
		s := &steps[i]
		if s.ClientLimited() && (good == nil || s.Concurrency > good.Concurrency) {
			return Bottleneck{Kind: KindClient, Evidence: s.Client.Limits,
				Sentence: fmt.Sprintf("client: at %d this machine could not make the load: %s", s.Concurrency, s.Client.Limits[0])}, true
		}
	}
	return Bottleneck{}, false
}

// shares splits the response time of the last good step. The queue is the
// server's own figure, or what TTFT has above its smallest value of all steps.
func (d *diagnosis) shares() *Shares {
	s := d.good
	if s == nil {
		s = d.full
	}
	if s == nil {
		return nil
	}
	sum := s.Verdict()
	e2e, ok1 := sum.E2E.Mean.Value()
	ttft, ok2 := sum.TTFT.Mean.Value()
	if !ok1 || !ok2 || e2e <= 0 {
		return nil
	}
	out := &Shares{Decode: loadgen.Known((e2e - ttft) / e2e)}
	queue := max(0, ttft-d.floor.Or(ttft))
	if s.Server != nil && s.Server.ServerQueueMean.IsKnown() {
		queue = min(s.Server.ServerQueueMean.Or(0), ttft)
	} else if len(d.steps) < 2 {
		return out
	}
	out.Queue, out.Prefill = loadgen.Known(queue/e2e), loadgen.Known((ttft-queue)/e2e)
	return out
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
