package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/capfind/capfind/loadgen/prompt"
)

// retries is how often a request is sent again that broke off, or that a server
// which has answered before failed.
const (
	retries    = 2
	retryPause = 500 * time.Millisecond
)

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// askPatiently sends a request, waiting as long as the server says it is not
// ready, and turns every refusal into an error. What broke off is sent again.
func (f *finder) askPatiently(ctx context.Context, r prompt.Request) (*reply, error) {
	for again := 0; ; {
		a, err := f.ask(ctx, f.Protocol, f.Options, r)
		asked := time.Duration(0)
		if err == nil {
			if a.torn {
				f.torn++
				if a.promptTokens == 0 && again < retries {
					again++ // for the counts that were to follow
					continue
				}
			}
			e := f.refusal(a)
			if e == nil {
				return a, nil
			}
			err, asked = e, retryAfter(a.header)
		}
		if again < retries && f.passing(err) {
			again++
			f.again, f.failed = f.again+1, err
			if err := pause(ctx, retryPause); err != nil {
				return nil, err
			}
			continue
		}
		if err := f.patience.wait(ctx, err, asked); err != nil {
			return nil, err
		}
	}
}

// passing reports whether a failure may well pass: the answer broke off, or a
// server that has answered the model's requests before fails one.
func (f *finder) passing(err error) bool {
	e := (*Error)(nil)
	return errors.Is(err, ErrCut) || f.answer != nil && errors.As(err, &e) && e.Status >= 500 && !notReady(e.Status)
}

// stumbled says what went wrong on the way and passed.
func (f *finder) stumbled() {
	if f.failed != nil {
		f.warn(fmt.Sprintf("requests of the probe that failed and were sent again: %d, the last because %v", f.again, f.failed))
	}
	if f.torn > 0 {
		f.note(fmt.Sprintf("answers that broke off after their finish mark: %d; they count as complete, but a count of tokens that was to follow is lost", f.torn))
	}
}
