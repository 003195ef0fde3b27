//go:build unix

package loadgen

import (
	"net"
	"syscall"
)

// peek looks at an idle connection without waiting: closed by the peer (or
// broken), or holding bytes that nobody asked for.
func peek(c net.Conn) (closed, unread bool) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true, false
	}
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
		unread = n > 0 && err == nil
		return true
	})
	return closed || err != nil, unread
}
