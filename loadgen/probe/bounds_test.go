package probe

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// TestWaitingIsSaid: what is waited for is said once that takes a while, then now
// and then, and not after it has come.
func TestWaitingIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		s := &server{tell: func(text string) { heard = append(heard, text) }}
		b := within(t.Context(), loadgen.Timeouts{FirstToken: time.Minute}, false)
		defer b.end()
		done := s.waiting(func() string { return b.awaited("the warm-up request", false) })
		time.Sleep(15 * time.Second)
		b.heard(2, false)
		time.Sleep(9 * time.Second)
		done()
		time.Sleep(time.Minute)
		want := []string{
			"waiting for the answer to the warm-up request (1m0s at most): 3s so far",
			"waiting for the answer to the warm-up request (1m0s at most): 13s so far",
			"waiting for the rest of the answer to the warm-up request, after 2 output events: 23s so far",
		}
		if !slices.Equal(heard, want) {
			t.Errorf("heard %q", heard)
		}
		heard = nil
		s.waiting(func() string { return "nothing" })()
		(&server{}).waiting(nil)()
		time.Sleep(time.Minute)
		if len(heard) > 0 {
			t.Errorf("heard %q", heard)
		}
	})
}

// TestBounds: which time-out ends a request, and when.
func TestBounds(t *testing.T) {
	limits := loadgen.Timeouts{FirstToken: 10 * time.Second, Idle: 5 * time.Second, Total: 30 * time.Second}
	for _, c := range []struct {
		name   string
		limits loadgen.Timeouts
		plain  bool
		events []time.Duration // moments of output
		finish time.Duration   // of the finish mark; 0: none
		end    time.Duration
		late   string
	}{
		{"nothing", limits, false, nil, 0, 10 * time.Second, "no output within 10s of sending"},
		{"one token", limits, false, []time.Duration{9 * time.Second}, 0, 14 * time.Second, "silence of 5s within the answer, after 1 output events"},
		{"always some", limits, false, every(4*time.Second, 10), 0, 30 * time.Second, "not done within 30s"},
		{"plain", limits, true, nil, 0, 30 * time.Second, "not done within 30s"},
		{"done", limits, false, []time.Duration{time.Second}, 2 * time.Second, 4 * time.Second, ""},
		{"no bound to the first", loadgen.Timeouts{Total: 30 * time.Second}, false, nil, 0, 30 * time.Second, "not done within 30s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				b := within(t.Context(), c.limits, c.plain)
				var reader sync.WaitGroup
				reader.Go(func() {
					for i, at := range c.events {
						time.Sleep(at - time.Since(began))
						b.heard(i+1, false)
					}
					if c.finish > 0 {
						time.Sleep(c.finish - time.Since(began))
						b.heard(len(c.events), true)
					}
				})
				defer b.end()
				defer reader.Wait()
				<-b.Done()
				if at := time.Since(began); at != c.end {
					t.Errorf("ended after %v, want %v", at, c.end)
				}
				l := b.overrun()
				if c.late == "" && l != nil || c.late != "" && (l == nil || l.Error() != c.late || l.advice == "") {
					t.Errorf("because of %v, want %q", l, c.late)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := within(ctx, loadgen.Timeouts{}, false)
		defer b.end()
		time.AfterFunc(time.Hour, cancel)
		<-b.Done()
		if b.overrun() != nil || !errors.Is(b.Err(), context.Canceled) {
			t.Errorf("without bounds: %v", b.overrun())
		}
	})
}

func every(d time.Duration, n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(i+1) * d
	}
	return out
}
