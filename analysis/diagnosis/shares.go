package diagnosis

import (
	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// shares splits the response time of a step; nil where it cannot be split.
func (d *figures) shares(s *analysis.Step, kind string) *Shares {
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
		front = min(ttft, max(0, clientTTFT(s).Or(ttft)-s.Server.ServerTTFTMean.Or(0)))
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

// clientTTFT is the client's TTFT of a step of which the server's is known: of the same first
// tokens, where that was kept.
func clientTTFT(s *analysis.Step) analysis.Number {
	if s.Server.ClientTTFTMean.IsKnown() {
		return s.Server.ClientTTFTMean
	}
	return ttftOf(s)
}

// queueTime is how long, on the mean, a request of the step waited for its turn,
// in seconds. The server's own figures come first. Those of a whole step hold its
// beginning too, when nothing waited yet; what it spends on the prompt is the same
// then as later, so that prefill is taken from there and the rest of TTFT waited.
// Without them the kind of bottleneck tells what made TTFT grow: a queue, or
// prompts that slow each other down.
func (d *figures) queueTime(s *analysis.Step, ttft float64, kind string) analysis.Number {
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
		return analysis.Number{}
	}
	if kind == KindPrefill || kind == KindMemoryBandwidth && d.waitingBehindSlots(s) <= queuedShare*float64(s.Concurrency) {
		return loadgen.Known(0)
	}
	return loadgen.Known(ttft - d.floor.Or(ttft))
}
