package diagnosis

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// failed counts the server failures of a step by the given classes, all of them
// where none is given.
func failed(s *analysis.Step, classes ...loadgen.Class) int {
	n := 0
	for c, k := range s.Failures {
		if c.ServerFailure() && (len(classes) == 0 || slices.Contains(classes, c)) {
			n += k
		}
	}
	return n
}

// failureList names the classes of a step's failures, the most frequent first.
func failureList(s *analysis.Step) string {
	var parts []string
	for _, c := range s.FailureClasses() {
		if c.ServerFailure() {
			parts = append(parts, fmt.Sprintf("%d %s", s.Failures[c], c))
		}
	}
	return strings.Join(parts, ", ")
}

// failingStep is the first bad step if failures are what is wrong with it.
func (d *figures) failingStep() (*analysis.Step, bool) {
	if d.bad == nil || d.bad.Verdict().SuccessRate.Or(1) >= failing || failed(d.bad) == 0 {
		return nil, false
	}
	return d.bad, true
}

// crash sees a server that dies: as it was seen to, or as the failures tell.
func (d *figures) crash() (Bottleneck, bool) {
	s, ok := d.failingStep()
	if !ok || d.good == nil {
		return Bottleneck{}, false
	}
	death := d.death(s)
	gone := failed(s, loadgen.ConnectionRefused, loadgen.ConnectionReset, loadgen.TimeoutConnect, loadgen.Truncated)
	wentAway := s.Server != nil && s.Server.WentAway
	// A server that dies cuts off all that is in flight at once; one that resets
	// now and then does not.
	allAtOnce := float64(gone) >= 0.8*float64(s.Concurrency) && s.Whole.SuccessRate.Or(1) < 0.5
	if death == nil && (gone == 0 || !wentAway && (2*gone < failed(s) || failed(s, loadgen.ConnectionRefused) == 0 && !allAtOnce)) {
		return Bottleneck{}, false
	}
	b := Bottleneck{Kind: KindCrash, Evidence: []string{failureLine(s)},
		Sentence: fmt.Sprintf("crash: the server answered at %d and died at %d (%s); its log says of what", d.good.Concurrency, s.Concurrency, failureList(s))}
	if death != nil {
		if n, ok := death.InFlight.Value(); ok {
			b.Evidence = append(b.Evidence, fmt.Sprintf("it stopped answering with %.0f requests in flight", n))
		}
		if v, ok := death.RecoveredSeconds.Value(); ok {
			b.Evidence = append(b.Evidence, fmt.Sprintf("it answered again after %.1f s", v))
		}
	}
	if wentAway {
		b.Evidence = append(b.Evidence, "its metrics endpoint stopped answering during the step")
	}
	return b, true
}

// death returns the last time the server died at the step's concurrency, nil
// where it was not seen to.
func (d *figures) death(s *analysis.Step) *Death {
	for i := range slices.Backward(d.Deaths) {
		if d.Deaths[i].Concurrency == s.Concurrency {
			return &d.Deaths[i]
		}
	}
	return nil
}

// turnedAway tells a rate limiter from a full queue. A limiter turns requests away
// before they wait, so those that get through are as quick as ever.
func (d *figures) turnedAway() (Bottleneck, bool) {
	s, ok := d.failingStep()
	if !ok {
		return Bottleneck{}, false
	}
	limited, refused := failed(s, loadgen.HTTP429), turned(s)
	if 2*refused < failed(s) {
		return Bottleneck{}, false
	}
	ttft := ttftOf(s)
	grown := ttft.IsKnown() && d.floor.IsKnown() && ttft.Or(0) > 1.5*d.floor.Or(0)
	b := Bottleneck{Evidence: []string{failureLine(s)}}
	switch {
	case 2*limited >= refused && !grown && !saysFull(s):
		b.Kind = KindRateLimiter
		b.Sentence = fmt.Sprintf("rate limiter: %d requests were answered 429 at %d, while %s req/s got through with TTFT unchanged at %s; raise the limit, or add a key or a replica",
			limited, s.Concurrency, s.Verdict().RequestThroughput.Format(1), ttft.Millis())
		b.Evidence = append(b.Evidence, fmt.Sprintf("TTFT of what got through: %s, without load %s", ttft.Millis(), d.floor.Millis()))
	case grown || d.capped() || saysFull(s):
		b.Kind = KindQueueCap
		b.Sentence = fmt.Sprintf("queue cap: %s; further ones are turned away (%s at %d); %s", d.room(s), failureList(s), s.Concurrency, cure(KindQueueCap, d.Server))
		b.Evidence = append(b.Evidence, d.roomLines(s)...)
	default:
		return Bottleneck{}, false
	}
	return b, true
}

// turned counts the requests of a step that were turned away. vLLM says of some
// only inside a stream that it had begun that it cannot take them.
func turned(s *analysis.Step) int {
	n := failed(s, loadgen.HTTP429, loadgen.HTTP5xx)
	if blamesLoad(s.FailureExamples[loadgen.StreamError]) {
		n += failed(s, loadgen.StreamError)
	}
	return n
}

