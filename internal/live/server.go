package live

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep/control"
)

const (
	maxViewers   = 64
	maxConns     = 2 * maxViewers
	writeTimeout = 5 * time.Second // a viewer that takes longer to read is dropped
	farewell     = 3 * time.Second // how long Finish waits for viewers to fetch the report
)

// Config says what to show and where.
type Config struct {
	Listen   string // address, as in 127.0.0.1:0; beyond loopback the page wants a token
	Title    string
	Command  string
	Language report.Language
}

// Server serves the page. It is a control.Observer.
type Server struct {
	url, token, command string
	page                *report.Live
	server              *http.Server
	board               *board
	started             time.Time
	stop                chan struct{}
	ending              sync.Once
	working             sync.WaitGroup
	viewers             chan struct{}

	mu        sync.Mutex
	watch     func(from, to time.Time) (analysis.Telemetry, bool)
	now, next string
	ended     bool
	requests  int64           // of the runs that are over
	most      analysis.Number // requests of all steps
	plan      control.StepPlan
	running   bool
	stepStart time.Time
	counts    []counted
	steps     []analysis.Step
	events    []Event
	dirty     bool
	report    []byte
	fetched   int // viewers that were given the report
}

// Start listens and serves until Close.
func Start(cfg Config) (*Server, error) {
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("the live page cannot be served on %s: %w; give another address with --web-listen, or leave --web out", cfg.Listen, err)
	}
	s := &Server{board: newBoard(), started: time.Now(), stop: make(chan struct{}), viewers: make(chan struct{}, maxViewers),
		command: cfg.Command, dirty: true}
	if s.page, err = report.NewLive(cfg.Title, cfg.Language); err != nil {
		listener.Close()
		return nil, err
	}
	s.now = s.page.Say("preparing")
	s.url = "http://" + listener.Addr().String() + "/"
	if at, ok := listener.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		s.token = rand.Text()
		s.url += "?token=" + s.token
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /events", s.serveEvents)
	s.server = &http.Server{Handler: s.guard(mux), ReadHeaderTimeout: writeTimeout, MaxHeaderBytes: 16 << 10}
	s.working.Go(func() { s.server.Serve(&bounded{listener, make(chan struct{}, maxConns)}) })
	s.working.Go(s.tick)
	return s, nil
}

// URL is where the page is, with its token if it has one.
func (s *Server) URL() string { return s.url }

// Watch gives it what was seen of the server's own metrics between two moments, without
// asking the server again.
func (s *Server) Watch(seen func(from, to time.Time) (analysis.Telemetry, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = seen
}

func (s *Server) telemetry(at time.Time) (analysis.Telemetry, bool) {
	s.mu.Lock()
	watch := s.watch
	s.mu.Unlock()
	if watch == nil {
		return analysis.Telemetry{}, false
	}
	return watch(at.Add(-recent), at)
}

func (s *Server) tick() {
	ticker := time.NewTicker(renderEvery)
	defer ticker.Stop()
	for {
		// What cannot be drawn is not shown; the measurement goes on.
		if err := s.render(); err != nil {
			s.Notice("the page could not be drawn: " + err.Error())
		}
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
	}
}

// Finish puts the report in the page's place and waits, for a few seconds at most,
// until those who watch have it. Without a report the page stays and says how the
// measurement ended. Nobody watching, it returns at once.
func (s *Server) Finish(html []byte, ended string) {
	waiting := len(s.viewers)
	s.mu.Lock()
	s.report, s.running, s.ended = html, false, true
	s.now, s.next = s.page.Say(ended), ""
	s.event(kindEnd, "", s.now)
	s.mu.Unlock()
	if html == nil {
		if err := s.render(); err != nil {
			return
		}
		s.board.end("ended")
		s.await(func() bool { return len(s.viewers) == 0 })
		return
	}
	s.board.end("report")
	s.await(func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.fetched >= waiting
	})
}

// await waits for something to come true, for a few seconds at most.
func (s *Server) await(done func() bool) {
	for end := time.Now().Add(farewell); !done() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

// Close ends the serving. Pages that are open keep what they show.
func (s *Server) Close() {
	s.ending.Do(func() {
		close(s.stop)
		s.server.Close()
		s.working.Wait()
	})
}

// guard refuses whatever a page of another site could have asked for.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", s.page.Policy+"; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		switch {
		case r.Method != http.MethodGet:
			h.Set("Allow", "GET")
			http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
		case !s.ours(r.Host):
			http.Error(w, "open this page by the address that capfind printed", http.StatusForbidden)
		case s.token != "" && subtle.ConstantTimeCompare([]byte(r.URL.Query().Get("token")), []byte(s.token)) != 1:
			http.Error(w, "the address lacks its token: open the whole address that capfind printed", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ours reports whether a Host header names this machine: a name of somebody else that
// was made to point here (DNS rebinding) does not. Beyond loopback any address will
// do, for there is a token.
func (s *Server) ours(host string) bool {
	u, err := url.Parse("http://" + host)
	if err != nil {
		return false
	}
	name := strings.ToLower(u.Hostname())
	if name == "localhost" {
		return true
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return s.token != "" || ip.IsLoopback()
	}
	own, err := os.Hostname()
	return s.token != "" && err == nil && name == strings.ToLower(own)
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	page := s.report
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	over := page != nil
	if over { // it brings a policy of its own
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	} else {
		page = s.page.HTML
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.Write(page); err == nil && over {
		http.NewResponseController(w).Flush()
		s.mu.Lock()
		s.fetched++
		s.mu.Unlock()
	}
}

func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case s.viewers <- struct{}{}:
		defer func() { <-s.viewers }()
	default:
		http.Error(w, fmt.Sprintf("%d are watching already", maxViewers), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	seen := 0
	for {
		state, steps, version, over, changed := s.board.read(seen)
		seen = version
		out.SetWriteDeadline(time.Now().Add(writeTimeout))
		if steps != nil {
			fmt.Fprintf(w, "event: steps\ndata: %s\n\n", steps)
		}
		if state != nil {
			fmt.Fprintf(w, "event: state\ndata: %s\n\n", state)
		}
		if over != "" {
			fmt.Fprintf(w, "event: %s\ndata: {}\n\n", over)
		}
		if err := out.Flush(); err != nil || over != "" {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-s.stop:
			return
		}
	}
}

// bounded is a listener with that many connections at most; further ones are closed.
type bounded struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.slots <- struct{}{}:
			return &slotted{Conn: conn, free: sync.OnceFunc(func() { <-b.slots })}, nil
		default:
			conn.Close()
		}
	}
}

type slotted struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *slotted) Close() error {
	c.free()
	return c.Conn.Close()
}
