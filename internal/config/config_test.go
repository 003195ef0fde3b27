package config

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/sweep"
)

// read reads a configuration from text, with an environment of its own.
func read(text string, overrides ...Override) (*File, error) {
	return Read(Input{
		Path: "-", Stdin: strings.NewReader(text), Overrides: overrides,
		LookupEnv: func(name string) (string, bool) {
			v, ok := map[string]string{"TOKEN": "sesame"}[name]
			return v, ok
		},
	})
}

// Every *.good.yaml of testdata loads; every *.bad.yaml gives exactly the
// problems that its comments "# want:" name, all at once.
func TestFixtures(t *testing.T) {
	t.Setenv("CAPFIND_TEST_UNSET", "")
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found only %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, err := Read(Input{Path: path})
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if want := wanted(t, path); !slices.EqualFunc(got, want, says) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// says compares a problem with what a fixture wants; "..." stands for the words
// of the package that owns the section.
func says(got, want string) bool {
	if before, ok := strings.CutSuffix(want, "..."); ok {
		return strings.HasPrefix(got, before) && got != before
	}
	return got == want
}

func wanted(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if want, ok := strings.CutPrefix(strings.TrimSpace(line), "# want: "); ok {
			out = append(out, want)
		}
	}
	return out
}

func TestPrecedence(t *testing.T) {
	const file = "preset: customer_service\ntarget: {base_url: http://file}\nworkload: {input_len: 300}\n"
	env := Override{Source: "CAPFIND_INPUT_LEN", Key: "workload.input_len", Value: "400"}
	flag := Override{Source: "--input-len", Key: "workload.input_len", Value: "500"}
	for _, tt := range []struct {
		name      string
		overrides []Override
		input     int
	}{
		{"file over preset", nil, 300},
		{"environment over file", []Override{env}, 400},
		{"flag over environment", []Override{env, flag}, 500},
	} {
		f, err := read(file, tt.overrides...)
		if err != nil {
			t.Fatal(err)
		}
		if f.Workload.InputLen != tt.input {
			t.Errorf("%s: input_len %d, want %d", tt.name, f.Workload.InputLen, tt.input)
		}
		if f.Workload.OutputLen != 128 || f.Load.RequestRate != 20 || f.Load.MaxConcurrency != 50 {
			t.Errorf("%s: the preset's other values are gone: %+v %+v", tt.name, f.Workload, f.Load)
		}
	}
}

// A server named by a flag replaces a simulated one in the file, and the other
// way round; a variable meant for every program replaces neither. Both in one
// place are a contradiction.
func TestTargetIsOneOfTwo(t *testing.T) {
	const simulated, real = "target: {simulator: {slots: 4}}", "target: {base_url: http://file}"
	url := Override{Source: "--base-url", Key: "target.base_url", Value: "http://flag"}
	sim := Override{Source: "--simulator", Key: "target.simulator", Value: "{slots: 5}"}
	ambient := Override{Source: "OPENAI_BASE_URL", Key: "target.base_url", Value: "http://ambient"}
	for _, tt := range []struct {
		text  string
		o     Override
		url   string
		slots int
	}{
		{simulated, url, "http://flag", 0},
		{real, sim, "", 5},
		{simulated, sim, "", 5},
		{simulated, ambient, "", 4},
		{real, ambient, "http://ambient", 0},
	} {
		f, err := read(tt.text, tt.o)
		if err != nil {
			t.Fatal(err)
		}
		slots := 0
		if f.Target.Simulator != nil {
			slots = f.Target.Simulator.Slots
		}
		if f.Target.BaseURL != tt.url || slots != tt.slots {
			t.Errorf("%s under %s: %q and %d slots", tt.text, tt.o.Source, f.Target.BaseURL, slots)
		}
	}
	if _, err := read("target: {base_url: http://x, simulator: {}}"); err == nil || !strings.Contains(err.Error(), "not both") {
		t.Errorf("got %v", err)
	}
}

// The guide's two tables, number by number.
// A Unix socket needs no URL: any will do for the Host header.
func TestSocketNeedsNoURL(t *testing.T) {
	for text, want := range map[string]string{
		"target: {unix_socket: /run/llm.sock}":                          "http://localhost",
		"target: {unix_socket: /run/llm.sock, base_url: http://inside}": "http://inside",
	} {
		f, err := read(text)
		if err != nil {
			t.Fatal(err)
		}
		if f.Target.BaseURL != want {
			t.Errorf("%s: base_url %q, want %q", text, f.Target.BaseURL, want)
		}
	}
}

