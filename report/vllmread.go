package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// FromVLLM reads result files of vLLM's benchmark (`vllm bench serve
// --save-result`, with or without --save-detailed, or the concurrency_N.json that
// the guide's script leaves) into a result: one step a file, judged by the
// guide's rules. What the files do not hold stays unknown. Files with the
// detailed lists also give steady state and standard errors. An error names the
// file and the key.
func FromVLLM(paths []string) (*sweep.Result, error) {
	if len(paths) == 0 {
		return nil, errors.New("no vLLM result file was given")
	}
	read := make([][]imported, len(paths))
	if err := each(len(paths), func(i int) error {
		raw, err := os.ReadFile(paths[i])
		if err == nil {
			read[i], err = readVLLM(paths[i], raw)
		}
		return err
	}); err != nil {
		return nil, err
	}
	found := slices.Concat(read...)
	sort.SliceStable(found, func(i, j int) bool { return found[i].step.Concurrency < found[j].step.Concurrency })
	r := &sweep.Result{SchemaVersion: sweep.SchemaVersion, Command: "import"}
	models := map[string]bool{}
	for i := range found {
		f := &found[i]
		if i > 0 && f.step.Concurrency == found[i-1].step.Concurrency && !f.step.RequestRate.IsKnown() {
			return nil, fmt.Errorf("%s and %s are both for concurrency %d: give one of them", found[i-1].path, f.path, f.step.Concurrency)
		}
		if f.model != "" {
			models[f.model] = true
			r.Target.Model = f.model
		}
		if f.backend != "" {
			r.Target.Server = f.backend
		}
		if at := f.step.StartedAt; !at.IsZero() && (r.StartedAt.IsZero() || at.Before(r.StartedAt)) {
			r.StartedAt = at
		}
		r.Steps = append(r.Steps, f.step)
	}
	if len(models) > 1 {
		r.Warnings = append(r.Warnings, "the files are of different models: "+strings.Join(sorted(models), ", "))
	}
	rules := sweep.DefaultStopRules()
	sweep.Assess(r, rules, sweep.DefaultBand())
	r.Config = map[string]any{"stop": map[string]any{"min_success_rate": rules.MinSuccessRate, "max_ttft": rules.MaxTTFT.String(),
		"ttft_statistic": rules.TTFTStatistic, "min_throughput_gain": rules.MinThroughputGain}}
	return r, nil
}

// imported is one step as a file told it.
type imported struct {
	path           string
	step           analysis.Step
	model, backend string
}

func sorted(set map[string]bool) []string {
	var list []string
	for s := range set {
		list = append(list, s)
	}
	sort.Strings(list)
	return list
}

// readVLLM reads all results of one file: with --append-result there are
// several, one after another.
func readVLLM(path string, raw []byte) ([]imported, error) {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(strictJSON(raw)), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var out []imported
	for decoder.PeekKind() != 0 {
		f := &vllmReader{path: path, keys: map[string]jsontext.Value{}}
		f.read(decoder)
		step := f.step()
		if f.err != nil {
			return nil, f.err
		}
		out = append(out, imported{path, step, f.text("model_id"), f.text("backend")})
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is not a vLLM result file: %w", path, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return out, nil
}

// strictJSON turns the NaN and Infinity that Python writes into null: JSON knows
// neither, and both mean that there is no figure.
func strictJSON(raw []byte) []byte {
	if !bytes.Contains(raw, []byte("NaN")) && !bytes.Contains(raw, []byte("Infinity")) {
		return raw
	}
	out := make([]byte, 0, len(raw))
	inString := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if inString {
			out = append(out, c)
			if c == '\\' && i+1 < len(raw) {
				i++
				out = append(out, raw[i])
			} else if c == '"' {
				inString = false
			}
			continue
		}
		if word := barbarism(raw[i:]); word > 0 {
			out = append(out, "null"...)
			i += word - 1
			continue
		}
		inString = c == '"'
		out = append(out, c)
	}
	return out
}

