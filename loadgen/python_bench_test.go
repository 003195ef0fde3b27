//go:build unix

package loadgen_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/selftest"
)

// BenchmarkPython prints the same for what Python's load generators are made of:
// aiohttp, and the standard library's JSON. It is the floor of `vllm bench serve` and of
// evalscope, as BenchmarkStream's is ours: whatever they do with an event comes on top.
// It is skipped where no Python with aiohttp is found: $PYTHON, those that
// tools/engines has installed, python3.
func BenchmarkPython(b *testing.B) {
	python, ok := pythonWithAiohttp()
	if !ok {
		b.Skip("no Python with aiohttp: install it, or set PYTHON")
	}
	for _, load := range []struct {
		streams int
		rate    float64
	}{{50, 50}, {200, 50}} {
		b.Run(fmt.Sprintf("streams=%d/rate=%g", load.streams, load.rate), func(b *testing.B) {
			var seen struct {
				PerEvent float64         `json:"us_per_event"`
				Memory   float64         `json:"bytes_per_stream"`
				Events   float64         `json:"events"`
				Late     []time.Duration `json:"late_ns"`
			}
			for b.Loop() {
				target, at := startNull(b, "http"), timesOf(load.streams)
				seconds := func(d time.Duration) string { return fmt.Sprint(d.Seconds()) }
				cmd := exec.Command(python, "testdata/aiohttp_reader.py", target.BaseURL+"/v1/chat/completions", writeBodies(b, load.streams, load.rate),
					seconds(at.to), seconds(at.from), seconds(at.ramp))
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				if err == nil {
					err = json.Unmarshal(out, &seen)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			mean, p99 := spread(seen.Late)
			b.ReportMetric(seen.PerEvent, "us/event")
			b.ReportMetric(seen.Memory, "B/stream")
			at := timesOf(load.streams)
			b.ReportMetric(seen.Events/(at.to-at.from).Seconds(), "events/s")
			b.ReportMetric(mean, "ttft-mean-us")
			b.ReportMetric(p99, "ttft-p99-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkTools prints what whole tools cost an event, those that tools/engines has
// installed: the CPU of a long call less that of a short one, by the events that it had
// more, so that a start of many seconds does not count. ttft-mean-us is by how much the
// tool's mean TTFT is above what the server was asked to take.
func BenchmarkTools(b *testing.B) {
	home, err := os.UserHomeDir()
	if err != nil {
		b.Skip(err)
	}
	cache := filepath.Join(home, ".cache", "capfind-engines")
	model := filepath.Join(cache, "models", "small-llama")
	for _, tool := range []tool{vllmBench(cache, model), evalscopePerf(cache, model)} {
		for _, streams := range []int{50, 200} {
			b.Run(fmt.Sprintf("%s/streams=%d/rate=50", tool.name, streams), func(b *testing.B) {
				for _, needed := range []string{tool.program, model} {
					if _, err := os.Stat(needed); err != nil {
						b.Skipf("%v: make engines-compare installs it", err)
					}
				}
				for b.Loop() {
					short, _ := tool.run(b, streams, 2*streams)
					long, ttft := tool.run(b, streams, 6*streams)
					events := float64(4 * streams * tokens(50))
					b.ReportMetric((long-short).Seconds()*1e6/events, "us/event")
					b.ReportMetric((ttft-time.Second/50).Seconds()*1e6, "ttft-mean-us")
					b.ReportMetric(short.Seconds(), "cpu-s-to-start")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// tool is a load generator of others.
type tool struct {
	name, program string
	args          func(url, prompts, out string, streams, requests int) []string
	ttft          func(out string) (seconds float64, err error) // the mean that it reports
}

// run sends so many requests and returns the CPU time and the mean TTFT.
func (t tool) run(b *testing.B, streams, requests int) (cpu, ttft time.Duration) {
	b.Helper()
	target, out := startNull(b, "http"), b.TempDir()
	prompts := writePrompts(b, requests)
	cmd := exec.Command(t.program, t.args(target.BaseURL, prompts, out, streams, requests)...)
	cmd.Dir = out
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "TORCH_COMPILE_DISABLE=1", "VLLM_NO_USAGE_STATS=1", "DO_NOT_TRACK=1")
	if said, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said[max(0, len(said)-2000):])
	}
	seconds, err := t.ttft(out)
	if err != nil {
		b.Fatal(err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), time.Duration(seconds * float64(time.Second))
}

// vllmBench is vLLM's own, in the form that its documentation begins with.
func vllmBench(cache, model string) tool {
	return tool{
		name: "vllm-bench-serve", program: filepath.Join(cache, "vllm", "bin", "python"),
		args: func(url, prompts, out string, streams, requests int) []string {
			return []string{"-m", "vllm.entrypoints.cli.main", "bench", "serve", "--backend", "openai-chat", "--base-url", url, "--endpoint", "/v1/chat/completions",
				"--model", model, "--served-model-name", "null", "--dataset-name", "custom", "--dataset-path", prompts, "--custom-output-len", fmt.Sprint(tokens(50)),
				"--skip-chat-template", "--disable-shuffle", "--num-prompts", fmt.Sprint(requests), "--max-concurrency", fmt.Sprint(streams), "--disable-tqdm",
				"--save-result", "--result-dir", out, "--result-filename", "result.json"}
		},
		ttft: func(out string) (float64, error) {
			var r struct {
				TTFT float64 `json:"mean_ttft_ms"`
			}
			err := readJSON(filepath.Join(out, "result.json"), &r)
			return r.TTFT / 1e3, err
		},
	}
}

// evalscopePerf is evalscope's.
func evalscopePerf(cache, model string) tool {
	return tool{
		name: "evalscope-perf", program: filepath.Join(cache, "evalscope", "bin", "evalscope"),
		args: func(url, prompts, out string, streams, requests int) []string {
			return []string{"perf", "--model", "null", "--api", "openai", "--url", url + "/v1/chat/completions", "--tokenizer-path", model, "--dataset", "openqa", "--dataset-path", prompts,
				"--max-prompt-length", "100000", "--max-tokens", fmt.Sprint(tokens(50)), "--stream", "--parallel", fmt.Sprint(streams), "--number", fmt.Sprint(requests), "--outputs-dir", out}
		},
		ttft: func(out string) (float64, error) {
			found, err := filepath.Glob(filepath.Join(out, "*", "*", "*", "benchmark_summary.json"))
			if err != nil || len(found) == 0 {
				return 0, fmt.Errorf("no summary below %s: %w", out, err)
			}
			var r map[string]any
			if err := readJSON(found[0], &r); err != nil {
				return 0, err
			}
			for name, value := range r {
				if v, ok := value.(float64); ok && strings.Contains(strings.ToLower(name), "ttft (s)") {
					return v, nil
				}
			}
			return 0, fmt.Errorf("no TTFT in %v", r)
		},
	}
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// writePrompts writes prompts that order answers of the null server, one a line, under the
// names that both tools look for.
func writePrompts(b *testing.B, n int) (path string) {
	b.Helper()
	truth, err := selftest.NewTruth(tokens(50), 50)
	if err != nil {
		b.Fatal(err)
	}
	var all bytes.Buffer
	for i := range n {
		r, _ := truth.Request(i)
		line, err := json.Marshal(map[string]any{"prompt": r.Text, "question": r.Text})
		if err != nil {
			b.Fatal(err)
		}
		all.Write(append(line, '\n'))
	}
	path = filepath.Join(b.TempDir(), "prompts.jsonl")
	if err := os.WriteFile(path, all.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}

func pythonWithAiohttp() (path string, ok bool) {
	candidates := []string{os.Getenv("PYTHON")}
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range []string{"vllm", "evalscope"} {
			candidates = append(candidates, filepath.Join(home, ".cache", "capfind-engines", name, "bin", "python"))
		}
	}
	for _, python := range append(candidates, "python3") {
		if python != "" && exec.Command(python, "-c", "import aiohttp").Run() == nil {
			return python, true
		}
	}
	return "", false
}

// writeBodies writes one request body a line.
func writeBodies(b *testing.B, streams int, rate float64) (path string) {
	truth, err := selftest.NewTruth(tokens(rate), rate)
	if err != nil {
		b.Fatal(err)
	}
	var all bytes.Buffer
	for i := range streams {
		r, _ := truth.Request(i)
		body, err := truth.Body(r, nil, api.Options{Model: "null"})
		if err != nil {
			b.Fatal(err)
		}
		all.Write(body)
		all.WriteByte('\n')
	}
	path = filepath.Join(b.TempDir(), "bodies.jsonl")
	if err := os.WriteFile(path, all.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}
