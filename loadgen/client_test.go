package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// source gives short prompts; turns makes them conversations.
type source struct {
	turns []prompt.Turn
	err   error
}

func (s source) Request(i int) (prompt.Request, error) {
	return prompt.Request{Text: fmt.Sprintf("prompt %d", i), PromptTokens: 2, OutputTokens: 3, Turns: s.turns}, s.err
}

// config returns a client's config for a server at base, with short time-outs.
func config(t *testing.T, base string) ClientConfig {
	t.Helper()
	protocol, err := api.ByName("openai-chat")
	if err != nil {
		t.Fatal(err)
	}
	target := DefaultTarget()
	target.BaseURL = base
	target.Timeouts = Timeouts{Connect: 5 * time.Second, FirstToken: 5 * time.Second, Idle: 5 * time.Second, Total: 20 * time.Second}
	return ClientConfig{Target: target, Protocol: protocol, Source: source{}, Options: api.Options{Model: "m"}}
}

// generate runs a load against a client made of c and closes it.
func generate(t *testing.T, c ClientConfig, load Load) Run {
	t.Helper()
	client, err := NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := NewEngine(client).Run(t.Context(), load)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// once sends one request and returns its sample.
func once(t *testing.T, c ClientConfig) Sample {
	t.Helper()
	r := generate(t, c, Load{Concurrency: 1, Requests: 1})
	indexes(t, r, 1)
	return r.Samples[0]
}

// The pieces of answers.
const (
	roleChunk   = `data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	finishChunk = `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	usageChunk  = `data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}` + "\n\n"
	doneChunk   = "data: [DONE]\n\n"
	streamHead  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func contentChunk(text string) string {
	return `data: {"choices":[{"delta":{"content":"` + text + `"},"finish_reason":null}]}` + "\n\n"
}

var wholeStream = roleChunk + contentChunk("a") + contentChunk("b") + contentChunk("c") + finishChunk + usageChunk + doneChunk

// chunked packs s as one HTTP chunk.
func chunked(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

const lastChunk = "0\r\n\r\n"

// wireServer is a server made of raw connections: answer gets each request that
// was read, its number over all connections, and writes what it likes; false
// closes the connection.
type wireServer struct {
	listener net.Listener
	requests atomic.Int64
	conns    sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
	stopped  bool
}

func serve(t *testing.T, answer func(c net.Conn, n int, body []byte) (keep bool)) *wireServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, answer)
}

func serveOn(t *testing.T, l net.Listener, answer func(c net.Conn, n int, body []byte) (keep bool)) *wireServer {
	t.Helper()
	s := &wireServer{listener: l, open: map[net.Conn]bool{}}
	s.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[c] = true
			if s.stopped { // taken just as the server stopped
				c.Close()
			}
			s.mu.Unlock()
			s.conns.Go(func() { s.handle(c, answer) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *wireServer) handle(c net.Conn, answer func(net.Conn, int, []byte) bool) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if !answer(c, int(s.requests.Add(1))-1, body) {
			return
		}
	}
}

// stop closes the listener and all connections.
func (s *wireServer) stop() {
	s.listener.Close()
	s.mu.Lock()
	s.stopped = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.conns.Wait()
}

func (s *wireServer) url() string { return "http://" + s.listener.Addr().String() }

// say writes a whole answer at once.
func say(text string) func(net.Conn, int, []byte) bool {
	return func(c net.Conn, _ int, _ []byte) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

func TestStreamedAnswer(t *testing.T) {
	const gap = 30 * time.Millisecond
	s := serve(t, func(c net.Conn, _ int, _ []byte) bool {
		io.WriteString(c, streamHead+"Transfer-Encoding: chunked\r\n\r\n"+chunked(roleChunk))
		for _, text := range []string{"a", "b", "c"} {
			time.Sleep(gap)
			io.WriteString(c, chunked(contentChunk(text)))
		}
		time.Sleep(gap)
		io.WriteString(c, chunked(finishChunk+usageChunk+doneChunk)+lastChunk)
		return true
	})
	// Never early. How late depends on the machine: one answer in some must have
	// been read as it came.
	var got Sample
	for range 20 {
		got = once(t, config(t, s.url()))
		if got.Sent+gap > got.FirstOutput || got.Sent+3*gap > got.LastOutput || got.Sent+4*gap > got.End {
			t.Fatalf("moments of %+v", got)
		}
		if got.FirstOutput+2*gap-5*time.Millisecond <= got.LastOutput && got.LastOutput+gap-5*time.Millisecond <= got.End {
			break
		}
	}
	if got.Class != Success || got.Status != 200 || !got.WasSent || !got.Streamed || got.OutputEvents != 3 ||
		got.OutputTokens != 3 || got.TokenSource != TokensFromUsage || got.PromptTokens != 11 || got.CachedTokens != -1 ||
		got.WantPromptTokens != 2 || got.WantOutputTokens != 3 || got.Message != "" || got.Conversation != -1 {
		t.Errorf("sample %+v", got)
	}
	if !(got.Intended <= got.Ready && got.Ready <= got.Sent &&
		got.FirstOutput+2*gap-5*time.Millisecond <= got.LastOutput && got.LastOutput+gap-5*time.Millisecond <= got.End) {
		t.Errorf("moments of %+v", got)
	}
	// Gaps are cut to whole microseconds.
	if span := got.LastOutput - got.FirstOutput; len(got.Gaps) != 2 || time.Duration(got.Gaps[0]+got.Gaps[1])*time.Microsecond > span ||
		time.Duration(got.Gaps[0]+got.Gaps[1]+2)*time.Microsecond < span || got.FirstAnswer != got.FirstOutput {
		t.Errorf("gaps %v, first answer %v, first output %v", got.Gaps, got.FirstAnswer, got.FirstOutput)
	}
	if !got.ConnReused || got.Connect != 0 {
		t.Errorf("the connection was opened within the run: %+v", got)
	}
}

// A server of the standard library, many requests, connections kept.
func TestManyRequests(t *testing.T) {
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		requests.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, roleChunk)
		for range 5 {
			io.WriteString(w, contentChunk("x"))
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, finishChunk)
		w.(http.Flusher).Flush()
		io.WriteString(w, doneChunk)
	}))
	defer s.Close()
	r := generate(t, config(t, s.URL), Load{Concurrency: 20, Requests: 400})
	indexes(t, r, 400)
	for _, got := range r.Samples {
		if got.Class != Success || got.OutputTokens != 5 || got.TokenSource != TokensFromEvents {
			t.Fatalf("sample %+v", got)
		}
	}
	if requests.Load() != 400 {
		t.Errorf("the server saw %d requests", requests.Load())
	}
	if got := r.Health.ConnReuse.Or(0); got < 0.9 {
		t.Errorf("%v of the requests went over a kept connection", got)
	}
	if !r.Health.ConnectMeanSeconds.IsKnown() || r.Health.TLSMeanSeconds.IsKnown() || !r.Health.OpenFiles.IsKnown() || !r.Health.CPUShare.IsKnown() {
		t.Errorf("health %+v", r.Health)
	}
}
