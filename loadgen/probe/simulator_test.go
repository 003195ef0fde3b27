package probe_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/probe"
	"github.com/capfind/capfind/loadgen/prompt"
)

// simulate starts a simulated server that is quick to answer, and not so quick
// that its answers seem buffered.
func simulate(t *testing.T, edit func(*simserver.Config)) loadgen.Target {
	t.Helper()
	c := simserver.Default()
	c.StepTime, c.Prefill = 2*time.Millisecond, time.Millisecond
	edit(&c)
	server, err := simhttp.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	target := loadgen.DefaultTarget()
	target.BaseURL = server.URL()
	return target
}

func workload(input, output int) prompt.Config {
	c := prompt.Default()
	c.InputLen, c.OutputLen, c.Seed = input, output, 11
	return c
}

// run discovers the target and sends so many requests to it.
func run(t *testing.T, target loadgen.Target, w prompt.Config, steps ...loadgen.Load) (*probe.Found, []loadgen.Run) {
	t.Helper()
	found, err := probe.Discover(t.Context(), target, "", probe.Options{Workload: w})
	if err != nil {
		t.Fatal(err)
	}
	source, _, err := prompt.New(t.Context(), w, found.Sizer)
	if err != nil {
		t.Fatal(err)
	}
	client, err := loadgen.NewClient(loadgen.ClientConfig{Target: found.Target, Protocol: found.Protocol, Options: found.Options, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var runs []loadgen.Run
	for _, load := range steps {
		r, err := loadgen.NewEngine(client).Run(t.Context(), load)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	return found, runs
}

// TestEveryProtocol runs load against a simulator of each protocol: every request
// succeeds, and asks and gets the lengths wanted.
func TestEveryProtocol(t *testing.T) {
	kinds := map[string]simserver.Kind{
		"openai-chat": simserver.VLLM, "openai-completions": simserver.LlamaCpp, "sglang": simserver.SGLang,
		"tgi": simserver.TGI, "ollama": simserver.Ollama,
	}
	for _, name := range generating(t) {
		for _, plain := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", plain"}[plain], func(t *testing.T) {
				target := simulate(t, func(c *simserver.Config) { c.Server = kinds[name] })
				target.API, target.NoStream = name, plain
				found, runs := run(t, target, workload(40, 6), loadgen.Load{Concurrency: 4, Requests: 20})
				if !strings.HasPrefix(found.Server, strings.ReplaceAll(string(kinds[name]), "llamacpp", "llama.cpp")) || found.Streams == plain || len(found.Warnings) > 0 {
					t.Errorf("found %s, warnings %q", found.Describe(), found.Warnings)
				}
				sum := 0
				for _, s := range runs[0].Samples {
					sum += s.PromptTokens
					if s.Class != loadgen.Success || s.OutputTokens != 6 || s.TokenSource != loadgen.TokensFromUsage || s.Streamed == plain {
						t.Fatalf("sample %+v", s)
					}
				}
				if mean := float64(sum) / 20; math.Abs(mean/40-1) > prompt.Tolerance {
					t.Errorf("prompts of %.1f tokens, 40 asked for", mean)
				}
			})
		}
	}
}

// generating are the protocols that write text.
func generating(t *testing.T) []string {
	return slices.DeleteFunc(api.Names(), func(name string) bool {
		p, err := api.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return !api.Generates(p)
	})
}

// TestEveryScorer runs load against what writes no text: the texts have the length
// asked for, with the query of a ranking.
func TestEveryScorer(t *testing.T) {
	for name, counted := range map[string]bool{"openai-embeddings": true, "rerank": true, "tei-rerank": false} {
		target := simulate(t, func(c *simserver.Config) { c.Server = simserver.TGI })
		target.API = name
		w := workload(40, 6)
		w.Batch = 5
		found, runs := run(t, target, w, loadgen.Load{Concurrency: 4, Requests: 20})
		if found.Protocol.Name() != name || found.Streams || !found.Options.NoStream || counted && len(found.Warnings) > 0 {
			t.Errorf("%s: found %s, warnings %q", name, found.Describe(), found.Warnings)
		}
		for _, s := range runs[0].Samples {
			if s.Class != loadgen.Success || s.OutputTokens != 0 || s.Streamed || counted && math.Abs(float64(s.PromptTokens)/200-1) > prompt.Tolerance {
				t.Fatalf("%s: sample %+v", name, s)
			}
		}
	}
}

// TestAuto: what the probe makes of each kind of server by itself.
func TestAuto(t *testing.T) {
	for kind, want := range map[simserver.Kind]string{
		simserver.VLLM: "openai-chat", simserver.SGLang: "openai-chat", simserver.TGI: "openai-chat",
		simserver.LlamaCpp: "openai-chat", simserver.Ollama: "ollama",
	} {
		target := simulate(t, func(c *simserver.Config) { c.Server = kind })
		found, err := probe.Discover(t.Context(), target, "", probe.Options{})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		wantMetrics := kind != simserver.Ollama
		if found.Protocol.Name() != want || found.Model != "simulated-model" || (found.MetricsURL != "") != wantMetrics || !found.Calibration.Within {
			t.Errorf("%s: %s, %+v", kind, found.Describe(), found.Calibration)
		}
	}
}

