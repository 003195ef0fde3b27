package fleet

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// freePorts finds ports that nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

// wire is a bad connection: what goes through it comes so much later, and nothing does
// while it is held.
type wire struct {
	address string
	delay   time.Duration
	held    sync.RWMutex
}

// stretch puts a wire before a server.
func stretch(t *testing.T, to string, delay time.Duration) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &wire{address: l.Addr().String(), delay: delay}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go w.carry(near, far)
			go w.carry(far, near)
		}
	}()
	return w
}

func (w *wire) carry(from, to net.Conn) {
	type piece struct {
		due  time.Time
		data []byte
	}
	under := make(chan piece, 1<<12)
	go func() {
		defer to.Close()
		for p := range under {
			time.Sleep(time.Until(p.due))
			w.held.RLock()
			_, err := to.Write(p.data)
			w.held.RUnlock()
			if err != nil {
				break
			}
		}
		for range under { // nobody is held up by what nobody reads
		}
	}()
	for {
		data := make([]byte, 32<<10)
		n, err := from.Read(data)
		if n > 0 {
			under <- piece{time.Now().Add(w.delay), data[:n]}
		}
		if err != nil {
			close(under)
			_, _ = io.Copy(io.Discard, from)
			return
		}
	}
}
