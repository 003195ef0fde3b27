package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capfind/capfind/sweep"
)

// writeSteps leaves the files of a result as the guide's script would.
func writeSteps(t *testing.T, r *sweep.Result) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i := range r.Steps {
		raw, err := VLLMStep(&r.Steps[i], r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprintf("concurrency_%d.json", r.Steps[i].Concurrency))
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// TestVLLMRoundTrip writes a ladder in vLLM's format and reads it back: every
// figure that the format holds must come back, and the same rule must stop it.
func TestVLLMRoundTrip(t *testing.T) {
	original := newBuild("slots", slots64).ladder(ladder...).result
	paths := writeSteps(t, original)
	paths[0], paths[3] = paths[3], paths[0] // any order will do
	r, err := FromVLLM(paths)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Steps) != len(original.Steps) || r.Verdict != sweep.LimitFound || r.Ladder.StoppedBy != "ttft" {
		t.Fatalf("%d steps, %s by %s", len(r.Steps), r.Verdict, r.Ladder.StoppedBy)
	}
	if r.Ladder.LastGood.Or(0) != 50 || r.Ladder.FirstBad.Or(0) != 100 || r.Limit == nil {
		t.Errorf("ladder %+v, limit %+v", r.Ladder, r.Limit)
	}
	for i := range r.Steps {
		a, b := &original.Steps[i].Whole, &r.Steps[i].Whole
		for _, p := range []struct {
			name string
			a, b float64
		}{
			{"completed", float64(a.Completed), float64(b.Completed)}, {"failed", float64(a.Failed), float64(b.Failed)},
			{"throughput", a.RequestThroughput.Or(-1), b.RequestThroughput.Or(-2)}, {"output", a.OutputThroughput.Or(-1), b.OutputThroughput.Or(-2)},
			{"efficiency", a.Efficiency.Or(-1), b.Efficiency.Or(-2)}, {"success", a.SuccessRate.Or(-1), b.SuccessRate.Or(-2)},
			{"ttft", a.TTFT.Mean.Or(-1), b.TTFT.Mean.Or(-2)}, {"ttft p99", a.TTFT.P99.Or(-1), b.TTFT.P99.Or(-2)},
			{"tpot p50", a.TPOT.P50.Or(-1), b.TPOT.P50.Or(-2)}, {"itl", a.ChunkGap.Mean.Or(-1), b.ChunkGap.Mean.Or(-2)}, {"e2e", a.E2E.Mean.Or(-1), b.E2E.Mean.Or(-2)},
		} {
			if math.Abs(p.a-p.b) > 1e-9*math.Abs(p.a) {
				t.Errorf("step %d: %s %v became %v", r.Steps[i].Concurrency, p.name, p.a, p.b)
			}
		}
		if b.TTFTSE.IsKnown() || b.MeanInFlight.IsKnown() || r.Steps[i].Steady != nil {
			t.Errorf("step %d knows what no file said", r.Steps[i].Concurrency)
		}
	}
}

// vllmListsOf makes a file as --save-detailed writes it: two streams at a time,
// each of ttft and then gaps, one after another.
func vllmListsOf(n int, failing map[int]string) map[string]any {
	var inputs, outputs, starts, ttfts, itls, errs []any
	for i := range n {
		inputs = append(inputs, 512)
		starts = append(starts, 1000.25+float64(i/2)*1.0)
		if e := failing[i]; e != "" {
			outputs, ttfts, itls, errs = append(outputs, 0), append(ttfts, 0.0), append(itls, []any{}), append(errs, e)
			continue
		}
		outputs, errs = append(outputs, 10), append(errs, "")
		ttfts = append(ttfts, 0.1)
		gaps := make([]any, 9)
		for j := range gaps {
			gaps[j] = 0.1
		}
		itls = append(itls, gaps)
	}
	done := n - len(failing)
	return map[string]any{"model_id": "m", "backend": "vllm", "num_prompts": n, "request_rate": "inf", "max_concurrency": 2,
		"duration": float64(n) / 2, "completed": done, "request_throughput": float64(done) / (float64(n) / 2), "total_output_tokens": 10 * done,
		"mean_ttft_ms": 100.0, "mean_tpot_ms": 100.0, "input_lens": inputs, "output_lens": outputs, "start_times": starts, "ttfts": ttfts, "itls": itls, "errors": errs}
}

