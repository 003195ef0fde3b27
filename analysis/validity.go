package analysis

import (
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/capfind/capfind/loadgen"
)

// Gates of the laws that must hold for a step's figures to mean what they say.
const (
	littleGate    = 0.05
	thinkGate     = 0.02
	thinkFloor    = 1e-3 // seconds: below it a pause is the scheduler's
	inFlightGate  = 0.95
	outputGate    = 0.98
	prefixGate    = 0.01
	trendGate     = 0.10
	bufferedTPOT  = 100e-6 // seconds a token: no model is that quick, a buffer is
	bufferedShare = 0.95
)

// checksOf holds a step against the laws. A law that cannot be judged keeps OK
// true with an unknown value, and its text says why.
func checksOf(s *Step, load loadgen.Load, verdict []part, sharedPrefix bool) []Check {
	closed := closedLoopChecks(s, load, verdict)
	checks := append([]Check{littleCheck(s)}, closed...)
	return append(checks, outputCheck(s), tokenCountCheck(verdict), chunkTokensCheck(verdict), prefixCheck(s, sharedPrefix), bufferCheck(s),
		trendCheck("ttft_trend", "TTFT", verdict, (*loadgen.Sample).TTFT),
		trendCheck("e2e_trend", "E2E", verdict, (*loadgen.Sample).E2E))
}

func unjudged(name, why string) Check {
	return Check{Check: name, OK: true, Text: "not judged: " + why}
}

func judged(name string, value, gate float64, ok bool, format string, args ...any) Check {
	return Check{Check: name, Value: loadgen.Known(value), Gate: loadgen.Known(gate), OK: ok, Text: fmt.Sprintf(format, args...)}
}

// littleCheck compares the two ways to count: N = X R holds for every stable
// system (Little 1961), so a difference means that the window is not steady.
func littleCheck(s *Step) Check {
	const name = "little"
	if s.Steady == nil {
		return unjudged(name, "no steady window")
	}
	counted, ok := countedRate(s.Steady)
	n, okN := s.Steady.MeanInFlight.Value()
	r, okR := s.Steady.MeanResidenceSeconds.Value()
	if !ok || !okN || !okR || counted*r == 0 {
		return unjudged(name, "no request was timed in the window")
	}
	if s.Window.Requests < minWindow {
		return unjudged(name, fmt.Sprintf("%d requests in the window, %d are needed", s.Window.Requests, minWindow))
	}
	off := math.Abs(n/(counted*r) - 1)
	return judged(name, off, littleGate, off <= littleGate,
		"%.1f in flight against %.1f by rate x time in system: %.1f %% apart (gate %.0f %%)",
		n, counted*r, 100*off, 100*littleGate)
}

// countedRate is requests per second by counting, failures included.
func countedRate(sum *Summary) (float64, bool) {
	t, ok := sum.DurationSeconds.Value()
	return float64(sum.Completed+sum.Failed) / t, ok && t > 0
}

// closedLoopChecks judge whether the client kept all its slots busy.
func closedLoopChecks(s *Step, load loadgen.Load, verdict []part) []Check {
	think, inFlight := unjudged("think_time", ""), unjudged("in_flight", "")
	if z, r, why := thinkTime(s, load, verdict); why == "" {
		think = judged("think_time", z/r, thinkGate, z/r <= thinkGate,
			"a worker paused %.1f ms between requests of %.1f ms: %.1f %% (gate %.0f %%)", 1e3*z, 1e3*r, 100*z/r, 100*thinkGate)
		think.OK = think.OK || z <= thinkFloor
	} else {
		think.Text += why
	}
	// Whoever held the workers back, the load was not what was asked for.
	if why := notSteadyLoop(s, load, verdict); why == "" {
		n := s.Steady.MeanInFlight.Or(0)
		share := n / float64(s.Concurrency)
		inFlight = judged("in_flight", share, inFlightGate, share >= inFlightGate,
			"%.1f in flight on average of %d asked for: %.1f %% (gate %.0f %%)", n, s.Concurrency, 100*share, 100*inFlightGate)
	} else {
		inFlight.Text += why
	}
	return []Check{think, inFlight}
}

// notSteadyLoop says in words why the number in flight cannot be judged; empty
// where it can: in the steady window of a closed loop.
func notSteadyLoop(s *Step, load loadgen.Load, verdict []part) string {
	switch {
	case load.OpenLoop():
		return "requests follow a schedule, not freed slots"
	case s.Steady == nil:
		return "no steady window"
	case s.Steady.Failed > 0:
		return "workers pause after a failure"
	case conversing(verdict):
		return "conversations pause between their turns"
	case s.Steady.DurationSeconds.Or(0) < leastJudged.Seconds():
		return fmt.Sprintf("a window of %.2f s is too short", s.Steady.DurationSeconds.Or(0))
	case s.Window.Requests < s.Concurrency:
		return fmt.Sprintf("%d requests in the window are less than one for each of %d slots", s.Window.Requests, s.Concurrency)
	case s.Steady.MeanInFlight.Or(0) <= 0 || s.Steady.MeanResidenceSeconds.Or(0) <= 0:
		return "no request was timed in the window"
	}
	return ""
}

