// Package action checks the script of the GitHub Action beside it, with a capfind
// that only pretends.
package action

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pretend writes its arguments, then a result, then ends with EXIT.
const pretend = `#!/bin/sh
printf '%s\n' "$@" >"$RECORD"
while [ $# -gt 0 ]; do
	if [ "$1" = --output-dir ]; then out=$2; fi
	shift
done
if [ "$REPORT" = yes ]; then
	mkdir "$out/sweep-20260102"
	echo '{"verdict": "limit_found", "limit": {"concurrency": 64}}' >"$out/sweep-20260102/result.json"
	echo '# Limit 64' >"$out/sweep-20260102/report.md"
fi
exit "$EXIT"
`

// run runs the script and returns what it wrote and its exit code.
func run(t *testing.T, env ...string) (outputs, summary, arguments string, code int) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "capfind"), []byte(pretend), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "sweep.sh")
	cmd.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "RUNNER_TEMP=" + dir, "RECORD=" + dir + "/arguments",
		"GITHUB_OUTPUT=" + dir + "/output", "GITHUB_STEP_SUMMARY=" + dir + "/summary", "INPUT_CONFIG=my config.yaml"}, env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if len(out) > 0 {
		t.Errorf("printed %s", out)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return read("output"), read("summary"), read("arguments"), cmd.ProcessState.ExitCode()
}

func TestReportReachesTheSummary(t *testing.T) {
	outputs, summary, _, code := run(t, "EXIT=0", "REPORT=yes")
	if code != 0 || summary != "# Limit 64\n" {
		t.Errorf("code %d, summary %q", code, summary)
	}
	for _, want := range []string{"exit-code=0\n", "/sweep-20260102\n"} {
		if !strings.Contains(outputs, want) {
			t.Errorf("outputs %q lack %q", outputs, want)
		}
	}
	if _, err := exec.LookPath("jq"); err == nil && !strings.Contains(outputs, "verdict=limit_found\nlimit=64\n") {
		t.Errorf("outputs %q", outputs)
	}
}

func TestExitCodeIsPassedOnAfterTheReport(t *testing.T) {
	outputs, summary, _, code := run(t, "EXIT=99", "REPORT=yes")
	if code != 99 || !strings.Contains(outputs, "exit-code=99\n") || summary != "# Limit 64\n" {
		t.Errorf("code %d, outputs %q, summary %q", code, outputs, summary)
	}
	_, summary, _, code = run(t, "EXIT=2", "REPORT=no")
	if code != 2 || !strings.Contains(summary, "exit code 2") {
		t.Errorf("code %d, summary %q", code, summary)
	}
}

func TestArgumentsAreNotShellCode(t *testing.T) {
	_, _, arguments, _ := run(t, "EXIT=0", "REPORT=yes", "INPUT_REQUIRE_LIMIT=50", "INPUT_ARGS=--name=a b; $(touch pwned) *\n\n--max-duration=1h")
	if !strings.HasSuffix(arguments, "\n--require-limit\n50\n--name=a b; $(touch pwned) *\n--max-duration=1h\nmy config.yaml\n") {
		t.Errorf("arguments:\n%s", arguments)
	}
	if _, err := os.Stat("pwned"); err == nil {
		t.Error("an argument was run")
	}
}
