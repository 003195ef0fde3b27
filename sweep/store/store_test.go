package store_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

func TestCreateRefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := store.Create(dir)
	if err == nil || !strings.Contains(err.Error(), "notes.txt") || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("want a refusal that names what is there and the way on, got: %v", err)
	}
}

func TestFailingDiskKeepsWhatWasStored(t *testing.T) {
	if os.Getuid() == 0 && runtime.GOOS != "linux" {
		t.Skip("permissions do not bind the superuser")
	}
	dir := t.TempDir()
	kept, err := store.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if err := kept.Save(&sweep.Result{SchemaVersion: 1, Name: "first"}); err != nil {
		t.Fatal(err)
	}
	// A directory where the temporary file should go makes the write fail, for
	// the superuser too.
	if err := os.Mkdir(filepath.Join(dir, "."+store.ResultFile+".tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := kept.Save(&sweep.Result{SchemaVersion: 1, Name: "second"}); err == nil {
		t.Error("no error from a write that cannot work")
	}
	if r, err := store.Load(dir); err != nil || r.Name != "first" {
		t.Errorf("the earlier result is gone: %v, %v", r, err)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "the file is empty"},
		{"cut short", "{\n\"schema_version\": 1,\n\"steps\": [", "line 3"},
		{"wrong type", "{\n\"schema_version\": \"one\"}", "line 2"},
		{"of another program", "{\"completed\": 10}", "no schema_version"},
		{"of the future", "{\"schema_version\": 99}", "schema version 99"},
	} {
		path := filepath.Join(t.TempDir(), store.ResultFile)
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one that names the file and says %q", c.name, err, c.want)
		}
	}
	if _, err := store.Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no result directory") {
		t.Errorf("directory without a result: %v", err)
	}
}
