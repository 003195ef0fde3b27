package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/prompt"
)

// streams is a server of the OpenAI chat API whose n-th prompt, from 1, is answered
// by a function; prompts are a token a letter.
type streams struct {
	mu    sync.Mutex
	asked int
}

// speaking is an answer in the making.
type speaking struct {
	http.ResponseWriter
	request *http.Request
	body    string
	tokens  int // of the prompt
	want    int // of the answer
}

func (a *speaking) say(text string) {
	io.WriteString(a, text)
	a.ResponseWriter.(http.Flusher).Flush()
}

// chunks says n chunks of text, with usage beside each where it is not nil.
func (a *speaking) chunks(n int, text string, usage func(k int) int) {
	for k := 1; k <= n; k++ {
		beside := ""
		if usage != nil {
			beside = fmt.Sprintf(`,"usage":{"completion_tokens":%d}`, usage(k))
		}
		a.say(fmt.Sprintf("data: {\"choices\":[{\"delta\":{\"content\":%q}}]%s}\n\n", text, beside))
		time.Sleep(time.Millisecond)
	}
}

const finishMark = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"

// close says the end of a whole answer of so many tokens.
func (a *speaking) close(tokens int) {
	a.say(finishMark + fmt.Sprintf("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", a.tokens, tokens))
}

// whole is a whole answer, a token a chunk.
func (a *speaking) whole() {
	a.chunks(a.want, "tok ", nil)
	a.close(a.want)
}

// cut ends the connection within the chunked body.
func (a *speaking) cut() {
	c, _, err := a.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

// silent waits until the client hangs up.
func (a *speaking) silent() { <-a.request.Context().Done() }

// requests returns how many prompts were sent.
func (s *streams) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *streams) start(t *testing.T, answer func(n int, a *speaking)) loadgen.Target {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"data":[{"id":"m"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in struct {
			MaxTokens int `json:"max_tokens"`
			Messages  []struct{ Content string }
		}
		json.Unmarshal(body, &in)
		s.mu.Lock()
		s.asked++
		n := s.asked
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		answer(n, &speaking{w, r, string(body), len(strings.Fields(in.Messages[0].Content)), in.MaxTokens})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	target := loadgen.DefaultTarget()
	target.BaseURL = server.URL
	return target
}

func warned(f *Found, words ...string) bool {
	return slices.ContainsFunc(f.Warnings, func(w string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(w, word) })
	})
}

// TestCutAnswerIsAskedForAgain: one answer that breaks off ends nothing; it is
// asked for again and named, whichever of the probe's requests it was.
func TestCutAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer func(a *speaking)
		named  []string
	}{
		{"cut", func(a *speaking) { a.chunks(1, "tok ", nil); a.cut() }, []string{"cut short", "unexpected EOF after 1 output events, without a finish mark"}},
		{"ended without a finish mark", func(a *speaking) { a.chunks(2, "tok ", nil) }, []string{"cut short", "after 2 output events, without a finish mark"}},
		{"failed", func(a *speaking) { a.WriteHeader(500); a.say("oops") }, []string{"500", "oops"}},
	} {
		for _, nth := range []int{1, 4} {
			if c.name == "failed" && nth == 1 {
				continue // that may be how it answers for ever
			}
			t.Run(fmt.Sprintf("%s, number %d", c.name, nth), func(t *testing.T) {
				t.Parallel()
				s := &streams{}
				f := mustDiscover(t, s.start(t, func(n int, a *speaking) {
					if n == nth {
						c.answer(a)
						return
					}
					a.whole()
				}), Options{})
				if !f.Calibration.Within || !warned(f, append(c.named, "sent again: 1,")...) || len(f.Warnings) != 1 {
					t.Errorf("calibration %+v, warnings %q", f.Calibration, f.Warnings)
				}
				if want := 1 + f.Calibration.Probes + 1; s.requests() != want {
					t.Errorf("%d requests, want %d", s.requests(), want)
				}
			})
		}
	}
}

// TestCutForEver: what breaks off each time ends the warm-up, named as what it is;
// where only counting is cut, the lengths are left uncalibrated.
func TestCutForEver(t *testing.T) {
	t.Parallel()
	s := &streams{}
	_, err := discover(t, s.start(t, func(_ int, a *speaking) { a.chunks(1, "tok ", nil); a.cut() }), Options{})
	if !errors.Is(err, ErrCut) || s.requests() != 1+retries {
		t.Errorf("after %d requests: %v", s.requests(), err)
	}
	s = &streams{}
	f := mustDiscover(t, s.start(t, func(n int, a *speaking) {
		if n > 1 {
			a.chunks(1, "tok ", nil)
			a.cut()
			return
		}
		a.whole()
	}), Options{})
	if !warned(f, "could not be calibrated", "cut short") || s.requests() != 2+retries {
		t.Errorf("after %d requests: %q", s.requests(), f.Warnings)
	}
}

