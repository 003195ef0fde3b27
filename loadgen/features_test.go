package loadgen

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen/prompt"
)

// Each turn carries the real answers of the turns before it.
func TestConversation(t *testing.T) {
	var mu sync.Mutex
	var asked [][]string
	s := serve(t, func(c net.Conn, n int, body []byte) bool {
		var request struct {
			Messages []struct{ Role, Content string }
		}
		if err := json.Unmarshal(body, &request); err != nil {
			t.Error(err)
		}
		var turn []string
		for _, m := range request.Messages {
			turn = append(turn, m.Role+": "+m.Content)
		}
		mu.Lock()
		asked = append(asked, turn)
		mu.Unlock()
		thought := `data: {"choices":[{"delta":{"reasoning_content":"hidden"}}]}` + "\n\n"
		io.WriteString(c, sse(thought+contentChunk(fmt.Sprint("answer ", n))+finishChunk+doneChunk))
		return true
	})
	c := config(t, s.url())
	c.Source = source{turns: []prompt.Turn{{Text: "and then?", OutputTokens: 5, Think: 30 * time.Millisecond}, {Text: "why?", OutputTokens: 6}}}
	r := generate(t, c, Load{Concurrency: 1, Requests: 1, FirstPrompt: 40})
	indexes(t, r, 3)
	want := []string{
		"user: prompt 40",
		"user: prompt 40|assistant: answer 0|user: and then?",
		"user: prompt 40|assistant: answer 0|user: and then?|assistant: answer 1|user: why?",
	}
	for i, turn := range asked {
		if got := strings.Join(turn, "|"); got != want[i] {
			t.Errorf("turn %d asked %q, want %q", i, got, want[i])
		}
	}
	for i, s := range r.Samples {
		if s.Intended != s.Ready || s.Turn != i || s.Conversation != 40 || s.PromptIndex != 40 || s.Class != Success || s.WantOutputTokens != []int{3, 5, 6}[i] {
			t.Errorf("turn %d: %+v", i, s)
		}
	}
	if gap := r.Samples[1].Ready - r.Samples[0].End; gap < 30*time.Millisecond {
		t.Errorf("thought for %v only", gap)
	}
}

func TestConversationEndsWithAFailure(t *testing.T) {
	s := serve(t, status("503 Service Unavailable", "", ""))
	c := config(t, s.url())
	c.Source = source{turns: []prompt.Turn{{Text: "?", OutputTokens: 1}}}
	r := generate(t, c, Load{Concurrency: 1, Requests: 2})
	indexes(t, r, 2)
}

func TestRetriesAreCounted(t *testing.T) {
	s := serve(t, func(c net.Conn, n int, b []byte) bool {
		if n == 0 {
			return status("503 Service Unavailable", "", "")(c, n, b)
		}
		return say(sse(wholeStream))(c, n, b)
	})
	c := config(t, s.url())
	c.Target.Retries = 2
	got := once(t, c)
	if got.Class != Success || got.Retries != 1 || got.Status != 200 || s.requests.Load() != 2 {
		t.Errorf("%d requests seen, sample %+v", s.requests.Load(), got)
	}
	if ttft, ok := got.TTFT(); !ok || ttft < ErrorHoldDefault {
		t.Errorf("TTFT %v does not include the failed attempt", ttft)
	}
}

func TestSecretsAppearNowhere(t *testing.T) {
	var last atomic.Pointer[http.Header]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Clone()
		last.Store(&header)
		user, password, _ := r.BasicAuth()
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":{"message":"bad key %s for %s / %s, %s"}}`, r.Header.Get("Authorization"), user, password, r.Header.Get("X-Token"))
	}))
	defer s.Close()
	c := config(t, s.URL)
	c.APIKey = "sk-very-secret"
	c.Target.Headers = map[string]Secret{"X-Token": "hunter22"}
	got := once(t, c)
	if got.Class != Denied || strings.Contains(got.Message, "secret") || strings.Contains(got.Message, "hunter22") || !strings.Contains(got.Message, redacted) {
		t.Errorf("message %q", got.Message)
	}
	seen := *last.Load()
	if seen.Get("Authorization") != "Bearer sk-very-secret" || seen.Get("X-Token") != "hunter22" || seen.Get("Accept-Encoding") != "identity" {
		t.Errorf("headers %v", seen)
	}
	c.APIKey = ""
	c.Target.BaseURL = strings.Replace(s.URL, "http://", "http://bob:pass1234@", 1)
	if got := once(t, c); strings.Contains(got.Message, "pass1234") || last.Load().Get("Authorization") == "" {
		t.Errorf("message %q, headers %v", got.Message, *last.Load())
	}
}