// barbarism returns the length of a number word that JSON does not know.
func barbarism(b []byte) int {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(b, []byte(word)) {
			return len(word)
		}
	}
	return 0
}

// vllmReader takes figures out of one result; the first problem stays in err.
type vllmReader struct {
	path  string
	keys  map[string]jsontext.Value // all but the lists
	lists vllmLists
	err   error
}

// read takes one result off the file, which is gone through once: where the lists
// are, they are nearly all of it.
func (f *vllmReader) read(decoder *jsontext.Decoder) {
	broken := func(err error) bool {
		if err != nil && f.err == nil {
			f.err = fmt.Errorf("%s is not a vLLM result file: %w", f.path, err)
		}
		return err != nil
	}
	if kind := decoder.PeekKind(); kind != '{' {
		value, err := decoder.ReadValue()
		if !broken(err) {
			broken(fmt.Errorf("an object is wanted, not %s", excerpt(value)))
		}
		return
	}
	_, err := decoder.ReadToken()
	for !broken(err) && decoder.PeekKind() != '}' {
		var name jsontext.Token
		if name, err = decoder.ReadToken(); err == nil {
			err = f.readKey(decoder, name.String())
		}
	}
	if err == nil {
		_, err = decoder.ReadToken()
		broken(err)
	}
}

// readKey takes the value of one key: a list to its place, all else as it stands.
func (f *vllmReader) readKey(decoder *jsontext.Decoder, key string) error {
	if key == "generated_texts" { // long, and nothing is read from them
		return decoder.SkipValue()
	}
	if list := f.lists.of(key); list != nil && decoder.PeekKind() != 'n' {
		err := json.UnmarshalDecode(decoder, list)
		if wrong := (*json.SemanticError)(nil); errors.As(err, &wrong) {
			f.fail(key, "a list of one entry a request is wanted: %v", err)
		}
		return err
	}
	value, err := decoder.ReadValue()
	f.keys[key] = value.Clone()
	return err
}

func (f *vllmReader) fail(key, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: key %q: %s", f.path, key, fmt.Sprintf(format, args...))
	}
}

// number returns a figure; unknown where the key is missing or null.
func (f *vllmReader) number(key string) analysis.Number {
	var n analysis.Number
	raw, ok := f.keys[key]
	if !ok {
		return n
	}
	if err := n.UnmarshalJSON(raw); err != nil {
		f.fail(key, "a number is wanted, not %s", excerpt(raw))
	}
	return n
}

// positive is a number that cannot be negative.
func (f *vllmReader) positive(key string) analysis.Number {
	n := f.number(key)
	if n.Or(0) < 0 {
		f.fail(key, "is %s, but cannot be negative", n)
	}
	return n
}

func (f *vllmReader) integer(key string) int {
	v := f.positive(key).Or(0)
	if v != float64(int(v)) || v > 1e15 {
		f.fail(key, "is %v, but a whole number is wanted", v)
		return 0
	}
	return int(v)
}

// text returns a string; "" where there is none.
func (f *vllmReader) text(key string) string {
	var s string
	if json.Unmarshal(f.keys[key], &s) != nil {
		return ""
	}
	return s
}

func (f *vllmReader) has(key string) bool {
	raw, ok := f.keys[key]
	return ok && raw.Kind() != 'n'
}

// excerpt shortens a value for a message.
func excerpt(raw []byte) string {
	const most = 40
	if len(raw) > most {
		return strings.ToValidUTF8(string(raw[:most]), "") + "…"
	}
	return string(raw)
}

