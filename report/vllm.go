package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// vllmFile is vLLM's result file, in its own order of keys. The same struct is
// written and read; what a file lacks stays unknown. Times are milliseconds,
// except in the detailed lists, which hold seconds.
type vllmFile struct {
	Date           string          `json:"date"`
	EndpointType   string          `json:"endpoint_type"`
	Backend        string          `json:"backend"`
	Label          *string         `json:"label"`
	ModelID        string          `json:"model_id"`
	TokenizerID    string          `json:"tokenizer_id"`
	NumPrompts     analysis.Number `json:"num_prompts"`
	RequestRate    any             `json:"request_rate"` // a number, or "inf"
	Burstiness     analysis.Number `json:"burstiness"`
	MaxConcurrency analysis.Number `json:"max_concurrency"`

	Duration             analysis.Number `json:"duration"`
	Completed            analysis.Number `json:"completed"`
	Failed               analysis.Number `json:"failed"`
	TotalInputTokens     analysis.Number `json:"total_input_tokens"`
	TotalOutputTokens    analysis.Number `json:"total_output_tokens"`
	RequestThroughput    analysis.Number `json:"request_throughput"`
	RequestGoodput       analysis.Number `json:"request_goodput"`
	OutputThroughput     analysis.Number `json:"output_throughput"`
	TotalTokenThroughput analysis.Number `json:"total_token_throughput"`
	MaxOutputTokensPerS  analysis.Number `json:"max_output_tokens_per_s"`
	MaxConcurrentReqs    analysis.Number `json:"max_concurrent_requests"`

	vllmTTFT
	vllmTPOT
	vllmITL
	vllmE2EL
}

// vllmTTFT and its like are vLLM's keys of one metric, in milliseconds.
type vllmTTFT struct {
	Mean   analysis.Number `json:"mean_ttft_ms"`
	Median analysis.Number `json:"median_ttft_ms"`
	Std    analysis.Number `json:"std_ttft_ms"`
	P50    analysis.Number `json:"p50_ttft_ms"`
	P90    analysis.Number `json:"p90_ttft_ms"`
	P95    analysis.Number `json:"p95_ttft_ms"`
	P99    analysis.Number `json:"p99_ttft_ms"`
}

type vllmTPOT struct {
	Mean   analysis.Number `json:"mean_tpot_ms"`
	Median analysis.Number `json:"median_tpot_ms"`
	Std    analysis.Number `json:"std_tpot_ms"`
	P50    analysis.Number `json:"p50_tpot_ms"`
	P90    analysis.Number `json:"p90_tpot_ms"`
	P95    analysis.Number `json:"p95_tpot_ms"`
	P99    analysis.Number `json:"p99_tpot_ms"`
}

type vllmITL struct {
	Mean   analysis.Number `json:"mean_itl_ms"`
	Median analysis.Number `json:"median_itl_ms"`
	Std    analysis.Number `json:"std_itl_ms"`
	P50    analysis.Number `json:"p50_itl_ms"`
	P90    analysis.Number `json:"p90_itl_ms"`
	P95    analysis.Number `json:"p95_itl_ms"`
	P99    analysis.Number `json:"p99_itl_ms"`
}

type vllmE2EL struct {
	Mean   analysis.Number `json:"mean_e2el_ms"`
	Median analysis.Number `json:"median_e2el_ms"`
	Std    analysis.Number `json:"std_e2el_ms"`
	P50    analysis.Number `json:"p50_e2el_ms"`
	P90    analysis.Number `json:"p90_e2el_ms"`
	P95    analysis.Number `json:"p95_e2el_ms"`
	P99    analysis.Number `json:"p99_e2el_ms"`
}

// millis converts a distribution in seconds to vLLM's milliseconds. The structs
// differ only in their JSON names, so that each converts from this one.
func millis(d analysis.Dist) vllmTTFT {
	ms := func(n analysis.Number) analysis.Number {
		v, ok := n.Value()
		if !ok {
			return n
		}
		return number(v * 1000)
	}
	return vllmTTFT{Mean: ms(d.Mean), Median: ms(d.P50), Std: ms(d.Std), P50: ms(d.P50), P90: ms(d.P90), P95: ms(d.P95), P99: ms(d.P99)}
}

// asVLLM restates a step, by its whole run, under vLLM's names.
func asVLLM(step *analysis.Step, r *sweep.Result) vllmFile {
	w := &step.Whole
	f := vllmFile{
		Date: step.StartedAt.Format("20060102-150405"), ModelID: r.Target.Model, TokenizerID: r.Target.Model,
		EndpointType: endpointType(r.Target.API), NumPrompts: number(float64(step.NumPrompts)), RequestRate: "inf", Burstiness: number(1),
		MaxConcurrency: number(float64(step.Concurrency)), Duration: w.DurationSeconds,
		Completed: number(float64(w.Completed)), Failed: number(float64(w.Failed)),
		TotalInputTokens: number(float64(w.InputTokens)), TotalOutputTokens: number(float64(w.OutputTokens)),
		RequestThroughput: w.RequestThroughput, RequestGoodput: w.RequestGoodput, OutputThroughput: w.OutputThroughput,
		TotalTokenThroughput: w.TotalTokenThroughput, MaxOutputTokensPerS: w.PeakOutputThroughput,
		vllmTTFT: millis(w.TTFT), vllmTPOT: vllmTPOT(millis(w.TPOT)), vllmITL: vllmITL(millis(w.ChunkGap)), vllmE2EL: vllmE2EL(millis(w.E2E)),
	}
	f.Backend = f.EndpointType
	if w.PeakInFlight > 0 {
		f.MaxConcurrentReqs = number(float64(w.PeakInFlight))
	}
	if rate, ok := step.RequestRate.Value(); ok {
		f.RequestRate = rate
	}
	if step.StartedAt.IsZero() {
		f.Date = ""
	}
	return f
}

