package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// readyPath returns what to ask for to learn whether the server takes requests.
func (id *identity) readyPath() string {
	switch {
	case id.kind == KindOllama:
		return "/api/version"
	case id.health:
		return "/health"
	}
	return "/models"
}

// ready returns nil when the server takes requests.
func (s *server) ready(ctx context.Context, path string) error {
	r, err := s.get(ctx, path)
	if err != nil {
		return err
	}
	switch e := s.fault(r); {
	case r.status == http.StatusOK, path == "/models" && (e.Kind == ErrAPI || e.Kind == ErrRefused && r.status < 500):
		return nil // a server without a model list is one that answers
	case r.status >= 500:
		e.Kind = ErrNotReady
		return e
	default:
		return e
	}
}

// patience waits for a server that is not ready yet.
type patience struct {
	began, until time.Time
	unconnected  bool // wait also while nothing takes the connection
	progress     func(string)
	told         time.Time // when progress last heard of it
}

const (
	pollEvery = time.Second
	tellEvery = 10 * time.Second
)

// askedMost caps the pause before a server that is loading is asked again,
// whatever it says itself: nobody knows when a model is loaded.
const askedMost = 30 * time.Second

// wait pauses before another try after err, for at least as long as the server
// asked. It returns err where waiting makes no sense or would take too long.
func (p *patience) wait(ctx context.Context, err error, asked time.Duration) error {
	hopeful := errors.Is(err, ErrNotReady) || p.unconnected && errors.Is(err, ErrUnreachable)
	if e := (*Error)(nil); errors.As(err, &e) && e.Status != http.StatusTooManyRequests {
		asked = min(asked, askedMost) // a limiter knows when it lets us in again
	}
	again, now := max(pollEvery, asked), time.Now()
	if !hopeful || now.Add(again).After(p.until) {
		return err
	}
	if now.Sub(p.told) >= tellEvery {
		p.told = now
		p.progress(fmt.Sprintf("waiting for the server, %s so far, %s at most: %v",
			now.Sub(p.began).Round(time.Second), p.until.Sub(p.began).Round(time.Second), err))
	}
	return pause(ctx, again)
}
