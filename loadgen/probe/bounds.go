package probe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// bounds ends a request to the model as the load's own requests are ended: by the
// time to the first output, a silence within the answer, and the time of all.
type bounds struct {
	context.Context
	cancel  context.CancelCauseFunc
	limits  loadgen.Timeouts
	timer   *time.Timer // of what is waited for now; nil: nothing
	total   *time.Timer
	outputs atomic.Int64 // events of output so far
}

// late is why a request was ended; it is the cause of the bounds' context.
type late struct{ text, advice string }

func (l *late) Error() string { return l.text }

const restGrace = 2 * time.Second // what may follow the finish mark

// within starts the bounds of a request; a plain answer has no first output apart.
func within(ctx context.Context, limits loadgen.Timeouts, plain bool) *bounds {
	b := &bounds{limits: limits}
	b.Context, b.cancel = context.WithCancelCause(ctx)
	if limits.Total > 0 {
		b.total = time.AfterFunc(limits.Total, func() {
			b.cancel(&late{fmt.Sprintf("not done within %v", limits.Total), "raise timeouts.total (--timeout-total) if the model takes that long"})
		})
	}
	if !plain {
		b.await(limits.FirstToken, &late{fmt.Sprintf("no output within %v of sending", limits.FirstToken),
			"raise timeouts.first_token (--timeout-first-token) if the model takes that long, or look at the server's log"})
	}
	return b
}

// await ends the request after d, unless something else is awaited by then. 0 is
// no bound.
func (b *bounds) await(d time.Duration, why error) {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if d > 0 {
		b.timer = time.AfterFunc(d, func() { b.cancel(why) })
	}
}

// heard notes that bytes came, after so many events of output, and whether the
// finish mark was among them.
func (b *bounds) heard(outputs int, finished bool) {
	b.outputs.Store(int64(outputs))
	switch {
	case finished:
		b.await(restGrace, context.Canceled)
	case outputs > 0:
		b.await(b.limits.Idle, &late{fmt.Sprintf("silence of %v within the answer, after %d output events", b.limits.Idle, outputs),
			"raise timeouts.idle (--timeout-idle) if the model pauses that long, or look at the server's log"})
	}
}

// end frees what the bounds hold.
func (b *bounds) end() {
	b.await(0, nil)
	if b.total != nil {
		b.total.Stop()
	}
	b.cancel(nil)
}

// overrun returns why the request was ended; nil where it was not, or its parent was.
func (b *bounds) overrun() *late {
	l, _ := context.Cause(b.Context).(*late)
	return l
}

// tellFirst is how long nobody wonders what is waited for.
const tellFirst = 3 * time.Second

// awaited says what the answer to a request is waited for.
func (b *bounds) awaited(asking string, plain bool) string {
	most := b.limits.FirstToken
	switch n := b.outputs.Load(); {
	case n > 0:
		return fmt.Sprintf("the rest of the answer to %s, after %d output events", asking, n)
	case plain:
		most = b.limits.Total
	}
	return "the answer to " + asking + atMost(most)
}

// atMost words a time-out; 0 is none.
func atMost(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf(" (%v at most)", d)
}

// waiting says what is waited for, once that takes a while and now and then after
// it. The returned function ends it.
func (s *server) waiting(what func() string) (done func()) {
	if s.tell == nil {
		return func() {}
	}
	began, stop := time.Now(), make(chan struct{})
	var teller sync.WaitGroup
	teller.Go(func() {
		timer := time.NewTimer(tellFirst)
		defer timer.Stop()
		for {
			select {
			case <-stop:
				return
			case <-timer.C:
			}
			s.tell(fmt.Sprintf("waiting for %s: %s so far", what(), time.Since(began).Round(time.Second)))
			timer.Reset(tellEvery)
		}
	})
	return func() {
		close(stop)
		teller.Wait()
	}
}
