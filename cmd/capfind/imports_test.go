package main

import (
	gobuild "go/build"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/capfind/capfind"

// imports is the order of the packages: what each may import of the others.
// Data flows the same way, and so does the reading.
var imports = map[string][]string{
	"loadgen":                    {"loadgen/api", "loadgen/prompt"},
	"loadgen/api":                {"loadgen/prompt"},
	"loadgen/prompt":             {},
	"loadgen/probe":              {"loadgen", "loadgen/api", "loadgen/prompt"},
	"loadgen/trace":              {"loadgen", "loadgen/prompt"},
	"loadgen/selftest":           {"loadgen", "loadgen/api", "loadgen/prompt"},
	"analysis":                   {"loadgen"},
	"analysis/diagnosis":         {"loadgen", "analysis"},
	"sweep":                      {"loadgen", "analysis", "analysis/diagnosis"},
	"sweep/control":              {"loadgen", "analysis", "sweep"},
	"sweep/store":                {"loadgen", "analysis", "sweep"},
	"report":                     {"loadgen", "loadgen/trace", "analysis", "analysis/diagnosis", "sweep", "sweep/store"},
	"internal/telemetry":         {"loadgen", "analysis"},
	"internal/simserver/draw":    nil,
	"internal/simserver":         {"loadgen", "internal/simserver/draw"},
	"internal/simserver/simhttp": {"internal/simserver", "internal/simserver/draw"},
	"internal/terminal":          {"loadgen", "analysis", "sweep", "sweep/control"},
	"internal/live":              {"loadgen", "analysis", "sweep", "sweep/control", "report"},
	"internal/browsertest":       {},
	"internal/fleet":             {"loadgen"},
	"internal/machine":           {"loadgen", "analysis", "sweep", "internal/config"},
	"cmd/capfind/flags":          {"internal/config"},
	"internal/config":            {"loadgen", "loadgen/api", "loadgen/prompt", "analysis", "sweep", "internal/simserver"},
}

// outside lists the packages beyond the standard library that are confined to
// one place each.
var outside = map[string]string{
	"gopkg.in/yaml.v3":              "internal/config",
	"github.com/urfave/cli/v2":      "cmd/capfind",
	"gonum.org/v1/plot":             "report",
	"golang.org/x/term":             "internal/terminal",
	"github.com/klauspost/compress": "loadgen/trace",
	"github.com/nats-io":            "internal/fleet",
}

func TestImportOrder(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); name == "testdata" || name == "tools" || (strings.HasPrefix(name, ".") && len(name) > 2) {
			return filepath.SkipDir
		}
		pkg, err := gobuild.ImportDir(path, 0)
		if err != nil {
			return nil // no Go here
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		checkImports(t, filepath.ToSlash(rel), pkg.Imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, dir string, imported []string) {
	t.Helper()
	allowed, listed := imports[dir]
	for _, path := range imported {
		for prefix, home := range outside {
			if (path == prefix || strings.HasPrefix(path, prefix+"/")) && dir != home && !strings.HasPrefix(dir, home+"/") {
				t.Errorf("%s imports %s, which belongs to %s", dir, path, home)
			}
		}
		ours, ok := strings.CutPrefix(path, module+"/")
		if !ok || dir == "cmd/capfind" {
			continue
		}
		switch {
		case !listed:
			t.Errorf("%s is a package that the import order does not know; give it its place", dir)
		case !slices.Contains(allowed, ours):
			t.Errorf("%s imports %s, against the order of the packages", dir, ours)
		}
	}
}
