package analysis

import (
	"math"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// hasten makes whatever a run does after its last dispatch go in half the time,
// as on a server that is quicker with fewer requests in flight.
func hasten(r loadgen.Run) loadgen.Run {
	var last time.Duration
	for i := range r.Samples {
		last = max(last, r.Samples[i].Sent)
	}
	soon := func(t time.Duration) time.Duration {
		if t <= last {
			return t
		}
		return last + (t-last)/2
	}
	for i := range r.Samples {
		s := &r.Samples[i]
		s.LastOutput, s.End = soon(s.LastOutput), soon(s.End)
	}
	return r
}

// A level is that of the full load, whatever the drain was like and however much
// longer some answers are than others.
func TestLevelIsThatOfTheFullLoad(t *testing.T) {
	for _, cv := range []float64{0, 0.5, 1} {
		load := synth{n: 20, requests: 200, decode: 2 * time.Second, tokens: 100, lengthCV: cv, stagger: 2 * time.Second, seed: 3}
		run := load.run()
		// What the requests of the window take without a drain, at the same lengths.
		want, n := 0.0, 0.0
		for _, s := range steadyParts([]loadgen.Run{run})[0].cohort {
			r, _ := s.Residence()
			want, n = want+r.Seconds(), n+1
		}
		want /= n
		level := LevelOf([]loadgen.Run{hasten(load.run())})
		if got := level.Mean().Residence; math.Abs(got/want-1) > 0.002 {
			t.Errorf("c=%v: time in system %.4f s, %.4f s without the drain", cv, got, want)
		}
	}
}

// Where lengths do not explain how long answers take, the long ones are kept by
// leaving out the last to be sent, not the last to end.
func TestLevelKeepsSlowRequests(t *testing.T) {
	load := synth{n: 20, requests: 400, decode: 2 * time.Second, tokens: 100, stagger: 2 * time.Second, seed: 4,
		overhead: func(i int) float64 { return []float64{1, 1, 1, 1, 4}[i%5] }}
	level := LevelOf([]loadgen.Run{load.run()})
	if got, want := level.Mean().Residence, 2*1.6; math.Abs(got/want-1) > 0.03 {
		t.Errorf("time in system %.3f s, want %.3f: a fifth takes four times as long", got, want)
	}
}
