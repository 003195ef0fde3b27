//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/sweep/store"
)

// A server behind a Unix socket is loaded and watched through it, and needs
// neither a URL nor a confirmation.
func TestUnixSocket(t *testing.T) {
	skipUnderRace(t)
	dir, err := os.MkdirTemp("", "sock") // a socket's name has about 100 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	cfg := simserver.Default()
	cfg.StepTime, cfg.Prefill, cfg.Listen = 5*time.Millisecond, 5*time.Millisecond, "unix:"+socket
	sim, err := simhttp.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()

	var stdout, stderr bytes.Buffer
	results := filepath.Join(dir, "results")
	code := execute([]string{"capfind", "run", "--unix-socket", socket, "--concurrency", "2", "-n", "8", "--input-len", "8", "--output-len", "40",
		"--telemetry-interval", "100ms", "--output-dir", results}, strings.NewReader(""), &stdout, &stderr)
	if code != exitOK && code != exitInconclusive {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if says := stderr.String(); strings.Contains(says, "no server metrics") || !strings.Contains(says, " through "+socket) {
		t.Errorf("stderr: %s", says)
	}
	found, err := filepath.Glob(filepath.Join(results, "*", metricsFile))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	points, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	// Four waves of 0.2 s: at one reading a second there would be two.
	if n := bytes.Count(points, []byte("\n")); n < 4 {
		t.Errorf("%d readings of the metrics:\n%s", n, points)
	}
	r, err := store.Load(filepath.Dir(found[0]))
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Steps[0].Server; s == nil || !s.RunningMax.IsKnown() {
		text, _ := json.Marshal(s)
		t.Errorf("telemetry of the step: %s", text)
	}
}