// endpointType is vLLM's word for a protocol.
func endpointType(api string) string {
	switch api {
	case "openai-completions":
		return "openai"
	case "":
		return "vllm"
	}
	return api
}

// VLLMStep returns one step as vLLM's benchmark writes its result file, so that
// scripts made for those read it unchanged. The figures are the whole run's.
func VLLMStep(step *analysis.Step, r *sweep.Result) ([]byte, error) {
	raw, err := json.MarshalIndent(asVLLM(step, r), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("step %d in vLLM's format: %w", step.Concurrency, err)
	}
	return append(raw, '\n'), nil
}

// VLLMLog writes one step as vLLM's benchmark prints it: label left-justified in
// 40 columns, then the value. The figures are the whole run's.
func VLLMLog(w io.Writer, step *analysis.Step, r *sweep.Result) error {
	f := asVLLM(step, r)
	var b strings.Builder
	line := func(label, value string) { fmt.Fprintf(&b, "%-40s %-10s\n", label, value) }
	b.WriteString(centred(" Serving Benchmark Result ", '=') + "\n")
	line("Successful requests:", f.Completed.Format(0))
	line("Failed requests:", f.Failed.Format(0))
	line("Maximum request concurrency:", f.MaxConcurrency.Format(0))
	if step.RequestRate.IsKnown() {
		line("Request rate configured (RPS):", step.RequestRate.Format(2))
	}
	line("Benchmark duration (s):", f.Duration.Format(2))
	line("Total input tokens:", f.TotalInputTokens.Format(0))
	line("Total generated tokens:", f.TotalOutputTokens.Format(0))
	line("Request throughput (req/s):", f.RequestThroughput.Format(2))
	if f.RequestGoodput.IsKnown() {
		line("Request goodput (req/s):", f.RequestGoodput.Format(2))
	}
	line("Output token throughput (tok/s):", f.OutputThroughput.Format(2))
	line("Peak output token throughput (tok/s):", f.MaxOutputTokensPerS.Format(2))
	line("Peak concurrent requests:", f.MaxConcurrentReqs.Format(2))
	line("Total token throughput (tok/s):", f.TotalTokenThroughput.Format(2))
	for _, m := range []struct {
		title, short string
		v            vllmTTFT
	}{
		{"Time to First Token", "TTFT", f.vllmTTFT},
		{"Time per Output Token (excl. 1st token)", "TPOT", vllmTTFT(f.vllmTPOT)},
		{"Inter-token Latency", "ITL", vllmTTFT(f.vllmITL)},
		{"End-to-end Latency", "E2EL", vllmTTFT(f.vllmE2EL)},
	} {
		b.WriteString(centred(m.title, '-') + "\n")
		line("Mean "+m.short+" (ms):", m.v.Mean.Format(2))
		line("Median "+m.short+" (ms):", m.v.Median.Format(2))
		line("P99 "+m.short+" (ms):", m.v.P99.Format(2))
	}
	b.WriteString(strings.Repeat("=", 50) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// centred fills a title up to 50 columns, as Python's format does.
func centred(title string, fill rune) string {
	room := max(50-len(title), 0)
	return strings.Repeat(string(fill), room/2) + title + strings.Repeat(string(fill), room-room/2)
}

// stepFile is one step's pair of files in vLLM's format.
type stepFile struct {
	step *analysis.Step
	base string // path in the result directory, without extension
}

// stepFiles names the files of the steps. The guide's scripts take every
// concurrency_N.json for a step of the ladder, so that the search's steps, and
// a second step at the same concurrency, lie in a directory of their own.
func stepFiles(r *sweep.Result) []stepFile {
	var files []stepFile
	used := map[string]bool{}
	for i := range r.Steps {
		s := &r.Steps[i]
		base := fmt.Sprintf("steps/concurrency_%d", s.Concurrency)
		if !onLadder(s.Phase) || used[base] {
			base = fmt.Sprintf("steps/search/concurrency_%d", s.Concurrency)
		}
		for n, free := 2, base; ; n++ {
			if !used[free] {
				base = free
				break
			}
			free = fmt.Sprintf("%s_%d", base, n)
		}
		used[base] = true
		files = append(files, stepFile{s, base})
	}
	return files
}

// day writes a moment in a form that sorts and that no reader mistakes.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
