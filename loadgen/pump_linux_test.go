//go:build linux && (amd64 || arm64)

package loadgen

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// pumped returns both ends of a connection, the first at a pump.
func pumped(t *testing.T) (*socket, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := new(pumps)
	c, err := p.take(near, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		far.Close()
		p.close()
	})
	return c.(*socket), far
}

// pushedReads pushes what a socket receives until its end and returns it.
func pushedReads(s *socket) (all []byte, err error) {
	stamped := newStampConn(s)
	err = s.push(readerFunc(func(in *receiver, ended bool) bool {
		for {
			n, err := stamped.attempt(in)
			all = append(all, in.buf[:n]...)
			switch {
			case err == errAgain:
				return true
			case err != nil:
				return false
			case n < len(in.buf) && !ended:
				return true
			}
		}
	}))
	return all, err
}

type readerFunc func(in *receiver, ended bool) bool

func (f readerFunc) read(in *receiver, ended bool) bool { return f(in, ended) }

func TestPushReadsAllThereIs(t *testing.T) {
	want := make([]byte, 3<<20)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	for name, write := range map[string]func(net.Conn){
		"at once":          func(c net.Conn) { c.Write(want) },
		"an event a write": func(c net.Conn) { writeBy(c, want, 1000) },
		"of buffers' size": func(c net.Conn) { writeBy(c, want, pumpBuffer) },
	} {
		s, far := pumped(t)
		go func() {
			write(far)
			far.Close() // with the last bytes, or nearly
		}()
		if got, err := pushedReads(s); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
	}
}

func writeBy(c net.Conn, p []byte, n int) {
	for ; len(p) > 0; p = p[min(n, len(p)):] {
		c.Write(p[:min(n, len(p))])
	}
}

// What was received, and even the end, before the pump is asked to read is found,
// though the pump will not tell of it again.
func TestPushFindsWhatWasThere(t *testing.T) {
	s, far := pumped(t)
	s.pump.forget(s)
	io.WriteString(far, "early")
	far.Close()
	const closeWait = 8 // of TCP_INFO: the peer's end has arrived
	for state := byte(0); state != closeWait; {
		if err := s.Control(func(fd uintptr) {
			size := uint32(1)
			syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO, uintptr(unsafe.Pointer(&state)), uintptr(unsafe.Pointer(&size)), 0)
		}); err != nil {
			t.Fatal(err)
		}
	}
	giveUp := time.AfterFunc(5*time.Second, func() { s.Close() })
	defer giveUp.Stop()
	if got, err := pushedReads(s); err != nil || string(got) != "early" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCloseEndsPush(t *testing.T) {
	s, _ := pumped(t)
	s.Close()
	if _, err := pushedReads(s); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed before: %v", err)
	}
	s, _ = pumped(t)
	go s.Close()
	if _, err := pushedReads(s); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading after it: %v", err)
	}
	if _, err := s.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing after it: %v", err)
	}
}

// A request that is larger than the socket's buffers waits for room, and whoever
// closes the connection ends the waiting.
func TestSocketWritesMoreThanFits(t *testing.T) {
	s, far := pumped(t)
	want := bytes.Repeat([]byte("0123456789"), 2<<20)
	var got []byte
	var reading sync.WaitGroup
	reading.Go(func() {
		got = make([]byte, len(want))
		io.ReadFull(far, got)
	})
	if n, err := s.Write(want); n != len(want) || err != nil {
		t.Errorf("%d of %d bytes, %v", n, len(want), err)
	}
	if reading.Wait(); !bytes.Equal(got, want) {
		t.Error("other bytes arrived")
	}
	time.AfterFunc(20*time.Millisecond, func() { s.Close() })
	if n, err := s.Write(want); n == len(want) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("nobody reads: %d of %d bytes, %v", n, len(want), err)
	}
}

func TestSocketReadDeadline(t *testing.T) {
	s, far := pumped(t)
	if err := s.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
		t.Errorf("past the deadline: %v", err)
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(far, "x")
	if n, err := s.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("without one: %d bytes, %v", n, err)
	}
}

// A closed socket's number may already be another's: nothing may read by it, and a read
// that is under way holds the closing up.
func TestNothingIsReadOnceClosed(t *testing.T) {
	s, far := pumped(t)
	reading, goOn := make(chan struct{}), make(chan struct{})
	reads := 0
	pushed := make(chan error)
	go func() {
		pushed <- s.push(readerFunc(func(in *receiver, _ bool) bool {
			if reads++; reads == 2 {
				close(reading)
				<-goOn
			}
			return true
		}))
	}()
	for waiting := true; waiting; {
		far.Write([]byte("x"))
		select {
		case <-reading:
			waiting = false
		case <-time.After(time.Millisecond):
		}
	}
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
		t.Error("the socket was closed while it was read")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	<-closed
	if err := <-pushed; err != net.ErrClosed {
		t.Errorf("push ended with %v", err)
	}
	s.reader = readerFunc(func(*receiver, bool) bool { t.Error("a closed socket was read"); return false })
	s.happened(new(receiver), false)
	if err := s.push(s.reader); err != net.ErrClosed {
		t.Errorf("push of a closed socket ended with %v", err)
	}
}
