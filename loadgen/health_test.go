package loadgen

import (
	"math"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPauses(t *testing.T) {
	before := metrics.Float64Histogram{Counts: []uint64{5, 1, 0}, Buckets: []float64{math.Inf(-1), 1e-5, 1e-4, math.Inf(1)}}
	after := metrics.Float64Histogram{Counts: []uint64{7, 1, 1}, Buckets: before.Buckets}
	total, longest := pauses(before, after)
	// Two of at most 10 us and one beyond 100 us.
	if got := total.Or(-1); math.Abs(got-1.2e-4) > 1e-12 || longest.Or(-1) != 1e-4 {
		t.Errorf("pauses %v in total, longest %v", total, longest)
	}
	if total, longest := pauses(after, after); total.Or(-1) != 0 || longest.Or(-1) != 0 {
		t.Errorf("no pauses: %v, %v", total, longest)
	}
	if total, _ := pauses(metrics.Float64Histogram{}, after); total.IsKnown() {
		t.Error("a difference to nothing")
	}
}

func TestTally(t *testing.T) {
	var y tally
	var empty Health
	y.health(&empty)
	if empty != (Health{}) {
		t.Errorf("health of nothing: %+v", empty)
	}
	ms := time.Millisecond
	y.add(&Sample{Class: ConnectionRefused})
	y.add(&Sample{WasSent: true, Ready: 10 * ms, Sent: 15 * ms, Connect: 2 * ms, TLS: 2 * ms, Stamp: StampKernel, StampDelay: 3 * ms})
	y.add(&Sample{WasSent: true, Ready: 10 * ms, Sent: 11 * ms, ConnReused: true, Stamp: StampKernel, StampDelay: 1 * ms})
	y.add(&Sample{WasSent: true, Ready: 0, Sent: 900 * ms, Retries: 1, ConnReused: true}) // its dispatch is its retry's
	y.lag(4 * ms)
	var h Health
	y.health(&h)
	near := func(name string, n Number, want float64) {
		if got := n.Or(-1); math.Abs(got/want-1) > 0.02 { // the histogram's grain
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	near("dispatch", h.DispatchP99Seconds, 0.001)
	near("stamp p99", h.StampDelayP99Seconds, 0.003)
	near("stamp mean", h.StampDelayMeanSeconds, 0.002)
	near("lag", h.ScheduleLagP99Seconds, 0.004)
	near("reuse", h.ConnReuse, 2.0/3)
	if h.StampSource != "kernel" {
		t.Errorf("stamps by %s", h.StampSource)
	}
	y.add(&Sample{WasSent: true, Stamp: StampUser})
	if y.health(&h); h.StampSource != "mixed" {
		t.Errorf("stamps by %s", h.StampSource)
	}
}

// A kernel stamp is used only where it can be true.
func TestArrival(t *testing.T) {
	start := time.Now()
	const ms = time.Millisecond
	after := start.Add(100 * ms)
	for _, test := range []struct {
		name   string
		kernel time.Time // zero: none
		floor  time.Duration
		at     time.Duration
		delay  time.Duration
		source StampSource
	}{
		{"a stamp", after.Add(-3 * ms), 50 * ms, 97 * ms, 3 * ms, StampKernel},
		{"at the floor", after.Add(-50 * ms), 50 * ms, 50 * ms, 50 * ms, StampKernel},
		{"no stamp", time.Time{}, 50 * ms, 100 * ms, 0, StampUser},
		{"clock set back: stamp after the read", after.Add(time.Hour), 50 * ms, 100 * ms, 0, StampUser},
		{"clock set forward: stamp before the request", after.Add(-time.Hour), 50 * ms, 100 * ms, 0, StampUser},
		{"floor after the read", time.Time{}, 101 * ms, 101 * ms, 0, StampUser},
	} {
		s := &stampConn{after: after}
		if !test.kernel.IsZero() {
			s.kernel = test.kernel.UnixNano()
		}
		got := s.arrival(start, test.floor)
		// The wall clock has its own grain, and tests may run while it is slewed.
		if (got.at-test.at).Abs() > 10*time.Microsecond || (got.delay-test.delay).Abs() > 10*time.Microsecond || got.source != test.source {
			t.Errorf("%s: %+v, want %v %v %s", test.name, got, test.at, test.delay, test.source)
		}
	}
}
