package simhttp

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/draw"
)

// faultList hands out each request's faults.
type faultList struct {
	seed   uint64
	faults []simserver.Fault
	hits   []atomic.Int64
}

func newFaultList(cfg simserver.Config) *faultList {
	return &faultList{seed: cfg.Seed, faults: cfg.Faults, hits: make([]atomic.Int64, len(cfg.Faults))}
}

// quirks are the faults of one request, by mode.
type quirks map[string]simserver.Fault

// has reports whether the request has any of the modes.
func (q quirks) has(modes ...string) bool {
	for _, m := range modes {
		if _, ok := q[m]; ok {
			return true
		}
	}
	return false
}

// pick returns the faults of the n-th request, counted from 1; nil for none.
func (l *faultList) pick(n uint64) quirks {
	var q quirks
	for i := range l.faults {
		f := l.faults[i]
		if !l.strikes(i, n) {
			continue
		}
		if f.After == 0 {
			f.After = 1
		}
		if q == nil {
			q = quirks{}
		}
		q[f.Mode] = f
	}
	return q
}

func (l *faultList) strikes(i int, n uint64) bool {
	f := &l.faults[i]
	switch {
	case f.Every > 0 && n%uint64(f.Every) != 0:
		return false
	case f.Share > 0 && draw.Chance(l.seed, draw.Fault+uint64(i)*1000, n) >= f.Share:
		return false
	}
	return f.Count == 0 || l.hits[i].Add(1) <= int64(f.Count)
}

// instead gives what the request's faults put in the place of an answer, and
// reports whether there was anything.
func (s *Server) instead(w http.ResponseWriter, r *http.Request, q quirks) bool {
	if f, ok := q["slow_headers"]; ok && !wait(r, f.Delay) {
		return true
	}
	stream := func(media, body string) bool {
		w.Header().Set("Content-Type", media)
		_, _ = w.Write([]byte(body))
		return true
	}
	switch {
	case q.has("status"):
		f := q["status"]
		if f.Status == 0 {
			f.Status = http.StatusServiceUnavailable
		}
		if wait(r, f.Delay) {
			s.refuse(w, simserver.Answer{Status: f.Status, Kind: "simulated_error", Message: http.StatusText(f.Status), RetryAfter: f.RetryAfter})
		}
		return true
	case q.has("redirect"):
		http.Redirect(w, r, "/elsewhere"+r.URL.Path, http.StatusFound)
		return true
	case q.has("html"):
		return stream("text/html; charset=utf-8", "<!doctype html><title>Welcome</title><p>This is not the model you are looking for.")
	case q.has("empty_body"):
		return stream("text/event-stream", "")
	case q.has("malformed"):
		return stream("text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\n\ndata: [DONE]\n\n")
	case q.has("no_choices"):
		return stream("text/event-stream", "data: {\"id\":\"x\",\"choices\":[]}\n\ndata: [DONE]\n\n")
	}
	return false
}

// cut makes the request's faults strike when their moment has come, and reports
// whether the stream is over.
func (st *stream) cut() bool {
	if st.q == nil {
		return false
	}
	due := func(mode string) bool { return st.q.has(mode) && st.sent >= st.q[mode].After }
	switch {
	case due("reset"):
		st.abort()
	case due("truncate_chunked"):
		_ = st.connection().Close()
		panic(http.ErrAbortHandler)
	case due("truncate_close"), due("no_finish"):
		st.close()
	case due("error_object"):
		st.fail("")
	case due("error_event"):
		st.fail("error")
	case due("stall"):
		<-st.r.Context().Done()
	case due("endless"):
		st.goOn(true)
	case due("flood"):
		st.goOn(false)
	case due("huge_event"):
		st.huge()
		return false
	default:
		return false
	}
	st.s.engine.Leave(st.job)
	return true
}

// connection returns the connection below the request.
func (st *stream) connection() *conn { return st.r.Context().Value(connKey{}).(*conn) }

// abort ends an answer whose server died: with a reset, as a dead process's
// connections end.
func (st *stream) abort() {
	st.connection().reset()
	panic(http.ErrAbortHandler)
}

// fail puts an error into the stream.
func (st *stream) fail(name string) {
	st.put(st.wire.failure("the simulated engine died"))
	st.event(name)
	st.close()
}

// goOn never stops putting out tokens.
func (st *stream) goOn(paced bool) {
	step := max(time.Millisecond, time.Duration(float64(st.s.cfg.StepTime)/st.s.cfg.TimeScale))
	for k := st.sent; !st.broken; k++ {
		st.ask.output = k + 2 // this is never the last
		st.wire.tokens(st, k+1)
		st.sent = k + 1
		st.write()
		if paced {
			st.broken = st.broken || !wait(st.r, step)
		}
	}
}

// huge sends one event with a lot of text, and is done with it.
func (st *stream) huge() {
	size := st.q["huge_event"].Size
	if size == 0 {
		size = 4 << 20
	}
	delete(st.q, "huge_event")
	st.foreword = strings.Repeat("x", size)
}
