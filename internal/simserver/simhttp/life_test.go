package simhttp_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/loadgen"
)

// TestCrashOverTheWire: the requests in the server are reset, new ones refused,
// and after the restart it answers on the same port.
func TestCrashOverTheWire(t *testing.T) {
	c := quick()
	c.Prefill, c.CrashAt, c.RestartAfter = time.Second, 5, time.Second
	s := start(t, c)
	cl := client(t, s, "openai-chat", nil)
	cl.Prepare(t.Context(), 5)
	var mu sync.Mutex
	classes := map[loadgen.Class]int{}
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			got := do(t, cl, i)
			mu.Lock()
			defer mu.Unlock()
			classes[got.Class]++
		})
	}
	wg.Wait()
	// A reset may overtake the headers: a client that saw no byte may try again.
	if classes[loadgen.ConnectionReset]+classes[loadgen.ConnectionRefused] != 5 {
		t.Errorf("classes %v, want 5 resets, or refusals of a second try", classes)
	}
	if got := do(t, cl, 10); got.Class != loadgen.ConnectionRefused && got.Class != loadgen.ConnectionReset {
		t.Errorf("while down: %s %s", got.Class, got.Message)
	}
	deadline := time.Now().Add(5 * time.Second)
	for i := 20; ; i++ {
		if got := do(t, cl, i); got.Class == loadgen.Success {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not back after its restart")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestKillAndRestart(t *testing.T) {
	s := start(t, quick())
	cl := client(t, s, "openai-chat", nil)
	if got := do(t, cl, 0); got.Class != loadgen.Success {
		t.Fatalf("before: %+v", got)
	}
	s.Kill()
	if got := do(t, cl, 1); got.Class != loadgen.ConnectionRefused {
		t.Errorf("killed: %s %s", got.Class, got.Message)
	}
	s.Restart(10 * time.Millisecond)
	deadline := time.Now().Add(5 * time.Second)
	for i := 2; do(t, cl, i).Class != loadgen.Success; i++ {
		if time.Now().After(deadline) {
			t.Fatal("not back after Restart")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestPreemptedStreamsGoOn: a stream whose memory is taken pauses, and no token
// is lost or sent twice.
func TestPreemptedStreamsGoOn(t *testing.T) {
	c := quick()
	c.Slots, c.KVTokens = 0, 250
	s := start(t, c)
	cl := client(t, s, "openai-chat", func(c *loadgen.ClientConfig) { c.Source = source{60} })
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if got := do(t, cl, i); got.Class != loadgen.Success || got.OutputTokens != 60 || got.OutputEvents != 60 {
				t.Errorf("%s %s: %d tokens in %d events, want 60 in 60", got.Class, got.Message, got.OutputTokens, got.OutputEvents)
			}
		})
	}
	wg.Wait()
	if st := s.State(); st.Preemptions == 0 || st.Running != 0 || st.KVUsage != 0 {
		t.Errorf("%+v, want preemptions and an empty server", st)
	}
}

// TestKillCutsIdleConnections: a dead process holds no connection open.
func TestKillCutsIdleConnections(t *testing.T) {
	s := start(t, quick())
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))
	b := make([]byte, 4096)
	if _, err := c.Read(b); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(b); err == nil || os.IsTimeout(err) {
		t.Errorf("the connection outlived the server: %v", err)
	}
}

// TestCloseRightAfterACrash: the listener that the crash closed may not be
// forgotten yet, which is nothing that went wrong.
func TestCloseRightAfterACrash(t *testing.T) {
	for range 300 {
		s, err := simhttp.Start(quick())
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get(s.URL() + "/health") // it is listening by now
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		s.Kill()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestCancelFreesTheSlot: a client that hangs up must not keep the server busy.
func TestCancelFreesTheSlot(t *testing.T) {
	c := simserver.Default()
	c.StepTime = time.Hour
	s := start(t, c)
	cl := client(t, s, "openai-chat", nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan loadgen.Sample, 1)
	go func() {
		_ = cl.Do(ctx, time.Now(), loadgen.Sample{}, func(s *loadgen.Sample) { done <- *s })
	}()
	for s.State().Running == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if got := <-done; got.Class != loadgen.Cancelled {
		t.Errorf("class %s", got.Class)
	}
	deadline := time.Now().Add(5 * time.Second)
	for s.State().Running > 0 {
		if time.Now().After(deadline) {
			t.Fatal("still running")
		}
		time.Sleep(time.Millisecond)
	}
}
