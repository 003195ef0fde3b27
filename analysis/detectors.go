package analysis

import (
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

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
		Sentence: fmt.Sprintf("KV cache: %s full at %d%s; %s", percent(t.KVCacheMax), s.Concurrency, preempted(t), cure(KindKVCache, d.Server)),
		Evidence: d.serverLines()}, true
}

// preempted says how many running requests had to make room.
func preempted(t *Telemetry) string {
	switch n, ok := t.Preemptions.Value(); {
	case !ok || n <= 0:
		return ""
	case n == 1:
		return " with 1 preemption"
	default:
		return fmt.Sprintf(" with %.0f preemptions", n)
	}
}

// kvText is the KV cache's part of a line; of a server that counts none, nothing.
func kvText(t *Telemetry) string {
	if t.KVCacheMax.Or(0) <= 0 {
		return ""
	}
	return ", KV " + percent(t.KVCacheMax)
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
	if ref == nil || d.onePromptAtATime(s) {
		return Bottleneck{}, false
	}
	if t != nil && t.WaitingMean.IsKnown() && t.RunningMax.IsKnown() {
		return d.slotsSeen(s, t, ref)
	}
	waiting := d.waitingBehindSlots(s)
	flat := d.flatTPOT(ref, s)
	if !flat && !growsByWaiting(ref, s) || waiting < queuedShare*float64(s.Concurrency) {
		return Bottleneck{}, false
	}
	pace := "TPOT is flat at " + millis(tpotOf(s))
	if !flat {
		pace = fmt.Sprintf("TPOT goes from %s to %s", millis(tpotOf(ref)), millis(tpotOf(s)))
	}
	run := float64(s.Concurrency) - waiting
	if d.Curve != nil && d.Curve.Model == modelSlots {
		run = d.Curve.Parameters["slots"]
	}
	return Bottleneck{Kind: KindSlots,
		Sentence: fmt.Sprintf("slots: about %.0f requests run at once and the others wait: %s while TTFT grows to %s at N = %d; unless the KV cache is full, which the server's metrics would tell, %s",
			run, pace, millis(ttftOf(s)), s.Concurrency, cure(KindSlots, d.Server)),
		Evidence: append(d.shapeLines(ref, s), fmt.Sprintf("at %d: throughput x (TTFT - %s) = %.0f waiting", s.Concurrency, millis(d.floor), waiting))}, true
}

// slotsSeen finds slots in the server's own figures: requests wait, though the KV
// cache has room, while those that run keep their pace or their number.
func (d *diagnosis) slotsSeen(s *Step, t *Telemetry, ref *Step) (Bottleneck, bool) {
	run, flat := t.RunningMax.Or(0), d.flatTPOT(ref, s)
	if t.WaitingMean.Or(0) < max(0.5, 0.02*float64(s.Concurrency)) || t.KVCacheMax.Or(0) >= roomyKV || !flat && !d.sameRunning(s, run) {
		return Bottleneck{}, false
	}
	pace := ""
	if flat {
		pace = ", TPOT flat at " + millis(tpotOf(s))
	}
	return Bottleneck{Kind: KindSlots,
		Sentence: fmt.Sprintf("slots: %.0f running from N = %d on, %.0f waiting at N = %d%s%s; %s",
			run, d.firstRunning(run), t.WaitingMean.Or(0), s.Concurrency, kvText(t), pace, cure(KindSlots, d.Server)),
		Evidence: d.serverLines()}, true
}

// sameRunning reports whether a step of at most nine tenths the concurrency ran as
// many requests at once while others waited there too.
func (d *diagnosis) sameRunning(s *Step, run float64) bool {
	for _, b := range d.steps {
		if b.Server != nil && float64(b.Concurrency) <= 0.9*float64(s.Concurrency) && b.Server.WaitingMean.Or(0) >= 0.5 && math.Abs(b.Server.RunningMax.Or(0)-run) <= 0.02*run {
			return true
		}
	}
	return false
}

func (d *diagnosis) flatTPOT(a, b *Step) bool {
	v, ok := slope(a, b, tpotOf)
	return ok && v < flatSlope
}

