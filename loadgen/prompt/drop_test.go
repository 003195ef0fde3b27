package prompt

import (
	"errors"
	"strings"
	"testing"
)

// TestDrop: an entry that was dropped gives way to the next one, wherever it was
// to be asked for, and all of them can be dropped only once.
func TestDrop(t *testing.T) {
	c := fileConfig(JSONL, write(t, "p.jsonl", `{"prompt":"a"}`+"\n"+`{"prompt":"b"}`+"\n"+`{"prompt":"c"}`))
	s, _ := open(t, c)
	if d := s.(Dropper); d.Drop(mustRequest(t, s, 1), "too long") {
		t.Error("dropped without being told to")
	}
	c.DropTooLong = true
	s, _ = open(t, c)
	texts := func() string {
		var all []string
		for i := range 6 {
			all = append(all, mustRequest(t, s, i).Text)
		}
		return strings.Join(all, "")
	}
	d := s.(Dropper)
	second := mustRequest(t, s, 1)
	// Two requests may be refused for the same entry at once: it counts once.
	if !d.Drop(second, "too long") || !d.Drop(second, "still too long") || texts() != "accacc" {
		t.Errorf("after dropping b: %s", texts())
	}
	if n, of, why := d.Dropped(); n != 1 || of != 3 || why != "still too long" {
		t.Errorf("dropped %d of %d: %s", n, of, why)
	}
	d.Drop(mustRequest(t, s, 2), "c as well")
	if texts() != "aaaaaa" {
		t.Errorf("after dropping b and c: %s", texts())
	}
	d.Drop(mustRequest(t, s, 0), "HTTP 400: even a")
	if _, err := s.Request(0); !errors.Is(err, ErrNoneFits) || !strings.Contains(err.Error(), "even a") {
		t.Errorf("after dropping all: %v", err)
	}
}

// TestDropIsForFiles: a length that was asked for is not to be dropped.
func TestDropIsForFiles(t *testing.T) {
	c := Default()
	c.DropTooLong = true
	if p := c.Validate(); len(p) != 1 || p[0].Key != "drop_too_long" || !strings.Contains(p[0].Text, "input_len") {
		t.Errorf("%+v", p)
	}
}
