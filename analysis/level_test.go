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
		level := levelOf(steadyParts([]loadgen.Run{hasten(load.run())}))
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
	level := levelOf(steadyParts([]loadgen.Run{load.run()}))
	if got, want := level.Mean().Residence, 2*1.6; math.Abs(got/want-1) > 0.03 {
		t.Errorf("time in system %.3f s, want %.3f: a fifth takes four times as long", got, want)
	}
}

// Of a run of less than four waves the window begins where all are in flight; a longer one
// forgives a spread that was not that of the response time, and waits for a wave to end.
func TestBriefRuns(t *testing.T) {
	for _, tt := range []struct {
		requests int
		stagger  time.Duration
		from     time.Duration
		cohort   int
	}{
		{250, 2 * time.Second, 2 * time.Second, 150}, // dispatched from then on; the last moment is left out
		{400, 2 * time.Second, 4*time.Second - 20*time.Millisecond, 200},
		{250, 0, 2 * time.Second, 0}, // a burst has no spread to go by: the wave must end
	} {
		load := synth{n: 100, requests: tt.requests, decode: 2 * time.Second, tokens: 100, stagger: tt.stagger, seed: 5}
		parts := steadyParts([]loadgen.Run{load.run()})
		if tt.stagger == 0 {
			if len(parts) > 0 && parts[0].from < tt.from {
				t.Errorf("after a burst the window begins at %v", parts[0].from)
			}
			continue
		}
		if len(parts) != 1 || parts[0].from != tt.from || math.Abs(float64(len(parts[0].cohort)-tt.cohort)) > 2 {
			t.Errorf("%d requests: %+v, want %d from %v on", tt.requests, parts, tt.cohort, tt.from)
		}
	}
}

// A brief run's verdict is that of its window, however small: the whole of it is mostly the
// load filling up and draining away.
func TestBriefVerdict(t *testing.T) {
	for requests, want := range map[int]Basis{25: BasisSteady, 12: BasisWhole, 60: BasisSteady, 45: BasisWhole} {
		load := synth{n: 10, requests: requests, decode: 2 * time.Second, tokens: 100, stagger: 2 * time.Second, seed: 7}
		s := Summarize([]loadgen.Run{load.run()}, Options{})
		if s.VerdictBasis != want {
			t.Errorf("%d requests at 10 in flight: %s, want %s", requests, s.VerdictBasis, want)
		}
		if x := s.Verdict().RequestThroughput.Or(0); want == BasisSteady && math.Abs(x-5) > 0.05 {
			t.Errorf("%d requests at 10 in flight: %.2f req/s, want 5", requests, x)
		}
	}
}

// A level takes three successes that ended under the full load: else nothing is known of
// what the lengths of the answers have to do with it.
func TestNoLevelWithoutALine(t *testing.T) {
	short := synth{n: 10, requests: 16, decode: 2 * time.Second, tokens: 100, lengthCV: 0.5, stagger: 2 * time.Second, seed: 6}
	if l := levelOf(steadyParts([]loadgen.Run{short.run()})); l != nil {
		t.Errorf("a level of %d requests, per token %v", l.Requests, l.PerToken)
	}
	short.requests = 35
	if l := levelOf(steadyParts([]loadgen.Run{short.run()})); l == nil || l.PerToken == 0 {
		t.Errorf("a level: %+v", l)
	}
}

// Where a time grows with the load all along, as a prefill does, it crosses its threshold on
// the straight line between the loads around it, long before a queue would make it.
func TestCrossingOfWhatGrowsAllAlong(t *testing.T) {
	var pts []CrossingPoint
	for _, n := range []float64{1, 5, 10, 20, 100} {
		value := 0.1 + 0.012*n
		r := 4 + value
		pts = append(pts, CrossingPoint{Concurrency: n, Value: value, SE: 0.01 * value, Dof: 3, Throughput: n / r, Predicted: n / r * (1 + r - value), PredictedSE: 0.01 * n})
	}
	if c := Cross(pts, 1, Between{}); math.Abs(c.At.Or(0)-75) > 0.5 {
		t.Errorf("at %v, want 75", c.At)
	}
}

func TestKneeAhead(t *testing.T) {
	var pts []CurveInput
	for _, n := range []float64{1, 5, 10, 20} {
		pts = append(pts, CurveInput{Concurrency: n, Residence: 2 + 0.05*n, SE: 0.01, Dof: 5, Requests: 30})
	}
	o := FitOptions{Gain: 0.2}
	want := (1 - math.Log2(1.2)) / math.Log2(1.2) * 2 / 0.05
	if at, ok := KneeAhead(pts, o); !ok || math.Abs(at-want) > 0.1 {
		t.Errorf("%v %v, want %.1f", at, ok, want)
	}
	if at, ok := KneeAhead(pts[:2], o); ok {
		t.Errorf("two loads: %v", at)
	}
	for i := range pts {
		pts[i].Residence = 2
	}
	if at, ok := KneeAhead(pts, o); ok {
		t.Errorf("nothing rises: %v", at)
	}
}
