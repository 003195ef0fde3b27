package loadgen

import (
	"context"
	"time"
)

// Doer sends requests, one call a request (or a conversation). The HTTP client
// is one; a simulated server without sockets is another, so that whole sweeps
// run under fake time.
type Doer interface {
	// Do sends the request whose Index, PromptIndex, Intended and Ready are set
	// in first, fills in the rest and hands it to emit exactly once; for a
	// conversation it goes on with the later turns, emitting each. Every moment
	// is time.Since(start). It returns an error only where it cannot measure at
	// all (the data set is gone, say); a failed request is a sample with a class.
	// When ctx ends it stops at once and emits the sample as cancelled. It calls Begun with
	// ctx when the first output of a request arrives that stands alone and is streamed; one
	// that does not never has its load's tail cut.
	Do(ctx context.Context, start time.Time, first Sample, emit func(*Sample)) error
}

// Preparer is a Doer that has something to do before the clock of a run starts,
// such as opening connections for that many requests in flight. What it could
// not do shows in the samples.
type Preparer interface {
	Prepare(ctx context.Context, inFlight int)
}

// ErrorHoldDefault is the shortest pause of a worker after an error. Without it
// one user over a rate limit floods the count with instant rejects: 100 %
// success at 30 in flight, 11 % at 31.
const ErrorHoldDefault = 500 * time.Millisecond
