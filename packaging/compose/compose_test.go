// Package compose checks the file beside it by the loader that docker compose itself uses.
package compose

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/capfind/capfind/packaging/internal/program"
)

func load(t *testing.T, env ...string) (*types.Project, error) {
	t.Helper()
	path, err := filepath.Abs("fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{path}, cli.WithEnv(env))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

var complete = []string{"CAPFIND_TARGET=http://llm.example:8000/v1", "CAPFIND_TARGET_HOST=llm.example", "CAPFIND_FLEET_TOKEN=sesame", "CAPFIND_WORKERS=3"}

func TestFleet(t *testing.T) {
	p, err := load(t, complete...)
	if err != nil {
		t.Fatal(err)
	}
	decide, worker := p.Services["decide"], p.Services["worker"]
	for name, s := range p.Services {
		program.Takes(t, s.Command)
		if !s.ReadOnly || s.User == "" || strings.HasPrefix(s.User, "0") || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s runs with more rights than it needs", name)
		}
		if token := s.Environment["CAPFIND_FLEET_TOKEN"]; token == nil || *token != "sesame" || slices.Contains(s.Command, "sesame") {
			t.Errorf("%s: token %v", name, token)
		}
	}
	after := func(s types.ServiceConfig, flag string) string { return s.Command[slices.Index(s.Command, flag)+1] }
	if n := worker.Deploy.Replicas; n == nil || *n != 3 || after(decide, "--workers") != "3" {
		t.Errorf("%v workers run, %s are waited for", n, after(decide, "--workers"))
	}
	if join, port := after(worker, "--join"), decide.Ports[0]; join != "capfind://decide"+after(decide, "--listen") || port.Target != 4222 || port.Published != "4222" {
		t.Errorf("%s is joined, %+v is open", join, port)
	}
}

// What only the user knows is asked for.
func TestWhatMustBeGiven(t *testing.T) {
	for i, one := range complete[:3] {
		name, _, _ := strings.Cut(one, "=")
		if _, err := load(t, slices.Delete(slices.Clone(complete), i, i+1)...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	b, err := os.ReadFile("fleet.yaml")
	if err != nil || strings.Count(string(b), "CAPFIND_FLEET_TOKEN:?") != 2 {
		t.Error(err, "a fleet without a token")
	}
}
