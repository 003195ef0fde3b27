//go:build unix

package loadgen_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
		skip(b, "no Python with aiohttp: install it, or set PYTHON")
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
		body, err := truth.AppendBody(nil, r, nil, api.Options{Model: "null"})
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
