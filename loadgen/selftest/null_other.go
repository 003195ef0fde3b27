//go:build !linux

package selftest

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// NullServer streams tokens at the times that each request asks for, and nothing
// else.
type NullServer struct {
	Handler
	listener net.Listener
	server   http.Server
	done     sync.WaitGroup
}

// StartNull starts a null server on a loopback port.
func StartNull() (*NullServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("null server: %w", err)
	}
	s := &NullServer{listener: l}
	s.server.Handler = &s.Handler
	s.done.Go(func() { _ = s.server.Serve(l) }) // until Close
	return s, nil
}

// Address is the host and port to connect to.
func (s *NullServer) Address() string { return s.listener.Addr().String() }

// CPU is the processor time that the server has used; false where it cannot be
// told from the rest of the process.
func (s *NullServer) CPU() (time.Duration, bool) { return 0, false }

// Close ends the server and its connections.
func (s *NullServer) Close() {
	_ = s.server.Close()
	s.done.Wait()
}
