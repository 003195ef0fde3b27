package analysis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// TestFloorsOfTheClientGates: no gate is asked of a run too short for its figure
// to mean anything, nor of a figure that is too small to matter, and each is
// asked just above.
func TestFloorsOfTheClientGates(t *testing.T) {
	known := loadgen.Known
	for _, c := range []struct {
		name    string
		elapsed time.Duration
		health  loadgen.Health
		limited bool
	}{
		{"all of them in 2.4 ms", 2400 * time.Microsecond, loadgen.Health{CPUShare: known(0.98), CPUSeconds: known(0.0047), GCPauseSeconds: known(0.00085),
			DispatchP99Seconds: known(0.03), StampDelayP99Seconds: known(0.03), ScheduleLagP99Seconds: known(0.03)}, false},
		{"all of them in half a second less a millisecond", 499 * ms, loadgen.Health{CPUShare: known(1), CPUSeconds: known(1), GCPauseSeconds: known(0.4),
			DispatchP99Seconds: known(1), StampDelayP99Seconds: known(1), ScheduleLagP99Seconds: known(1)}, false},
		{"CPU", 500 * ms, loadgen.Health{CPUShare: known(0.8), CPUSeconds: known(0.8)}, true},
		{"little CPU of a small quota", 500 * ms, loadgen.Health{CPUShare: known(0.8), CPUSeconds: known(0.19)}, false},
		{"garbage", 600 * ms, loadgen.Health{GCPauseSeconds: known(0.051)}, true},
		{"little garbage", 600 * ms, loadgen.Health{GCPauseSeconds: known(0.049)}, false},
		{"garbage, a small share", 60 * time.Second, loadgen.Health{GCPauseSeconds: known(2.9)}, false},
		{"dispatch", 600 * ms, loadgen.Health{DispatchP99Seconds: known(0.011)}, true},
		{"dispatch of few", 600 * ms, loadgen.Health{DispatchP99Seconds: known(0.5)}, false},
		{"little dispatch", 600 * ms, loadgen.Health{DispatchP99Seconds: known(0.009)}, false},
		{"stamps", 600 * ms, loadgen.Health{StampDelayP99Seconds: known(0.011)}, true},
		{"little of stamps", 600 * ms, loadgen.Health{StampDelayP99Seconds: known(0.009)}, false},
		{"schedule", 600 * ms, loadgen.Health{ScheduleLagP99Seconds: known(0.011)}, true},
		{"little lag", 600 * ms, loadgen.Health{ScheduleLagP99Seconds: known(0.009)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := time.Duration(100)
			if strings.HasSuffix(c.name, "of few") {
				n = 99 // whose 99th percentile is the slowest of them
			}
			run := steadyTalk(slices.Repeat([]time.Duration{c.elapsed / n}, int(n))...)
			run.Elapsed, run.Health = c.elapsed, c.health
			if s := Summarize([]loadgen.Run{run}, Options{}); s.ClientLimited() != c.limited {
				t.Errorf("limits %q", s.Client.Limits)
			}
		})
	}
}

// TestShortRunBesideALongOne: a first run that was given up at once lends its
// figures to no gate of the second, and does not stand for the CPU that was used.
func TestShortRunBesideALongOne(t *testing.T) {
	short, long := steadyTalk(2*ms), steadyTalk(time.Second, time.Second)
	short.Health = loadgen.Health{CPUShare: loadgen.Known(0.97), GCPauseSeconds: loadgen.Known(0.3), DispatchP99Seconds: loadgen.Known(0.9)}
	long.Health = loadgen.Health{CPUShare: loadgen.Known(0.1), GCPauseSeconds: loadgen.Known(0.001), DispatchP99Seconds: loadgen.Known(0.001)}
	s := Summarize([]loadgen.Run{short, long}, Options{})
	if s.ClientLimited() || s.Client.CPUShare.Or(0) != 0.1 {
		t.Errorf("limits %q, CPU %v", s.Client.Limits, s.Client.CPUShare)
	}
	long.Health.CPUShare = loadgen.Known(0.8)
	longer := long
	longer.Health.CPUShare = loadgen.Known(0.9)
	if s := Summarize([]loadgen.Run{long, longer, long}, Options{}); len(s.Client.Limits) != 1 || !strings.Contains(s.Client.Limits[0], "90 %") {
		t.Errorf("of three runs over the gate: %q", s.Client.Limits)
	}
}

// TestHeldWorkersAreNotIdle: of ten workers two were refused before the window and
// sit out the server's Retry-After: that is no client too slow to keep ten in
// flight.
func TestHeldWorkersAreNotIdle(t *testing.T) {
	run := synth{n: 8, requests: 160, prefill: 20 * ms, decode: 180 * ms, tokens: 20}.run()
	run.Load.Concurrency = 10
	if s := Summarize([]loadgen.Run{run}, Options{}); !s.ClientLimited() {
		t.Fatalf("two of ten workers that never send are not noticed: %+v", s.Window)
	}
	for i := range 2 {
		run.Samples = append(run.Samples, loadgen.Sample{Index: 160 + i, Conversation: -1, CachedTokens: -1, WasSent: true, End: ms,
			Class: loadgen.HTTP429, Status: 429, RetryAfter: time.Hour})
	}
	s := Summarize([]loadgen.Run{run}, Options{})
	if s.ClientLimited() {
		t.Errorf("limits %q", s.Client.Limits)
	}
	if c := check(t, &s, "in_flight"); c.OK {
		t.Errorf("8 in flight of 10 are what was asked for: %s", c.Text)
	}
	if c := check(t, &s, "think_time"); !strings.Contains(c.Text, "pause after a failure") {
		t.Errorf("think time: %s", c.Text)
	}
}

// TestThinkTimeFloor: 0.8 ms between requests of 10 ms is the scheduler's doing,
// and a window of less than half a second tells nothing of it.
func TestThinkTimeFloor(t *testing.T) {
	quick := synth{n: 4, requests: 1200, prefill: 2 * ms, decode: 8 * ms, tokens: 5, pause: 800 * time.Microsecond}
	s := Summarize([]loadgen.Run{quick.run()}, Options{})
	if c := check(t, &s, "think_time"); !c.OK || !c.Value.IsKnown() {
		t.Errorf("0.8 ms: %+v", c)
	}
	quick.pause = 1200 * time.Microsecond
	s = Summarize([]loadgen.Run{quick.run()}, Options{})
	if c := check(t, &s, "think_time"); c.OK {
		t.Errorf("1.2 ms: %+v", c)
	}
	quick.requests, quick.pause = 40, 30*ms // a window of 0.35 s
	if s := Summarize([]loadgen.Run{quick.run()}, Options{}); s.ClientLimited() {
		t.Errorf("limits %q, window %+v", s.Client.Limits, s.Window)
	}
	quick.requests = 400
	if s := Summarize([]loadgen.Run{quick.run()}, Options{}); !s.ClientLimited() {
		t.Errorf("30 ms of pauses are not noticed: window %+v", s.Window)
	}
}
