package diagnosis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Context is what is known besides the steps; all of it may be missing.
type Context struct {
	Limits map[string]analysis.Limit // by criterion
	Curve  *analysis.Curve           // the fitted one
	Server string                    // kind and version, like "vllm 0.11.0": whose settings are recommended
	Deaths []Death                   // of the server, under the load
}

// Death is a moment when the server died under the load.
type Death struct {
	Concurrency      int             // of the step
	InFlight         analysis.Number // requests in flight when it died
	RecoveredSeconds analysis.Number // until it answered again; unknown where it did not
}

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

// figures are what the detectors look at.
type figures struct {
	Context
	steps []*analysis.Step // ascending concurrency, not limited by the client
	good  *analysis.Step   // largest that passed; nil where none did
	bad   *analysis.Step   // smallest that failed above it; nil where none did
	full  *analysis.Step   // most loaded of those that still answer
	floor analysis.Number  // TTFT without a queue: the smallest of all steps
}

func newFigures(steps []analysis.Step, c Context) *figures {
	d := &figures{Context: c}
	for i := range steps {
		if !steps[i].ClientLimited() {
			d.steps = append(d.steps, &steps[i])
		}
	}
	slices.SortStableFunc(d.steps, func(a, b *analysis.Step) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	for _, s := range d.steps {
		if s.Passed() {
			d.good = s
		}
		sum := s.Verdict()
		if ttft := sum.TTFT.Mean; ttft.IsKnown() && sum.SuccessRate.Or(0) >= 0.5 {
			d.full = s
			d.floor = loadgen.Known(min(d.floor.Or(math.Inf(1)), ttft.Or(0)))
		}
	}
	for _, s := range slices.Backward(d.steps) {
		if !s.Passed() && (d.good == nil || s.Concurrency > d.good.Concurrency) {
			d.bad = s
		}
	}
	return d
}

// before returns the step below s to compare it with: the nearest of at most
// half, or else of at most nine tenths its concurrency; nil where there is none.
func (d *figures) before(s *analysis.Step) *analysis.Step {
	for _, share := range []float64{0.5, 0.9} {
		for _, b := range slices.Backward(d.steps) {
			if s != nil && float64(b.Concurrency) <= share*float64(s.Concurrency) && ttftOf(b).IsKnown() {
				return b
			}
		}
	}
	return nil
}

// queued is how many of the requests in flight wait at a step by the shape alone:
// by Little's law X (TTFT - TTFT without a queue).
func (d *figures) queued(s *analysis.Step) analysis.Number {
	x, ok1 := s.Verdict().RequestThroughput.Value()
	ttft, ok2 := ttftOf(s).Value()
	floor, ok3 := d.floor.Value()
	if !ok1 || !ok2 || !ok3 {
		return analysis.Number{}
	}
	return loadgen.Known(max(0, x*(ttft-floor)))
}

// slope is the elasticity d ln y/d ln N between two steps, unknown where a value is.
func slope(a, b *analysis.Step, of func(*analysis.Step) analysis.Number) (float64, bool) {
	x, ok1 := of(a).Value()
	y, ok2 := of(b).Value()
	if !ok1 || !ok2 || x <= 0 || y <= 0 || a.Concurrency >= b.Concurrency {
		return 0, false
	}
	return math.Log(y/x) / math.Log(float64(b.Concurrency)/float64(a.Concurrency)), true
}

func tpotOf(s *analysis.Step) analysis.Number { return s.Verdict().TPOT.Mean }

func ttftOf(s *analysis.Step) analysis.Number { return s.Verdict().TTFT.Mean }

func percent(n analysis.Number) string {
	if v, ok := n.Value(); ok {
		return fmt.Sprintf("%.0f %%", math.Round(100*v)+0) // the sum of -0 and 0 is 0
	}
	return "n/a"
}

// loaded is the most loaded step's telemetry, or that of the first bad step.
func (d *figures) loaded() (*analysis.Step, *analysis.Telemetry) {
	for _, s := range []*analysis.Step{d.full, d.bad} {
		if s != nil && s.Server != nil && s.Server.Scrapes > 0 {
			return s, s.Server
		}
	}
	return d.full, nil
}

// watched is the largest step up to s that the server's metrics were read in.
func (d *figures) watched(s *analysis.Step) *analysis.Step {
	for _, x := range slices.Backward(d.steps) {
		if s != nil && x.Concurrency <= s.Concurrency && x.Passed() && x.Server != nil && x.Server.Scrapes > 0 {
			return x
		}
	}
	return nil
}

// serverLines are the server's own figures at the last good and at the most
// loaded step.
func (d *figures) serverLines() []string {
	var lines []string
	top, _ := d.loaded()
	for _, s := range []*analysis.Step{d.watched(d.good), top} {
		if s == nil || s.Server == nil || s.Server.Scrapes == 0 || len(lines) > 0 && s == d.watched(d.good) {
			continue
		}
		t := s.Server
		line := fmt.Sprintf("at %d: %s running, %s waiting%s%s", s.Concurrency, t.RunningMean.Format(1), t.WaitingMean.Format(1), kvText(t), preempted(t))
		if t.GPUUtilMean.IsKnown() {
			line += ", GPU " + percent(t.GPUUtilMean)
		}
		lines = append(lines, line)
	}
	if top != nil && top.Server != nil {
		lines = append(lines, gpuLines(top)...)
	}
	return lines
}

// gpuLines are what the GPU's own counters say of a step: which of its parts the
// time went into.
func gpuLines(s *analysis.Step) []string {
	var lines []string
	for _, c := range []struct {
		share analysis.Number
		text  string
	}{
		{s.Server.GPUBandwidthMean, "at %d: the GPU's memory moved %s of what it can at its peak"},
		{s.Server.GPUMemoryBusyMean, "at %d: the GPU's memory was busy %s of the time"},
		{s.Server.GPUTensorMean, "at %d: the GPU's tensor cores were busy %s of the time"},
	} {
		if c.share.IsKnown() {
			lines = append(lines, fmt.Sprintf(c.text, s.Concurrency, percent(c.share)))
		}
	}
	return lines
}

// kvText is the KV cache's part of a line; of a server that counts none, nothing.
func kvText(t *analysis.Telemetry) string {
	if t.KVCacheMax.Or(0) <= 0 {
		return ""
	}
	return ", KV " + percent(t.KVCacheMax)
}

// preempted says how many running requests had to make room.
func preempted(t *analysis.Telemetry) string {
	switch n, ok := t.Preemptions.Value(); {
	case !ok || n <= 0:
		return ""
	case n == 1:
		return " with 1 preemption"
	default:
		return fmt.Sprintf(" with %.0f preemptions", n)
	}
}

// shapeLines are the client's figures at two steps.
func (d *figures) shapeLines(a, b *analysis.Step) []string {
	var lines []string
	for _, s := range []*analysis.Step{a, b} {
		lines = append(lines, shapeLine(s))
	}
	if v, ok := slope(a, b, tpotOf); ok {
		lines = append(lines, fmt.Sprintf("TPOT grows by %s a doubling of concurrency", percent(loadgen.Known(math.Pow(2, v)-1))))
	}
	return lines
}

func shapeLine(s *analysis.Step) string {
	v := s.Verdict()
	return fmt.Sprintf("at %d: %s req/s, TTFT %s, TPOT %s", s.Concurrency, v.RequestThroughput.Format(2), v.TTFT.Mean.Millis(), v.TPOT.Mean.Millis())
}

func (d *figures) flatTPOT(a, b *analysis.Step) bool {
	v, ok := slope(a, b, tpotOf)
	return ok && v < flatSlope
}

// onePromptAtATime reports whether prompts are read one after the other and take
// all the time. Then throughput is one over the time that one alone takes, and
// prompts wait for each other long before that: where the server counts what waits
// and nothing did, they were not. One that is alone waits for nobody, and a server that
// counts fewer than are in flight (vLLM those that have a token) does not tell.
func (d *figures) onePromptAtATime(s *analysis.Step) bool {
	busy := func(s *analysis.Step) float64 { return s.Verdict().RequestThroughput.Or(0) * d.floor.Or(0) }
	if b := busy(s); b < 0.75 || b > 1.25 {
		return false
	}
	for _, b := range d.steps {
		if busy(b) >= 0.4 && b.Concurrency > 1 && ttftOf(b).Or(0) < 1.15*d.floor.Or(0) {
			return false
		}
		if t := b.Server; busy(b) >= 0.6 && t != nil && t.WaitingMean.Or(1) < 0.05 && t.RunningMean.Or(0) >= 0.7*float64(b.Concurrency) {
			return false
		}
	}
	return true
}
