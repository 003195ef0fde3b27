package loadgen

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// blackHole listens on loopback with a backlog that is full, so that the kernel
// drops every further attempt to connect.
func blackHole(t *testing.T) (base string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 10 {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return "http://" + address
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("the backlog does not fill up here")
	return ""
}

func TestBlackHole(t *testing.T) {
	c := config(t, blackHole(t))
	c.Target.Timeouts.Connect = 150 * time.Millisecond
	r := generate(t, c, Load{Concurrency: 4, Requests: 8})
	indexes(t, r, 8)
	if counts(r)[TimeoutConnect] != 8 || r.Elapsed < 300*time.Millisecond || r.Elapsed > 5*time.Second {
		t.Errorf("after %v: %v, e.g. %s", r.Elapsed, counts(r), r.Samples[0].Message)
	}
}
