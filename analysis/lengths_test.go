package analysis

import (
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Answers whose lengths vary by half: without control of the lengths the same
// steps put the limits wrong by several times as much.
func TestLimitsDespiteAnswersOfAllLengths(t *testing.T) {
	const runs = 6
	cases := []struct {
		name  string
		at    func(n int) synth
		ns    []int
		truth float64
		off   float64 // allowed
	}{
		{"slots", func(n int) synth { return slots(n) }, []int{1, 2, 5, 10, 20, 50, 58, 70, 100}, 64, 1},
		{"decode", func(n int) synth {
			return synth{n: n, requests: 10 * n, prefill: 20 * ms, decode: time.Duration(decodeR(float64(n))*1e9) - 20*ms, tokens: 256}
		}, []int{1, 2, 5, 10, 20, 50, 100, 120, 200}, 108, 2},
		{"usl", func(n int) synth {
			return synth{n: n, requests: 10 * n, prefill: 20 * ms, decode: time.Duration(uslR(float64(n))*1e9) - 20*ms, tokens: 101}
		}, []int{1, 2, 5, 10, 20, 34, 41, 50, 100}, 37, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(runs) {
				var steps []Step
				for i, n := range c.ns {
					s := c.at(n)
					s.lengthCV, s.seed, s.stagger = 0.5, 1000*seed+uint64(i), s.service()
					steps = append(steps, Summarize([]loadgen.Run{s.run()}, Options{}))
				}
				l := GainLimit(Fit(CurveInputs(steps, 0.95), FitOptions{Seed: seed, Resamples: 100}))
				near(t, "gain limit", l.Concurrency, c.truth, c.off)
				if l.Low.Or(1e9) > c.truth || l.High.Or(1e9) < c.truth {
					t.Errorf("interval %v-%v misses %g", l.Low, l.High, c.truth)
				}
			}
		})
	}
}

func TestTTFTLimitDespiteAnswersOfAllLengths(t *testing.T) {
	const truth, runs = 64 + 64*0.9/2.1, 40
	covered, within := 0, 0
	for seed := range uint64(runs) {
		var steps []Step
		for i, n := range []int{1, 2, 5, 10, 20, 50, 100, 91, 92} {
			c := slots(n)
			if i >= 7 {
				c.requests = 4 * n
			}
			c.lengthCV, c.seed, c.stagger = 0.5, 100*seed+uint64(i), 2100*ms
			steps = append(steps, Summarize([]loadgen.Run{c.run()}, Options{}))
		}
		c := Cross(LatencyPoints(steps, "ttft", "mean", 1), 1)
		if c.Low.Or(0) <= truth && truth <= c.High.Or(0) {
			covered++
		}
		if c.At.Or(0) > truth-1 && c.At.Or(0) < truth+1 {
			within++
		}
	}
	t.Logf("within 1 in %d, covered %d of %d", within, covered, runs)
	if covered < runs*9/10 || within < runs*95/100 {
		t.Errorf("within 1 in %d, covered %d of %d", within, covered, runs)
	}
}

func TestNoLengthsNoControl(t *testing.T) {
	c := slots(20)
	c.cv, c.seed, c.stagger = 0.3, 1, 2100*ms
	s := Summarize([]loadgen.Run{c.run()}, Options{})
	got := newLengthControl([]Step{s}).apply(s.Steady, 20)
	near(t, "throughput", loadgen.Known(got.throughput), s.Steady.RequestThroughput.Or(0), 1e-9)
	var none lengthControl
	if d, e := none.scales(100, 10, 1); d != 1 || e != 1 {
		t.Errorf("scales %g, %g without lengths", d, e)
	}
	if newLengthControl(nil).tokens != 0 {
		t.Error("lengths of nothing")
	}
}
