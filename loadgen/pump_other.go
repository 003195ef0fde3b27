//go:build !(linux && (amd64 || arm64))

package loadgen

import (
	"net"
	"syscall"
)

// pumps read from many sockets on few goroutines; here Go's poller does.
type pumps struct{}

func (*pumps) take(c net.Conn, _ func(network, address string, c syscall.RawConn) error) (net.Conn, error) {
	return c, nil
}

func (*pumps) close() {}

// receiver is what a pump reads with.
type receiver struct{ buf []byte }

// attempt is never called: no socket here is read by a pump.
func (s *stampConn) attempt(*receiver) (int, error) { return 0, errAgain }
