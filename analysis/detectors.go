package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/capfind/capfind/loadgen"
)

// failed counts the server failures of a step by the given classes, all of them
// where none is given.
func failed(s *Step, classes ...loadgen.Class) int {
	n := 0
	for c, k := range s.Failures {
		if c.ServerFailure() && (len(classes) == 0 || slices.Contains(classes, c)) {
			n += k
		}
	}
	return n
}

// failureList names the classes of a step's failures, the most frequent first.
func failureList(s *Step) string {
	classes := slices.SortedFunc(maps.Keys(s.Failures), func(a, b loadgen.Class) int {
		return cmp.Or(cmp.Compare(s.Failures[b], s.Failures[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, c := range classes {
		if c.ServerFailure() {
			parts = append(parts, fmt.Sprintf("%d %s", s.Failures[c], c))
		}
	}
	return strings.Join(parts, ", ")
}

// failingStep is the first bad step if failures are what is wrong with it.
func (d *diagnosis) failingStep() (*Step, bool) {
	if d.bad == nil || d.bad.Verdict().SuccessRate.Or(1) >= failing || failed(d.bad) == 0 {
		return nil, false
	}
	return d.bad, true
}

func (d *diagnosis) crash() (Bottleneck, bool) {
	s, ok := d.failingStep()
	if !ok || d.good == nil {
		return Bottleneck{}, false
	}
	gone := failed(s, loadgen.ConnectionRefused, loadgen.ConnectionReset, loadgen.TimeoutConnect, loadgen.Truncated)
	wentAway := s.Server != nil && s.Server.WentAway
	// A server that dies cuts off all that is in flight at once; one that resets
	// now and then does not.
	allAtOnce := float64(gone) >= 0.8*float64(s.Concurrency) && s.Whole.SuccessRate.Or(1) < 0.5
	if gone == 0 || !wentAway && (2*gone < failed(s) || failed(s, loadgen.ConnectionRefused) == 0 && !allAtOnce) {
		return Bottleneck{}, false
	}
	b := Bottleneck{Kind: KindCrash,
		Sentence: fmt.Sprintf("crash: the server answered at %d and died at %d (%s)", d.good.Concurrency, s.Concurrency, failureList(s))}
	b.Evidence = append(b.Evidence, fmt.Sprintf("at %d: %s success; %s", s.Concurrency, percent(s.Verdict().SuccessRate), failureList(s)))
	if wentAway {
		b.Evidence = append(b.Evidence, "its metrics endpoint stopped answering during the step")
	}
	return b, true
}

// turnedAway tells a rate limiter from a full queue. A limiter turns requests away
// before they wait, so those that get through are as quick as ever.
func (d *diagnosis) turnedAway() (Bottleneck, bool) {
	s, ok := d.failingStep()
	if !ok {
		return Bottleneck{}, false
	}
	limited, refused := failed(s, loadgen.HTTP429), failed(s, loadgen.HTTP429, loadgen.HTTP5xx)
	if 2*refused < failed(s) {
		return Bottleneck{}, false
	}
	ttft := ttftOf(s)
	grown := ttft.IsKnown() && d.floor.IsKnown() && ttft.Or(0) > 1.5*d.floor.Or(0)
	b := Bottleneck{Evidence: []string{fmt.Sprintf("at %d: %s success; %s", s.Concurrency, percent(s.Verdict().SuccessRate), failureList(s))}}
	x := s.Verdict().RequestThroughput
	switch {
	case 2*limited >= refused && !grown:
		b.Kind = KindRateLimiter
		b.Sentence = fmt.Sprintf("rate limiter: %d requests were answered 429 at %d, while %s req/s got through with TTFT unchanged at %s; raise the limit, or add a key or a replica",
			limited, s.Concurrency, x.Format(1), millis(ttft))
		b.Evidence = append(b.Evidence, fmt.Sprintf("TTFT of what got through: %s, without load %s", millis(ttft), millis(d.floor)))
	case grown || d.capped():
		b.Kind = KindQueueCap
		held := inside(s)
		b.Sentence = fmt.Sprintf("queue cap: about %.0f requests fit into the server and its queue, the others were turned away at %d (%s)", held, s.Concurrency, failureList(s))
		b.Evidence = append(b.Evidence, fmt.Sprintf("those accepted stayed %s at %s req/s, which makes %.0f in the server at once", millis(s.Verdict().E2E.Mean), x.Format(1), held))
	default:
		return Bottleneck{}, false
	}
	return b, true
}

// capped reports whether two steps that turned requests away, at concurrencies
// more than a tenth apart, served the same number at once: then it is a number
// that the server admits, and not a chance of failing.
func (d *diagnosis) capped() bool {
	for i, a := range d.steps {
		for _, b := range d.steps[i+1:] {
			if failed(a) == 0 || failed(b) == 0 || a.Verdict().SuccessRate.Or(1) >= failing || float64(b.Concurrency) < 1.1*float64(a.Concurrency) {
				continue
			}
			x, y := inside(a), inside(b)
			if x > 0 && math.Abs(y/x-1) < 0.05 {
				return true
			}
		}
	}
	return false
}

// inside is how many successes were in the server at once (Little's law).
func inside(s *Step) float64 {
	return s.Verdict().RequestThroughput.Or(0) * s.Verdict().E2E.Mean.Or(0)
}

func (d *diagnosis) errorRate() (Bottleneck, bool) {
	s, ok := d.failingStep()
	if !ok {
		return Bottleneck{}, false
	}
	b := Bottleneck{Kind: KindErrorRate,
		Sentence: fmt.Sprintf("error rate: %s of the requests failed at %d (%s)", percent(loadgen.Known(1-s.Verdict().SuccessRate.Or(0))), s.Concurrency, failureList(s))}
	for _, s := range d.steps {
		if n := failed(s); n > 0 {
			line := fmt.Sprintf("at %d: %d failed of %d", s.Concurrency, n, n+s.Whole.Completed)
			for _, c := range slices.Sorted(maps.Keys(s.FailureExamples)) {
				line += fmt.Sprintf("; %s: %s", c, s.FailureExamples[c])
				break
			}
			b.Evidence = append(b.Evidence, line)
		}
	}
	return b, true
}

// loaded is the most loaded step's telemetry, or that of the first bad step.
func (d *diagnosis) loaded() (*Step, *Telemetry) {
	for _, s := range []*Step{d.full, d.bad} {
		if s != nil && s.Server != nil && s.Server.Scrapes > 0 {
			return s, s.Server
		}
	}
	return d.full, nil
}

func (d *diagnosis) kvCache() (Bottleneck, bool) {
	s, t := d.loaded()
	if t == nil || t.KVCacheMax.Or(0) <= fullKV && t.Preemptions.Or(0) <= 0 {
		return Bottleneck{}, false
	}
	return Bottleneck{Kind: KindKVCache,
		Sentence: fmt.Sprintf("KV cache: %s full at %d with %s preemptions; shorter contexts, a smaller KV data type or more GPU memory would take more requests",
			percent(t.KVCacheMax), s.Concurrency, t.Preemptions.Format(0)),
		Evidence: d.serverLines()}, true
}

// frontEnd sees time that the client measures and the model server does not.
func (d *diagnosis) frontEnd() (Bottleneck, bool) {
	s, t := d.loaded()
	if t == nil {
		return Bottleneck{}, false
	}
	client, ok1 := ttftOf(s).Value()
	server, ok2 := t.ServerTTFTMean.Value()
	if !ok1 || !ok2 || client-server < frontSeconds || client-server < frontShare*client {
		return Bottleneck{}, false
	}
	return Bottleneck{Kind: KindFrontEnd,
		Sentence: fmt.Sprintf("front end: of a TTFT of %s at %d the model server knows only %s; the rest is lost in its front end, a proxy or the network",
			millis(ttftOf(s)), s.Concurrency, millis(t.ServerTTFTMean)),
		Evidence: append(d.serverLines(), fmt.Sprintf("at %d: TTFT %s at the client, %s at the server", s.Concurrency, millis(ttftOf(s)), millis(t.ServerTTFTMean)))}, true
}

// slots sees a queue before a server that goes on at its own pace.
func (d *diagnosis) slots() (Bottleneck, bool) {
	s, t := d.loaded()
	if s == nil {
		return Bottleneck{}, false
	}
	ref := d.before(s)
	if ref == nil || !d.flatTPOT(ref, s) {
		return Bottleneck{}, false
	}
	if t != nil && t.WaitingMean.IsKnown() && t.RunningMax.IsKnown() {
		if t.WaitingMean.Or(0) < max(0.5, 0.02*float64(s.Concurrency)) || t.KVCacheMax.Or(0) >= roomyKV || d.onePromptAtATime(s) {
			return Bottleneck{}, false
		}
		run := t.RunningMax.Or(0)
		return Bottleneck{Kind: KindSlots,
			Sentence: fmt.Sprintf("slots: %.0f running from N = %d on, %.0f waiting at N = %d, KV %s, TPOT flat at %s; raising max-num-seqs is worth trying",
				run, d.firstRunning(run), t.WaitingMean.Or(0), s.Concurrency, percent(t.KVCacheMax), millis(tpotOf(s))),
			Evidence: d.serverLines()}, true
	}
	waiting := d.waitingBehindSlots(s)
	if waiting < queuedShare*float64(s.Concurrency) || d.onePromptAtATime(s) {
		return Bottleneck{}, false
	}
	run := float64(s.Concurrency) - waiting
	if d.curve != nil && d.curve.Model == modelSlots {
		run = d.curve.Parameters["slots"]
	}
	return Bottleneck{Kind: KindSlots,
		Sentence: fmt.Sprintf("slots: about %.0f requests run at once and the others wait: TPOT is flat at %s while TTFT grows to %s at N = %d; raising max-num-seqs is worth trying, unless the KV cache is full (the server's metrics would tell)",
			run, millis(tpotOf(s)), millis(ttftOf(s)), s.Concurrency),
		Evidence: append(d.shapeLines(ref, s), fmt.Sprintf("at %d: throughput x (TTFT - %s) = %.0f waiting", s.Concurrency, millis(d.floor), waiting))}, true
}

func (d *diagnosis) flatTPOT(a, b *Step) bool {
	v, ok := slope(a, b, tpotOf)
	return ok && v < flatSlope
}

// waitingBehindSlots is how many requests wait at a step if it is slots that
// they wait for, 0 where the shape speaks against it: as long as there are slots
// enough nothing waits, so at fewer in flight than run at this step TTFT is what
// it is without load.
func (d *diagnosis) waitingBehindSlots(s *Step) float64 {
	waiting := d.queued(s).Or(0)
	run := float64(s.Concurrency) - waiting
	for _, b := range d.steps {
		if n := float64(b.Concurrency); n < 0.9*run && d.queued(b).Or(0) > max(1, 0.1*n) {
			return 0
		}
	}
	return waiting
}

// onePromptAtATime reports whether prompts are read one after the other and take
// all the time. Then throughput is one over the time that one alone takes, and
// prompts wait for each other long before that.
func (d *diagnosis) onePromptAtATime(s *Step) bool {
	busy := func(s *Step) float64 { return s.Verdict().RequestThroughput.Or(0) * d.floor.Or(0) }
	if b := busy(s); b < 0.75 || b > 1.25 {
		return false
	}
	for _, b := range d.steps {
		if busy(b) >= 0.4 && ttftOf(b).Or(0) < 1.15*d.floor.Or(0) {
			return false
		}
	}
	return true
}

// prefill sees prompts that queue for being read, or slow each other down.
func (d *diagnosis) prefill() (Bottleneck, bool) {
	s := d.full
	if s == nil {
		return Bottleneck{}, false
	}
	ref := d.before(s)
	if ref == nil {
		return Bottleneck{}, false
	}
	rise, ok := slope(ref, s, ttftOf)
	e2e := s.Verdict().E2E.Mean.Or(0)
	if !ok || rise < steepSlope || !d.flatTPOT(ref, s) {
		return Bottleneck{}, false
	}
	serial := d.onePromptAtATime(s)
	if !serial && ttftOf(s).Or(0) < 0.1*e2e {
		return Bottleneck{}, false
	}
	why := "TTFT grows with every further prompt while TPOT stays flat"
	if serial {
		why = fmt.Sprintf("%s req/s x %s for one prompt alone: reading prompts is busy %s of the time",
			s.Verdict().RequestThroughput.Format(2), millis(d.floor), percent(loadgen.Known(min(1, s.Verdict().RequestThroughput.Or(0)*d.floor.Or(0)))))
	}
	return Bottleneck{Kind: KindPrefill,
		Sentence: fmt.Sprintf("prefill: %s (TTFT %s at %d, %s at %d); shorter prompts, prefix caching or chunked prefill would help",
			why, millis(ttftOf(ref)), ref.Concurrency, millis(ttftOf(s)), s.Concurrency),
		Evidence: d.shapeLines(ref, s)}, true
}

// memoryBandwidth sees a time per token that grows with the requests in flight.
func (d *diagnosis) memoryBandwidth() (Bottleneck, bool) {
	s, t := d.loaded()
	if s == nil {
		return Bottleneck{}, false
	}
	ref := d.before(s)
	if ref == nil {
		return Bottleneck{}, false
	}
	rise, ok := slope(ref, s, tpotOf)
	if !ok || rise < steepSlope {
		return Bottleneck{}, false
	}
	evidence := d.shapeLines(ref, s)
	queue := "no queue"
	if t != nil && t.WaitingMean.IsKnown() {
		if t.WaitingMean.Or(0) > queuedShare*float64(s.Concurrency) {
			queue = fmt.Sprintf("%.0f waiting besides", t.WaitingMean.Or(0))
		}
		evidence = append(evidence, d.serverLines()...)
	} else if w := d.waitingBehindSlots(s); w > queuedShare*float64(s.Concurrency) {
		queue = fmt.Sprintf("about %.0f waiting besides", w)
	}
	return Bottleneck{Kind: KindMemoryBandwidth,
		Sentence: fmt.Sprintf("memory bandwidth: TPOT grows from %s at %d to %s at %d with %s: each request in flight slows the others; more or faster GPU memory, a smaller model or data type would help",
			millis(tpotOf(ref)), ref.Concurrency, millis(tpotOf(s)), s.Concurrency, queue),
		Evidence: evidence}, true
}

// firstRunning is the smallest concurrency at which the server ran about as many
// requests as it ever did.
func (d *diagnosis) firstRunning(run float64) int {
	for _, s := range d.steps {
		if s.Server != nil && s.Server.RunningMax.Or(0) >= 0.98*run {
			return s.Concurrency
		}
	}
	return 0
}

// serverLines are the server's own figures at the last good and at the most
// loaded step.
func (d *diagnosis) serverLines() []string {
	var lines []string
	top, _ := d.loaded()
	for _, s := range []*Step{d.good, top} {
		if s == nil || s.Server == nil || len(lines) > 0 && s == d.good {
			continue
		}
		t := s.Server
		line := fmt.Sprintf("at %d: %s running, %s waiting, KV %s, %s preemptions", s.Concurrency,
			t.RunningMean.Format(1), t.WaitingMean.Format(1), percent(t.KVCacheMax), t.Preemptions.Format(0))
		if t.GPUUtilMean.IsKnown() {
			line += ", GPU " + percent(t.GPUUtilMean)
		}
		lines = append(lines, line)
	}
	return lines
}

// shapeLines are the client's figures at two steps.
func (d *diagnosis) shapeLines(a, b *Step) []string {
	var lines []string
	for _, s := range []*Step{a, b} {
		v := s.Verdict()
		lines = append(lines, fmt.Sprintf("at %d: %s req/s, TTFT %s, TPOT %s", s.Concurrency, v.RequestThroughput.Format(2), millis(v.TTFT.Mean), millis(v.TPOT.Mean)))
	}
	if v, ok := slope(a, b, tpotOf); ok {
		lines = append(lines, fmt.Sprintf("TPOT grows by %s a doubling of concurrency", percent(loadgen.Known(math.Pow(2, v)-1))))
	}
	return lines
}
