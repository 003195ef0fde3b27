package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

// Runs of a server whose speed differs by a known share from run to run.
func TestSpreadBetweenFindsTheSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, tau := range []float64{0, 0.05, 0.15, 0.30} {
		var sum float64
		const trials = 300
		for range trials {
			var runs []Repeated
			for _, n := range []float64{5, 20, 50} {
				for range 5 {
					mean := 0.01 * n * math.Exp(tau*rng.NormFloat64())
					runs = append(runs, Repeated{n, mean * (1 + 0.01*rng.NormFloat64()), 0.01 * mean})
				}
			}
			b := SpreadBetween(runs, Scatter{})
			sum += b.Tau * b.Tau
			if b.Dof != priorDof+12 || b.Free != 12 {
				t.Fatalf("%+v", b)
			}
		}
		// With 12 degrees of freedom the upper part of what they allow is 1.30 times as much.
		got, want := math.Sqrt(sum/trials), 1.30*math.Sqrt((12*tau*tau+priorDof*priorTau*priorTau)/(12+priorDof))
		if math.Abs(got-want) > 0.08*want+0.004 {
			t.Errorf("spread %.3f estimated as %.3f, want %.3f", tau, got, want)
		}
	}
}

func TestSpreadBetweenWithoutRepeats(t *testing.T) {
	if b := SpreadBetween([]Repeated{{1, 1, .01}, {2, 1, .01}}, Scatter{}); math.Abs(b.Tau-priorTau) > 1e-12 || b.Dof != priorDof {
		t.Errorf("the prior became %+v", b)
	}
	if b := SpreadBetween(nil, Scatter{Relative: 0.001, Dof: 9}); b.Tau >= priorTau/2 || b.Dof != priorDof+9 {
		t.Errorf("points on a curve gave %+v", b)
	}
	// Loads that miss a curve may be runs that differ, until repeats say that they do not.
	miss := Scatter{Relative: 0.2, Dof: 9}
	if b := SpreadBetween(nil, miss); b.Tau < 0.18 {
		t.Errorf("loads off a curve gave %+v", b)
	}
	var same []Repeated
	for range 6 {
		same = append(same, Repeated{10, 1, 0.002})
	}
	if b := SpreadBetween(same, miss); b.Tau > 0.01 || !b.Odd {
		t.Errorf("repeats that agree gave %+v", b)
	}
	// A slow wander makes the loads tell less.
	slow := miss
	slow.Neighbours = 0.6
	if a, b := SpreadBetween(nil, miss), SpreadBetween(nil, slow); math.Abs(b.Tau/a.Tau-2) > 1e-9 {
		t.Errorf("%+v became %+v", a, b)
	}
}

// waiting is a load on a server of 16 slots with a prefill of 20 ms + 1 ms per
// request, at a speed.
func waiting(n, speed float64) Waiting {
	m := math.Min(n, 16)
	p := (0.020 + 0.001*m) / speed
	s := p + 1/speed
	w := (n - m) * s / m
	l := Waiting{Concurrency: n, TTFT: w + p, Residence: w + s}
	for i := range 6 {
		e := 1 + 0.02*float64(i%3-1)
		l.Batches = append(l.Batches, LevelBatch{Requests: 20, Residence: l.Residence * e, TTFT: l.TTFT * e})
	}
	return l
}

// The speed of every load differs, the slots show all the same.
func TestSlotsShowWhateverTheSpeed(t *testing.T) {
	loads := []Waiting{waiting(1, 1), waiting(2, 1.3), waiting(5, 0.8), waiting(10, 1.1), waiting(20, 0.7), waiting(50, 1.25)}
	s := SeeSlots(loads)
	if s == nil || math.Abs(s.At-16) > 0.35 || s.Source != "queue" || math.Abs(s.At-16) > 2.5*s.SE {
		t.Errorf("%+v, want 16", s)
	}
	if s := SeeSlots(loads[:4]); s != nil {
		t.Errorf("slots without a queue: %+v", s)
	}
	// A prefill that grows with the load is no queue.
	var prefill []Waiting
	for _, n := range []float64{1, 2, 5, 10, 20, 50, 100} {
		prefill = append(prefill, Waiting{Concurrency: n, TTFT: 0.1 + 0.012*n, Residence: 4.1 + 0.012*n})
	}
	if s := SeeSlots(prefill); s != nil {
		t.Errorf("a growing prefill gave slots: %+v", s)
	}
}

func TestWaitsBelow(t *testing.T) {
	flat := []Waiting{waiting(1, 1), waiting(2, 1), waiting(5, 1), waiting(10, 1), waiting(14, 1), waiting(50, 1), waiting(100, 1)}
	queued := append(flat, waiting(24, 1), waiting(32, 1))
	var prefill []Waiting
	for _, n := range []float64{1, 2, 5, 10, 20, 50, 100} {
		prefill = append(prefill, Waiting{Concurrency: n, TTFT: 0.1 + 0.05*n, Residence: 4.1 + 0.05*n})
	}
	long := []Waiting{{Concurrency: 10, TTFT: 1, Residence: 2}, {Concurrency: 12, TTFT: 1, Residence: 2}, {Concurrency: 14, TTFT: 1, Residence: 2}}
	for _, c := range []struct {
		loads []Waiting
		below float64
		want  bool
	}{{long, 40, false}, {flat, 40, false}, {flat, 50, false}, {queued, 40, true}, {queued, 24, false}, {prefill, 100, false}} {
		if got := WaitsBelow(c.loads, c.below); got != c.want {
			t.Errorf("16 slots, a growing or a long prefill, %d loads up to %v: waits %v, want %v", len(c.loads), c.below, got, c.want)
		}
	}
}

func TestSlotsByTheServersMetrics(t *testing.T) {
	seen := func(n, running, queued float64) Waiting {
		return Waiting{Concurrency: n, TTFT: 1, Residence: 2, Running: loadgen.Known(running), Queued: loadgen.Known(queued)}
	}
	if s := SeeSlots([]Waiting{seen(10, 10, 0), seen(20, 16, 4), seen(50, 16, 33)}); s == nil || s.At != 16 || s.Source != "metrics" {
		t.Errorf("%+v, want 16", s)
	}
	if s := slotsByMetrics([]Waiting{seen(20, 16, 4), seen(50, 31, 19)}); s != nil {
		t.Errorf("what grows with the load passed for slots: %+v", s)
	}
}