// saysFull reports whether the server's own words blame how much it has to do, not
// how often it is asked.
func saysFull(s *analysis.Step) bool {
	for _, c := range []loadgen.Class{loadgen.HTTP429, loadgen.HTTP5xx, loadgen.StreamError} {
		if blamesLoad(s.FailureExamples[c]) {
			return true
		}
	}
	return false
}

func blamesLoad(said string) bool {
	said = strings.ToLower(said)
	for _, word := range []string{"overload", "queue", "too many concurrent", "server busy", "currently busy"} {
		if strings.Contains(said, word) {
			return true
		}
	}
	return false
}

// noRoom sees a server that fails requests because the contexts that run at once
// fill its KV cache: llama.cpp, whose slots may share one, ends a stream so. At
// fewer in flight the same requests had room.
func (d *figures) noRoom() (Bottleneck, bool) {
	s, ok := d.failingStep()
	if !ok || d.good == nil {
		return Bottleneck{}, false
	}
	for _, c := range slices.Sorted(maps.Keys(s.FailureExamples)) {
		if said := strings.ToLower(s.FailureExamples[c]); 2*s.Failures[c] >= failed(s) && c.ServerFailure() &&
			(strings.Contains(said, "kv cache") || strings.Contains(said, "context size has been exceeded")) {
			return Bottleneck{Kind: KindKVCache,
				Sentence: fmt.Sprintf("KV cache: no room for %d contexts at once (%s), though there was for %d; %s", s.Concurrency, failureList(s), d.good.Concurrency, cure(KindKVCache, d.Server)),
				Evidence: []string{failureLine(s), fmt.Sprintf("the server said: %s", s.FailureExamples[c])}}, true
		}
	}
	return Bottleneck{}, false
}

func failureLine(s *analysis.Step) string {
	return fmt.Sprintf("at %d: %s success; %s", s.Concurrency, percent(s.Verdict().SuccessRate), failureList(s))
}

// room says how many requests a server takes that turned some away at the step s.
// What it reports itself is best. Else it lies between the largest concurrency at
// which none was turned away and the smallest at which some were, and is no less
// than what was served at once on average: a mean that includes the pauses after
// refusals lies below the number that fits, so it is a bound and no estimate.
func (d *figures) room(s *analysis.Step) string {
	low, high := 0.0, math.Inf(1)
	var running, waiting float64
	for _, x := range d.steps {
		n := float64(x.Concurrency)
		if turned(x) == 0 {
			if x.Verdict().SuccessRate.Or(0) >= failing {
				low = max(low, n)
			}
			continue
		}
		high = min(high, n)
		if t := x.Server; t != nil && t.RunningMax.IsKnown() && t.WaitingMax.IsKnown() && t.RunningMax.Or(0)+t.WaitingMax.Or(0) > running+waiting {
			running, waiting = t.RunningMax.Or(0), t.WaitingMax.Or(0)
		}
	}
	if low >= high {
		low = 0 // what fits is not one number
	}
	served := math.Round(inside(s))
	switch {
	case running+waiting >= max(low, served):
		return fmt.Sprintf("%.0f requests fit into the server, %.0f running and %.0f waiting", running+waiting, running, waiting)
	case d.capped() && served >= low:
		return fmt.Sprintf("about %.0f requests fit into the server and its queue", inside(s))
	case low > 0 && low+1 >= high:
		return fmt.Sprintf("%.0f requests fit into the server and its queue", low)
	case max(low, served)+1 < high:
		return fmt.Sprintf("between %.0f and %.0f requests fit into the server and its queue", max(low, served, 1), high-1)
	}
	return fmt.Sprintf("about %.0f requests fit into the server and its queue", max(low, served, 1))
}

// roomLines are the evidence for how many requests fit.
func (d *figures) roomLines(s *analysis.Step) []string {
	var clean *analysis.Step
	for _, x := range d.steps {
		if failed(x) == 0 && x.Concurrency < s.Concurrency {
			clean = x
		}
	}
	var lines []string
	if clean != nil {
		lines = append(lines, fmt.Sprintf("at %d: none turned away", clean.Concurrency))
	}
	lines = append(lines, fmt.Sprintf("TTFT of what got through: %s, without load %s", ttftOf(s).Millis(), d.floor.Millis()))
	return append(lines, d.serverLines()...)
}

// capped reports whether two steps that turned requests away, at concurrencies
// more than a tenth apart, served the same number at once: then it is a number
// that the server admits, and not a chance of failing.
func (d *figures) capped() bool {
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
func inside(s *analysis.Step) float64 {
	return s.Verdict().RequestThroughput.Or(0) * s.Verdict().E2E.Mean.Or(0)
}

func (d *figures) errorRate() (Bottleneck, bool) {
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