// thinkTime is Z = N/X - R, the time in seconds that a worker of a closed loop
// spends outside the system per request, and that R; with X by Little's law it
// is R (N / N_mean - 1). Opening a connection is not the client's idleness and
// is taken off. why says in words where it cannot be judged.
func thinkTime(s *Step, load loadgen.Load, verdict []part) (z, r float64, why string) {
	if why = notSteadyLoop(s, load, verdict); why == "" && heldBack(verdict) {
		why = "workers pause after a failure"
	}
	if why != "" {
		return 0, 0, why
	}
	r = s.Steady.MeanResidenceSeconds.Or(0)
	z = r*(float64(s.Concurrency)/s.Steady.MeanInFlight.Or(0)-1) - connectTime(verdict)
	return max(0, z), r, ""
}

// connectTime is the mean time per request spent opening connections, in seconds.
func connectTime(parts []part) float64 {
	var sum float64
	n := 0
	for i := range parts {
		for _, s := range parts[i].cohort {
			sum += (s.Connect + s.TLS).Seconds()
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// heldBack reports whether workers paused after a failure. One from before the
// window may pause into it: as long as a server's Retry-After asks.
func heldBack(parts []part) bool {
	for i := range parts {
		p := &parts[i]
		for j := range p.run.Samples {
			s := &p.run.Samples[j]
			if (s.Class.ServerFailure() || s.Class == loadgen.ClientLimit) && s.End <= p.to {
				return true
			}
		}
	}
	return false
}

func conversing(parts []part) bool {
	for i := range parts {
		for _, s := range parts[i].cohort {
			if s.Conversation >= 0 && s.Turn > 0 {
				return true
			}
		}
	}
	return false
}

func outputCheck(s *Step) Check {
	const name = "output_length"
	want, okWant := s.Lengths.WantOutputTokens.Value()
	got, okGot := s.Lengths.OutputTokens.Value()
	if !okWant || !okGot || want == 0 {
		return unjudged(name, "the workload asks for no length, or nothing succeeded")
	}
	return judged(name, got/want, outputGate, got/want >= outputGate, "%.1f output tokens on average of %.1f asked for: %.1f %% (gate %.0f %%)",
		got, want, 100*got/want, 100*outputGate)
}

// prefixCheck sees whether a prefix cache flattered the figures. It is read from
// the server's counters, or from the token counts of the answers.
func prefixCheck(s *Step, shared bool) Check {
	const name = "prefix_cache"
	if shared {
		return unjudged(name, "the workload asks for shared prefixes")
	}
	hits, source := s.Lengths.CachedShare, "the answers' token counts"
	if s.Server != nil && s.Server.PrefixHitRate.IsKnown() {
		hits, source = s.Server.PrefixHitRate, "the server's counters"
	}
	v, ok := hits.Value()
	if !ok {
		return unjudged(name, "the server counts no cache hits")
	}
	return judged(name, v, prefixGate, v < prefixGate, "%.1f %% of prompt tokens came from the prefix cache by %s (gate %.0f %%)", 100*v, source, 100*prefixGate)
}

// bufferCheck spots a proxy that holds the stream back and passes it on at once:
// the first token comes with the last one, faster than a model can write.
func bufferCheck(s *Step) Check {
	const name = "buffering"
	sum := s.Verdict()
	ttft, ok1 := sum.TTFT.Mean.Value()
	e2e, ok2 := sum.E2E.Mean.Value()
	tpot, ok3 := sum.TPOT.Mean.Value()
	if !ok1 || !ok2 || !ok3 || e2e == 0 {
		return unjudged(name, "nothing was streamed")
	}
	if tpot >= bufferedTPOT || ttft < bufferedShare*e2e {
		return judged(name, ttft/e2e, bufferedShare, true,
			"the first token comes after %.0f %% of the response time, the others %.2f ms apart", 100*ttft/e2e, 1e3*tpot)
	}
	return judged(name, ttft/e2e, bufferedShare, false,
		"the whole answer arrives at once (first token after %.0f %% of the response time, the others %.3f ms apart): something between client and server buffers the stream, TTFT means nothing", 100*ttft/e2e, 1e3*tpot)
}

// trendCheck fits a line through batch means over time. The figures of a step
// that still moves are the figures of no state at all.
func trendCheck(name, label string, parts []part, of func(*loadgen.Sample) (time.Duration, bool)) Check {
	worst := Check{}
	for i := range parts {
		c := trendOf(name, label, &parts[i], of)
		if worst.Check == "" || worst.OK && !c.OK {
			worst = c
		}
	}
	if worst.Check == "" {
		return unjudged(name, "nothing finished")
	}
	return worst
}

func trendOf(name, label string, p *part, of func(*loadgen.Sample) (time.Duration, bool)) Check {
	if !p.steady {
		return unjudged(name, "no steady window")
	}
	var at, value []float64
	for _, s := range p.cohort {
		if v, ok := of(s); ok {
			at = append(at, s.Sent.Seconds())
			value = append(value, v.Seconds())
		}
	}
	if len(value) < minWindow {
		return unjudged(name, fmt.Sprintf("%d requests in the window, %d are needed", len(value), minWindow))
	}
	count := min(maxBatches, max(minBatches, len(value)/warmup(p.run)))
	x, y := batchMeans(at, count), batchMeans(value, count)
	intercept, slope := stat.LinearRegression(x, y, nil, false)
	se := slopeError(x, y, intercept, slope)
	m := stat.Mean(value, nil)
	change := 0.0
	if m > 0 {
		change = slope * p.length().Seconds() / m
	}
	return judged(name, change, trendGate, math.Abs(change) <= trendGate || math.Abs(slope) <= StudentT(float64(count-2))*se,
		"%s changes by %+.1f %% over the window (gate %.0f %% and 2 standard errors)", label, 100*change, 100*trendGate)
}
