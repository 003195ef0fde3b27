package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const examples = "../../examples"

// Every example is a valid configuration.
func TestExamplesLoad(t *testing.T) {
	files, err := filepath.Glob(examples + "/*.yaml")
	if err != nil || len(files) < 11 {
		t.Fatalf("found only %d examples: %v", len(files), err)
	}
	for _, path := range files {
		f, err := Read(Input{Path: path, LookupEnv: func(string) (string, bool) { return "key", true }})
		if err != nil {
			t.Error(err)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "# yaml-language-server: $schema=") {
			t.Errorf("%s does not name its schema", path)
		}
		if f.Target.Model == "" && strings.Contains(path, "key") {
			t.Errorf("%s: a gateway lists many models; name one", path)
		}
	}
}

// The examples of the presets are what capfind init prints.
func TestPresetExamplesAreCurrent(t *testing.T) {
	for _, preset := range Presets {
		if preset == "find_limit" { // shown by the longer vllm-find-limit.yaml
			continue
		}
		path := filepath.Join(examples, strings.ReplaceAll(preset, "_", "-")+".yaml")
		want, err := Starter(preset, "http://127.0.0.1:8000/v1")
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what capfind init --preset %s prints (%v); run go test ./internal/config -update", path, preset, err)
		}
	}
}
