package prompt

import (
	"context"
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
	d := s.(*dataset)
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

// TestDropLonger: entries beyond the context are left out before they are sent, and
// only those are counted that may be.
func TestDropLonger(t *testing.T) {
	path := write(t, "p.jsonl", `{"prompt":"short","output_len":4}`+"\n"+
		`{"prompt":"`+strings.Repeat("a ", 20)+`","output_len":4}`+"\n"+ // 20 tokens
		`{"messages":[{"role":"system","content":"`+strings.Repeat("b ", 12)+`"},{"role":"user","content":"`+strings.Repeat("c ", 12)+`"}],"output_len":4}`+"\n"+
		`{"prompt":"`+strings.Repeat("aaaa ", 15)+`","output_len":4}`+"\n"+ // 15 tokens
		`{"prompt":"`+strings.Repeat("a ", 10)+`","output_len":20}`)
	c := fileConfig(JSONL, path)
	c.DropTooLong, c.Unique = true, false
	s, _ := open(t, c)
	counted := 0
	count := func(_ context.Context, text string) (int, error) {
		counted++
		return len(strings.Fields(text)), nil
	}
	d := s.(*dataset)
	if err := d.DropLonger(t.Context(), 22, count, "longer than 22"); err != nil {
		t.Fatal(err)
	}
	if n, of, why := d.Dropped(); n != 3 || of != 5 || why != "longer than 22" || counted != 4 {
		t.Errorf("dropped %d of %d (%s), counted %d", n, of, why, counted)
	}
	if a, b := mustRequest(t, s, 1), mustRequest(t, s, 4); a.Entry != 3 || b.Entry != 0 {
		t.Errorf("in the place of 1 and 4 stand %d and %d", a.Entry, b.Entry)
	}
	broken := func(context.Context, string) (int, error) { return 0, errors.New("no tokenizer") }
	if err := d.DropLonger(t.Context(), 1, broken, ""); err == nil || !strings.Contains(err.Error(), "entry 1 of the data set: no tokenizer") {
		t.Errorf("%v", err)
	}
	c.DropTooLong = false
	s, _ = open(t, c)
	if err := s.(*dataset).DropLonger(t.Context(), 1, broken, ""); err != nil {
		t.Errorf("without being told to: %v", err)
	}
}
