//go:build !linux

package selftest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// NullServer streams tokens at the times that each request asks for, and nothing
// else.
type NullServer struct {
	listener net.Listener
	done     sync.WaitGroup
	late     atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// StartNull starts a null server on a loopback port.
func StartNull() (*NullServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("null server: %w", err)
	}
	s := &NullServer{listener: l, conns: map[net.Conn]bool{}}
	s.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			s.done.Go(func() { s.serve(c) })
		}
	})
	return s, nil
}

// Address is the host and port to connect to.
func (s *NullServer) Address() string { return s.listener.Addr().String() }

// CPU is the processor time that the server has used; false where it cannot be
// told from the rest of the process.
func (s *NullServer) CPU() (time.Duration, bool) { return 0, false }

// Late is the most that an event was sent after its time.
func (s *NullServer) Late() time.Duration { return time.Duration(s.late.Load()) }

// Close ends the server and its connections.
func (s *NullServer) Close() {
	s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *NullServer) serve(c net.Conn) {
	defer c.Close()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		o, ok := parseOrder(body)
		if !ok || s.stream(c, o) != nil {
			return
		}
	}
}

// stream sends the tokens of one order.
func (s *NullServer) stream(c net.Conn, o order) error {
	due := time.Now().Add(o.ttft)
	for i := range o.tokens {
		time.Sleep(time.Until(due))
		now := time.Now()
		late := int64(now.Sub(due))
		for was := s.late.Load(); late > was && !s.late.CompareAndSwap(was, late); was = s.late.Load() {
		}
		payload := tokenChunk
		if i == 0 {
			payload = firstChunk(o.n, now)
		}
		if _, err := c.Write(payload); err != nil {
			return err
		}
		due = due.Add(o.gap)
	}
	_, err := c.Write(endChunk(o.tokens))
	return err
}
