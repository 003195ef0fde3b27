package loadgen

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

func poolOf(t *testing.T, s *wireServer) *http1 {
	t.Helper()
	client, err := NewClient(config(t, s.url()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client.wire.(*http1)
}

func TestPrepareFillsThePool(t *testing.T) {
	s := serve(t, say(sse(wholeStream)))
	h := poolOf(t, s)
	h.prepare(t.Context(), 10)
	h.prepare(t.Context(), 15) // only the missing ones
	if len(h.idle) != 15 || h.stats.n != 15 {
		t.Errorf("%d idle of %d opened", len(h.idle), h.stats.n)
	}
}

func TestPrepareGivesUpOnADeadServer(t *testing.T) {
	s := serve(t, say(""))
	h := poolOf(t, s)
	s.stop()
	h.prepare(t.Context(), 1000)
	if len(h.idle) != 0 {
		t.Errorf("%d connections to nobody", len(h.idle))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.prepare(ctx, 1000)
}

// Idle connections are used while they are fresh and whole, most recent first.
func TestTakeFromThePool(t *testing.T) {
	s := serve(t, say(sse(wholeStream)))
	h := poolOf(t, s)
	fill := func() (older, newer *conn) {
		h.prepare(t.Context(), 2)
		return h.idle[0], h.idle[1]
	}
	older, newer := fill()
	if got := h.take(); got != newer {
		t.Error("not the most recent one")
	}
	if got := h.take(); got != older || h.take() != nil {
		t.Error("not the older one, or another from nowhere")
	}
	older.drop()
	newer.drop()

	older, newer = fill()
	older.idleSince = time.Now().Add(-idleMost - time.Second)
	newer.idleSince = older.idleSince
	if h.take() != nil || len(h.idle) != 0 {
		t.Error("took one that had been idle for too long")
	}

	older, newer = fill()
	older.idleSince = time.Now().Add(-idleMost - time.Second)
	if got := h.take(); got != newer {
		t.Error("not the fresh one")
	}
	if h.put(newer); len(h.idle) != 1 || h.idle[0] != newer {
		t.Errorf("%d idle: the stale one was kept", len(h.idle))
	}

	h.prepare(t.Context(), 2)
	s.stop()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if closed, _ := peek(h.idle[0].socket.Conn); closed {
			break
		}
		if time.Now().After(deadline) {
			t.Skip("cannot look at idle connections here")
		}
	}
	if h.take() != nil {
		t.Error("took one that the server had closed")
	}
}

func TestUnaskedBytesSpoilAConnection(t *testing.T) {
	s := serve(t, func(c net.Conn, _ int, _ []byte) bool {
		return say(sse(wholeStream)+"HTTP/1.1 408 Request Timeout\r\n\r\n")(c, 0, nil)
	})
	r := generate(t, config(t, s.url()), Load{Concurrency: 1, Requests: 5})
	if counts(r)[Success] != 5 || r.Health.ConnReuse.Or(1) > 0.3 {
		t.Errorf("classes %v, re-use %v", counts(r), r.Health.ConnReuse)
	}
}

// The same while the connection is idle: what then comes is an answer to nothing,
// and must not be taken for that to the next request.
func TestUnaskedBytesSpoilAnIdleConnection(t *testing.T) {
	s := serve(t, say(sse(wholeStream)))
	h := poolOf(t, s)
	h.prepare(t.Context(), 1)
	written := false
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		for c := range s.open { // once it is accepted
			if !written {
				_, err := io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n")
				written = err == nil
			}
		}
		s.mu.Unlock()
		if _, unread := peek(h.idle[0].socket.Conn); unread {
			break
		}
		if time.Now().After(deadline) {
			t.Skip("cannot look at idle connections here")
		}
	}
	if h.take() != nil || len(h.idle) != 0 {
		t.Error("took one that holds an answer to nothing")
	}
}
