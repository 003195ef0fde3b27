package main

import (
	"bytes"
	"testing"
	"time"
)

// Reading a data set is not shown at first, then with what is left of it.
func TestReadingIsShown(t *testing.T) {
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name  string
		quiet bool
		want  string
	}{
		{"shown", false, "  reading big.jsonl: 300 MB of 1.2 GB, about 9 s left\n  reading big.jsonl: 1.2 GB of 1.2 GB\n"},
		{"quiet", true, ""},
	} {
		var out bytes.Buffer
		c := newConsole(&out, tt.quiet, byConcurrency)
		c.now = func() time.Time { return now }
		read := c.reading("big.jsonl")
		for _, at := range []struct {
			after time.Duration
			bytes int64
		}{{time.Second, 1e8}, {2 * time.Second, 3e8}, {time.Second, 4e8}, {9 * time.Second, 1.2e9}} {
			now = now.Add(at.after)
			read(at.bytes, 1.2e9)
		}
		if got := out.String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
