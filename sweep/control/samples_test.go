package control_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/capfind/capfind/sweep/store"
)

// samples reads a samples file as anybody would: gunzip, then one JSON object a
// line.
func samples(t *testing.T, path string) []store.SampleLine {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var lines []store.SampleLine
	for dec := json.NewDecoder(zr); ; {
		var line store.SampleLine
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			t.Fatalf("%s: line %d: %v", path, len(lines)+1, err)
		}
		lines = append(lines, line)
	}
}
