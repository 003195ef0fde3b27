package analysis

import (
	"cmp"
	"math"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// cutTail is a run as it would have been with its tail cut: every request that ended later
// than the first output of all has as many tokens as had come by then.
func cutTail(r loadgen.Run, perEvent int) loadgen.Run {
	var at time.Duration
	for _, s := range r.Samples {
		at = max(at, s.FirstOutput)
	}
	for i := range r.Samples {
		s := &r.Samples[i]
		s.OutputEvents = max(1, s.OutputTokens/perEvent)
		if s.End <= at {
			continue
		}
		each := (s.LastOutput - s.FirstOutput) / time.Duration(max(1, s.OutputEvents-1))
		s.OutputEvents = 1 + int((at-s.FirstOutput)/max(each, 1))
		s.LastOutput = s.FirstOutput + time.Duration(s.OutputEvents-1)*each
		s.OutputTokens, s.TokenSource = s.OutputEvents, loadgen.TokensFromEvents
		s.Class, s.End = loadgen.Cancelled, at
	}
	r.End, r.Elapsed = loadgen.EndCut, at
	return r
}

// A run whose tail was cut says of its load what the whole of it does: times, lengths and
// throughput, although the long answers are those that were cut.
func TestCutTailSaysAsMuch(t *testing.T) {
	for name, tt := range map[string]struct {
		run      synth
		perEvent int
		asWanted bool
	}{
		"lengths vary":               {synth{n: 100, requests: 250, prefill: 100 * time.Millisecond, decode: 2 * time.Second, tokens: 100, lengthCV: 0.7, stagger: 2 * time.Second, seed: 3}, 1, true},
		"a queue":                    {synth{n: 100, requests: 250, slots: 60, prefill: 100 * time.Millisecond, decode: 2 * time.Second, tokens: 100, lengthCV: 0.5, stagger: 3 * time.Second, seed: 4}, 1, true},
		"four tokens an event":       {synth{n: 100, requests: 250, prefill: 100 * time.Millisecond, decode: 2 * time.Second, tokens: 200, lengthCV: 0.5, stagger: 2 * time.Second, seed: 5}, 4, true},
		"no length was asked for":    {synth{n: 100, requests: 250, prefill: 100 * time.Millisecond, decode: 2 * time.Second, tokens: 100, lengthCV: 0.4, stagger: 2 * time.Second, seed: 6}, 1, false},
		"each has a pace of its own": {synth{n: 100, requests: 250, prefill: 100 * time.Millisecond, decode: 2 * time.Second, tokens: 100, cv: 0.3, stagger: 2 * time.Second, seed: 7}, 1, true},
	} {
		whole := tt.run.run()
		if !tt.asWanted {
			for i := range whole.Samples {
				whole.Samples[i].WantOutputTokens = 1000
			}
		}
		cut := cutTail(tt.run.run(), tt.perEvent)
		if !tt.asWanted {
			for i := range cut.Samples {
				cut.Samples[i].WantOutputTokens = 1000
			}
		}
		a, b := Summarize([]loadgen.Run{whole}, Options{}), Summarize([]loadgen.Run{cut}, Options{})
		if b.Verdict() != b.Steady || b.Whole.Cancelled < 20 || b.Failures[loadgen.Cancelled] > 0 {
			t.Fatalf("%s: verdict by %s, %d cut, failures %v", name, b.VerdictBasis, b.Whole.Cancelled, b.Failures)
		}
		near := func(what string, got, want, share float64) {
			if !(math.Abs(got-want) <= share*want) {
				t.Errorf("%s: %s %.4g, of the whole %.4g", name, what, got, want)
			}
		}
		near("TTFT", b.Steady.TTFT.Mean.Or(0), a.Steady.TTFT.Mean.Or(0), 1e-9)
		share := map[bool]float64{true: 0.015, false: 0.05}[tt.asWanted]
		near("E2E", b.Steady.E2E.Mean.Or(0), a.Steady.E2E.Mean.Or(0), share)
		near("throughput", b.Steady.RequestThroughput.Or(0), a.Steady.RequestThroughput.Or(0), share)
		near("tokens", float64(b.Steady.OutputTokens), float64(a.Steady.OutputTokens), share)
		near("TPOT", b.Steady.TPOT.Mean.Or(0), a.Steady.TPOT.Mean.Or(0), 0.02)
		la, lb := a.Level.ForLength(float64(tt.run.tokens), 0), b.Level.ForLength(float64(tt.run.tokens), 0)
		c := tt.run
		truth := c.service().Seconds() * max(1, float64(c.n)/float64(cmp.Or(c.slots, c.n)))
		offA, offB := math.Abs(la.Mean().Residence-truth), math.Abs(lb.Mean().Residence-truth)
		if offB > max(offA, 0.02*truth) {
			t.Errorf("%s: level %.4g, of the whole %.4g, truly %.4g", name, lb.Mean().Residence, la.Mean().Residence, truth)
		}
	}
}

// Of a short run with a queue hardly any request is sent and ends within the window: there is
// a level all the same, from those that began to be answered.
func TestCutTailOfAQueue(t *testing.T) {
	load := synth{n: 20, requests: 42, slots: 8, prefill: 100 * time.Millisecond, decode: 2 * time.Second, tokens: 100, lengthCV: 0.5, stagger: 3 * time.Second, seed: 9}
	l := levelOf(steadyParts([]loadgen.Run{cutTail(load.run(), 1)}))
	if l == nil || math.Abs(l.PerToken-2.0/99) > 1e-4 {
		t.Fatalf("level %+v", l)
	}
}

// What a server's counters see in the window of a short run with a queue are first tokens of
// requests that were sent before those of the verdict, and waited less.
func TestServerSeesOtherRequests(t *testing.T) {
	load := synth{n: 100, requests: 250, slots: 28, prefill: 100 * time.Millisecond, decode: 2 * time.Second, tokens: 100, stagger: 4 * time.Second, seed: 9}
	run := load.run()
	s := Summarize([]loadgen.Run{run}, Options{Server: &Telemetry{ServerTTFTMean: loadgen.Known(3)}})
	sum, n := 0.0, 0
	for _, x := range run.Samples {
		if at := x.FirstOutput.Seconds(); at >= s.Window.FromSeconds && at <= s.Window.ToSeconds {
			sum, n = sum+(x.FirstOutput-x.Sent).Seconds(), n+1
		}
	}
	if got, all := s.Server.ClientTTFTMean.Or(0), s.Steady.TTFT.Mean.Or(0); math.Abs(got-sum/float64(n)) > 1e-9 || got > 0.9*all {
		t.Errorf("%.3f s of %d first tokens, want %.3f and less than the verdict's %.3f", got, n, sum/float64(n), all)
	}
}

// An answer that takes as long whatever its length is not carried on at others' pace.
func TestCutTailWhereLengthDoesNotMatter(t *testing.T) {
	load := synth{n: 50, requests: 125, prefill: 100 * time.Millisecond, decode: time.Second, tokens: 100, stagger: time.Second, seed: 8}
	whole := load.run()
	for i := range whole.Samples {
		s := &whole.Samples[i]
		s.OutputTokens = 5 + 37*i%200
		s.WantOutputTokens = s.OutputTokens
	}
	cut := cutTail(whole, 1)
	s := Summarize([]loadgen.Run{cut}, Options{})
	if got := s.Steady.E2E.Mean.Or(0); math.Abs(got-1.1) > 0.03 {
		t.Errorf("E2E %.3f s, want 1.1", got)
	}
}
