package selftest

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Handler streams tokens at the times that each request asks for, over whatever
// net/http serves: TLS, HTTP/2. It costs more than NullServer does.
type Handler struct {
	late atomic.Int64 // ns
}

// Late is the most that an event was sent after its time.
func (h *Handler) Late() time.Duration { return time.Duration(h.late.Load()) }

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	o, ok := parseOrder(body)
	if err != nil || !ok {
		http.Error(w, "not a request of the self-test", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	due := time.Now().Add(o.ttft)
	for i := range o.tokens {
		time.Sleep(time.Until(due))
		now := time.Now()
		late := int64(now.Sub(due))
		for was := h.late.Load(); late > was && !h.late.CompareAndSwap(was, late); was = h.late.Load() {
		}
		event := eventStart + eventToken
		if i == 0 {
			event = firstEvent(o.n, now)
		}
		if _, err := io.WriteString(w, event); err != nil || flush() != nil {
			return
		}
		due = due.Add(o.gap)
	}
	io.WriteString(w, lastEvents(o.tokens))
}
