package simhttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// quick is a server that answers in a few milliseconds.
func quick() simserver.Config {
	c := simserver.Default()
	c.StepTime, c.Prefill = time.Millisecond, 5*time.Millisecond
	return c
}

func start(t *testing.T, c simserver.Config) *simhttp.Server {
	t.Helper()
	s, err := simhttp.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type source struct{ output int }

func (s source) Request(i int) (prompt.Request, error) {
	return prompt.Request{Text: fmt.Sprintf("prompt %d about nothing at all", i), OutputTokens: s.output}, nil
}

// client returns the real client, pointed at s.
func client(t *testing.T, s *simhttp.Server, protocol string, set func(*loadgen.ClientConfig)) *loadgen.Client {
	t.Helper()
	p, err := api.ByName(protocol)
	if err != nil {
		t.Fatal(err)
	}
	target := loadgen.DefaultTarget()
	target.BaseURL = s.URL()
	target.Timeouts = loadgen.Timeouts{Connect: 2 * time.Second, FirstToken: 5 * time.Second, Idle: 2 * time.Second, Total: 10 * time.Second}
	c := loadgen.ClientConfig{
		Target: target, Protocol: p, Source: source{10},
		Options: api.Options{Model: "simulated-model", HoldOutputLength: true},
	}
	if set != nil {
		set(&c)
	}
	cl, err := loadgen.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func do(t *testing.T, d loadgen.Doer, i int) loadgen.Sample {
	t.Helper()
	var got loadgen.Sample
	if err := d.Do(t.Context(), time.Now(), loadgen.Sample{Index: i, PromptIndex: i}, func(s *loadgen.Sample) { got = *s }); err != nil {
		t.Fatal(err)
	}
	return got
}

// protocols are all protocols with the kinds of server that speak them.
var protocols = map[string][]simserver.Kind{
	"openai-chat":        {simserver.VLLM, simserver.SGLang, simserver.TGI, simserver.LlamaCpp, simserver.Ollama},
	"openai-completions": {simserver.VLLM, simserver.SGLang, simserver.TGI, simserver.LlamaCpp, simserver.Ollama},
	"sglang":             {simserver.SGLang},
	"tgi":                {simserver.TGI},
	"ollama":             {simserver.Ollama},
}

func TestEveryProtocolThroughTheClient(t *testing.T) {
	for name, kinds := range protocols {
		for _, kind := range kinds {
			for _, plain := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/plain=%v", name, kind, plain), func(t *testing.T) {
					t.Parallel()
					c := quick()
					c.Server = kind
					cl := client(t, start(t, c), name, func(c *loadgen.ClientConfig) { c.Options.NoStream = plain })
					for i := range 2 {
						s := do(t, cl, i)
						if s.Class != loadgen.Success || s.OutputTokens != 10 || s.TokenSource != loadgen.TokensFromUsage || s.Streamed == plain {
							t.Fatalf("sample %+v", s)
						}
						if !plain && s.OutputEvents != 10 {
							t.Errorf("%d output events, want 10", s.OutputEvents)
						}
						if s.PromptTokens < 7 || s.PromptTokens > 20 {
							t.Errorf("%d prompt tokens", s.PromptTokens)
						}
						if i == 1 && !s.ConnReused {
							t.Error("the connection was not kept")
						}
					}
				})
			}
		}
	}
}

func post(t *testing.T, url, body string) (int, http.Header, string) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return r.StatusCode, r.Header, string(b)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	http.DefaultClient.CloseIdleConnections()
	return r.StatusCode, string(b)
}

func TestRefusals(t *testing.T) {
	c := quick()
	c.StrictParams = []string{"ignore_eos", "max_new_tokens"}
	c.ContextLength = 100
	s := start(t, c)
	for _, tc := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"strict", `{"model":"simulated-model","prompt":"hi","ignore_eos":true}`, 400, "ignore_eos"},
		{"strict inside", `{"model":"simulated-model","prompt":"hi","sampling_params":{"max_new_tokens":4}}`, 400, "max_new_tokens"},
		{"unknown model", `{"model":"other","prompt":"hi"}`, 404, "`other` does not exist"},
		{"no prompt", `{"model":"simulated-model"}`, 400, "no prompt"},
		{"no JSON", `{"model":`, 400, "not understood"},
		{"wrong type", `{"model":"simulated-model","prompt":"hi","max_tokens":"many"}`, 400, "not understood"},
		{"too long", `{"model":"simulated-model","prompt":"hi","max_tokens":500}`, 400, "maximum context length is 100"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, _, body := post(t, s.URL()+"/v1/completions", tc.body)
			if status != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("%d %s, want %d with %q", status, body, tc.status, tc.says)
			}
		})
	}
}

func TestOverloadAnswers(t *testing.T) {
	for kind, want := range map[simserver.Kind]int{simserver.VLLM: 503, simserver.TGI: 429, simserver.Ollama: 503} {
		c := quick()
		c.Server, c.Slots, c.QueueCap, c.Prefill = kind, 1, new(0), time.Hour
		s := start(t, c)
		cl := client(t, s, "openai-chat", nil)
		ctx, hangUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = cl.Do(ctx, time.Now(), loadgen.Sample{}, func(*loadgen.Sample) {}) })
		for s.State().Running == 0 {
			time.Sleep(time.Millisecond)
		}
		if status, _, body := post(t, s.URL()+"/v1/completions", `{"model":"simulated-model","prompt":"hi","max_tokens":1}`); status != want {
			t.Errorf("%s: %d %s, want %d", kind, status, body, want)
		}
		hangUp()
		wg.Wait()
	}
}

func TestRateLimitSaysRetryAfter(t *testing.T) {
	c := quick()
	c.RateLimit = simserver.RateLimit{PerSecond: 0.001, RetryAfter: 1500 * time.Millisecond}
	cl := client(t, start(t, c), "openai-chat", nil)
	if s := do(t, cl, 0); s.Class != loadgen.Success {
		t.Fatalf("first: %+v", s)
	}
	if s := do(t, cl, 1); s.Class != loadgen.HTTP429 || s.RetryAfter != 2*time.Second {
		t.Errorf("second: %s, retry after %v; want http_429 and 2s", s.Class, s.RetryAfter)
	}
}

var metricLine = regexp.MustCompile(`^(# (HELP|TYPE) [a-z0-9_:]+ .+|[a-z0-9_:]+({[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*})? [0-9.e+-]+)\n$`)

func TestMetrics(t *testing.T) {
	for kind, names := range map[simserver.Kind][]string{
		simserver.VLLM: {
			`vllm:num_requests_running{model_name="simulated-model",engine="0"} 0`, `vllm:generation_tokens_total{model_name="simulated-model",engine="0"} 10`,
			`vllm:time_to_first_token_seconds_bucket{model_name="simulated-model",engine="0",le="+Inf"} 1`, "vllm:request_queue_time_seconds_sum", "vllm:cache_config_info{block_size",
		},
		simserver.SGLang:   {`sglang:num_running_reqs{model_name="simulated-model"} 0`, "sglang:token_usage", "sglang:num_queue_reqs"},
		simserver.TGI:      {"tgi_queue_size 0", "tgi_batch_current_size 0", "tgi_request_queue_duration_count 1", "tgi_request_generated_tokens_sum 10"},
		simserver.LlamaCpp: {"llamacpp:requests_processing 0", "llamacpp:requests_deferred 0"},
	} {
		c := quick()
		c.Server = kind
		s := start(t, c)
		if got := do(t, client(t, s, "openai-chat", nil), 0); got.Class != loadgen.Success {
			t.Fatal(got.Message)
		}
		_, text := get(t, s.URL()+"/metrics")
		for _, name := range append(names, "simserver_write_lateness_seconds_count") {
			if !strings.Contains(text, name) {
				t.Errorf("%s: no %s in\n%s", kind, name, text)
			}
		}
		for line := range strings.Lines(text) {
			if !metricLine.MatchString(line) {
				t.Errorf("%s: not in the text format: %s", kind, line)
			}
		}
	}
	c := quick()
	c.Server = simserver.Ollama
	if status, _ := get(t, start(t, c).URL()+"/metrics"); status != 404 {
		t.Errorf("ollama has metrics: %d", status)
	}
}

func TestKeyAndColdStart(t *testing.T) {
	c := quick()
	c.APIKey, c.ColdStart = "sesame", time.Second
	s := start(t, c)
	if status, _ := get(t, s.URL()+"/health"); status != 503 {
		t.Errorf("health while cold: %d, want 503", status)
	}
	if status, _ := get(t, s.URL()+"/v1/models"); status != 401 {
		t.Errorf("without the key: %d, want 401", status)
	}
	deadline := time.Now().Add(5 * time.Second)
	for status := 0; status != 200; status, _ = get(t, s.URL()+"/health") {
		if time.Now().After(deadline) {
			t.Fatal("never ready")
		}
		time.Sleep(10 * time.Millisecond)
	}
	cl := client(t, s, "openai-chat", func(c *loadgen.ClientConfig) { c.APIKey = "sesame" })
	if s := do(t, cl, 0); s.Class != loadgen.Success {
		t.Errorf("with the key: %+v", s)
	}
	if b, _ := json.Marshal(c); bytes.Contains(b, []byte("sesame")) {
		t.Error("the key is in the config's JSON")
	}
}

func TestTokenizeCountsAsTheUsageDoes(t *testing.T) {
	text := "Tell me about 12345 things: 語言模型, responsibilities and\n\nso on.  Two spaces?"
	quotedText, _ := json.Marshal(text)
	for kind, form := range map[simserver.Kind]string{simserver.VLLM: "prompt", simserver.SGLang: "prompt", simserver.TGI: "inputs", simserver.LlamaCpp: "content"} {
		c := quick()
		c.Server = kind
		s := start(t, c)
		_, _, body := post(t, s.URL()+"/tokenize", fmt.Sprintf(`{"model":"simulated-model",%q:%s,"add_special":true}`, form, quotedText))
		var list []any
		var counted struct{ Tokens []int }
		n := 0
		if json.Unmarshal([]byte(body), &counted) == nil {
			n = len(counted.Tokens)
		} else if err := json.Unmarshal([]byte(body), &list); err == nil {
			n = len(list)
		}
		_, _, body = post(t, s.URL()+"/v1/completions", fmt.Sprintf(`{"model":"simulated-model","prompt":%s,"max_tokens":2}`, quotedText))
		var answer struct {
			Usage struct {
				Prompt int `json:"prompt_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Usage.Prompt != n || n < 20 {
			t.Errorf("%s: /tokenize says %d, usage %d (%v)", kind, n, answer.Usage.Prompt, err)
		}
	}
}

func TestLengths(t *testing.T) {
	c := quick()
	c.OutputLength, c.IgnoredParams = 5, []string{"min_tokens"}
	s := start(t, c)
	for _, tc := range []struct {
		params, finish string
		want           int
	}{
		{`"max_tokens":20`, "stop", 5},
		{`"max_tokens":3`, "length", 3},
		{`"max_completion_tokens":3`, "length", 3},
		{`"max_tokens":20,"ignore_eos":true`, "length", 20},
		{`"max_tokens":20,"min_tokens":10`, "stop", 5},
		{`"seed":1`, "stop", 5},
	} {
		_, _, body := post(t, s.URL()+"/v1/completions", `{"model":"simulated-model","prompt":"hi",`+tc.params+`}`)
		var a struct {
			Choices []struct {
				Finish string `json:"finish_reason"`
			}
			Usage struct {
				Completion int `json:"completion_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil || len(a.Choices) != 1 {
			t.Fatalf("%s: %v in %s", tc.params, err, body)
		}
		if a.Usage.Completion != tc.want || a.Choices[0].Finish != tc.finish {
			t.Errorf("%s: %d tokens, %s; want %d, %s", tc.params, a.Usage.Completion, a.Choices[0].Finish, tc.want, tc.finish)
		}
	}
}

func TestPrefixCache(t *testing.T) {
	c := quick()
	c.PrefixCache = simserver.PrefixCache{Tokens: 10000}
	s := start(t, c)
	prefix := strings.Repeat("word ", 400)
	ask := func(end string) int {
		_, _, body := post(t, s.URL()+"/v1/completions", `{"model":"simulated-model","prompt":"`+prefix+end+`","max_tokens":2}`)
		var a struct {
			Usage struct {
				Details struct {
					Cached int `json:"cached_tokens"`
				} `json:"prompt_tokens_details"`
			}
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		return a.Usage.Details.Cached
	}
	if n := ask("one"); n != 0 {
		t.Errorf("first prompt: %d cached tokens", n)
	}
	if n := ask("two"); n != 400 {
		t.Errorf("second prompt: %d cached tokens, want 400", n)
	}
	st := s.State()
	if st.PrefixHits != 400 || st.PrefixQueries < 800 {
		t.Errorf("counters %+v", st)
	}
}

// TestStampsAndLateness: the deadlines do not drift. The last of ten tokens comes
// 100 ms after the first, up to lateness, which the server must have seen itself.
func TestStampsAndLateness(t *testing.T) {
	// Between looking at the clock for its lateness and for its stamp the server may
	// be kept waiting, which neither shows: one answer in some is spared that.
	for try := 1; ; try++ {
		if got, l := stamped(t); got >= 100*time.Millisecond-l.Max && got <= 100*time.Millisecond+l.Max+5*time.Millisecond {
			return
		} else if try == 20 {
			t.Fatalf("ten tokens of 10ms took %v, lateness %+v", got, l)
		}
	}
}

// stamped asks a server of 10 ms a token for eleven tokens; it returns how long
// after the first the last was stamped, and how late the server was by its own
// account.
func stamped(t *testing.T) (time.Duration, simhttp.Lateness) {
	t.Helper()
	c := simserver.Default()
	c.Stamp, c.StepTime, c.Prefill = true, 10*time.Millisecond, 50*time.Millisecond
	s := start(t, c)
	sent := time.Now()
	_, _, body := post(t, s.URL()+"/v1/chat/completions", `{"model":"simulated-model","messages":[{"role":"user","content":"hi"}],"max_tokens":11,"stream":true}`)
	var stamps []int64
	for line := range strings.SplitSeq(body, "\n") {
		var e struct {
			Sent    int64 `json:"sent_ns"`
			Choices []struct {
				Delta struct{ Content string }
			}
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &e) == nil && len(e.Choices) > 0 && e.Choices[0].Delta.Content != "" {
			stamps = append(stamps, e.Sent)
		}
	}
	if len(stamps) != 11 || !slices.IsSorted(stamps) {
		t.Fatalf("%d stamps, want 11 in order: %v", len(stamps), stamps)
	}
	if first := time.Unix(0, stamps[0]).Sub(sent); first < 50*time.Millisecond {
		t.Errorf("first token after %v, before its prefill of 50ms was over", first)
	}
	l := s.Lateness()
	if l.Events != 12 || l.P50 > l.P99 || l.P99 > l.Max {
		t.Errorf("lateness %+v", l)
	}
	return time.Duration(stamps[10] - stamps[0]), l
}

func TestStartRefusesABadConfig(t *testing.T) {
	c := simserver.Default()
	c.Slots, c.Server = -1, "gpt"
	c.Faults = []simserver.Fault{{Mode: "typo"}}
	_, err := simhttp.Start(c)
	for _, want := range []string{"slots", "server", "faults[0].mode"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
	c = simserver.Default()
	c.Listen = start(t, quick()).URL()[len("http://"):]
	if _, err := simhttp.Start(c); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("taken port: %v", err)
	}
}

// TestSocketAndHTTP2: it listens on a Unix socket, too, speaks both versions of HTTP
// there, and takes the socket away when it is closed.
func TestSocketAndHTTP2(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no Unix sockets in temporary directories")
	}
	dir, err := os.MkdirTemp("", "sock") // a socket's name has about 100 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c := quick()
	c.Listen = "unix:" + filepath.Join(dir, "s")
	s, err := simhttp.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for version, set := range map[int]func(*http.Protocols){1: func(p *http.Protocols) { p.SetHTTP1(true) }, 2: func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }} {
		transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.Socket())
		}}
		set(transport.Protocols)
		resp, err := (&http.Client{Transport: transport}).Get(s.URL() + "/v1/models")
		if err != nil {
			t.Fatal(version, err)
		}
		if resp.ProtoMajor != version || resp.StatusCode != http.StatusOK {
			t.Errorf("HTTP/%d: %s %s", version, resp.Proto, resp.Status)
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Socket()); err == nil {
		t.Error("the socket is still there")
	}
}
