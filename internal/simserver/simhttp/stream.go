package simhttp

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/capfind/capfind/internal/simserver"
)

// stream is one streamed answer: a single goroutine that sleeps until each
// token's own deadline and writes it. The deadlines come from the core's clocks
// and never from the moment of the last write, so that it cannot drift.
type stream struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	wire wire
	ask  *ask
	job  *simserver.Job
	q    quirks
	key  uint64
	id   string

	sent    int    // tokens
	events  int    // written so far
	text    []byte // of the answer so far, where the protocol wants it
	payload []byte // the event being built
	buf     []byte // framed, to be written next
	gzip    *gzip.Writer
	timer   *time.Timer
	// foreword is text put before the next piece: a huge event.
	foreword string
	broken   bool // the client is gone, or a fault cut the stream
}

// run writes the stream.
func (st *stream) run() {
	st.headers()
	if !st.untilToken(0) {
		return
	}
	if !st.q.has("role_first") {
		st.wire.head(st)
	}
	step := 1
	if st.q.has("batch") {
		if step = st.q["batch"].Tokens; step == 0 {
			step = 4
		}
	}
	for k := 0; k < st.ask.output; k += step {
		last := min(k+step, st.ask.output)
		// Several tokens in one event come when the last of them is there.
		if !st.untilToken(last - 1) {
			return
		}
		if st.cut() {
			return
		}
		st.wire.tokens(st, last)
		st.sent = last
		if last < st.ask.output {
			st.flush()
		}
		if st.broken {
			return
		}
	}
	st.end()
}

// headers sends the status line, as real servers do before the first token.
func (st *stream) headers() {
	h := st.w.Header()
	h.Set("Content-Type", st.wire.media())
	h.Set("Cache-Control", "no-cache")
	if st.q.has("truncate_close") {
		h.Set("Transfer-Encoding", "identity") // the body ends with the connection
	}
	if st.q.has("gzip") {
		h.Set("Content-Encoding", "gzip")
		st.gzip = gzip.NewWriter(st.w)
	}
	st.w.WriteHeader(http.StatusOK)
	if st.q.has("role_first") {
		st.wire.head(st)
		st.flush()
	}
	if !st.q.has("buffered") {
		st.flusher().Flush()
	}
}

func (st *stream) flusher() http.Flusher { return st.w.(http.Flusher) } // net/http's always is one

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

// untilToken waits for the deadline of the k-th token (from 0), and notes how
// late that was noticed. False: there is none, the stream is over.
//
// A deadline that moves back while it is waited for, because more requests came,
// is waited for again. One that moves forward, because a request left, is not
// heard of: waking every stream for that would cost more than the fraction of a
// step by which this one token is late, and the lateness shows it.
func (st *stream) untilToken(k int) bool {
	for {
		in, lost := st.s.engine.Token(st.job, k)
		switch {
		case lost:
			st.abort()
		case in <= 0:
			st.s.late.add(-in)
			return true
		case !st.sleep(in):
			st.s.engine.Leave(st.job)
			return false
		}
	}
}

// sleep waits for so long, or until the core has news of the job. It keeps the
// connection talking where pings are wanted. False: the client is gone.
func (st *stream) sleep(d time.Duration) bool {
	ping := false
	if st.ask.stream && st.q.has("pings") {
		every := st.q["pings"].Delay
		if every == 0 {
			every = time.Second
		}
		ping, d = every < d, min(every, d)
	}
	st.timer.Reset(d)
	select {
	case <-st.timer.C:
		if ping {
			st.comment()
			st.write()
		}
		return !st.broken
	case <-st.job.Wake:
		return true
	case <-st.r.Context().Done():
		st.broken = true
		return false
	}
}

// event frames the payload that was built and adds it to what is written next.
// name is the event's type; empty for the usual.
func (st *stream) event(name string) {
	if st.s.cfg.Stamp && len(st.payload) > 2 && st.payload[len(st.payload)-1] == '}' {
		st.payload = append(st.payload[:len(st.payload)-1], `,"sent_ns":`...)
		st.payload = strconv.AppendInt(st.payload, st.s.unixNow(), 10)
		st.payload = append(st.payload, '}')
	}
	st.frame(name, st.payload)
	st.payload = st.payload[:0]
	st.events++
}

// unixNow returns Unix time in ns on the monotonic clock, so that stamps never
// step.
func (s *Server) unixNow() int64 { return s.started.UnixNano() + int64(time.Since(s.started)) }

// put adds to the event being built.
func (st *stream) put(parts ...string) {
	for _, p := range parts {
		st.payload = append(st.payload, p...)
	}
}