func writeJSON(t *testing.T, name string, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVLLMDetailed(t *testing.T) {
	r, err := FromVLLM([]string{writeJSON(t, "run.json", vllmListsOf(100, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s := &r.Steps[0]
	if s.Steady == nil || s.Window == nil || s.Concurrency != 2 {
		t.Fatalf("no steady state from the detailed lists: %+v", s)
	}
	// Two streams of 1 s each: 2 requests/s, all of them 0.1 s to the first token.
	if x := s.Steady.RequestThroughput.Or(0); math.Abs(x-2) > .05 {
		t.Errorf("steady throughput %v, want 2", x)
	}
	if m := s.Whole.TTFT.P95.Or(0); math.Abs(m-.1) > 1e-6 {
		t.Errorf("p95 of TTFT %v, want 0.1", m)
	}
	if g := s.Whole.ChunkGap; g.N != 900 || math.Abs(g.Max.Or(0)-.1) > 1e-6 {
		t.Errorf("%d gaps of at most %v, want 900 of 0.1 s", g.N, g.Max)
	}
	failing, err := FromVLLM([]string{writeJSON(t, "run.json", vllmListsOf(100, map[int]string{3: "Too Many Requests", 9: "boom"}))})
	if err != nil {
		t.Fatal(err)
	}
	f := &failing.Steps[0]
	if f.Whole.Failed != 2 || f.Failures["http_429"] != 1 || f.Failures["stream_error"] != 1 || f.Steady != nil {
		t.Errorf("failures %v, failed %d, steady %v", f.Failures, f.Whole.Failed, f.Steady)
	}
}

// A run's samples stand in the order in which the requests ended.
func TestVLLMOrder(t *testing.T) {
	d := vllmLists{starts: []float64{0, 1, 1}, ttfts: []float64{5, 1, 1}, gaps: gapLists{seconds: []float64{1, 0, .5}}}
	if got := d.byEnd(); !slices.Equal(got, []int{1, 2, 0}) {
		t.Errorf("ended in the order %v", got)
	}
}

func TestVLLMOddFiles(t *testing.T) {
	minimal := func(with map[string]any) map[string]any {
		m := map[string]any{"completed": 10, "duration": 5.0, "max_concurrency": 2}
		for k, v := range with {
			m[k] = v
		}
		return m
	}
	t.Run("name gives the load", func(t *testing.T) {
		r, err := FromVLLM([]string{writeJSON(t, "concurrency_20.json", minimal(map[string]any{"max_concurrency": nil}))})
		if err != nil || r.Steps[0].Concurrency != 20 || r.Steps[0].Whole.RequestThroughput.Or(0) != 2 {
			t.Errorf("%v, %v", r, err)
		}
		if r.Steps[0].Whole.TTFT.Mean.IsKnown() || r.Steps[0].Whole.TTFT.N != 0 {
			t.Errorf("TTFT is known: %+v", r.Steps[0].Whole.TTFT)
		}
	})
	t.Run("what Python lets through", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.json") // half of a surrogate pair, and a key twice
		text := `{"generated_texts": ["\ud83d"], "errors": ["\ud83d"], "ttfts": null, "completed": 3, "completed": 4, "duration": 1, "max_concurrency": 2}`
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := FromVLLM([]string{path}); err != nil || r.Steps[0].Whole.Completed != 4 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	for _, broken := range []string{`{"completed": 4, "duration": 1, "max_concurrency": 2`, `{"completed": 4, "duration": 1, "max_concurrency": 2} x`, `{"itls": [[1`, ``, ` `} {
		t.Run("broken off", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.json")
			if err := os.WriteFile(path, []byte(broken), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := FromVLLM([]string{path}); err == nil || !strings.Contains(err.Error(), "x.json is ") {
				t.Errorf("%q: %v", broken, err)
			} else {
				t.Log(err)
			}
		})
	}
	t.Run("NaN and appended results", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "all.json")
		text := `{"completed": 0, "duration": 1, "num_prompts": 4, "max_concurrency": 8, "mean_ttft_ms": NaN, "model_id": "NaN \" Infinity"}
{"completed": 4, "duration": 1, "max_concurrency": 2, "request_rate": 7.5, "mean_ttft_ms": 5}`
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := FromVLLM([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Steps) != 2 || r.Steps[1].Whole.Failed != 4 || r.Steps[0].RequestRate.Or(0) != 7.5 || r.Target.Model != `NaN " Infinity` {
			t.Errorf("%+v", r.Steps)
		}
	})
	for name, c := range map[string]struct {
		file string
		body any
		want []string
	}{
		"no load":       {"x.json", minimal(map[string]any{"max_concurrency": nil}), []string{"x.json", "max_concurrency", "--max-concurrency"}},
		"wrong type":    {"x.json", minimal(map[string]any{"duration": "long"}), []string{"x.json", `"duration"`, `"long"`}},
		"negative":      {"x.json", minimal(map[string]any{"completed": -1}), []string{`"completed"`, "negative"}},
		"other JSON":    {"x.json", map[string]any{"max_concurrency": 1, "foo": 1}, []string{"x.json", "missing"}},
		"a list":        {"x.json", []int{1}, []string{"x.json", "not a vLLM result file"}},
		"uneven lists":  {"x.json", func() any { m := vllmListsOf(4, nil); m["ttfts"] = []float64{1}; return m }(), []string{"x.json", "different lengths"}},
		"gap of text":   {"x.json", func() any { m := vllmListsOf(4, nil); m["itls"] = []any{[]any{}, []any{.1, "a"}}; return m }(), []string{"x.json", `"itls"`, "request 1 has a gap that is no number"}},
		"negative gap":  {"x.json", func() any { m := vllmListsOf(4, nil); m["itls"] = []any{[]any{-.1}}; return m }(), []string{"x.json", `"itls"`, "request 0 has a gap of -0.1 s"}},
		"flat gaps":     {"x.json", func() any { m := vllmListsOf(4, nil); m["itls"] = []any{.1, .1}; return m }(), []string{"x.json", `"itls"`, "a list was expected, not number"}},
		"odd TTFT":      {"x.json", func() any { m := vllmListsOf(4, nil); m["ttfts"] = []any{.1, -1000, .1, .1}; return m }(), []string{"x.json", `"ttfts"`, "impossible"}},
		"list of texts": {"x.json", func() any { m := vllmListsOf(4, nil); m["ttfts"] = []string{"a"}; return m }(), []string{"x.json", `"ttfts"`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromVLLM([]string{writeJSON(t, c.file, c.body)})
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
	a, b := writeJSON(t, "a.json", minimal(nil)), writeJSON(t, "b.json", minimal(nil))
	if _, err := FromVLLM([]string{a, b}); err == nil || !strings.Contains(err.Error(), "both") {
		t.Errorf("two files for one load: %v", err)
	}
	if _, err := FromVLLM(nil); err == nil {
		t.Error("no file is no error")
	}
}

// FuzzVLLM holds that no input makes the reader panic, and that whatever it
// accepts can be reported.
func FuzzVLLM(f *testing.F) {
	f.Add([]byte(`{"completed": 4, "duration": 1, "max_concurrency": 2, "mean_ttft_ms": NaN}`))
	raw, _ := json.Marshal(vllmListsOf(6, map[int]string{1: "x"}))
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := readVLLM("fuzz.json", raw)
		if err != nil {
			return
		}
		r := &sweep.Result{Command: "import"}
		for _, x := range found {
			r.Steps = append(r.Steps, x.step)
		}
		sweep.Assess(r, sweep.DefaultStopRules(), sweep.DefaultBand())
		if err := HTML(discard{}, r, Options{}); err != nil {
			t.Fatal(err)
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
