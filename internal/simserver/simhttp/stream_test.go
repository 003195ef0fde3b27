package simhttp

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/capfind/capfind/internal/simserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Kill makes the server die as in a crash: all connections are reset, new ones
// refused, for good or until Restart.
func (s *Server) Kill() { s.Restart(0) }

// Restart kills the server and brings it back after the given time; 0 leaves it
// dead. It returns when the server is down.
func (s *Server) Restart(downFor time.Duration) {
	s.engine.Kill(downFor)
	s.down(downFor)
}

// tokenTimes returns when each of an answer's tokens would be written, the HTTP
// server's own pacing under fake time.
func tokenTimes(s *Server, key uint64, prompt, output int) []time.Duration {
	r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "/", nil) // the method and address are sound
	st := &stream{s: s, r: r, ask: &ask{output: output}, timer: time.NewTimer(time.Hour)}
	defer st.timer.Stop()
	st.job, _ = s.engine.Submit(key, make([]uint32, prompt), output)
	var out []time.Duration
	for k := range output {
		if !st.untilToken(k) {
			break
		}
		out = append(out, time.Since(s.started))
	}
	return out
}

func paced(t *testing.T, c simserver.Config) *Server {
	e, err := simserver.NewEngine(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{cfg: c, engine: e, started: time.Now()}
}

// TestEveryTokenAtItsMoment: p(x) and then one t(x) after the other, also when
// another request joins in the middle and slows the steps down.
func TestEveryTokenAtItsMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simserver.Default()
		c.StepTime, c.StepTimePerRequest, c.Prefill = 10*time.Millisecond, 10*time.Millisecond, 100*time.Millisecond
		s := paced(t, c)
		var wg sync.WaitGroup
		wg.Go(func() {
			for k, got := range tokenTimes(s, 1, 10, 21) {
				want := 100*time.Millisecond + time.Duration(k)*20*time.Millisecond
				if k > 5 { // the second request came with the sixth token
					want = 200*time.Millisecond + time.Duration(k-5)*30*time.Millisecond
				}
				if got != want {
					t.Errorf("token %d at %v, want %v", k, got, want)
				}
			}
		})
		time.Sleep(200 * time.Millisecond)
		wg.Go(func() { tokenTimes(s, 2, 10, 51) })
		wg.Wait()
		// Only a token that was being waited for when the steps became faster
		// again may be late, by less than what a step became shorter.
		if l := s.Lateness(); l.P50 != 0 || l.Max >= 10*time.Millisecond || l.Events != 72 {
			t.Errorf("lateness %+v under fake time", l)
		}
	})
}

// TestPreemptedTokensKeepTheirPace: after the pause they come one step apart, and
// not all at the end.
func TestPreemptedTokensKeepTheirPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simserver.Default()
		c.Slots, c.KVTokens = 0, 300
		s := paced(t, c)
		var wg sync.WaitGroup
		for key := range uint64(3) {
			wg.Go(func() {
				times := tokenTimes(s, key, 50, 101)
				if len(times) != 101 {
					t.Fatalf("%d tokens, want 101", len(times))
				}
				pauses := 0
				for k := 1; k < len(times); k++ {
					switch gap := times[k] - times[k-1]; {
					case gap > 100*time.Millisecond:
						pauses++
					case gap < 20*time.Millisecond-time.Microsecond || gap > 20*time.Millisecond+time.Microsecond:
						t.Errorf("request %d, token %d: gap %v, want 20ms", key, k, gap)
					}
				}
				if want := int(key / 2); pauses != want { // the one admitted last is preempted
					t.Errorf("request %d: %d pauses, want %d", key, pauses, want)
				}
			})
			time.Sleep(time.Microsecond)
		}
		wg.Wait()
		if n := s.State().Preemptions; n != 1 {
			t.Errorf("%d preemptions, want 1", n)
		}
	})
}

func TestLatenessHistogram(t *testing.T) {
	var h latenessHistogram
	if l := h.read(); l != (Lateness{}) {
		t.Errorf("empty: %+v", l)
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	h.add(-time.Second) // an early write is not late
	l := h.read()
	near := func(what string, got, want time.Duration, tolerance float64) {
		if off := float64(got-want) / float64(want); off < -tolerance || off > tolerance {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	near("p50", l.P50, 500*time.Microsecond, 0.07)
	near("p99", l.P99, 990*time.Microsecond, 0.07)
	near("mean", l.Mean, 500*time.Microsecond, 0.01)
	if l.Max != time.Millisecond || l.Events != 1001 {
		t.Errorf("%+v", l)
	}
	for _, d := range []time.Duration{0, 1, 15, 16, 17, 31, 32, 1000, 123456789, time.Hour} {
		if b := bucketOf(d); upper(b) < d || b > 0 && upper(b-1) >= d {
			t.Errorf("%v is in bucket %d, up to %v", d, b, upper(b))
		}
	}
}