func (st *stream) putInt(n int) { st.payload = strconv.AppendInt(st.payload, int64(n), 10) }

// frame writes one event's lines.
func (st *stream) frame(name string, data []byte) {
	if st.wire.media() == ndjson {
		st.buf = append(append(st.buf, data...), '\n')
		return
	}
	if st.q != nil {
		st.oddFrame(name, data)
		return
	}
	if name != "" {
		st.buf = append(append(append(st.buf, "event: "...), name...), '\n')
	}
	st.buf = append(st.buf, st.prefix()...)
	st.buf = append(append(st.buf, data...), "\n\n"...)
}

// prefix opens a data line; TGI writes it without the space.
func (st *stream) prefix() string {
	if st.q.has("no_space") || st.s.cfg.Server == simserver.TGI {
		return "data:"
	}
	return "data: "
}

// oddFrame writes one event's lines in the oddest ways that the request's faults ask
// for.
func (st *stream) oddFrame(name string, data []byte) {
	end := "\n"
	switch {
	case st.q.has("crlf", "crlf_split"):
		end = "\r\n"
	case st.q.has("cr"):
		end = "\r"
	}
	if st.q.has("pings") && st.events%3 == 1 {
		st.comment()
	}
	if st.q.has("fields") {
		st.buf = append(st.buf, "id: "+strconv.Itoa(st.events)+end+"retry: 1500"+end...)
		if name == "" {
			name = "message"
		}
	}
	if name != "" {
		st.buf = append(st.buf, "event: "+name+end...)
	}
	text := string(data)
	if st.q.has("multi_line") {
		// Between the members of an object a line end is white space.
		text = strings.ReplaceAll(text, `,"`, ",\n\"")
	}
	for line := range strings.SplitSeq(text, "\n") {
		st.buf = append(st.buf, st.prefix()+line+end...)
	}
	st.buf = append(st.buf, end...)
}

// comment adds what carries nothing.
func (st *stream) comment() {
	if st.wire.media() != ndjson {
		st.buf = append(st.buf, ": keep-alive\n\ndata:\n\ndata: : keepalive\n\n"...)
	}
}

// flush writes what was framed, unless something buffers it.
func (st *stream) flush() {
	if st.q.has("buffered") {
		return
	}
	st.write()
}

// write sends the buffer, in pieces where a fault wants that.
func (st *stream) write() {
	if len(st.buf) == 0 || st.broken {
		return
	}
	switch {
	case st.q.has("split_utf8"):
		st.pieces(func(b []byte) int {
			for i := range b[:len(b)-1] {
				if b[i] >= 0x80 {
					return i + 1
				}
			}
			return len(b)
		})
	case st.q.has("crlf_split"):
		st.pieces(func(b []byte) int { return strings.IndexByte(string(b)+"\r", '\r') + 1 })
	case st.q.has("split_bytes"):
		st.pieces(func([]byte) int { return 7 })
	default:
		st.send(st.buf)
	}
	st.buf = st.buf[:0]
}

// pieces sends the buffer in writes of the lengths that cut gives, with a pause
// after each, so that they arrive apart.
func (st *stream) pieces(cut func([]byte) int) {
	for b := st.buf; len(b) > 0 && !st.broken; {
		n := min(cut(b), len(b))
		st.send(b[:n])
		b = b[n:]
		if len(b) > 0 {
			st.broken = st.broken || !wait(st.r, 200*time.Microsecond)
		}
	}
}

func (st *stream) send(b []byte) {
	var err error
	if st.gzip != nil {
		if _, err = st.gzip.Write(b); err == nil {
			err = st.gzip.Flush()
		}
	} else {
		_, err = st.w.Write(b)
	}
	if err != nil { // the client is gone: the core must not go on working for it
		st.broken = true
		st.s.engine.Leave(st.job)
		return
	}
	st.flusher().Flush()
}

// piece returns the text of the k-th token.
func (st *stream) piece(k int) string {
	if st.q.has("split_utf8") {
		return foreign[k%len(foreign)]
	}
	return word(st.key, k)
}

// next returns the text of the tokens that were not sent yet, up to the k-th;
// empty where the answer is to have no output.
func (st *stream) next(k int) string {
	if st.q.has("no_output") {
		return ""
	}
	if k == st.sent+1 && st.foreword == "" {
		return st.piece(st.sent)
	}
	var b strings.Builder
	b.WriteString(st.foreword)
	st.foreword = ""
	for i := st.sent; i < k; i++ {
		b.WriteString(st.piece(i))
	}
	return b.String()
}
