// Package simhttp serves the simulated server over HTTP, in the protocols of real
// servers and with the faults of theirs that the configuration asks for.
package simhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capfind/capfind/internal/simserver"
)

// Server is the simulated server on a socket.
type Server struct {
	engine  *simserver.Engine
	cfg     simserver.Config // as given, defaults filled in
	network string           // tcp or unix
	address string
	http    *http.Server
	faults  *faultList
	late    latenessHistogram
	asked   atomic.Uint64 // requests for tokens so far
	model   string        // the model's name as a JSON string
	started time.Time

	serving sync.WaitGroup // goroutines in http.Server.Serve
	open    sync.WaitGroup // connections

	life     sync.Mutex // guards what follows
	listener net.Listener
	conns    map[*conn]struct{}
	revival  *time.Timer
	closed   bool
}

// conn is a connection that the server can find again, to cut it.
type conn struct {
	net.Conn
	forget func(*conn)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.forget(c)
	return c.Conn.Close()
}

// reset closes the connection with a TCP reset: what was sent may be lost. A Unix
// socket knows no reset.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a closed connection
	}
	_ = c.Close()
}

type connKey struct{}

// Start serves the config over HTTP/1.1 and unencrypted HTTP/2 on cfg.Listen, by
// default a free port of 127.0.0.1. The error says what is wrong with the config, or why the port
// cannot be had.
func Start(cfg simserver.Config) (*Server, error) {
	s := &Server{conns: map[*conn]struct{}{}, started: time.Now()}
	engine, err := simserver.NewEngine(cfg, func(downFor time.Duration) { go s.down(downFor) })
	if err != nil {
		return nil, fmt.Errorf("simulated server: %w", err)
	}
	cfg = cfg.WithDefaults()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s.network, s.address = "tcp", cfg.Listen
	if path, ok := strings.CutPrefix(cfg.Listen, "unix:"); ok {
		s.network, s.address = "unix", path
	}
	l, err := net.Listen(s.network, s.address)
	if err != nil {
		return nil, fmt.Errorf("simulated server: %w; choose another listen address", err)
	}
	s.engine, s.cfg, s.address = engine, cfg, l.Addr().String()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.faults, s.model = newFaultList(cfg), quoted(cfg.Model)
	s.http = &http.Server{
		Handler:     s.routes(),
		Protocols:   protocols,
		ErrorLog:    log.New(io.Discard, "", 0), // cut connections are what it is for
		IdleTimeout: idleTimeout(cfg),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: s.connState,
	}
	s.life.Lock()
	defer s.life.Unlock()
	s.serve(l)
	return s, nil
}

// idleTimeout returns after how long idle connections are closed; 0: never.
func idleTimeout(cfg simserver.Config) time.Duration {
	for _, f := range cfg.Faults {
		if f.Mode == "idle_close" {
			return f.Delay
		}
	}
	return 0
}

// URL returns the server's root, such as http://127.0.0.1:40123.
func (s *Server) URL() string {
	if s.network == "unix" {
		return "http://localhost"
	}
	return "http://" + s.address
}

// Socket returns the path of the server's Unix socket, empty where it has a port.
func (s *Server) Socket() string {
	if s.network == "unix" {
		return s.address
	}
	return ""
}

// Lateness returns how late the server's own writes were.
func (s *Server) Lateness() Lateness { return s.late.read() }

// State returns what the server's own metrics show.
func (s *Server) State() simserver.State { return s.engine.State() }

// Close stops the server and returns when all its goroutines are gone.
func (s *Server) Close() error {
	s.life.Lock()
	s.closed = true
	if s.revival != nil {
		s.revival.Stop()
	}
	s.life.Unlock()
	err := s.http.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // a listener that was closed by a crash and not yet forgotten
	}
	s.drop()
	s.serving.Wait()
	s.open.Wait()
	s.engine.Close()
	return err
}

// down closes the port and cuts every connection.
func (s *Server) down(downFor time.Duration) {
	s.life.Lock()
	if s.listener != nil {
		_ = s.listener.Close() // nothing can be done about it, and nothing is lost
		s.listener = nil
	}
	if s.revival != nil {
		s.revival.Stop()
	}
	if downFor > 0 && !s.closed {
		s.revival = time.AfterFunc(downFor, s.up)
	}
	s.life.Unlock()
	s.drop()
}

// up opens the port again. Another program may have taken it meanwhile: it tries
// until it gets it.
func (s *Server) up() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed || s.listener != nil {
		return
	}
	l, err := net.Listen(s.network, s.address)
	if err != nil {
		s.revival = time.AfterFunc(20*time.Millisecond, s.up)
		return
	}
	s.serve(l)
}

// serve starts to take connections, under life.
func (s *Server) serve(l net.Listener) {
	s.listener = l
	s.serving.Go(func() { _ = s.http.Serve(&tracked{l, s}) }) // it ends with the listener's closing, never otherwise
}

// tracked is a listener whose connections the server knows.
type tracked struct {
	net.Listener
	s *Server
}

// Accept implements net.Listener.
func (t *tracked) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	k := &conn{Conn: c, forget: t.s.forget}
	t.s.life.Lock()
	defer t.s.life.Unlock()
	t.s.conns[k] = struct{}{}
	return k, nil
}

func (s *Server) forget(c *conn) {
	s.life.Lock()
	defer s.life.Unlock()
	delete(s.conns, c)
}

// drop resets every connection.
func (s *Server) drop() {
	s.life.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.life.Unlock()
	for _, c := range conns {
		c.reset()
	}
}

// connState counts connections, so that Close can wait for their goroutines.
func (s *Server) connState(_ net.Conn, st http.ConnState) {
	switch st {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed:
		s.open.Done()
	}
}