// growsByWaiting reports whether most of what the response time grew by between two
// steps came before the first token: a cache that is full slows down a little what
// it lets run, and keeps the rest waiting.
func growsByWaiting(a, b *Step) bool {
	more := b.Verdict().E2E.Mean.Or(0) - a.Verdict().E2E.Mean.Or(0)
	return more > 0 && ttftOf(b).Or(0)-ttftOf(a).Or(0) >= waitedShare*more
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
// prompts wait for each other long before that: where the server counts what waits
// and nothing did, they were not.
func (d *diagnosis) onePromptAtATime(s *Step) bool {
	busy := func(s *Step) float64 { return s.Verdict().RequestThroughput.Or(0) * d.floor.Or(0) }
	if b := busy(s); b < 0.75 || b > 1.25 {
		return false
	}
	for _, b := range d.steps {
		if busy(b) >= 0.4 && ttftOf(b).Or(0) < 1.15*d.floor.Or(0) {
			return false
		}
		if busy(b) >= 0.6 && b.Server != nil && b.Server.WaitingMean.Or(1) < 0.05 {
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
	text := fmt.Sprintf("prefill: TTFT grows with every further prompt while TPOT stays flat (TTFT %s at %d, %s at %d); %s",
		millis(ttftOf(ref)), ref.Concurrency, millis(ttftOf(s)), s.Concurrency, cure(KindPrefill, d.Server))
	if serial {
		x := s.Verdict().RequestThroughput
		text = fmt.Sprintf("prefill: %s req/s x %s for one prompt alone: reading prompts is busy %s of the time (TTFT %s at %d, %s at %d); %s",
			x.Format(2), millis(d.floor), percent(loadgen.Known(min(1, x.Or(0)*d.floor.Or(0)))), millis(ttftOf(ref)), ref.Concurrency, millis(ttftOf(s)), s.Concurrency, cure(KindPrefill, d.Server))
	}
	return Bottleneck{Kind: KindPrefill, Sentence: text, Evidence: d.shapeLines(ref, s)}, true
}

// slowAlone sees a server that breaks a rule with one request in flight already:
// it is no load that makes it slow. What most of the response time goes into is
// what to look at.
func (d *diagnosis) slowAlone() (Bottleneck, bool) {
	if d.bad == nil || d.bad.Concurrency != 1 || d.bad.Stop.Rule == "success_rate" {
		return Bottleneck{}, false
	}
	v := d.bad.Verdict()
	ttft, ok1 := v.TTFT.Mean.Value()
	e2e, ok2 := v.E2E.Mean.Value()
	if !ok1 || !ok2 || e2e <= 0 {
		return Bottleneck{}, false
	}
	kind, part := KindPrefill, "to the first token"
	if ttft < 0.5*e2e {
		kind, part = KindMemoryBandwidth, "to the end of its answer"
		ttft = e2e
	}
	return Bottleneck{Kind: kind,
		Sentence: fmt.Sprintf("one request alone takes %s %s, so it is no load that breaks the rule; %s", millis(loadgen.Known(ttft)), part, cure(kind, d.Server)),
		Evidence: []string{shapeLine(d.bad)}}, true
}

// unstreamed sees slots where the answers come in one piece, so that only the
// fitted curve of the throughput can tell.
func (d *diagnosis) unstreamed() (Bottleneck, bool) {
	if d.full != nil || d.Curve == nil || d.Curve.Model != modelSlots {
		return Bottleneck{}, false
	}
	run := d.Curve.Parameters["slots"]
	var at, top *Step
	for _, s := range d.steps {
		if !s.Verdict().E2E.Mean.IsKnown() || s.Verdict().SuccessRate.Or(0) < failing {
			continue
		}
		if at == nil || float64(s.Concurrency) <= run {
			at = s
		}
		top = s
	}
	if top == nil || float64(top.Concurrency) < 1.1*run {
		return Bottleneck{}, false
	}
	lines := make([]string, 0, 2)
	for _, s := range []*Step{at, top} {
		v := s.Verdict()
		lines = append(lines, fmt.Sprintf("at %d: %s req/s, E2E %s", s.Concurrency, v.RequestThroughput.Format(2), millis(v.E2E.Mean)))
	}
	return Bottleneck{Kind: KindSlots, Evidence: lines,
		Sentence: fmt.Sprintf("slots: about %.0f requests run at once and the others wait: beyond, throughput stands still while E2E grows to %s at N = %d; the answers are not streamed, so the curve alone tells; %s",
			run, millis(top.Verdict().E2E.Mean), top.Concurrency, cure(KindSlots, d.Server))}, true
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
	if x, y := ref.Verdict().RequestThroughput, s.Verdict().RequestThroughput; y.Or(0) < 0.97*x.Or(0) {
		evidence = append(evidence, fmt.Sprintf("throughput falls from %s req/s at %d to %s req/s at %d: a further request costs the others more than it brings",
			x.Format(1), ref.Concurrency, y.Format(1), s.Concurrency))
	}
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
		Sentence: fmt.Sprintf("memory bandwidth: TPOT grows from %s at %d to %s at %d with %s: each request in flight slows the others; %s",
			millis(tpotOf(ref)), ref.Concurrency, millis(tpotOf(s)), s.Concurrency, queue, cure(KindMemoryBandwidth, d.Server)),
		Evidence: evidence}, true
}

// firstRunning is the smallest concurrency at which the server runs as many
// requests as it ever did: that number itself, where nothing waited below it.
func (d *diagnosis) firstRunning(run float64) int {
	for _, s := range d.steps {
		if s.Server == nil || float64(s.Concurrency) < run {
			if s.Server != nil && s.Server.WaitingMean.Or(0) >= 0.5 {
				break
			}
			continue
		}
		return int(math.Round(run))
	}
	for _, s := range d.steps {
		if s.Server != nil && s.Server.RunningMax.Or(0) >= 0.98*run {
			return s.Concurrency
		}
	}
	return int(math.Round(run))
}

// serverLines are the server's own figures at the last good and at the most
// loaded step.
func (d *diagnosis) serverLines() []string {
	var lines []string
	top, _ := d.loaded()
	for _, s := range []*Step{d.watched(d.good), top} {
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
func gpuLines(s *Step) []string {
	var lines []string
	for _, c := range []struct {
		share Number
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

// watched is the largest step up to s that the server's metrics were read in.
func (d *diagnosis) watched(s *Step) *Step {
	for _, x := range slices.Backward(d.steps) {
		if s != nil && x.Concurrency <= s.Concurrency && x.Passed() && x.Server != nil && x.Server.Scrapes > 0 {
			return x
		}
	}
	return nil
}

// shapeLines are the client's figures at two steps.
func (d *diagnosis) shapeLines(a, b *Step) []string {
	var lines []string
	for _, s := range []*Step{a, b} {
		lines = append(lines, shapeLine(s))
	}
	if v, ok := slope(a, b, tpotOf); ok {
		lines = append(lines, fmt.Sprintf("TPOT grows by %s a doubling of concurrency", percent(loadgen.Known(math.Pow(2, v)-1))))
	}
	return lines
}

func shapeLine(s *Step) string {
	v := s.Verdict()
	return fmt.Sprintf("at %d: %s req/s, TTFT %s, TPOT %s", s.Concurrency, v.RequestThroughput.Format(2), millis(v.TTFT.Mean), millis(v.TPOT.Mean))
}