func TestTelemetryInterval(t *testing.T) {
	for text, ok := range map[string]bool{"99ms": false, "100ms": true, "1m": true, "61s": false, "0": false} {
		f, err := read("target: {base_url: http://x}\ntelemetry: {interval: " + text + "}")
		if ok != (err == nil) {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && f.Resolved()["telemetry"].(map[string]any)["interval"] != text {
			t.Errorf("%s: resolved as %v", text, f.Resolved()["telemetry"])
		}
	}
	f, err := read("target: {base_url: http://x}")
	if err != nil || f.Telemetry.Interval != time.Second {
		t.Errorf("without the key: %v, %v", f, err)
	}
}

func TestPresetsAreTheGuides(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		name           string
		concurrency    int
		rate           float64
		prompts        int
		input, output  int
		cFactor, rFact float64
	}{
		{"quick_check", 10, inf, 50, 512, 128, 1, 1},
		{"find_limit", 10, inf, 50, 512, 128, 1, 1},
		{"realistic", 50, 10, 1000, 512, 128, 1, 1},
		{"capacity_planning", 50, 20, 2000, 512, 128, 1.5, 1},
		{"stability", 50, 20, 0, 512, 128, 0.8, 0.8},
		{"customer_service", 50, 20, 1000, 256, 128, 1, 1},
		{"content_generation", 200, 100, 2000, 512, 512, 1, 1},
		{"code_assistant", 20, 10, 500, 1024, 256, 1, 1},
	} {
		f, err := read("preset: " + tt.name + "\ntarget: {base_url: http://x}\n")
		if err != nil {
			t.Fatal(err)
		}
		l, w := f.Load, f.Workload
		if l.MaxConcurrency != tt.concurrency || l.RequestRate != tt.rate || l.NumPrompts != tt.prompts ||
			w.InputLen != tt.input || w.OutputLen != tt.output || l.ConcurrencyFactor != tt.cFactor || l.RateFactor != tt.rFact {
			t.Errorf("%s: %+v %+v", tt.name, l, w)
		}
	}
	f, err := read("preset: find_limit\ntarget: {base_url: http://x}\n")
	if err != nil || !slices.Equal(f.Sweep.Concurrency, sweep.Default().Concurrency) || f.Stop.MaxTTFT != time.Second {
		t.Errorf("find_limit is not the guide's ladder: %v %+v", err, f)
	}
}

func TestLoadFactors(t *testing.T) {
	for _, tt := range []struct {
		l    Load
		want int
		rate float64
	}{
		{Load{MaxConcurrency: 50, ConcurrencyFactor: 1.5, RequestRate: 20, RateFactor: 1}, 75, 20},
		{Load{MaxConcurrency: 41, ConcurrencyFactor: 1.5, RequestRate: math.Inf(1), RateFactor: 0.8}, 62, math.Inf(1)},
		{Load{MaxConcurrency: 10, ConcurrencyFactor: 0.8, RequestRate: 10, RateFactor: 0.8}, 8, 8},
		{Load{MaxConcurrency: 1, ConcurrencyFactor: 0.1, RequestRate: 1, RateFactor: 1}, 1, 1},
	} {
		if got := tt.l.Concurrency(); got != tt.want {
			t.Errorf("%+v: concurrency %d, want %d", tt.l, got, tt.want)
		}
		if got := tt.l.Rate(); got != tt.rate {
			t.Errorf("%+v: rate %v, want %v", tt.l, got, tt.rate)
		}
	}
}

func TestLadderRange(t *testing.T) {
	for text, want := range map[string]sweep.Steps{
		"{from: 10, to: 200}": {10, 20, 50, 100, 200},
		"{from: 3, to: 7}":    {3, 5, 7},
		"{to: 4}":             {1, 2, 4},
		"{from: 8, to: 8}":    {8},
		"[3, 1e1]":            {3, 10},
	} {
		f, err := read("target: {base_url: http://x}\nsweep: {concurrency: " + text + "}\n")
		if err != nil || !slices.Equal(f.Sweep.Concurrency, want) {
			t.Errorf("%s: got %v, %v, want %v", text, f, err, want)
		}
	}
}

