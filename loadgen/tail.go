package loadgen

import (
	"context"
	"sync/atomic"
)

// tail counts how many requests of a load have begun to be answered, until every one has:
// from then on its tail can be cut (Load.CutTail).
type tail struct {
	begun atomic.Int64
	last  atomic.Int64 // how many there are; 0 until the last one was sent
	over  func()       // is called once all have begun
}

type tailKey struct{}

// with gives the requests of a load something to count in.
func (t *tail) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, tailKey{}, t)
}

// issued tells that no more than n requests will be sent. The last of them has not begun.
func (t *tail) issued(n int) { t.last.Store(int64(n)) }

// Begun tells a load that the first output of one of its requests has arrived. ctx is the
// one that the request was made with.
func Begun(ctx context.Context) {
	t, ok := ctx.Value(tailKey{}).(*tail)
	if !ok {
		return
	}
	// LOUD: one that fails without output never begins, so that a load in which one did is
	// not cut: how many of the others fail is then worth knowing.
	if n := t.begun.Add(1); n == t.last.Load() {
		t.over()
	}
}
