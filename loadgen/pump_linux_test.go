//go:build linux && (amd64 || arm64)

package loadgen

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
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
	err = s.push(func(buf []byte, ended bool) bool {
		for {
			n, err := stamped.attempt(buf)
			all = append(all, buf[:n]...)
			switch {
			case err == errAgain:
				return true
			case err != nil:
				return false
			case n < len(buf) && !ended:
				return true
			}
		}
	})
	return all, err
}

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

// What was received, and even the end, before the pump is asked to read is found.
func TestPushFindsWhatWasThere(t *testing.T) {
	s, far := pumped(t)
	io.WriteString(far, "early")
	far.Close()
	closed, unread := false, false
	for !unread { // until it is here; whoever looks takes nothing
		closed, unread = peek(s)
	}
	if got, err := pushedReads(s); err != nil || string(got) != "early" || closed {
		t.Errorf("%q, %v, closed %v", got, err, closed)
	}
}

func TestCloseEndsPush(t *testing.T) {
	s, _ := pumped(t)
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