// TestStrictServer: refused parameters are given up, and load then runs.
func TestStrictServer(t *testing.T) {
	target := simulate(t, func(c *simserver.Config) {
		c.StrictParams = []string{"max_tokens", "stream_options", "ignore_eos", "min_tokens"}
	})
	found, runs := run(t, target, workload(40, 6), loadgen.Load{Concurrency: 2, Requests: 4})
	o := found.Options
	if !o.NoUsage || !o.NoIgnoreEOS || !o.NoMinTokens || o.MaxTokensField != "max_completion_tokens" {
		t.Errorf("options %+v, notes %q", o, found.Notes)
	}
	for _, s := range runs[0].Samples {
		if s.Class != loadgen.Success || s.OutputTokens != 6 || s.TokenSource != loadgen.TokensFromEvents {
			t.Errorf("sample %+v", s)
		}
	}
}

func TestColdServer(t *testing.T) {
	t.Parallel()
	target := simulate(t, func(c *simserver.Config) { c.ColdStart = 1500 * time.Millisecond })
	if _, err := probe.Discover(t.Context(), target, "", probe.Options{}); !errors.Is(err, probe.ErrNotReady) {
		t.Errorf("impatient: %v", err)
	}
	if _, err := probe.Discover(t.Context(), target, "", probe.Options{Wait: 30 * time.Second}); err != nil {
		t.Errorf("patient: %v", err)
	}
}

// TestPrefixCache: prompts that repeat from step to step are served from a prefix
// cache, the more the later the step, which bends a ladder; unique prompts never
// are, and a shared prefix is as far as it goes.
func TestPrefixCache(t *testing.T) {
	var steps []loadgen.Load
	first := 0
	for _, n := range []int{1, 2, 4} {
		steps = append(steps, loadgen.Load{Concurrency: n, Requests: 40 * n, FirstPrompt: first})
		first += 40 * n
	}
	shares := func(edit func(*prompt.Config)) [3]float64 {
		target := simulate(t, func(c *simserver.Config) { c.PrefixCache.Tokens = 1 << 20 })
		w := workload(256, 2)
		edit(&w)
		_, runs := run(t, target, w, steps...)
		var shares [3]float64
		for i, r := range runs {
			cached, all := 0, 0
			for _, s := range r.Samples {
				if s.Class != loadgen.Success {
					t.Fatalf("sample %+v", s)
				}
				cached, all = cached+max(0, s.CachedTokens), all+s.PromptTokens
			}
			shares[i] = float64(cached) / float64(all)
		}
		return shares
	}
	unique := shares(func(*prompt.Config) {})
	repeated := shares(func(c *prompt.Config) { c.Unique = false })
	prefixed := shares(func(c *prompt.Config) { c.Dataset, c.PrefixLen, c.InputLen = prompt.SharedPrefix, 192, 64 })
	t.Logf("share of prompt tokens from the cache at concurrency 1, 2, 4: unique %.3f, repeated %.3f, shared prefix %.3f", unique, repeated, prefixed)
	for i := range steps {
		if unique[i] > 0.01 {
			t.Errorf("unique prompts: %.3f of the tokens from the cache in step %d", unique[i], i)
		}
		if prefixed[i] < 0.65 || prefixed[i] > 0.76 {
			t.Errorf("a prefix of 75 %%: %.3f of the tokens from the cache in step %d", prefixed[i], i)
		}
	}
	if repeated[0] > 0.01 || repeated[2] < 0.7 {
		t.Errorf("repeated prompts: %.3f of the tokens from the cache", repeated)
	}
}

// TestConversations: concurrency counts conversations, and every turn carries the
// answers so far.
func TestConversations(t *testing.T) {
	for _, name := range generating(t) {
		target := simulate(t, func(c *simserver.Config) {
			if c.Server = simserver.SGLang; name == "tgi" {
				c.Server = simserver.TGI
			} else if name == "ollama" {
				c.Server = simserver.Ollama
			}
		})
		target.API = name
		w := workload(30, 5)
		w.Dataset, w.Turns = prompt.Conversation, 3
		_, runs := run(t, target, w, loadgen.Load{Concurrency: 2, Requests: 4})
		tokens := map[int]int{}
		for _, s := range runs[0].Samples {
			if s.Class != loadgen.Success {
				t.Fatalf("%s: sample %+v", name, s)
			}
			tokens[s.Turn] += s.PromptTokens
		}
		if len(runs[0].Samples) != 12 || !(tokens[0]+4*30 < tokens[1] && tokens[1]+4*30 < tokens[2]) {
			t.Errorf("%s: %d samples, prompt tokens by turn %v", name, len(runs[0].Samples), tokens)
		}
	}
}

// How long an answer takes to decode, alone, is told from the warm-up and scaled to the
// workload's length; of an answer that comes in one piece it is not known.
func TestDecodingIsTold(t *testing.T) {
	target := simulate(t, func(c *simserver.Config) { c.StepTime = 20 * time.Millisecond })
	found, err := probe.Discover(t.Context(), target, "", probe.Options{Workload: workload(16, 100), SkipCalibration: true})
	if err != nil {
		t.Fatal(err)
	}
	if found.Decoding < 1800*time.Millisecond || found.Decoding > 4*time.Second { // 100 steps of 20 ms; the machine may be busy
		t.Errorf("100 tokens, 20 ms each, take %v", found.Decoding)
	}
	target.NoStream = true
	if found, err = probe.Discover(t.Context(), target, "", probe.Options{Workload: workload(16, 100), SkipCalibration: true}); err != nil {
		t.Fatal(err)
	}
	if found.Decoding != 0 {
		t.Errorf("of an answer in one piece: %v", found.Decoding)
	}
}
