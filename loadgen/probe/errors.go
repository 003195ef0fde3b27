package probe

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// What a probe can fail with; test for them with errors.Is.
var (
	ErrAuth        = errors.New("authentication refused")          // 401, 403
	ErrUnreachable = errors.New("server unreachable")              // no connection, or no HTTP
	ErrTimeout     = errors.New("the server does not answer")      // it took a request and was silent for longer than a time-out
	ErrCut         = errors.New("the answer was cut short")        // the connection broke off within it
	ErrModel       = errors.New("no such model")                   // the model is unknown, or none is there
	ErrNotReady    = errors.New("server not ready")                // 429, 502, 503, 504 until the wait was over
	ErrAPI         = errors.New("no known API at this address")    // nothing there speaks any of the protocols
	ErrRefused     = errors.New("the server refuses our requests") // the warm-up request failed in another way
	ErrContext     = errors.New("prompts too long for the model")  // input and output exceed its context length
)

// Error is a failed probe. It holds no secrets.
type Error struct {
	Kind   error  // one of the errors above
	Method string // of the request that failed; empty where there was none
	URL    string // without credentials and query
	Status int    // 0 where there was no answer
	Text   string // what the server or the system said
	Advice string // what to do about it
}

// Error says what happened, where, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.Error())
	if e.URL != "" {
		fmt.Fprintf(&b, ": %s %s", e.Method, e.URL)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	if e.Advice != "" {
		b.WriteString(": " + e.Advice)
	}
	return b.String()
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }
