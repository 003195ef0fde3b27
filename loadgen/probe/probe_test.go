package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vllm is a fake that looks like vLLM.
func vllm(t *testing.T) *fake {
	return &fake{
		t: t, health: true, tokenize: true, template: 7, gap: time.Millisecond / 4,
		models: `{"data":[{"id":"m1","owned_by":"vllm","max_model_len":4096},{"id":"m2","owned_by":"vllm","max_model_len":100000}]}`,
		info:   map[string]string{"/version": `{"version":"0.11.0"}`},
		paths:  map[string]bool{"/v1/chat/completions": true, "/v1/completions": true},
	}
}

func discover(t *testing.T, target loadgen.Target, o Options) (*Found, error) {
	t.Helper()
	return Discover(t.Context(), target, "", o)
}

func mustDiscover(t *testing.T, target loadgen.Target, o Options) *Found {
	t.Helper()
	f, err := discover(t, target, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestKinds recognises every kind of server, and picks an API that it speaks.
func TestKinds(t *testing.T) {
	cases := []struct {
		name                  string
		server                *fake
		api, kind, model, url string
		context               int
	}{
		{"vllm", vllm(t), "openai-chat", "vllm 0.11.0", "m1", "/metrics", 4096},
		{"sglang, native only", &fake{
			info:  map[string]string{"/get_server_info": `{"version":"0.5.1","model_path":"q","context_length":8192}`},
			paths: map[string]bool{"/generate": true},
		}, "sglang", "sglang 0.5.1", "q", "", 8192},
		{"tgi, native only", &fake{
			health: true,
			info:   map[string]string{"/info": `{"model_id":"bloom","version":"3.0.0","max_total_tokens":2048}`},
			paths:  map[string]bool{"/generate_stream": true},
		}, "tgi", "tgi 3.0.0", "bloom", "/metrics", 2048},
		{"llama.cpp", &fake{
			health: true, models: `{"data":[{"id":"l.gguf","owned_by":"llamacpp"}]}`,
			info:  map[string]string{"/props": `{"default_generation_settings":{"n_ctx":1024},"build_info":"b1234"}`},
			paths: map[string]bool{"/v1/chat/completions": true},
		}, "openai-chat", "llama.cpp b1234", "l.gguf", "/metrics", 1024},
		{"ollama", &fake{
			models: `{"data":[{"id":"llama3:latest","owned_by":"library"}]}`,
			info:   map[string]string{"/api/version": `{"version":"0.9.0"}`, "/api/ps": `{"models":[{"name":"llama3:latest","context_length":4096}]}`},
			paths:  map[string]bool{"/api/chat": true},
		}, "ollama", "ollama 0.9.0", "llama3:latest", "", 4096},
		{"unknown, text only", &fake{
			models: `[{"id":"x"}]`, paths: map[string]bool{"/v1/completions": true},
		}, "openai-completions", "", "x", "", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := c.server
			server.t, server.gap = t, time.Millisecond/4
			target := server.start()
			f := mustDiscover(t, target, Options{})
			if f.Protocol.Name() != c.api || f.Target.API != c.api || f.Server != c.kind || f.Model != c.model || f.Target.Model != c.model || f.ContextLength != c.context {
				t.Errorf("found %s (%+v)", f.Describe(), f)
			}
			if want := map[bool]string{true: target.BaseURL + c.url}[c.url != ""]; f.MetricsURL != want {
				t.Errorf("metrics at %q, want %q", f.MetricsURL, want)
			}
			if !f.Streams || f.Buffered || !f.HoldsOutput || !f.CountsUsage || !f.Calibration.Within {
				t.Errorf("warm-up: %+v", f)
			}
			base := target.BaseURL
			if strings.HasPrefix(c.api, "openai") {
				base += "/v1"
			}
			if f.BaseURL != base || !strings.HasPrefix(f.Describe(), c.api+" at "+base+", ") {
				t.Errorf("described as %q at %q", f.Describe(), f.BaseURL)
			}
			if err := f.Ready(t.Context()); err != nil {
				t.Errorf("not ready: %v", err)
			}
		})
	}
}

// TestErrors: each failure has its kind, and its message says where and what to
// do, without the key.
func TestErrors(t *testing.T) {
	const secret = "sk-very-secret"
	long := Options{}
	long.Workload = prompt.Default()
	long.Workload.InputLen = 5000
	cases := []struct {
		name  string
		edit  func(*fake, *loadgen.Target)
		o     Options
		kind  error
		words []string
	}{
		{"refused key", func(f *fake, _ *loadgen.Target) { f.key = "other" }, Options{}, ErrAuth, []string{"/v1/models", "401", "<redacted>", "the key that was sent is not accepted", "api_key_env"}},
		{"unknown model", func(_ *fake, t *loadgen.Target) { t.Model = "m3" }, Options{}, ErrModel, []string{"m3", "m1, m2"}},
		{"unlisted model", func(f *fake, t *loadgen.Target) {
			f.models, t.Model, f.refuse, f.saying = "", "m3", []string{"model"}, "The model `m3` does not exist."
		}, Options{}, ErrModel, []string{"m3"}},
		{"no model", func(f *fake, _ *loadgen.Target) { f.models = `{"data":[]}` }, Options{}, ErrModel, []string{"lists none"}},
		{"loading", func(f *fake, _ *loadgen.Target) { f.loading = 1 << 30 }, Options{}, ErrNotReady, []string{"503", "Loading model"}},
		{"no API", func(f *fake, _ *loadgen.Target) { f.paths, f.models = nil, "" }, Options{}, ErrAPI, []string{"tried openai-chat", "base_url"}},
		{"wrong API", func(_ *fake, t *loadgen.Target) { t.API = "tgi" }, Options{}, ErrAPI, []string{"/generate_stream", "404"}},
		{"too long", func(*fake, *loadgen.Target) {}, long, ErrContext, []string{"5128", "4096", "input_len"}},
		{"bad request", func(f *fake, _ *loadgen.Target) {
			f.refuse, f.saying = []string{"model"}, "the moon is not full"
		}, Options{}, ErrRefused, []string{"400", "the moon is not full"}},
		{"no output", func(f *fake, _ *loadgen.Target) { f.broken = "data: [DONE]\n\n" }, Options{}, ErrRefused, []string{"no output"}},
		{"error in the stream", func(f *fake, _ *loadgen.Target) { f.broken = "data: {\"error\":\"boom\"}\n\n" }, Options{}, ErrRefused, []string{"boom"}},
		{"cut stream", func(f *fake, _ *loadgen.Target) {
			f.broken = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
		}, Options{}, ErrCut, []string{"1 output events", "finish mark", "log"}},
		{"nobody there", func(_ *fake, t *loadgen.Target) {
			t.BaseURL = "http://user:" + secret + "@127.0.0.1:1/v1?key=" + secret
		}, Options{}, ErrUnreachable, []string{"http://127.0.0.1:1/v1/models", "running"}},
		{"TLS on a plain port", func(_ *fake, t *loadgen.Target) { t.BaseURL = strings.Replace(t.BaseURL, "http:", "https:", 1) }, Options{}, ErrUnreachable, []string{"http://"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := vllm(t)
			target := server.start()
			c.edit(server, &target)
			_, err := Discover(t.Context(), target, secret, c.o)
			if !errors.Is(err, c.kind) {
				t.Fatalf("error %v, want kind %v", err, c.kind)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q lacks %q", err, word)
				}
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
				t.Errorf("%q holds the key", err)
			}
		})
	}
}

func TestRedirect(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("https://elsewhere/v1/models?key=k", http.StatusMovedPermanently))
	defer server.Close()
	target := loadgen.DefaultTarget()
	target.BaseURL = server.URL
	_, err := discover(t, target, Options{})
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "redirects to https://elsewhere/v1/models:") {
		t.Error(err)
	}
}

// TestCompatibility: refused parameters are dropped or swapped, once each, and
// noted; the user's own are not touched.
func TestCompatibility(t *testing.T) {
	warm := 0.7
	plain := Options{SkipCalibration: true}
	heated := plain
	heated.Workload = prompt.Default()
	heated.Workload.Temperature = &warm
	cases := []struct {
		name   string
		refuse []string
		saying string
		o      Options
		check  func(o api.Options) bool
		notes  int
	}{
		{"nothing", nil, "", plain, func(o api.Options) bool {
			return o.HoldOutputLength && !o.NoIgnoreEOS && !o.NoMinTokens && !o.NoUsage && o.MaxTokensField == ""
		}, 0},
		{"one by one", []string{"stream_options", "ignore_eos", "min_tokens"}, "Unrecognized request argument supplied: %s", plain, func(o api.Options) bool {
			return o.NoIgnoreEOS && o.NoMinTokens && o.NoUsage && o.MaxTokensField == ""
		}, 3},
		{"max_tokens", []string{"max_tokens"}, "Unsupported parameter: '%s' is not supported with this model. Use 'max_completion_tokens' instead.", plain, func(o api.Options) bool {
			return o.MaxTokensField == "max_completion_tokens" && !o.NoMinTokens && !o.NoIgnoreEOS
		}, 1},
		{"temperature", []string{"temperature"}, "Unsupported value: '%s' does not support 0.7 with this model.", heated, func(o api.Options) bool {
			return o.Temperature == nil && !o.NoIgnoreEOS
		}, 1},
		{"unnamed", []string{"ignore_eos", "min_tokens"}, "Extra inputs are not permitted", plain, func(o api.Options) bool {
			return o.NoIgnoreEOS && o.NoMinTokens && !o.NoUsage
		}, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := vllm(t)
			server.refuse, server.saying = c.refuse, c.saying
			target := server.start()
			target.Model = "m1"
			f := mustDiscover(t, target, c.o)
			if !c.check(f.Options) {
				t.Errorf("options %+v", f.Options)
			}
			if len(f.Notes) != c.notes {
				t.Errorf("notes %q, want %d", f.Notes, c.notes)
			}
			if server.requests() != c.notes+1 {
				t.Errorf("%d requests for %d adjustments", server.requests(), c.notes)
			}
		})
	}
}

func TestCompatibilityLeavesExtraBody(t *testing.T) {
	server := vllm(t)
	server.refuse, server.saying = []string{"top_k"}, "Extra inputs are not permitted"
	target := server.start()
	target.ExtraBody = map[string]any{"top_k": 5}
	_, err := discover(t, target, Options{SkipCalibration: true})
	if !errors.Is(err, ErrRefused) || server.requests() != 1 {
		t.Errorf("%v after %d requests", err, server.requests())
	}
	o := api.Options{HoldOutputLength: true, Extra: map[string]any{"ignore_eos": true}}
	if notes := adjust(&o, "Unknown parameter: ignore_eos"); notes != nil || o.NoIgnoreEOS {
		t.Errorf("the user's own ignore_eos: %q", notes)
	}
}

func TestTooLargeIsNotUnknown(t *testing.T) {
	o := api.Options{HoldOutputLength: true}
	for _, message := range []string{"max_tokens is too large: 128", "This model's maximum context length is 2048 tokens", "temperature must be at most 2"} {
		if notes := adjust(&o, message); notes != nil {
			t.Errorf("%q: %q", message, notes)
		}
	}
}

// TestNoTemplate: a base model has no chat template, so chat is not for it.
func TestNoTemplate(t *testing.T) {
	server := vllm(t)
	server.refuse, server.saying = []string{"messages"}, "default chat template is no longer allowed, provide a chat template"
	if f := mustDiscover(t, server.start(), Options{}); f.Protocol.Name() != "openai-completions" || len(f.Warnings) > 0 {
		t.Errorf("found %s, %q", f.Protocol.Name(), f.Warnings)
	}
}

// TestWarnings: what makes figures mean less is said.
func TestWarnings(t *testing.T) {
	cases := []struct {
		name string
		edit func(*fake)
		want string // a part of the only warning
		ok   func(*Found) bool
	}{
		{"nothing", func(f *fake) {}, "", func(f *Found) bool { return f.Streams && !f.Buffered && f.HoldsOutput }},
		{"not streamed", func(f *fake) { f.plain = true }, "does not stream", func(f *Found) bool { return !f.Streams && !f.Buffered }},
		{"buffered", func(f *fake) { f.delay, f.gap = 40*time.Millisecond, 0 }, "all at once", func(f *Found) bool { return f.Streams && f.Buffered }},
		{"length not held", func(f *fake) { f.stops = 5 }, "output length", func(f *Found) bool { return !f.HoldsOutput }},
		{"prompts cut", func(f *fake) { f.most = 300 }, "counts 300.0 on average", func(f *Found) bool { return !f.Calibration.Within }},
		{"nearly full", func(f *fake) { f.models = strings.Replace(f.models, "4096", "645", 1) }, "nearly fill the context of 645", func(f *Found) bool { return f.ContextLength == 645 }},
		{"compressed", func(f *fake) { f.zip = true }, "", func(f *Found) bool { return f.Streams && !f.Buffered && f.Calibration.Within }},
		{"thinks in secret", func(f *fake) { f.secret = 100 }, "", func(f *Found) bool { return f.HoldsOutput }},
		{"no counts", func(f *fake) { f.noUsage, f.tokenize = true, false }, "does not count prompt tokens", func(f *Found) bool { return !f.CountsUsage && f.Sizer == prompt.Sizer{} }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := vllm(t)
			c.edit(server)
			f := mustDiscover(t, server.start(), Options{SkipCalibration: c.name == "buffered"})
			all := strings.Join(f.Warnings, "\n")
			if !strings.Contains(all, c.want) || (c.want == "") != (all == "") || strings.Count(all, "\n") > 0 || !c.ok(f) {
				t.Errorf("warnings %q, found %+v", f.Warnings, f)
			}
		})
	}
}

// TestTokenizeMustAgree: a /tokenize that leaves out the chat template is not used.
func TestTokenizeMustAgree(t *testing.T) {
	server := vllm(t)
	server.forgets = server.template
	f := mustDiscover(t, server.start(), Options{})
	if !f.Calibration.Within || server.requests() != f.Calibration.Probes+1 || math.Abs(f.Sizer.Overhead-7) > 0.5 {
		t.Errorf("%d requests, %+v, %+v", server.requests(), f.Calibration, f.Sizer)
	}
}

// TestTokenizerForDropping: prompts of a file can be counted where they are to be
// dropped and the context is known.
func TestTokenizerForDropping(t *testing.T) {
	o := Options{Workload: prompt.Config{Dataset: prompt.JSONL, DropTooLong: true}}
	f := mustDiscover(t, vllm(t).start(), o)
	if f.CountTokens == nil {
		t.Fatal("no tokenizer")
	}
	defer f.server.client.CloseIdleConnections()
	if n, err := f.CountTokens(t.Context(), "abcd efghij"); n != 3+7 || err != nil {
		t.Errorf("%d tokens, %v", n, err)
	}
	unknown := vllm(t)
	unknown.models = `{"data":[{"id":"m1","owned_by":"vllm"}]}`
	if f := mustDiscover(t, unknown.start(), o); f.CountTokens != nil {
		t.Error("a context that is not known")
	}
	o.Workload.DropTooLong = false
	if f := mustDiscover(t, vllm(t).start(), o); f.CountTokens != nil {
		t.Error("nothing is to be dropped")
	}
}

// TestRateLimit: calibrating by requests may run into a limit, and waits.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	server := vllm(t)
	server.tokenize, server.limit = false, 10
	f := mustDiscover(t, server.start(), Options{})
	if refused := server.requests() - f.Calibration.Probes - 1; refused != 1 {
		t.Errorf("%d requests were refused, want 1", refused)
	}
	if !f.Calibration.Within || len(f.Warnings) > 0 {
		t.Errorf("calibration %+v, warnings %q", f.Calibration, f.Warnings)
	}
}

// TestHangsUp: a server that closes kept connections without a word, as llama.cpp
// does after each stream, is asked once more on a new one.
func TestHangsUp(t *testing.T) {
	t.Parallel()
	server := vllm(t)
	server.tokenize, server.hangsUp = false, true
	f := mustDiscover(t, server.start(), Options{})
	server.mu.Lock()
	served := len(server.served)
	server.mu.Unlock()
	if asked := server.requests(); !f.Calibration.Within || len(f.Warnings) > 0 || served < asked {
		t.Errorf("calibration %+v, warnings %q, %d requests on %d connections", f.Calibration, f.Warnings, asked, served)
	}
}

// TestWaits: a server that is loading is waited for, in sight of the user.
func TestWaits(t *testing.T) {
	t.Parallel()
	server := vllm(t)
	server.loading = 2
	var heard []string
	f := mustDiscover(t, server.start(), Options{SkipCalibration: true, Wait: 30 * time.Second, Progress: func(s string) { heard = append(heard, s) }})
	waits := slices.DeleteFunc(heard, func(s string) bool { return !strings.Contains(s, "waiting") })
	if len(waits) != 1 || !strings.Contains(waits[0], "Loading model") || f.Server != "vllm 0.11.0" {
		t.Errorf("progress %q", heard)
	}
}

func TestCancelled(t *testing.T) {
	server := vllm(t)
	server.loading = 1 << 30
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Discover(ctx, server.start(), "", Options{Wait: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestReadyAfterwards(t *testing.T) {
	server := vllm(t)
	f := mustDiscover(t, server.start(), Options{SkipCalibration: true})
	server.mu.Lock()
	server.loading = 1
	server.mu.Unlock()
	if err := f.Ready(t.Context()); !errors.Is(err, ErrNotReady) {
		t.Errorf("while loading: %v", err)
	}
	if err := f.Ready(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestAchievedLengths asks for lengths and counts what comes of them, for servers
// that tokenize, servers that only count requests, with a chat template and
// without.
func TestAchievedLengths(t *testing.T) {
	t.Logf("%-22s %8s %10s %8s %9s", "server", "asked", "achieved", "off", "requests")
	for _, c := range []struct {
		name, api string
		tokenize  bool
	}{
		{"chat, /tokenize", "openai-chat", true},
		{"chat, requests", "openai-chat", false},
		{"completions, requests", "openai-completions", false},
	} {
		for _, asked := range []int{16, 256, 512, 1024, 8192} {
			server := vllm(t)
			server.tokenize = c.tokenize
			target := server.start()
			target.API, target.Model = c.api, "m2"
			o := Options{Workload: prompt.Default()}
			o.Workload.InputLen, o.Workload.Seed = asked, 1
			f := mustDiscover(t, target, o)
			source, _, err := prompt.New(t.Context(), o.Workload, f.Sizer)
			if err != nil {
				t.Fatal(err)
			}
			sum, n := 0, max(20, min(2000, 60_000/asked))
			for i := range n {
				r, _ := source.Request(i)
				body, err := f.Protocol.AppendBody(nil, r, nil, f.Options)
				if err != nil {
					t.Fatal(err)
				}
				sum += server.count(body)
			}
			mean := float64(sum) / float64(n)
			off := mean/float64(asked) - 1
			t.Logf("%-22s %8d %10.1f %+7.2f%% %9d", c.name, asked, mean, 100*off, server.requests())
			if math.Abs(off) > prompt.Tolerance || len(f.Warnings) > 0 {
				t.Errorf("%s: asked %d, achieved %.1f, warnings %q", c.name, asked, mean, f.Warnings)
			}
			if c.tokenize && server.requests() != 1 {
				t.Errorf("%d requests although there is a /tokenize", server.requests())
			}
		}
	}
}
