package main

import (
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
)

func TestMain(m *testing.M) {
	// The tests here wait far more than they work, so that more of them than there
	// are processors may run at once.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"capfind": main})
}

// quickScripts are those that draw no charts. The race detector makes drawing
// twenty times slower, so that under it only these are run, and of the process
// tests one.
var quickScripts = []string{"usage.txtar", "validate.txtar", "refusals.txtar", "simulate.txtar"}

// The scripts of testdata/script run the program as a user does.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(path string) bool {
		return raceDetector && !slices.Contains(quickScripts, filepath.Base(path))
	})
	testscript.Run(t, testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"found": found,
			"alias": alias,
		},
		Setup: setup,
	})
}

// setup gives every script simulated servers of its own: $SIM, which runs 2
// requests at once, and $LOCKED, which wants the key "sesame"; and $PORT, which nobody
// listens on. The directory demo holds a result.
func setup(e *testscript.Env) error {
	fast := simserver.Default()
	fast.Slots, fast.StepTime, fast.Prefill = 2, 4*time.Millisecond, 4*time.Millisecond
	locked := fast
	locked.APIKey = "sesame"
	for name, cfg := range map[string]simserver.Config{"SIM": fast, "LOCKED": locked} {
		s, err := simhttp.Start(cfg)
		if err != nil {
			return err
		}
		e.Defer(func() { s.Close() })
		e.Setenv(name, s.URL())
	}
	oddServers(e)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	e.Setenv("PORT", port)
	free.Close()
	for name, data := range map[string][]byte{"lengths.jsonl": lengths(), "huge.jsonl": huge()} {
		if err := os.WriteFile(filepath.Join(e.WorkDir, name), data, 0o644); err != nil {
			return err
		}
	}
	e.Setenv("NO_COLOR", "1")
	demo, err := os.ReadFile("testdata/demo/result.json")
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(e.WorkDir, "demo"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.WorkDir, "demo", "result.json"), demo, 0o644)
}

// skipUnderRace leaves out tests that draw many charts.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("drawing charts is too slow under the race detector")
	}
}

// exits runs a command and holds its exit code against the first argument, one
// code or several such as 0|5 (a measurement may be inconclusive on a machine
// that is too busy); its output can be looked at as after exec.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGUMENTS")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if !slices.Contains(strings.Split(args[0], "|"), strconv.Itoa(got)) {
		ts.Fatalf("%v exited with %d, want %s", args[1:], got, args[0])
	}
}

// alias sets variables to the one path that each pattern names.
func alias(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 != 0 {
		ts.Fatalf("usage: alias NAME PATTERN...")
	}
	for i := 0; i < len(args); i += 2 {
		paths, err := filepath.Glob(ts.MkAbs(args[i+1]))
		ts.Check(err)
		if len(paths) != 1 {
			ts.Fatalf("%s names %v, want one path", args[i+1], paths)
		}
		ts.Setenv(args[i], paths[0])
	}
}

// found holds when every pattern names a file that is there and not empty.
func found(ts *testscript.TestScript, neg bool, args []string) {
	for _, pattern := range args {
		paths, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if neg != (len(paths) == 0) {
			ts.Fatalf("%s names %v", pattern, paths)
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			ts.Check(err)
			if info.Size() == 0 {
				ts.Fatalf("%s is empty", path)
			}
		}
	}
}