func TestMessagesAreBounded(t *testing.T) {
	s := serve(t, status("400 Bad Request", "", strings.Repeat("é\n", 1500)))
	got := once(t, config(t, s.url()))
	if len(got.Message) > messageMost+len("…") || strings.ContainsAny(got.Message, "\n\r") || strings.ContainsRune(got.Message, '�') {
		t.Errorf("message of %d bytes: %q", len(got.Message), got.Message)
	}
}

func TestNoStream(t *testing.T) {
	s := serve(t, func(c net.Conn, n int, body []byte) bool {
		if !strings.Contains(string(body), `"stream":false`) {
			t.Errorf("body %s", body)
		}
		time.Sleep(300 * time.Millisecond) // longer than the first token may take
		return status("200 OK", "Content-Type: application/json\r\n", `{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}`)(c, n, body)
	})
	c := config(t, s.url())
	c.Options.NoStream = true
	c.Target.Timeouts.FirstToken = 100 * time.Millisecond
	if got := once(t, c); got.Class != Success || got.Streamed {
		t.Errorf("sample %+v", got)
	}
}

func TestGapsEvery(t *testing.T) {
	s := serve(t, say(sse(wholeStream)))
	for every, want := range map[int]int{-1: 0, 0: 12, 1: 12, 4: 3} {
		c := config(t, s.url())
		c.GapsEvery = every
		with := 0
		for _, got := range generate(t, c, Load{Concurrency: 1, Requests: 12}).Samples {
			if got.Gaps != nil {
				with++
			}
		}
		if with != want {
			t.Errorf("GapsEvery %d: gaps of %d requests, want %d", every, with, want)
		}
	}
}

func streaming(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, contentChunk("a"))
	w.(http.Flusher).Flush()
	io.WriteString(w, finishChunk+doneChunk)
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(streaming))
	s.TLS = &tls.Config{}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Target)
		want   Class
	}{
		{"unknown authority", func(*Target) {}, TLS},
		{"its own authority", func(to *Target) { to.CAFile = ca }, Success},
		{"any certificate", func(to *Target) { to.InsecureSkipVerify = true }, Success},
		{"HTTP/2", func(to *Target) { to.CAFile, to.HTTP2 = ca, true }, TLS}, // the server does not speak it
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(t, s.URL)
			test.change(&c.Target)
			r := generate(t, c, Load{Concurrency: 2, Requests: 10})
			indexes(t, r, 10)
			if counts(r)[test.want] != 10 {
				t.Errorf("classes %v, e.g. %s", counts(r), r.Samples[0].Message)
			}
			if test.want == Success && !r.Health.TLSMeanSeconds.IsKnown() {
				t.Error("the handshake's time is unknown")
			}
		})
	}
	t.Run("plain HTTP there", func(t *testing.T) {
		plain := serve(t, say(sse(wholeStream)))
		if got := once(t, config(t, strings.Replace(plain.url(), "http:", "https:", 1))); got.Class != TLS {
			t.Errorf("sample %+v", got)
		}
	})
	t.Run("kernel stamps below TLS", func(t *testing.T) {
		c := config(t, s.URL)
		c.Target.CAFile = ca
		clear := config(t, serve(t, say(sse(wholeStream))).url())
		if got, want := stamps(t, c), stamps(t, clear); got != want {
			t.Errorf("arrival by %s, in the clear by %s", got, want)
		}
	})
}

// stamps is what stamps arrivals at a client. A kernel begins to stamp some time
// after the first socket asked it to, so that one request may be too early to tell.
func stamps(t *testing.T, c ClientConfig) StampSource {
	client, err := NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 200 {
		r, err := NewEngine(client).Run(t.Context(), Load{Concurrency: 1, Requests: 1})
		if err != nil {
			t.Fatal(err)
		}
		indexes(t, r, 1)
		if r.Samples[0].Stamp == StampKernel {
			return StampKernel
		}
		time.Sleep(time.Millisecond)
	}
	return StampUser
}

