package live

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

func started(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Title = "demo"
	if cfg.Command == "" {
		cfg.Command = "sweep"
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ask sends one request under a Host header and returns status, header and body.
func ask(t *testing.T, method, url, host string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

func TestRefusals(t *testing.T) {
	s := started(t, Config{})
	for _, c := range []struct {
		method, host string
		want         int
	}{
		{"GET", "", 200}, {"GET", "localhost:1", 200}, {"GET", "[::1]:80", 200},
		{"POST", "", 405}, {"HEAD", "", 405}, {"DELETE", "", 405},
		{"GET", "evil.example", 403}, {"GET", "127.0.0.1.evil.example:80", 403}, {"GET", "192.0.2.1", 403},
	} {
		got, h, _ := ask(t, c.method, s.URL(), c.host)
		if got != c.want {
			t.Errorf("%s with Host %q: %d, want %d", c.method, c.host, got, c.want)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s with Host %q: headers %v", c.method, c.host, h)
		}
	}
	if got, _, _ := ask(t, "GET", s.URL()+"other", ""); got != 404 {
		t.Errorf("another path: %d", got)
	}
}

// Beyond loopback nobody sees anything without the token.
func TestToken(t *testing.T) {
	s := started(t, Config{Listen: "0.0.0.0:0"})
	at, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	base := "http://127.0.0.1:" + at.Port() + "/"
	for path, want := range map[string]int{"": 403, "?token=wrong": 403, "events": 403, "?token=" + s.token: 200} {
		if got, _, _ := ask(t, "GET", base+path, ""); got != want {
			t.Errorf("%q: %d, want %d", path, got, want)
		}
	}
	if len(s.token) < 20 {
		t.Errorf("token of %d letters", len(s.token))
	}
}

func step(n int, bad bool) analysis.Step {
	s := analysis.Step{Concurrency: n, Phase: analysis.PhaseLadder}
	s.Whole.Completed, s.Whole.RequestThroughput = 10, loadgen.Known(float64(n))
	s.Whole.TTFT.Mean, s.Whole.TTFT.N = loadgen.Known(.1), 10
	if bad {
		s.Stop = &analysis.Stop{Sentence: "too slow"}
	}
	return s
}

func TestBracket(t *testing.T) {
	rate := func(v float64, bad bool) analysis.Step {
		s := step(50, bad)
		s.RequestRate = loadgen.Known(v)
		return s
	}
	for _, c := range []struct {
		name      string
		steps     []analysis.Step
		enough    bool
		low, high float64 // 0: unknown
	}{
		{"a search", []analysis.Step{step(1, false), step(8, false), step(16, true), step(12, true), step(32, false)}, false, 8, 12},
		{"nothing held", []analysis.Step{step(4, true)}, false, 0, 4},
		{"all held", []analysis.Step{step(4, false), step(2, false)}, false, 4, 0},
		{"rates", []analysis.Step{rate(2, false), rate(5, true)}, false, 2, 5},
		{"enough for a rate", []analysis.Step{step(10, true), step(20, true), step(50, false), step(30, false)}, true, 20, 30},
	} {
		b := bracket(c.steps, c.enough)
		if b.Low.Or(0) != c.low || b.High.Or(0) != c.high || len(b.Tried) != len(c.steps) {
			t.Errorf("%s: %v to %v of %d", c.name, b.Low, b.High, len(b.Tried))
		}
	}
	point := step(4, false)
	point.Phase = analysis.PhasePoint
	if b := bracket([]analysis.Step{point}, false); b != nil {
		t.Errorf("of one point: %+v", b)
	}
}

// A viewer sees the steps, the moment, and at the end the report.
func TestEvents(t *testing.T) {
	s := started(t, Config{})
	answer, err := (&http.Client{Timeout: 20 * time.Second}).Get(s.URL() + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended without %q: %v", want, lines.Err())
	}
	p := &loadgen.Progress{}
	p.InFlight.Store(7)
	s.StepStarted(control.StepPlan{Concurrency: 8, NumPrompts: 10, Attempt: 2, Progress: p})
	until("repeating 8 requests in flight")
	until(`"in_flight":7`)
	s.StepDone(step(8, false))
	s.StepDone(step(16, true))
	until(`\u003csvg class=\"chart\"`)
	go s.Finish([]byte("<title>the report</title>"), "over")
	until("event: report")
	if _, _, body := ask(t, "GET", s.URL(), ""); !strings.Contains(body, "the report") {
		t.Errorf("the page at the end: %s", body)
	}
}

// Where the rate is given the loads are told apart by their concurrency.
func TestLoadsOfAGivenRate(t *testing.T) {
	for command, want := range map[string]string{"qps": "measuring 8 requests in flight", "rate": "measuring 40 requests/s"} {
		s := started(t, Config{Command: command})
		s.StepStarted(control.StepPlan{Concurrency: 8, RequestRate: loadgen.Known(40), IfHeld: &sweep.Order{Concurrency: 9, Rate: 40}})
		if s.now != want || strings.Contains(s.next, "if it holds") != (command == "rate") {
			t.Errorf("%s: %s; %s", command, s.now, s.next)
		}
	}
}

// Without viewers nothing waits at the end.
func TestFinishAlone(t *testing.T) {
	s := started(t, Config{})
	from := time.Now()
	s.Finish([]byte("x"), "over")
	if d := time.Since(from); d > time.Second {
		t.Errorf("waited %v for nobody", d)
	}
}

// More viewers than the bound are refused.
func TestViewersBounded(t *testing.T) {
	s := started(t, Config{})
	for range maxViewers {
		answer, err := http.Get(s.URL() + "events")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
	}
	if got, _, _ := ask(t, "GET", s.URL()+"events", ""); got != http.StatusServiceUnavailable {
		t.Errorf("one more viewer: %d", got)
	}
}

// stalled is a viewer whose connection takes nothing until it is let go.
type stalled struct {
	*httptest.ResponseRecorder
	flushing chan struct{} // one for each try to send
	take     chan error    // what becomes of it
	deadline time.Time
}

func (w *stalled) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }

func (w *stalled) FlushError() error {
	w.flushing <- struct{}{}
	return <-w.take
}

// A slow viewer slows nobody: meanwhile steps go on, nothing is kept for it, and when it
// can read again it gets what is newest, with all steps in it. One that fails is dropped.
func TestSlowViewer(t *testing.T) {
	s := &Server{board: newBoard(), viewers: make(chan struct{}, 1), stop: make(chan struct{})}
	s.board.post([]byte("{}"), []byte("{}"))
	w := &stalled{ResponseRecorder: httptest.NewRecorder(), flushing: make(chan struct{}), take: make(chan error)}
	gone := make(chan struct{})
	go func() {
		s.serveEvents(w, httptest.NewRequest("GET", "/events", nil))
		close(gone)
	}()
	within := func(c <-chan struct{}, what string) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatalf("waited in vain: %s", what)
		}
	}
	within(w.flushing, "a first try to send")
	if until := time.Until(w.deadline); until <= 0 || until > writeTimeout {
		t.Errorf("it may take %v", until)
	}
	first := w.Body.Len()
	posted := make(chan struct{})
	go func() {
		for i := range 1000 {
			s.board.post([]byte("{}"), fmt.Appendf(nil, `{"step":%d}`, i))
		}
		close(posted)
	}()
	within(posted, "1000 steps while one viewer is stalled")
	w.take <- nil
	within(w.flushing, "a second try to send")
	sent := w.Body.String()[first:]
	if !strings.Contains(sent, `{"step":999}`) || strings.Count(sent, "event: steps") != 1 {
		t.Errorf("what a slow viewer gets is not the newest alone: %q", sent)
	}
	w.take <- errors.New("it timed out")
	within(gone, "the viewer to be dropped")
	if n := len(s.viewers); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}