// What is written can be read again and means the same.
func TestResolvedReadsBack(t *testing.T) {
	f, err := read(`
preset: stability
target:
  base_url: http://user:canary@host/v1
  headers: {Authorization: "Bearer ${TOKEN}"}
  extra_body: {top_k: 5, api_key: canary, nested: [1, {a: b}, null], stream_options: null}
workload: {temperature: 0.5}
stop: {slo: [{metric: tpot, statistic: p99, max: 50ms}]}
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Target.Headers["Authorization"].Reveal(); got != "Bearer sesame" {
		t.Errorf("header is %q", got)
	}
	if v, ok := f.Target.ExtraBody["stream_options"]; !ok || v != nil || f.Target.ExtraBody["nested"].([]any)[2] != nil {
		t.Errorf("a null in the body: %v", f.Target.ExtraBody)
	}
	if _, err := read("target: {base_url: http://h/v1, extra_body: {a: [.inf]}}"); err == nil || !strings.Contains(err.Error(), "target.extra_body.a[0]") {
		t.Errorf("a number that JSON does not have: %v", err)
	}
	text := string(f.YAML())
	for _, secret := range []string{"canary", "sesame"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the resolved configuration:\n%s", secret, text)
		}
	}
	again, err := read(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if second := string(again.YAML()); second != text {
		t.Errorf("read back as\n%s\nnot\n%s", second, text)
	}
	load, _ := f.Resolved()["load"].(map[string]any)
	if load["duration"] != "1h" || load["request_rate"] != 20.0 {
		t.Errorf("resolved load: %v", load)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "prompts.jsonl"), "{}\n")
	write(config, "target: {base_url: http://x}\nworkload: {dataset: jsonl, path: prompts.jsonl}\n")
	f, err := Read(Input{Path: config})
	if err != nil || f.Workload.Path != filepath.Join(dir, "prompts.jsonl") {
		t.Errorf("got %v, %v", f, err)
	}
	// A flag's path is the shell's: relative to where the user stands.
	_, err = Read(Input{Path: config, Overrides: []Override{{"--dataset-path", "workload.path", "prompts.jsonl"}}})
	if err == nil || !strings.Contains(err.Error(), "--dataset-path: workload.path: ") {
		t.Errorf("got %v", err)
	}
}

func TestURLsThatMustWork(t *testing.T) {
	for _, url := range []string{
		"http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/",
		"https://host/a%20b/v1", "http://[::1]:8000/v1", "http://user:p%40ss@host/v1",
	} {
		f, err := read("target: {base_url: '" + url + "'}")
		if err != nil || f.Target.BaseURL != url {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// A % that begins no escape is meant as one; a port that cannot be is told before
// anything is sent.
func TestURLsThatAreMended(t *testing.T) {
	f, err := read("target: {base_url: 'http://host/100%/v1'}")
	if err != nil || f.Target.BaseURL != "http://host/100%25/v1" {
		t.Errorf("%v", err)
	}
	for url, want := range map[string]string{
		"http://host:99999/v1": "has port 99999, but ports are 1 to 65535",
		"http://host:0":        "has port 0, ",
	} {
		if _, err := read("target: {base_url: '" + url + "'}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func TestWithoutCredentials(t *testing.T) {
	for in, want := range map[string]string{
		"http://user:secret@host/v1":      "http://host/v1",
		"http://host/v1?api_key=secret":   "http://host/v1?api_key=redacted",
		"http://host/a%20b":               "http://host/a%20b",
		"http://user:secret@ho st/%zz":    hidden,
		"http://host/v1?version=2":        "http://host/v1?version=2",
		"http://host/v1?access_token=abc": "http://host/v1?access_token=redacted",
	} {
		if got := WithoutCredentials(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestStartersAreValid(t *testing.T) {
	for _, preset := range Presets {
		text, err := Starter(preset, "http://127.0.0.1:8000/v1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(text); err != nil {
			t.Errorf("%s: %v\n%s", preset, err, text)
		}
		for line := range strings.Lines(text) {
			if len(line) > 121 {
				t.Errorf("%s: a line of %d characters", preset, len(line))
			}
		}
	}
	if _, err := Starter("stabilty", "http://x"); err == nil || !strings.Contains(err.Error(), "did you mean stability?") {
		t.Errorf("got %v", err)
	}
}

func TestFlagNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, k := range Keys() {
		name := FlagName(k.Path)
		if strings.HasPrefix(k.Path, "target.simulator.") {
			continue // flags of a command of their own
		}
		if other, ok := seen[name]; ok && !k.Section {
			t.Errorf("--%s is both %s and %s", name, other, k.Path)
		}
		if !k.Section {
			seen[name] = k.Path
		}
	}
}

func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("target:\n  base_url: http://x\n  extra_body:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		prev := string(rune('0' + i - 1))
		b.WriteString("    a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat("*a"+prev+", ", 9) + "*a" + prev + "]\n")
	}
	_, err := read(b.String())
	var problems Problems
	if !errors.As(err, &problems) || !strings.Contains(err.Error(), "too many values") || len(problems) > 3 {
		t.Errorf("got %d problems: %.300v", len(problems), err)
	}
}

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, path := range files {
		text, _ := os.ReadFile(path)
		f.Add(string(text), "sweep.concurrency", "1,2")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		file, err := read(text, Override{Source: "--set", Key: key, Value: value})
		if err != nil {
			var problems Problems
			if errors.As(err, &problems) {
				for _, p := range problems {
					if p.Text == "" || strings.Contains(p.String(), "config.File{") {
						t.Errorf("a problem that says nothing: %+v", p)
					}
				}
			}
			return
		}
		// Whatever loads is usable: it can be written and read again.
		written := string(file.YAML())
		again, err := read(written)
		if err != nil {
			t.Fatalf("written as\n%s\nwhich does not load: %v", written, err)
		}
		if second := string(again.YAML()); second != written {
			t.Errorf("read back as\n%s\nnot\n%s", second, written)
		}
	})
}

// A command that asks whether a key was given gets the same answer from what it stored.
func TestAbsenceIsStored(t *testing.T) {
	f, err := read("target: {base_url: http://h}\nload: {max_concurrency: 3}\n")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if !f.Given("load.max_concurrency") || f.Given("load.num_prompts") || f.Given("sweep.concurrency") {
			t.Fatalf("given: %v", string(f.YAML()))
		}
		if f, err = read(string(f.YAML())); err != nil {
			t.Fatal(err)
		}
	}
	if f.Load.NumPrompts == 0 || len(f.Sweep.Concurrency) == 0 || f.Load.MaxConcurrency != 3 {
		t.Errorf("%+v", f.Load)
	}
}
