//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

// The size of what is reported: a hundred steps, a million requests. Chunk gaps
// are kept of each, as few as keep the files of the benchmark below half a
// gigabyte.
const (
	scaleSteps    = 100
	scaleRequests = 10_000 // of a step
	scaleGaps     = 8      // of a request
)

// BenchmarkReport prints what it takes to report a million requests: seconds that
// a user waits, seconds of CPU, and the process's largest memory. keep is what a
// measurement does with a step (its figures, its samples on disk), all hundred
// steps together; report and compare read the results that this made; import
// makes a result of a hundred detailed files of vLLM's benchmark.
//
// Wanted: each below 5 s and 500 MB; report and compare without noticeable waiting.
func BenchmarkReport(b *testing.B) {
	dir := b.TempDir()
	results := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	b.Run("keep", func(b *testing.B) {
		began := ownCPU()
		for b.Loop() {
			os.RemoveAll(results[0])
			keepSteps(b, results[0], 1)
		}
		b.ReportMetric((ownCPU()-began).Seconds()/float64(b.N), "cpu-s")
		b.ReportMetric(0, "ns/op")
	})
	keepSteps(b, results[1], 0.95)
	files := make([]string, scaleSteps)
	for i := range files {
		files[i] = filepath.Join(dir, fmt.Sprintf("concurrency_%d.json", i+1))
		writeDetailed(b, files[i], scaleRun(i+1, 1))
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"report", []string{"report", results[0]}},
		{"compare", append([]string{"compare"}, results...)},
		{"import", append([]string{"report"}, files...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			var wall, used time.Duration
			var memory int64
			for b.Loop() {
				cmd := exec.Command("capfind", c.args...)
				cmd.Dir = b.TempDir()
				forgetPeak()
				began := time.Now()
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				wall += time.Since(began)
				used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
				memory = max(memory, largest(cmd.ProcessState.SysUsage()))
			}
			b.ReportMetric(wall.Seconds()/float64(b.N), "s")
			b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s")
			b.ReportMetric(float64(memory)/1e6, "MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// largest is the most memory that a process had, in bytes.
func largest(usage any) int64 {
	most := usage.(*syscall.Rusage).Maxrss
	if runtime.GOOS != "darwin" {
		most *= 1 << 10
	}
	return most
}

// forgetPeak lets Linux forget how much memory this process had at most: a process
// that it starts begins with that figure.
func forgetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// ownCPU is the CPU time that this process has used.
func ownCPU() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// keepSteps makes a result directory as a measurement does: every step's figures
// are taken from its samples, which go to disk with them.
func keepSteps(b *testing.B, dir string, speed float64) {
	b.Helper()
	s, err := store.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	finished := time.Unix(1_700_000_000, 0).UTC()
	r := &sweep.Result{SchemaVersion: sweep.SchemaVersion, Command: "sweep", StartedAt: finished, FinishedAt: &finished,
		Target: sweep.TargetInfo{BaseURL: "http://127.0.0.1:8000/v1", Model: "scale"}}
	for i := range scaleSteps {
		runs := []loadgen.Run{scaleRun(i+1, speed)}
		r.Steps = append(r.Steps, analysis.Summarize(runs, analysis.Options{Phase: analysis.PhaseLadder}))
		if err := s.SaveStep(r, &r.Steps[i], runs); err != nil {
			b.Fatal(err)
		}
	}
	sweep.Assess(r, sweep.StopRules{MaxTTFT: time.Minute}, sweep.DefaultBand())
	if err := s.Save(r); err != nil {
		b.Fatal(err)
	}
}

// scaleRun is a closed loop at a server of a hundred slots: times as drawn, no
// queue.
func scaleRun(n int, speed float64) loadgen.Run {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	ms := func(mean float64) time.Duration {
		return time.Duration(mean / speed * (0.5 + rng.Float64()) * float64(time.Millisecond))
	}
	run := loadgen.Run{Load: loadgen.Load{Concurrency: n, Requests: scaleRequests}, End: loadgen.EndComplete, Started: time.Unix(1_700_000_000, 0).UTC()}
	free := make([]time.Duration, n)
	for i := range scaleRequests {
		slot := 0 // whose turn it is
		for j := range free {
			if free[j] < free[slot] {
				slot = j
			}
		}
		sent := free[slot]
		s := loadgen.Sample{Index: i, PromptIndex: i, Conversation: -1, CachedTokens: -1, Intended: sent, Ready: sent, Sent: sent, WasSent: true,
			Streamed: true, Status: 200, WantPromptTokens: 512, PromptTokens: 512, WantOutputTokens: scaleGaps + 1, OutputTokens: scaleGaps + 1,
			OutputEvents: scaleGaps + 1, TokenSource: loadgen.TokensFromUsage, Stamp: loadgen.StampKernel, StampDelay: 20 * time.Microsecond, ConnReused: true}
		s.FirstOutput = sent + ms(100+float64(n))
		s.FirstAnswer, s.LastOutput = s.FirstOutput, s.FirstOutput
		for range scaleGaps {
			gap := ms(20)
			s.Gaps = append(s.Gaps, uint32(gap.Microseconds()))
			s.LastOutput += gap
		}
		s.End = s.LastOutput
		free[slot] = s.End
		run.Elapsed = max(run.Elapsed, s.End)
		run.Samples = append(run.Samples, s)
	}
	return run
}

// writeDetailed writes a run as `vllm bench serve --save-result --save-detailed`
// does.
func writeDetailed(b *testing.B, path string, run loadgen.Run) {
	b.Helper()
	n := len(run.Samples)
	inputs, outputs, starts, ttfts, errors := make([]int, n), make([]int, n), make([]float64, n), make([]float64, n), make([]string, n)
	gaps, texts := make([][]json.Number, n), make([]string, n)
	for i := range run.Samples {
		s := &run.Samples[i]
		inputs[i], outputs[i] = s.PromptTokens, s.OutputTokens
		starts[i], ttfts[i] = 1000+s.Sent.Seconds(), (s.FirstOutput - s.Sent).Seconds()
		for _, g := range s.Gaps { // as many digits as Python's perf_counter gives
			gaps[i] = append(gaps[i], json.Number(strconv.FormatFloat(float64(g)/1e6+1.2345678e-10, 'f', -1, 64)))
		}
		texts[i] = " token token token token token token token token token"
	}
	raw, err := json.Marshal(map[string]any{"date": "20260314-092653", "model_id": "scale", "num_prompts": n, "request_rate": "inf",
		"max_concurrency": run.Load.Concurrency, "duration": run.Elapsed.Seconds(), "completed": n, "total_input_tokens": 512 * n,
		"total_output_tokens": (scaleGaps + 1) * n, "request_throughput": float64(n) / run.Elapsed.Seconds(),
		"input_lens": inputs, "output_lens": outputs, "start_times": starts, "ttfts": ttfts, "itls": gaps, "generated_texts": texts, "errors": errors})
	if err == nil {
		err = os.WriteFile(path, raw, 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
}
