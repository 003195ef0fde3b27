package loadgen

import (
	"sync"
	"time"
)

// A process that is not run for a while sees every answer late. How often it looks
// whether it was, and from which gap on it says so: below that it is the ordinary
// jitter of a busy machine, which Health tells of.
const (
	stallBeat = 50 * time.Millisecond
	stallFrom = 200 * time.Millisecond
)

// stalls are the stretches in which this process stood still during a run.
type stalls struct {
	now  func() time.Duration
	mu   sync.Mutex
	beat time.Duration // when it was last seen to run
	seen []Stall
}

// watch keeps the beat until stop is called.
func (s *stalls) watch(now func() time.Duration) (stop func()) {
	s.now, s.beat = now, now()
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(stallBeat)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.tick()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
	}
}

// tick notes that the process runs, and whether it did not since the last beat.
func (s *stalls) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now-s.beat >= stallFrom {
		s.seen = append(s.seen, Stall{s.beat, now})
	}
	s.beat = now
}

// touch reports whether the process stood still at some moment between two offsets.
// Whoever asks first after a stall notes it: the one who keeps the beat may be woken
// later.
func (s *stalls) touch(from, to time.Duration) bool {
	if s.now == nil {
		return false
	}
	s.tick()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.seen) - 1; i >= 0; i-- {
		if x := s.seen[i]; x.From < to && from < x.To {
			return true
		}
	}
	return false
}
