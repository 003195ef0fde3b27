package simhttp

import (
	"fmt"
	"net/http"
	"time"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// protocol is how one endpoint speaks.
type protocol struct {
	wire       wire
	streams    bool // where the request does not say
	fixed      bool // the path alone says whether it streams
	needsModel bool
	scores     bool   // reads texts and writes none: the answer is there after the prefill
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
		j, refused := s.engine.Submit(n, a.prompt, a.output)
		st := &stream{s: s, w: w, r: r, ask: a, job: j, q: q, wire: p.wire, key: n, id: fmt.Sprintf("%s%x", p.id, draw.Mix(n^s.cfg.Seed<<32))}
		st.timer = time.NewTimer(time.Hour)
		defer st.timer.Stop()
		switch {
		case refused != nil && refused.Status == 0:
			st.abort()
		case refused != nil:
			if wait(r, refused.After) {
				s.refuse(w, *refused)
			}
		case a.stream:
			st.run()
		default:
			st.whole()
		}
	}
}

// whole answers in one piece when the last token is there.
func (st *stream) whole() {
	if !st.untilToken(st.ask.output - 1) {
		return
	}
	for k := range st.ask.output {
		st.text = append(st.text, st.piece(k)...)
	}
	st.w.Header().Set("Content-Type", "application/json")
	_, _ = st.w.Write(st.wire.plain(st))
}

// wait sleeps, unless the client goes away first.
func wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
