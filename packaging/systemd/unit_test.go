// Package systemd checks the unit beside it.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capfind/capfind/packaging/internal/program"
)

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// started is the command line of the unit.
func started(t *testing.T) []string {
	t.Helper()
	_, line, ok := strings.Cut(read(t, "capfind-worker.service"), "\nExecStart=")
	if !ok {
		t.Fatal("nothing is started")
	}
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

func TestCommand(t *testing.T) {
	args := started(t)
	program.Takes(t, args[1:])
	variables := read(t, "capfind-worker.env")
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "${"); ok && !strings.Contains(variables, "\n"+strings.TrimSuffix(name, "}")+"=") {
			t.Errorf("%s is nowhere set", arg)
		}
	}
}

// The key and the token are given by nobody but the machine's owner.
func TestSecretsAreEmpty(t *testing.T) {
	for line := range strings.Lines(read(t, "capfind-worker.env")) {
		name, value, _ := strings.Cut(strings.Trim(line, "#\n "), "=")
		if (name == "CAPFIND_FLEET_TOKEN" || name == "OPENAI_API_KEY") && value != "" {
			t.Errorf("%s is given", name)
		}
	}
}

func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	// The program need not be installed here.
	binary := started(t)[0]
	unit := strings.ReplaceAll(read(t, "capfind-worker.service"), binary, "/bin/true")
	path := filepath.Join(t.TempDir(), "capfind-worker.service")
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
