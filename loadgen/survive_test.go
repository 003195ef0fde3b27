package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// counts returns how many samples ended in each class.
func counts(r Run) map[Class]int {
	m := map[Class]int{}
	for _, s := range r.Samples {
		m[s.Class]++
	}
	return m
}

func TestRefusedPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + l.Addr().String()
	l.Close()
	r := generate(t, config(t, base), Load{Concurrency: 3, Requests: 9})
	indexes(t, r, 9)
	if n := counts(r)[ConnectionRefused]; n != 9 {
		t.Errorf("classes %v", counts(r))
	}
	for _, s := range r.Samples {
		if s.WasSent || s.Message == "" || s.End < s.Ready {
			t.Errorf("sample %+v", s)
		}
	}
}

// The server goes away in the middle of streams and comes back on the same port.
func TestServerRestart(t *testing.T) {
	stream := func(c net.Conn, _ int, _ []byte) bool {
		io.WriteString(c, streamHead+"Transfer-Encoding: chunked\r\n\r\n")
		for range 5 {
			time.Sleep(4 * time.Millisecond)
			if _, err := io.WriteString(c, chunked(contentChunk("a"))); err != nil {
				return false
			}
		}
		_, err := io.WriteString(c, chunked(finishChunk+doneChunk)+lastChunk)
		return err == nil
	}
	first := serve(t, stream)
	address := first.listener.Addr().String()
	down, back := make(chan struct{}), make(chan struct{})
	seen := 0
	go func() {
		<-down
		first.stop()
		time.Sleep(50 * time.Millisecond)
		defer close(back)
		l, err := net.Listen("tcp", address)
		for begun := time.Now(); err != nil; l, err = net.Listen("tcp", address) {
			// Another program of a busy machine may use the port for a moment.
			if time.Since(begun) > 10*time.Second {
				t.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		serveOn(t, l, stream)
	}()
	r := generate(t, config(t, "http://"+address), Load{
		Concurrency: 8, Requests: 400, ErrorHold: 5 * time.Millisecond,
		OnSample: func(*Sample) bool {
			if seen++; seen == 40 {
				close(down)
			}
			return false
		},
	})
	<-back
	indexes(t, r, 400)
	got := counts(r)
	if failed := 400 - got[Success]; failed == 0 || got[Success] < 100 || got[Malformed]+got[Cancelled]+got[ClientLimit] > 0 {
		t.Errorf("classes %v", got)
	}
	if last := r.Samples[len(r.Samples)-1]; last.Class != Success {
		t.Errorf("still failing after the restart: %+v", last)
	}
}

// A server that closes idle connections without saying so must not cost a single
// request.
func TestIdleConnectionsClosed(t *testing.T) {
	s := serve(t, func(c net.Conn, n int, _ []byte) bool {
		io.WriteString(c, sse(wholeStream))
		return n%3 != 0 // closed as the client may be sending its next request
	})
	r := generate(t, config(t, s.url()), Load{Concurrency: 8, Requests: 400})
	indexes(t, r, 400)
	if n := counts(r)[Success]; n != 400 {
		t.Errorf("classes %v", counts(r))
	}
}

// The end of the body often comes in a packet after the end mark: the connection
// is worth waiting for it.
func TestConnectionsSurviveALateEnd(t *testing.T) {
	s := serve(t, func(c net.Conn, _ int, _ []byte) bool {
		io.WriteString(c, streamHead+"Transfer-Encoding: chunked\r\n\r\n"+chunked(wholeStream))
		time.Sleep(time.Millisecond)
		_, err := io.WriteString(c, lastChunk)
		return err == nil
	})
	r := generate(t, config(t, s.url()), Load{Concurrency: 1, Requests: 20})
	s.mu.Lock()
	defer s.mu.Unlock()
	if counts(r)[Success] != 20 || len(s.open) > 10 { // 1 but for a machine that is busy
		t.Errorf("classes %v over %d connections", counts(r), len(s.open))
	}
}

// A request that the server took and then failed is not sent twice.
func TestNoReplayOfATakenRequest(t *testing.T) {
	s := serve(t, func(c net.Conn, n int, _ []byte) bool {
		if n == 0 {
			io.WriteString(c, sse(wholeStream))
			return true
		}
		time.Sleep(replayWithin + 100*time.Millisecond)
		return false
	})
	r := generate(t, config(t, s.url()), Load{Concurrency: 1, Requests: 2})
	if r.Samples[0].Class != Success || r.Samples[1].Class != ConnectionReset || s.requests.Load() != 2 {
		t.Errorf("%d requests seen, samples %+v", s.requests.Load(), r.Samples)
	}
}

// Whatever a request waits for, cancelling ends it at once, counted as cancelled.
func TestCancelAnywhere(t *testing.T) {
	for name, answer := range map[string]func(net.Conn, int, []byte) bool{
		"before the head":   hanging(""),
		"before any output": hanging(streamHead + "\r\n"),
		"within the stream": hanging(streamHead + "\r\n" + contentChunk("a")),
		"endless stream":    repeating(streamHead+"\r\n", contentChunk("a"), time.Millisecond),
		"an error's text":   hanging("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answer)
			client, err := NewClient(config(t, s.url()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			r, err := NewEngine(client).Run(ctx, Load{Concurrency: 5, Requests: 50})
			if err != nil || r.End != EndCancelled || counts(r)[Cancelled] != 5 || len(r.Samples) != 5 || r.Elapsed > 5*time.Second {
				t.Errorf("end %s after %v with %v, %v", r.End, r.Elapsed, counts(r), err)
			}
			indexes(t, r, 5)
		})
	}
}

func TestStalledServerEndsWithinItsTimeouts(t *testing.T) {
	s := serve(t, hanging(streamHead+"\r\n"+contentChunk("a")))
	c := config(t, s.url())
	restless(&c)
	r := generate(t, c, Load{Concurrency: 50, Requests: 100})
	indexes(t, r, 100)
	if counts(r)[TimeoutIdle] != 100 || r.Elapsed > 5*time.Second {
		t.Errorf("after %v: %v", r.Elapsed, counts(r))
	}
}

func TestNoTimeoutsNoTimer(t *testing.T) {
	s := serve(t, say(sse(wholeStream)))
	c := config(t, s.url())
	c.Target.Timeouts = Timeouts{}
	if got := once(t, c); got.Class != Success {
		t.Errorf("sample %+v", got)
	}
}

func TestSourceErrorEndsTheRun(t *testing.T) {
	c := config(t, "http://127.0.0.1:1")
	c.Source = source{err: errors.New("file is gone")}
	client, err := NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := NewEngine(client).Run(t.Context(), Load{Concurrency: 2, Requests: 4}); err == nil || !strings.Contains(err.Error(), "file is gone") {
		t.Errorf("error %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skip(err)
	}
	serveOn(t, l, say(sse(wholeStream)))
	c := config(t, "http://model.example/v1")
	c.Target.UnixSocket = l.Addr().String()
	if got := once(t, c); got.Class != Success || got.Stamp != StampUser {
		t.Errorf("sample %+v", got)
	}
	c.Target.UnixSocket += "-not-there"
	if got := once(t, c); got.Class != ConnectionRefused {
		t.Errorf("sample %+v", got)
	}
}

func TestClassify(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, test := range []struct {
		err  error
		want Class
	}{
		{&wireError{stageConnect, op(os.NewSyscallError("socket", syscall.EMFILE))}, ClientLimit},
		{&wireError{stageConnect, op(os.NewSyscallError("connect", errnoClientLimit[len(errnoClientLimit)-1]))}, ClientLimit},
		{&wireError{stageConnect, op(&net.DNSError{Err: "no such host", Name: "h", IsNotFound: true})}, DNS},
		{&wireError{stageConnect, op(&net.DNSError{Err: "timeout", Name: "h", IsTimeout: true})}, DNS},
		{&wireError{stageConnect, op(os.ErrDeadlineExceeded)}, TimeoutConnect},
		{&wireError{stageConnect, context.DeadlineExceeded}, TimeoutConnect},
		{&wireError{stageConnect, op(os.NewSyscallError("connect", syscall.ECONNREFUSED))}, ConnectionRefused},
		{&wireError{stageConnect, op(os.NewSyscallError("connect", syscall.EHOSTUNREACH))}, ConnectionRefused},
		{&wireError{stageConnect, op(os.NewSyscallError("connect", errnoReset[0]))}, ConnectionReset},
		{&wireError{stageTLS, os.ErrDeadlineExceeded}, TimeoutConnect},
		{&wireError{stageTLS, io.EOF}, TLS},
		{&wireError{stageTLS, op(errnoReset[0])}, ConnectionReset},
		{&wireError{stageTLS, errors.New("tls: handshake failure")}, TLS},
		{&wireError{stageSend, op(errnoReset[0])}, ConnectionReset},
		{&wireError{stageHead, io.EOF}, ConnectionReset},
		{&wireError{stageHead, errors.New("malformed HTTP response")}, Malformed},
		{&wireError{stageHead, errors.New("stream error: stream ID 9; INTERNAL_ERROR; received from peer")}, ConnectionReset},
		{&wireError{stageBody, io.ErrUnexpectedEOF}, Truncated},
		{&wireError{stageBody, errors.New("stream error: stream ID 1; INTERNAL_ERROR")}, ConnectionReset},
	} {
		if got, message := classify(test.err); got != test.want || message == "" {
			t.Errorf("%v is %s (%q), want %s", test.err, got, message, test.want)
		}
	}
}