// TestCutAfterTheFinishMark: such an answer was whole, as it is under load; only
// the counts that follow the mark are lost, and so it is asked for again.
func TestCutAfterTheFinishMark(t *testing.T) {
	s := &streams{}
	f := mustDiscover(t, s.start(t, func(n int, a *speaking) {
		if n == 1 || n == 4 {
			a.chunks(a.want, "tok ", nil)
			a.say(finishMark)
			a.cut()
			return
		}
		a.whole()
	}), Options{})
	if !f.CountsUsage || !f.Calibration.Within || len(f.Warnings) > 0 {
		t.Errorf("counts %t, calibration %+v, warnings %q", f.CountsUsage, f.Calibration, f.Warnings)
	}
	if !slices.ContainsFunc(f.Notes, func(n string) bool { return strings.Contains(n, "after their finish mark: 2;") }) {
		t.Errorf("notes %q", f.Notes)
	}
	s = &streams{}
	f = mustDiscover(t, s.start(t, func(_ int, a *speaking) {
		a.chunks(a.want, "tok ", nil)
		a.say(finishMark)
		a.cut()
	}), Options{})
	if f.CountsUsage || !warned(f, "does not count prompt tokens") {
		t.Errorf("always: counts %t, warnings %q", f.CountsUsage, f.Warnings)
	}
}

// TestTimeOutsOfTheProbe: those of the load hold for the probe's requests, too.
func TestTimeOutsOfTheProbe(t *testing.T) {
	t.Parallel()
	const short = 150 * time.Millisecond
	for _, c := range []struct {
		name   string
		answer func(a *speaking)
		set    func(*loadgen.Timeouts)
		said   string
	}{
		{"takes the request and says nothing", func(a *speaking) { a.silent() }, func(l *loadgen.Timeouts) { l.FirstToken = short }, "no output within 150ms"},
		{"sends headers and pings only", func(a *speaking) {
			for a.request.Context().Err() == nil {
				a.say(": ping\n\n")
				time.Sleep(20 * time.Millisecond)
			}
		}, func(l *loadgen.Timeouts) { l.FirstToken = short }, "no output within 150ms"},
		{"falls silent", func(a *speaking) { a.chunks(3, "tok ", nil); a.silent() }, func(l *loadgen.Timeouts) { l.Idle = short }, "silence of 150ms within the answer, after 3 output events"},
		{"never ends", func(a *speaking) {
			for a.request.Context().Err() == nil {
				a.chunks(1, "tok ", nil)
			}
		}, func(l *loadgen.Timeouts) { l.Total = 2 * short }, "not done within 300ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &streams{}
			target := s.start(t, func(_ int, a *speaking) { c.answer(a) })
			c.set(&target.Timeouts)
			_, err := discover(t, target, Options{})
			if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), c.said) || s.requests() != 1 {
				t.Errorf("after %d requests: %v", s.requests(), err)
			}
		})
	}
	t.Run("falls silent while lengths are calibrated", func(t *testing.T) {
		t.Parallel()
		s := &streams{}
		target := s.start(t, func(n int, a *speaking) {
			if n > 3 {
				a.silent()
				return
			}
			a.whole()
		})
		target.Timeouts.FirstToken = short
		if f := mustDiscover(t, target, Options{}); !warned(f, "could not be calibrated", "no output within 150ms") || s.requests() != 4 {
			t.Errorf("after %d requests: %q", s.requests(), f.Warnings)
		}
	})
	t.Run("keeps the body open after the finish mark", func(t *testing.T) {
		t.Parallel()
		s := &streams{}
		f := mustDiscover(t, s.start(t, func(_ int, a *speaking) {
			a.chunks(a.want, "tok ", nil)
			a.say(finishMark)
			a.silent()
		}), Options{SkipCalibration: true})
		if !f.Streams || len(f.Warnings) > 0 {
			t.Errorf("%q", f.Warnings)
		}
	})
}