func TestBadTLSFiles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Target){
		"ca_file":     func(to *Target) { to.CAFile = "/not/there.pem" },
		"certificate": func(to *Target) { to.CAFile = empty },
		"both":        func(to *Target) { to.ClientCert = empty },
		"client_cert": func(to *Target) { to.ClientCert, to.ClientKey = empty, empty },
	} {
		c := config(t, "https://h")
		change(&c.Target)
		if _, err := NewClient(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestHTTP2(t *testing.T) {
	var protocols sync.Map
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols.Store(r.Proto, true)
		streaming(w, r)
	})
	secured := httptest.NewUnstartedServer(handler)
	secured.EnableHTTP2 = true
	secured.StartTLS()
	defer secured.Close()
	clear := httptest.NewUnstartedServer(handler)
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	defer clear.Close()
	for _, base := range []string{secured.URL, clear.URL} {
		c := config(t, base)
		c.Target.HTTP2, c.Target.InsecureSkipVerify = true, true
		r := generate(t, c, Load{Concurrency: 5, Requests: 50})
		indexes(t, r, 50)
		if counts(r)[Success] != 50 || r.Health.StampSource != string(StampUser) {
			t.Errorf("%s: classes %v, e.g. %s", base, counts(r), r.Samples[0].Message)
		}
	}
	if _, other := protocols.Load("HTTP/1.1"); other {
		t.Error("spoke HTTP/1.1 all the same")
	}
}

// longPrompts are told apart by the letter that each repeats.
type longPrompts struct{}

const longPrompt = 2 << 20 // more than fits on its way

func (longPrompts) Request(i int) (prompt.Request, error) {
	return prompt.Request{Text: strings.Repeat(string(rune('a'+i%26)), longPrompt), PromptTokens: 2, OutputTokens: 3}, nil
}

// TestBodiesKeepApart: the memory of a body serves the next request, but not while a
// server that has begun to answer still reads it.
func TestBodiesKeepApart(t *testing.T) {
	var torn, began atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 { // in HTTP/1.1 Go would read the body first
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			time.Sleep(time.Duration(began.Add(1)%8) * time.Millisecond) // others get their turn meanwhile
		}
		body, _ := io.ReadAll(r.Body)
		from := bytes.Index(body, []byte(`"content":"`)) + len(`"content":"`)
		if len(body) < from+longPrompt || strings.Trim(string(body[from:from+longPrompt]), string(body[from])) != "" {
			torn.Add(1)
		}
		streaming(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	for _, http2 := range []bool{false, true} {
		c := config(t, s.URL)
		c.Source = longPrompts{}
		c.Target.HTTP2, c.Target.InsecureSkipVerify = http2, true
		r := generate(t, c, Load{Concurrency: 8, Requests: 60})
		if counts(r)[Success] != 60 || torn.Load() > 0 {
			t.Errorf("HTTP/2 %v: classes %v, %d bodies were torn; e.g. %s", http2, counts(r), torn.Load(), r.Samples[0].Message)
		}
	}
}

func TestNewHTTPClient(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		io.WriteString(w, r.Header.Get("Authorization")+"|"+r.Header.Get("X-A"))
	}))
	defer s.Close()
	target := DefaultTarget()
	target.BaseURL, target.Headers = s.URL+"/v1", map[string]Secret{"x-a": "b"}
	client, err := NewHTTPClient(target, "key")
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	get := func(address string) (int, string) {
		resp, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if _, got := get(s.URL); got != "Bearer key|b" {
		t.Errorf("the server saw %q", got)
	}
	if code, _ := get(s.URL + "/moved"); code != http.StatusFound {
		t.Errorf("followed a redirect: %d", code)
	}
	// Another host is not told the key.
	other := httptest.NewServer(s.Config.Handler)
	defer other.Close()
	if _, got := get(other.URL); got != "|" {
		t.Errorf("another server saw %q", got)
	}
}
