package simserver

import (
	"fmt"
	"net/http"
	"time"
)

// protocol is how one endpoint speaks.
type protocol struct {
	wire       func() wire
	streams    bool // where the request does not say
	fixed      bool // the path alone says whether it streams
	needsModel bool
	id         string // prefix of answer ids
}

// wire writes one protocol's events.
type wire interface {
	media() string            // Content-Type of a stream
	head(*stream)             // what comes before the first token, with it
	tokens(st *stream, k int) // one event with the tokens after those sent, up to the k-th (from 1)
	tail(*stream)             // what comes after the last token
	plain(*stream) []byte     // the whole answer in one object
	failure(msg string) string
}

// generate serves one protocol.
func (s *Server) generate(p protocol) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := s.asked.Add(1)
		a, bad := s.read(w, r, p, n)
		if bad != nil {
			s.refuse(w, *bad)
			return
		}
		q := s.faults.pick(n)
		if q.has("plain_json") {
			a.stream = false
		}
		if s.instead(w, r, q) {
			return
		}
		st := &stream{s: s, w: w, r: r, ask: a, q: q, wire: p.wire(), key: n, id: fmt.Sprintf("%s%x", p.id, mix(n^s.cfg.Seed<<32))}
		st.job = &job{
			key: n, prompt: len(a.prompt), output: a.output,
			cached: s.prefix.lookup(a.prompt), wake: make(chan struct{}, 1),
		}
		s.serveJob(st)
	}
}

// serveJob takes the request through the core and answers.
func (s *Server) serveJob(st *stream) {
	j := st.job
	s.mu.Lock()
	now := s.catchUp()
	s.core.arrive(j)
	s.rearm()
	over, why, left := j.phase == phaseDone, j.why, j.finished-now
	if s.prefix != nil && !over {
		s.core.stats.prefixQueries += uint64(j.prompt)
		s.core.stats.prefixHits += uint64(j.cached)
	}
	s.mu.Unlock()
	switch {
	case !over && st.ask.stream:
		st.run()
	case !over:
		st.whole()
	case why == crashed, why == refusedDead:
		st.abort()
	case wait(st.r, left):
		s.refuse(st.w, answerTo(s.cfg, why))
	}
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
			s.refuse(w, answer{status: f.Status, kind: "simulated_error", message: http.StatusText(f.Status), retryAfter: f.RetryAfter})
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

// whole answers in one piece when the last token is there.
func (st *stream) whole() {
	for !st.over() {
		select {
		case <-st.job.wake:
		case <-st.r.Context().Done():
			st.s.leave(st.job)
			return
		}
	}
	if st.job.why != served {
		st.abort()
	}
	for k := range st.ask.output {
		st.text = append(st.text, st.piece(k)...)
	}
	st.w.Header().Set("Content-Type", "application/json")
	_, _ = st.w.Write(st.wire.plain(st))
	st.s.late.add(time.Since(st.s.base) - st.job.finished)
}

// over reports whether the core is done with the request.
func (st *stream) over() bool {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.job.phase == phaseDone
}
