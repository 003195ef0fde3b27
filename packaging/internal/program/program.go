// Package program asks capfind itself whether it takes what the files beside this package
// give it.
package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// run runs capfind from the source that this package lies in.
func run(args ...string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", append([]string{"run", "./cmd/capfind"}, args...)...)
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..", "..")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Takes checks a command line of capfind, without its name: the command is there, and has
// its flags.
func Takes(t testing.TB, args []string) {
	t.Helper()
	help, err := run(args[0], "--help")
	if err != nil {
		t.Fatalf("capfind %s: %v\n%s", args[0], err, help)
	}
	for _, arg := range args[1:] {
		if strings.HasPrefix(arg, "-") && !regexp.MustCompile(`(?m)[ ,]`+regexp.QuoteMeta(arg)+`([ ,]|$)`).MatchString(help) {
			t.Errorf("capfind %s has no %s", args[0], arg)
		}
	}
}

// Accepts checks a configuration.
func Accepts(t testing.TB, config string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capfind.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("validate", path); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