// TestCountsOfTheProbe: a count that contradicts its stream is named and not
// believed, and so are chunks of several tokens.
func TestCountsOfTheProbe(t *testing.T) {
	sum := func(k int) int { return k * (k + 1) / 2 }
	for _, c := range []struct {
		name   string
		answer func(a *speaking)
		words  []string // of the only warning; nil: none
		ok     func(f *Found) bool
	}{
		{"right", func(a *speaking) { a.whole() }, nil, func(f *Found) bool { return f.CountsUsage && f.HoldsOutput }},
		{"so far in every chunk", func(a *speaking) { a.chunks(a.want, "tok ", func(k int) int { return k }); a.close(a.want) }, nil,
			func(f *Found) bool { return f.CountsUsage && f.HoldsOutput }},
		{"a sum of sums", func(a *speaking) { a.chunks(20, "tok ", sum); a.close(210) }, []string{"contradicts its stream", "210 by its count, 20 output events, 20 believed"},
			func(f *Found) bool { return !f.CountsUsage }},
		{"always 1", func(a *speaking) { a.chunks(20, "tok ", func(int) int { return 1 }); a.close(1) }, []string{"1 by its count, 20 output events, 20 believed"},
			func(f *Found) bool { return !f.CountsUsage }},
		{"eight tokens a chunk", func(a *speaking) { a.chunks(4, strings.Repeat("tok ", 8), nil); a.close(32) }, []string{"8.0 tokens come in a chunk", "TPOT is understated"},
			func(f *Found) bool { return f.CountsUsage && f.HoldsOutput }},
		{"eight tokens a chunk, counted", func(a *speaking) {
			a.chunks(4, strings.Repeat("tok ", 8), func(k int) int { return 8 * k })
			a.close(32)
		}, nil, func(f *Found) bool { return f.CountsUsage && f.HoldsOutput }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mustDiscover(t, (&streams{}).start(t, func(_ int, a *speaking) { c.answer(a) }), Options{SkipCalibration: true})
			if !c.ok(f) || c.words == nil && len(f.Warnings) > 0 || c.words != nil && (len(f.Warnings) != 1 || !warned(f, c.words...)) {
				t.Errorf("counts %t, holds %t, warnings %q", f.CountsUsage, f.HoldsOutput, f.Warnings)
			}
		})
	}
}

// TestEveryChunkIsCountedOnRequest: vLLM, whose chunks hold several tokens, is
// asked to count in each of them, so that those of the first are known.
func TestEveryChunkIsCountedOnRequest(t *testing.T) {
	s := &streams{}
	target := s.start(t, func(_ int, a *speaking) {
		var usage func(k int) int
		if strings.Contains(a.body, `"continuous_usage_stats":true`) {
			usage = func(k int) int { return 8 * k }
		}
		a.chunks(4, strings.Repeat("tok ", 8), usage)
		a.close(32)
	})
	inner := target.BaseURL
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			fmt.Fprint(w, `{"version":"0.11.0"}`)
			return
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, inner+r.URL.Path, r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		buffer := make([]byte, 4096)
		for {
			n, err := resp.Body.Read(buffer)
			w.Write(buffer[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	}))
	defer front.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	target.BaseURL = front.URL
	f := mustDiscover(t, target, Options{SkipCalibration: true})
	if !f.Options.ContinuousUsageStat || len(f.Warnings) > 0 || s.requests() != 2 || f.Kind != KindVLLM {
		t.Errorf("%s, asked %d times, options %+v, warnings %q", f.Kind, s.requests(), f.Options, f.Warnings)
	}
}

// TestLimitThatAsksForAnHour is not waited for: the rest goes on without the
// lengths, and without them nothing is measured.
func TestLimitThatAsksForAnHour(t *testing.T) {
	for _, nth := range []int{1, 8} {
		s := &streams{}
		f, err := discover(t, s.start(t, func(n int, a *speaking) {
			if n >= nth {
				a.Header().Set("Retry-After", "3600")
				a.WriteHeader(429)
				a.say(`{"error":{"message":"slow down"}}`)
				return
			}
			a.whole()
		}), Options{Wait: 5 * time.Minute})
		switch {
		case nth == 1 && (!errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "1h0m0s")):
			t.Errorf("the warm-up: %v", err)
		case nth == 8 && (err != nil || !warned(f, "could not be calibrated", "slow down")):
			t.Errorf("calibrating: %v", err)
		}
		if s.requests() != nth {
			t.Errorf("%d requests, want %d", s.requests(), nth)
		}
	}
}

// TestPromptsBeyondTheContext: a refusal that tells the context's length is taken
// at its word, before anything is measured.
func TestPromptsBeyondTheContext(t *testing.T) {
	s := &streams{}
	o := Options{Workload: prompt.Default()}
	o.Workload.InputLen = 1000
	_, err := discover(t, s.start(t, func(_ int, a *speaking) {
		if a.tokens > 300 {
			a.WriteHeader(400)
			a.say(`{"error":{"message":"This model's maximum context length is 300 tokens. However, you requested 1001 tokens."}}`)
			return
		}
		a.whole()
	}), o)
	if !errors.Is(err, ErrContext) || !strings.Contains(err.Error(), "context of 300") || !strings.Contains(err.Error(), "1128") {
		t.Errorf("%v", err)
	}
}
