package loadgen

import (
	"math"
	"testing"
	"time"
)

func TestScheduleDistribution(t *testing.T) {
	for _, test := range []struct{ burstiness, cv float64 }{{0, 1}, {1, 1}, {0.25, 2}, {4, 0.5}, {math.Inf(1), 0}} {
		s := newSchedule(Load{Rate: 50, Burstiness: test.burstiness, Seed: 7})
		const n = 20000
		last, sum, squares := s.draw(), 0.0, 0.0
		if last != 0 {
			t.Errorf("burstiness %v: first due at %v", test.burstiness, last)
		}
		for range n {
			at := s.draw()
			gap := (at - last).Seconds()
			last, sum, squares = at, sum+gap, squares+gap*gap
		}
		mean := sum / n
		cv := math.Sqrt(max(0, squares/n-mean*mean)) / mean
		if math.Abs(mean*50-1) > 0.05 || math.Abs(cv-test.cv) > 0.05*max(1, test.cv) {
			t.Errorf("burstiness %v: mean gap %v, coefficient of variation %v, want 0.02 and %v", test.burstiness, mean, cv, test.cv)
		}
	}
}

func TestScheduleIsScaledAndRepeats(t *testing.T) {
	load := Load{Rate: 20, Requests: 101, Burstiness: 0.5, Seed: 3}
	a, b := newSchedule(load), newSchedule(load)
	load.Seed = 4
	other, differs := newSchedule(load), false
	var last time.Duration
	for range load.Requests {
		at := a.draw()
		if at < last || at != b.draw() {
			t.Fatal("the schedule does not repeat or goes backwards")
		}
		differs = differs || at != other.draw()
		last = at
	}
	if !differs {
		t.Error("the seed does not matter")
	}
	if diff := (last - 5*time.Second).Abs(); diff > time.Microsecond {
		t.Errorf("the last of 101 requests at 20/s is due at %v, want 5 s", last)
	}
}

func TestPace(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		bound, elapsed, due, wait time.Duration
		stop                      bool
	}{
		{0, 0, 0, 0, false},
		{0, 1 * s, 3 * s, 2 * s, false},
		{0, 3 * s, 1 * s, 0, false}, // late: at once
		{4 * s, 1 * s, 3 * s, 2 * s, false},
		{4 * s, 1 * s, 4 * s, 0, true},
		{4 * s, 4 * s, 3 * s, 0, true},
	} {
		wait, stop := Load{Duration: test.bound}.pace(test.elapsed, test.due)
		if wait != test.wait || stop != test.stop {
			t.Errorf("pace(%v, %v) within %v = %v, %v", test.elapsed, test.due, test.bound, wait, stop)
		}
	}
}

func TestImpossibleLoads(t *testing.T) {
	for _, load := range []Load{
		{}, {Concurrency: 1}, {Concurrency: 0, Requests: 5}, {Concurrency: 1, Requests: -1},
		{Concurrency: 1, Requests: 1, Rate: -1}, {Concurrency: 1, Requests: 1, Burstiness: -1}, {Concurrency: 1, Requests: 1, Start: "slowly"},
	} {
		if _, err := NewEngine(silentDoer{}).Run(t.Context(), load); err == nil {
			t.Errorf("%+v was accepted", load)
		}
	}
}
