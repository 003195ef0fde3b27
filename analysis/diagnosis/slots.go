package diagnosis

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/analysis"
)

// slots sees a queue before a server that goes on at its own pace.
func (d *figures) slots() (Bottleneck, bool) {
	s, t := d.loaded()
	ref := d.before(s)
	if ref == nil || d.onePromptAtATime(s) {
		return Bottleneck{}, false
	}
	if t != nil && t.WaitingMean.IsKnown() && t.RunningMax.IsKnown() {
		if d.failsWithRoom(t.RunningMax.Or(0)) {
			return Bottleneck{}, false
		}
		return d.slotsSeen(s, t, ref)
	}
	waiting := d.waitingBehindSlots(s)
	flat := d.flatTPOT(ref, s)
	if !flat && !growsByWaiting(ref, s) || waiting < queuedShare*float64(s.Concurrency) {
		return Bottleneck{}, false
	}
	pace := "TPOT is flat at " + tpotOf(s).Millis()
	if !flat {
		pace = fmt.Sprintf("TPOT goes from %s to %s", tpotOf(ref).Millis(), tpotOf(s).Millis())
	}
	run := d.Curve.Slots().Or(float64(s.Concurrency) - waiting)
	return Bottleneck{Kind: KindSlots,
		Sentence: fmt.Sprintf("slots: about %.0f requests run at once and the others wait: %s while TTFT grows to %s at N = %d; unless the KV cache is full, which the server's metrics would tell, %s",
			run, pace, ttftOf(s).Millis(), s.Concurrency, cure(KindSlots, d.Server)),
		Evidence: append(d.shapeLines(ref, s), fmt.Sprintf("at %d: throughput x (TTFT - %s) = %.0f waiting", s.Concurrency, d.floor.Millis(), waiting))}, true
}

// slotsSeen finds slots in the server's own figures: requests wait, though the KV
// cache has room, while those that run keep their pace or their number.
func (d *figures) slotsSeen(s *analysis.Step, t *analysis.Telemetry, ref *analysis.Step) (Bottleneck, bool) {
	run, flat := t.RunningMax.Or(0), d.flatTPOT(ref, s)
	if !queues(t.WaitingMean.Or(0), s) || t.KVCacheMax.Or(0) >= roomyKV || !flat && !d.sameRunning(s, run) {
		return Bottleneck{}, false
	}
	pace := ""
	if flat {
		pace = ", TPOT flat at " + tpotOf(s).Millis()
	}
	return Bottleneck{Kind: KindSlots,
		Sentence: fmt.Sprintf("slots: %.0f running from N = %d on, %.0f waiting at N = %d%s%s; %s",
			run, d.firstRunning(run), t.WaitingMean.Or(0), s.Concurrency, kvText(t), pace, cure(KindSlots, d.Server)),
		Evidence: d.serverLines()}, true
}

// failsWithRoom reports whether the smallest step that fails did so while the server ran
// all that was in flight, and fewer than it can: what stops it there is not what a step far
// above it waits for.
func (d *figures) failsWithRoom(run float64) bool {
	if d.bad == nil || d.bad.Server == nil || float64(d.bad.Concurrency) >= run {
		return false
	}
	waiting, ok := d.bad.Server.WaitingMean.Value()
	return ok && !queues(waiting, d.bad)
}

// queues reports whether that many waiting requests are a queue, and not a moment's.
func queues(waiting float64, s *analysis.Step) bool {
	return waiting >= max(0.5, 0.02*float64(s.Concurrency))
}

// sameRunning reports whether a step of at most nine tenths the concurrency ran as
// many requests at once while others waited there too.
func (d *figures) sameRunning(s *analysis.Step, run float64) bool {
	for _, b := range d.steps {
		if b.Server != nil && float64(b.Concurrency) <= 0.9*float64(s.Concurrency) && b.Server.WaitingMean.Or(0) >= 0.5 && math.Abs(b.Server.RunningMax.Or(0)-run) <= 0.02*run {
			return true
		}
	}
	return false
}

// firstRunning is the smallest concurrency at which the server runs as many
// requests as it ever did: that number itself, where nothing waited below it.
func (d *figures) firstRunning(run float64) int {
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

// growsByWaiting reports whether most of what the response time grew by between two
// steps came before the first token: a cache that is full slows down a little what
// it lets run, and keeps the rest waiting; and prompts that are read between the tokens
// of other requests slow those down, most where answers are short.
func growsByWaiting(a, b *analysis.Step) bool {
	more := b.Verdict().E2E.Mean.Or(0) - a.Verdict().E2E.Mean.Or(0)
	return more > 0 && ttftOf(b).Or(0)-ttftOf(a).Or(0) >= waitedShare*more
}

// unstreamed sees slots where the answers come in one piece, so that only the
// fitted curve of the throughput can tell.
func (d *figures) unstreamed() (Bottleneck, bool) {
	run, ok := d.Curve.Slots().Value()
	if d.full != nil || !ok {
		return Bottleneck{}, false
	}
	var at, top *analysis.Step
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
	for _, s := range []*analysis.Step{at, top} {
		v := s.Verdict()
		lines = append(lines, fmt.Sprintf("at %d: %s req/s, E2E %s", s.Concurrency, v.RequestThroughput.Format(2), v.E2E.Mean.Millis()))
	}
	return Bottleneck{Kind: KindSlots, Evidence: lines,
		Sentence: fmt.Sprintf("slots: about %.0f requests run at once and the others wait: beyond, throughput stands still while E2E grows to %s at N = %d; the answers are not streamed, so the curve alone tells; %s",
			run, top.Verdict().E2E.Mean.Millis(), top.Concurrency, cure(KindSlots, d.Server))}, true
}

// waitingBehindSlots is how many requests wait at a step if it is slots that
// they wait for, 0 where the shape speaks against it: as long as there are slots
// enough nothing waits, so at fewer in flight than run at this step TTFT is what
// it is without load.
func (d *figures) waitingBehindSlots(s *analysis.Step) float64 {
	waiting := d.queued(s).Or(0)
	run := float64(s.Concurrency) - waiting
	for _, b := range d.steps {
		if n := float64(b.Concurrency); n < 0.9*run && d.queued(b).Or(0) > max(1, 0.1*n) {
			return 0
		}
	}
	return waiting
}
