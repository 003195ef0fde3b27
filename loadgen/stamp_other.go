//go:build !(linux && (amd64 || arm64))

package loadgen

import (
	"net"
	"time"
)

// stampConn is a socket whose reads say when the data arrived: here by the
// moment after the read.
type stampConn struct {
	net.Conn
	kernel int64     // always 0: no stamp by the kernel
	after  time.Time // the moment after the latest read
}

func newStampConn(c net.Conn) *stampConn { return &stampConn{Conn: c} }

// Read reads into p and notes when the data arrived.
func (s *stampConn) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.after = time.Now()
	return n, err
}
