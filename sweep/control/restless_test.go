package control_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/sweep"
)

// troubled is the server with 64 slots, answers of varying length, and a trouble.
func troubled(t *testing.T, set func(*simserver.Config)) simserver.Worked {
	w := worked(t, "slots")
	w.Config.LengthSpread = 0.5
	set(&w.Config)
	return w
}

// The truth is 64, and no interval may leave it out.
func TestServerThatSwitchesBetweenPaces(t *testing.T) {
	minutely := func(c *simserver.Config) {
		c.NoisyNeighbour = simserver.NoisyNeighbour{Share: 0.5, Start: 20 * time.Second, For: 10 * time.Second, Every: time.Minute}
	}
	modes := func(c *simserver.Config) {
		c.Bimodal = simserver.Bimodal{Share: 0.3, Factor: 2, Dwell: 5 * time.Second}
	}
	for _, c := range []struct {
		name string
		seed uint64
		set  func(*simserver.Config)
	}{{"neighbour every minute", 27, minutely}, {"neighbour every minute", 70, minutely}, {"two modes", 74, modes}, {"two modes", 77, modes}} {
		r := answerOf(t, troubled(t, c.set), c.seed, nil)
		right := r.Limit != nil && r.Limit.Low.Or(99) <= 64 && r.Limit.High.Or(64) >= 64
		if !right && r.Verdict != sweep.Unstable {
			t.Errorf("%s, seed %d: %s: %s", c.name, c.seed, r.Verdict, r.Sentence)
		}
	}
}

// Servers whose speed wanders as slowly as a sweep lasts are the hardest: an interval
// has to say so. A thousand sweeps of each are what the bench counts.
func TestIntervalsOfAServerThatWanders(t *testing.T) {
	if raceDetector {
		t.Skip("hundreds of sweeps take minutes under the race detector, and share nothing")
	}
	const runs, least = 100, 0.92
	for _, tr := range append(trials(), uneven()...) {
		switch tr.Name {
		case "wander 15 % 60 s, TTFT 250 ms", "wander 30 % 10 s, TTFT 250 ms", "wander 15 % 10 s, memory bound", "batches of 16, memory bound", "errors grow quickly c=0.5",
			"one of 3 small, least_connections, 28 slots":
			if n := tr.covered(tr.drawn(runs)); float64(n) < least*runs {
				t.Errorf("%s: %d of %d intervals hold the truth", tr.Name, n, runs)
			}
		}
	}
}

// Behind a balancer that deals out in turn a small replica's queue takes many response
// times to build up: who reads the answer has to know that the runs were too short.
func TestReplicaThatFillsSlowly(t *testing.T) {
	for _, w := range simserver.Uneven() {
		if w.Name != "one of 3 small, round_robin, 28 slots" {
			continue
		}
		r := answerOf(t, w, 1, nil)
		if !slices.ContainsFunc(r.Warnings, func(s string) bool { return strings.Contains(s, "TTFT still rose when the runs at") }) {
			t.Errorf("%q: not a word of runs that were too short: %q", r.Sentence, r.Warnings)
		}
		return
	}
	t.Fatal("no such server")
}
