package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
)

// The values that must appear in nothing that is written: not in a file, not on
// the terminal, not in an error.
const canary = "canary7f3a91"

func canaryServer(t *testing.T, change func(*simserver.Config)) string {
	t.Helper()
	cfg := simserver.Default()
	cfg.Slots, cfg.StepTime, cfg.Prefill = 2, 2*time.Millisecond, 2*time.Millisecond
	cfg.APIKey = canary + "key"
	if change != nil {
		change(&cfg)
	}
	s, err := simhttp.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.URL()
}

// Every way to hand over a secret, through every command that uses one, with
// success and with failure.
func TestSecretsAreWrittenNowhere(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	dir := t.TempDir()
	keyFile, config := filepath.Join(dir, "key"), filepath.Join(dir, "c.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(keyFile, canary+"key\n")
	write(config, "target:\n  headers: {X-Secret: \"${HEADER_SECRET}\", X-Plain: "+canary+"plain}\n"+
		"  extra_body: {api_key: "+canary+"body, user: somebody}\n"+
		"workload: {input_len: 8, output_len: 4}\nsweep: {concurrency: [1, 2], settle: 0, exact: false, prompts_per_concurrency: 3}\n")
	good := canaryServer(t, nil)
	withUser := strings.Replace(good, "http://", "http://"+canary+"user:"+canary+"pass@", 1)
	results := filepath.Join(dir, "results")
	run := func(args ...string) []byte {
		args = append(args, "--output-dir", results)
		cmd := exec.Command("capfind", args...)
		cmd.Env = append(os.Environ(), "SECRET_KEY="+canary+"key", "WRONG_KEY="+canary+"wrong",
			"HEADER_SECRET="+canary+"header", "OPENAI_API_KEY="+canary+"key")
		out, _ := cmd.CombinedOutput()
		return out
	}
	for _, args := range [][]string{
		{"sweep", config, "--base-url", good},
		{"sweep", config, "--base-url", good, "--api-key-env", "SECRET_KEY", "-o", "json"},
		{"sweep", config, "--base-url", withUser, "-o", "markdown"},
		{"sweep", config, "--base-url", good, "--api-key-env", "WRONG_KEY"},
		{"run", config, "--base-url", good, "--api-key-file", keyFile, "-n", "3", "-c", "1", "-o", "json"},
		{"run", config, "--base-url", good, "-n", "3", "-c", "1", "--header", "X-More: " + canary + "more"},
		{"run", config, "--base-url", good + "/v1?api_key=" + canary + "query", "-n", "2", "-c", "1"},
		{"run", config, "--base-url", strings.Replace(withUser, "http", "https", 1), "-n", "2", "-c", "1"},
		{"run", config, "--base-url", "http://" + canary + "user:" + canary + "pass@127.0.0.1:1/v1"},
		{"run", config, "--base-url", "ftp://" + canary + "user:" + canary + "pass@host/%zz"},
		{"run", config, "--base-url", good, "--api-key-env", "SECRET_KEY", "--set", "target.headers.X-Set=" + canary + "set", "-n", "2", "-c", "1"},
		{"run", "--simulator", "{api_key: " + canary + "sim}", "--input-len", "8", "--output-len", "2", "-n", "2", "-c", "1"},
	} {
		if out := run(args...); bytes.Contains(out, []byte(canary)) {
			t.Errorf("%v prints a secret:\n%s", args, out)
		}
	}
	for _, path := range filesIn(t, results) {
		text := contents(t, path)
		if i := bytes.Index(text, []byte(canary)); i >= 0 {
			t.Errorf("%s holds a secret: ...%s...", path, text[max(0, i-80):min(len(text), i+40)])
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
}

// filesIn lists all files below a directory; there must be some.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil || len(out) < 20 {
		t.Fatalf("only %d files were written: %v", len(out), err)
	}
	return out
}

// contents reads a file, unpacked where it is packed.
func contents(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return raw
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return raw
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
