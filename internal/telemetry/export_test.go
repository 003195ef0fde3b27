package telemetry

import (
	"testing"
	"time"
)

// Spans returns how many spans of history are kept.
func (s *Scraper) Spans() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.history.spans)
}

// Wait waits until Run has asked every endpoint once.
func (s *Scraper) Wait(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); s.Spans() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no scrape within 30 s")
		}
	}
}
