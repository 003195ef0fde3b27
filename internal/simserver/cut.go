package simserver

import (
	"net/http"
	"strings"
	"time"
)

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
	st.s.leave(st.job)
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
	for k := st.sent; !st.broken; k++ {
		st.ask.output = k + 2 // this is never the last
		st.wire.tokens(st, k+1)
		st.sent = k + 1
		st.write()
		if paced {
			st.broken = st.broken || !wait(st.r, max(time.Millisecond, st.s.core.cfg.StepTime))
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

// end closes a stream that got to its last token, with whatever its faults do
// after that.
func (st *stream) end() {
	st.wire.tail(st)
	st.write()
	f, open := st.q["open_after_done"]
	switch {
	case open && f.Delay > 0:
		wait(st.r, f.Delay)
	case open:
		<-st.r.Context().Done()
	}
	st.close()
}

// close ends the body.
func (st *stream) close() {
	st.write()
	if st.gzip != nil {
		_ = st.gzip.Close() // the client may be gone
	}
}
