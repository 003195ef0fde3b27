//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

// A server to kill clients of: a sweep of it takes about a second.
func slowServer(t *testing.T) string {
	t.Helper()
	cfg := simserver.Default()
	cfg.Slots, cfg.StepTime, cfg.Prefill = 2, 3*time.Millisecond, 3*time.Millisecond
	s, err := simhttp.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.URL()
}

// sweepProcess starts a sweep of the server as a process of its own, its results
// under dir.
func sweepProcess(url, dir string, extra ...string) *exec.Cmd {
	args := append([]string{"sweep", "--base-url", url, "--concurrency", "1,2,8", "--input-len", "16", "--output-len", "10",
		"--settle", "0", "--exact=false", "--repeat=false", "--prompts-per-concurrency", "5", "--output-dir", dir}, extra...)
	return exec.Command("capfind", args...)
}

// awaitLine reads lines until one starts with prefix.
func awaitLine(t *testing.T, r io.Reader, prefix string) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			go io.Copy(io.Discard, r) // the process must not wait for a reader
			return
		}
	}
	t.Fatalf("no line that starts with %q came", prefix)
}

func onlyResult(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("want one result directory, found %v, %v", found, err)
	}
	return found[0]
}

func exitCodeOf(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return -1
}

// The first interruption stores what was found, marked incomplete, with a report;
// resuming goes on from there. A closed terminal is an interruption, too.
func TestInterruptAndResume(t *testing.T) {
	t.Parallel()
	url := slowServer(t)
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGHUP}
	if raceDetector {
		signals = signals[:1]
	}
	for _, signal := range signals {
		dir := t.TempDir()
		cmd := sweepProcess(url, dir)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stdout strings.Builder
		cmd.Stdout = &stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitLine(t, stderr, "1 ")
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if code := exitCodeOf(t, cmd.Wait()); code != exitInterrupted {
			t.Errorf("%v: exit code %d, want %d", signal, code, exitInterrupted)
		}
		if !strings.Contains(stdout.String(), "INTERRUPTED") {
			t.Errorf("%v: stdout says\n%s", signal, &stdout)
		}
		result := onlyResult(t, dir)
		r, err := store.Load(result)
		if err != nil {
			t.Fatal(err)
		}
		if r.Complete || len(r.Steps) == 0 || r.Verdict != sweep.Interrupted {
			t.Errorf("%v: complete %v, %d steps, verdict %s", signal, r.Complete, len(r.Steps), r.Verdict)
		}
		if _, err := os.Stat(filepath.Join(result, "report.html")); err != nil {
			t.Error(err)
		}
		finish(t, url, result)
	}
}

// finish resumes a run to its end. Its verdict is not held: what a busy machine
// measures of a quick server may be anything. That a resumed sweep answers as an
// uninterrupted one is tested under fake time, where it is certain.
func finish(t *testing.T, url, result string) *sweep.Result {
	t.Helper()
	cmd := sweepProcess(url, filepath.Dir(result), "--resume", result, "--quiet")
	text, err := cmd.CombinedOutput()
	code := exitCodeOf(t, err)
	if code != exitOK && code != exitInconclusive {
		t.Fatalf("resuming exits with %d:\n%s", code, text)
	}
	r, err := store.Load(result)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Complete || r.Verdict == sweep.Interrupted {
		t.Errorf("resumed to %s (complete: %v)", r.Verdict, r.Complete)
	}
	return r
}

// The second interruption ends the process at once, whatever is in flight.
func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	cfg := simserver.Default()
	cfg.StepTime = time.Minute
	s, err := simhttp.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cmd := sweepProcess(s.URL(), t.TempDir())
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, stderr, "  sending a warm-up request")
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if code := exitCodeOf(t, cmd.Wait()); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}

// Killed at any moment, a sweep leaves a result directory that can be gone on
// with, and what was measured until then is not measured again.
func TestKilledAtAnyMoment(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	url := slowServer(t)
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			killedOnce(t, url)
		})
	}
}

func killedOnce(t *testing.T, url string) {
	dir := t.TempDir()
	cmd := sweepProcess(url, dir, "--quiet")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	after := time.Duration(rand.Int64N(int64(1200 * time.Millisecond)))
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	found, err := filepath.Glob(filepath.Join(dir, "*", store.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		return // killed before the first step was stored: there is nothing to go on with
	}
	result := filepath.Dir(found[0])
	before, err := store.Load(result)
	if err != nil {
		t.Fatalf("after %v: %v", after, err)
	}
	if before.Complete {
		return
	}
	r := finish(t, url, result)
	for i, step := range before.Steps {
		if !r.Steps[i].StartedAt.Equal(step.StartedAt) {
			t.Errorf("after %v: step %d was measured again", after, i)
		}
	}
}

// A reader of stdout that went away is an error of the program that prints, and
// no loss of what was measured.
func TestBrokenPipe(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	dir := t.TempDir()
	cmd := sweepProcess(slowServer(t), dir, "--quiet", "--concurrency", "1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd.Stdout = w
	err = cmd.Run()
	w.Close()
	if code := exitCodeOf(t, err); code != exitFailure {
		t.Errorf("exit code %d, want %d", code, exitFailure)
	}
	if res, err := store.Load(onlyResult(t, dir)); err != nil || !res.Complete {
		t.Errorf("the result is lost: %v", err)
	}
}

// A disk that fills up ends a sweep with one message: which file, and what to do.
// What was stored stays valid, and the sweep can be gone on with. A limit on the
// size of files stands in for the disk: it binds the superuser, too.
func TestDiskFull(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	url, dir := slowServer(t), t.TempDir()
	cmd := sweepProcess(url, dir, "--quiet")
	// 32 KiB: the result has room for the first step, but not for all.
	limited := exec.Command("sh", append([]string{"-c", `ulimit -f 64 && exec "$@"`, "sh"}, cmd.Args...)...)
	var stdout, stderr strings.Builder
	limited.Stdout, limited.Stderr = &stdout, &stderr
	if code := exitCodeOf(t, limited.Run()); code != exitFailure {
		t.Errorf("exit code %d, want %d", code, exitFailure)
	}
	result := onlyResult(t, dir)
	for _, want := range []string{
		"writing " + filepath.Join(result, store.ResultFile) + ": file too large", "ulimit -f",
		"go on with: capfind sweep --resume " + result,
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr does not say %q:\n%s", want, &stderr)
		}
	}
	if n := strings.Count(stderr.String(), "\n"); n != 2 || stdout.Len() > 0 {
		t.Errorf("want one message of two lines on stderr, not\n%s\nand on stdout\n%s", &stderr, &stdout)
	}
	if left, _ := filepath.Glob(filepath.Join(result, ".*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	before, err := store.Load(result)
	if err != nil {
		t.Fatal(err)
	}
	if before.Complete || len(before.Steps) == 0 {
		t.Errorf("complete: %v, %d steps", before.Complete, len(before.Steps))
	}
	after := finish(t, url, result)
	for i, step := range before.Steps {
		if !after.Steps[i].StartedAt.Equal(step.StartedAt) {
			t.Errorf("step %d was measured again", i)
		}
	}
}

func TestRemedy(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOSPC: "disk is full", syscall.EDQUOT: "quota", syscall.EFBIG: "ulimit", syscall.EROFS: "read-only", syscall.EIO: "can be written",
	} {
		if got := remedy(&os.PathError{Op: "write", Path: "x", Err: err}); !strings.Contains(got, want) {
			t.Errorf("%v: %q does not say %q", err, got, want)
		}
	}
}