// step reads one result.
func (f *vllmReader) step() analysis.Step {
	s := analysis.Step{Phase: analysis.PhaseLadder, Runs: 1, VerdictBasis: analysis.BasisWhole, Concurrency: f.concurrency(), RequestRate: f.rate()}
	if at, err := time.Parse("20060102-150405", f.text("date")); err == nil {
		s.StartedAt = at
	}
	for _, key := range []string{"completed", "duration"} {
		if !f.has(key) && f.err == nil {
			f.err = fmt.Errorf("%s: key %q is missing: this is no result file of vLLM's benchmark", f.path, key)
		}
	}
	if f.err != nil {
		return s
	}
	completed := f.integer("completed")
	s.NumPrompts = completed
	failed := 0
	if f.has("num_prompts") {
		s.NumPrompts = f.integer("num_prompts")
		failed = max(s.NumPrompts-completed, 0) // older versions do not count failures themselves
	}
	if f.has("failed") {
		failed = f.integer("failed")
		s.NumPrompts = max(s.NumPrompts, completed+failed)
	}
	w := &s.Whole
	w.Completed, w.Failed = completed, failed
	w.InputTokens, w.OutputTokens = f.integer("total_input_tokens"), f.integer("total_output_tokens")
	w.DurationSeconds = f.positive("duration")
	w.RequestThroughput, w.RequestGoodput = f.positive("request_throughput"), f.positive("request_goodput")
	w.OutputThroughput, w.TotalTokenThroughput = f.positive("output_throughput"), f.positive("total_token_throughput")
	w.PeakOutputThroughput = f.positive("max_output_tokens_per_s")
	w.PeakInFlight = int(f.positive("max_concurrent_requests").Or(0))
	if completed+failed > 0 {
		w.SuccessRate = number(float64(completed) / float64(completed+failed))
	}
	if d := w.DurationSeconds.Or(0); !w.RequestThroughput.IsKnown() && d > 0 {
		w.RequestThroughput = number(float64(completed) / d)
	}
	if x, ok := w.RequestThroughput.Value(); ok {
		w.Efficiency = number(x / float64(max(s.Concurrency, 1)))
	}
	if completed > 0 {
		w.TTFT, w.TPOT, w.ChunkGap, w.E2E = f.dist("ttft", completed), f.dist("tpot", completed), f.dist("itl", f.gaps(w)), f.dist("e2el", completed)
	}
	if f.err == nil {
		f.fromLists(&s)
	}
	return s
}

// gaps is the number of gaps between tokens that the ITL figures are over.
func (f *vllmReader) gaps(w *analysis.Summary) int { return max(w.OutputTokens-w.Completed, 0) }

// dist reads one metric's statistics, in milliseconds.
func (f *vllmReader) dist(metric string, n int) analysis.Dist {
	ms := func(prefix string) analysis.Number {
		v, ok := f.number(prefix + "_" + metric + "_ms").Value()
		if !ok {
			return analysis.Number{}
		}
		return number(v / 1000)
	}
	d := analysis.Dist{Mean: ms("mean"), Std: ms("std"), P50: ms("median"), P90: ms("p90"), P95: ms("p95"), P99: ms("p99"), N: n}
	if !d.P50.IsKnown() {
		d.P50 = ms("p50")
	}
	if !d.Mean.IsKnown() && !d.P50.IsKnown() {
		return analysis.Dist{} // the metric was not asked for
	}
	return d
}

// fileConcurrency finds N in the guide's file name, concurrency_N.json.
var fileConcurrency = regexp.MustCompile(`concurrency[_-]?(\d+)`)

// concurrency is the step's: the key, else what the file's name says.
func (f *vllmReader) concurrency() int {
	if f.has("max_concurrency") {
		n := f.integer("max_concurrency")
		if n < 1 && f.err == nil {
			f.fail("max_concurrency", "is %d, but must be at least 1", n)
		}
		return n
	}
	m := fileConcurrency.FindStringSubmatch(filepath.Base(f.path))
	if m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			return n
		}
	}
	f.fail("max_concurrency", "is missing, so the load is not known: run the benchmark with --max-concurrency, or name the file concurrency_N.json")
	return 0
}

// rate is the request rate; unknown where it is "inf".
func (f *vllmReader) rate() analysis.Number {
	if !f.has("request_rate") || strings.EqualFold(f.text("request_rate"), "inf") {
		return analysis.Number{}
	}
	if s := f.text("request_rate"); s != "" {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			f.fail("request_rate", "a number or \"inf\" is wanted, not %q", s)
		}
		return number(v)
	}
	return f.positive("request_rate")
}
