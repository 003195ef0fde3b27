//go:build linux || darwin

package loadgen

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// numbered is a socket with that descriptor.
type numbered uintptr

func (n numbered) Control(f func(uintptr)) error  { f(uintptr(n)); return nil }
func (n numbered) Read(func(uintptr) bool) error  { return nil }
func (n numbered) Write(func(uintptr) bool) error { return nil }

// TestSpareFiles: a request's socket may have any descriptor but the last ones,
// and what it is refused for is this machine's fault.
func TestSpareFiles(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 4*filesSpared {
		t.Skipf("limit %v, %v", limit.Cur, err)
	}
	last := numbered(limit.Cur - filesSpared - 1)
	if err := spareFiles("tcp", "", last); err != nil {
		t.Errorf("descriptor %d of %d: %v", last, limit.Cur, err)
	}
	err := spareFiles("tcp", "", last+1)
	if !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "ulimit -n") {
		t.Fatalf("descriptor %d of %d: %v", last+1, limit.Cur, err)
	}
	if class, _ := classify(&wireError{stageConnect, err}); class != ClientLimit {
		t.Errorf("classed as %s", class)
	}
}

// TestRequestsSpareFiles: with only the spared descriptors left neither wire of a
// client takes one, while what goes beside the load still may.
func TestRequestsSpareFiles(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	target := DefaultTarget()
	target.BaseURL = "http://" + l.Addr().String()
	u, err := target.base()
	if err != nil {
		t.Fatal(err)
	}
	h1, err1 := newWire(target, u, target.header(""), &connStats{})
	h2, err2 := newTransport(target, u, spareFiles)
	beside, err3 := NewTransport(target)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	leaveOpen(t, 16)
	if _, err := h1.(*http1).dial(t.Context()); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("HTTP/1.1: %v", err)
	}
	if _, err := h2.DialContext(t.Context(), "tcp", u.Host); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("net/http: %v", err)
	}
	c, err := beside.DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatalf("beside the load: %v", err)
	}
	c.Close()
}

// leaveOpen lowers the limit on open files for a test, to so many above the
// lowest number that is free.
func leaveOpen(t *testing.T, free int) {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	next := int(f.Fd())
	f.Close()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(max(4*filesSpared, next+free))
	fill(t, int(low.Cur)-next-free)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) })
}

// fill holds n descriptors for a test.
func fill(t *testing.T, n int) {
	t.Helper()
	for range n {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
	}
}
