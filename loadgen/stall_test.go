package loadgen

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestStallsAreSeenByWhoeverComesFirst(t *testing.T) {
	now := time.Duration(0)
	s := stalls{now: func() time.Duration { return now }}
	at := func(d time.Duration) { now = d }
	at(50 * time.Millisecond)
	s.tick()
	at(150 * time.Millisecond)
	if s.touch(0, now) {
		t.Error("a late beat of 100 ms is no stall")
	}
	at(1350 * time.Millisecond) // 1.2 s without a beat
	if !s.touch(100*time.Millisecond, now) {
		t.Error("a request across the stall was not touched")
	}
	at(1400 * time.Millisecond)
	s.tick()
	for _, c := range []struct {
		from, to time.Duration
		want     bool
	}{
		{0, 100 * time.Millisecond, false}, {0, 200 * time.Millisecond, true}, {500 * time.Millisecond, 600 * time.Millisecond, true},
		{1300 * time.Millisecond, 1400 * time.Millisecond, true}, {1360 * time.Millisecond, 1400 * time.Millisecond, false},
	} {
		if got := s.touch(c.from, c.to); got != c.want {
			t.Errorf("%v to %v: touched %v", c.from, c.to, got)
		}
	}
	if len(s.seen) != 1 {
		t.Errorf("%v", s.seen)
	}
}

// The beat's time jumps, as that of a process that was stopped does.
func TestStalledRequestKeepsItsSuccessAndLosesItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		r := newRunner(ctx, nil, Load{Concurrency: 1, Requests: 1})
		defer r.cancel()
		stop := r.stalls.watch(r.now)
		defer stop()
		base := Sample{WasSent: true, Streamed: true, OutputEvents: 2, OutputTokens: 2, FirstOutput: 10 * time.Millisecond, LastOutput: 20 * time.Millisecond}
		quick := base
		quick.End = 20 * time.Millisecond
		time.Sleep(quick.End)
		r.emit(&quick)
		r.stalls.now = func() time.Duration { return r.now() + time.Second }
		slow := base
		slow.Ready, slow.Sent, slow.End = quick.End, quick.End, time.Second
		r.emit(&slow)
		if quick.Stalled || !slow.Stalled {
			t.Fatalf("stalled: %v, %v", quick.Stalled, slow.Stalled)
		}
		_, ttft := slow.TTFT()
		_, e2e := slow.E2E()
		_, tpot := slow.TPOT()
		_, residence := slow.Residence()
		if ttft || e2e || tpot || residence || slow.Class != Success {
			t.Errorf("TTFT %v, E2E %v, TPOT %v, residence %v known of a stalled request of class %q", ttft, e2e, tpot, residence, slow.Class)
		}
	})
}
