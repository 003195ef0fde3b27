package diagnosis

import (
	"fmt"

	"github.com/capfind/capfind/loadgen"
)

func (d *figures) kvCache() (Bottleneck, bool) {
	s, t := d.loaded()
	if t == nil || t.KVCacheMax.Or(0) <= fullKV && t.Preemptions.Or(0) <= 0 {
		return Bottleneck{}, false
	}
	return Bottleneck{Kind: KindKVCache,
		Sentence: fmt.Sprintf("KV cache: %s full at %d%s; %s", percent(t.KVCacheMax), s.Concurrency, preempted(t), cure(KindKVCache, d.Server)),
		Evidence: d.serverLines()}, true
}

// frontEnd sees time that the client measures and the model server does not.
func (d *figures) frontEnd() (Bottleneck, bool) {
	s, t := d.loaded()
	if t == nil {
		return Bottleneck{}, false
	}
	client, ok1 := clientTTFT(s).Value()
	server, ok2 := t.ServerTTFTMean.Value()
	if !ok1 || !ok2 || client-server < frontSeconds || client-server < frontShare*client {
		return Bottleneck{}, false
	}
	return Bottleneck{Kind: KindFrontEnd,
		Sentence: fmt.Sprintf("front end: of a TTFT of %s at %d the model server knows only %s; the rest is lost in its front end, a proxy or the network",
			clientTTFT(s).Millis(), s.Concurrency, t.ServerTTFTMean.Millis()),
		Evidence: append(d.serverLines(), fmt.Sprintf("at %d: TTFT %s at the client, %s at the server", s.Concurrency, clientTTFT(s).Millis(), t.ServerTTFTMean.Millis()))}, true
}

// prefill sees prompts that queue for being read, or slow each other down.
func (d *figures) prefill() (Bottleneck, bool) {
	s := d.full
	ref := d.before(s)
	if ref == nil {
		return Bottleneck{}, false
	}
	rise, ok := slope(ref, s, ttftOf)
	e2e := s.Verdict().E2E.Mean.Or(0)
	flat, serial := d.flatTPOT(ref, s), d.onePromptAtATime(s)
	if !ok || rise < steepSlope || !flat && !serial && !growsByWaiting(ref, s) {
		return Bottleneck{}, false
	}
	if !serial && ttftOf(s).Or(0) < 0.1*e2e {
		return Bottleneck{}, false
	}
	pace := "while TPOT stays flat"
	if !flat {
		pace = "and by far more than what follows the first token"
	}
	text := fmt.Sprintf("prefill: TTFT grows with every further prompt %s (TTFT %s at %d, %s at %d); %s",
		pace, ttftOf(ref).Millis(), ref.Concurrency, ttftOf(s).Millis(), s.Concurrency, cure(KindPrefill, d.Server))
	if serial {
		x := s.Verdict().RequestThroughput
		text = fmt.Sprintf("prefill: %s req/s x %s for one prompt alone: reading prompts is busy %s of the time (TTFT %s at %d, %s at %d); %s",
			x.Format(2), d.floor.Millis(), percent(loadgen.Known(min(1, x.Or(0)*d.floor.Or(0)))), ttftOf(ref).Millis(), ref.Concurrency, ttftOf(s).Millis(), s.Concurrency, cure(KindPrefill, d.Server))
	}
	return Bottleneck{Kind: KindPrefill, Sentence: text, Evidence: d.shapeLines(ref, s)}, true
}

// slowAlone sees a server that breaks a rule with one request in flight already:
// it is no load that makes it slow. What most of the response time goes into is
// what to look at.
func (d *figures) slowAlone() (Bottleneck, bool) {
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
		Sentence: fmt.Sprintf("one request alone takes %s %s, so it is no load that breaks the rule; %s", loadgen.Known(ttft).Millis(), part, cure(kind, d.Server)),
		Evidence: []string{shapeLine(d.bad)}}, true
}

// memoryBandwidth sees a time per token that grows with the requests in flight.
func (d *figures) memoryBandwidth() (Bottleneck, bool) {
	s, t := d.loaded()
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
			tpotOf(ref).Millis(), ref.Concurrency, tpotOf(s).Millis(), s.Concurrency, queue, cure(KindMemoryBandwidth, d.Server)),
		Evidence: evidence}, true
}
