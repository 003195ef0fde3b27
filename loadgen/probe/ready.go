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
	until    time.Time
	refused  bool // wait also while nothing takes the connection
	progress func(string)
	began    time.Time
}

const pollEvery = time.Second

// wait pauses before another try after err. It returns err where waiting makes no
// sense or has taken too long.
func (p *patience) wait(ctx context.Context, err error, asked time.Duration) error {
	hopeful := errors.Is(err, ErrNotReady) || p.refused && errors.Is(err, ErrUnreachable)
	pause := max(pollEvery, asked)
	if !hopeful || time.Now().Add(pause).After(p.until) {
		return err
	}
	p.progress(fmt.Sprintf("waiting for the server, %s so far: %v", time.Since(p.began).Round(time.Second), err))
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
