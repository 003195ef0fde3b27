package prompt

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open returns the source of a file, closed with the test.
func open(t *testing.T, c Config) (Source, []string) {
	t.Helper()
	s, notes, err := New(t.Context(), c, Sizer{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.(io.Closer).Close() })
	return s, notes
}

func fileConfig(dataset, path string) Config {
	c := Default()
	c.Dataset, c.Path, c.OutputLen, c.Unique = dataset, path, 0, false
	return c
}

func TestJSONL(t *testing.T) {
	path := write(t, "p.jsonl", "\xef\xbb\xbf"+`{"prompt":"one","output_len":3}

{"prompt":"two","output_tokens":4}
{"messages":[{"role":"user","content":"three"}],"max_tokens":5}
{"custom_id":"x","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"four"}],"max_tokens":6}}
{"prompt":"five"}`)
	s, notes := open(t, fileConfig(JSONL, path))
	if len(notes) > 0 {
		t.Errorf("notes %q", notes)
	}
	want := []Request{
		{Text: "one", OutputTokens: 3},
		{Text: "two", OutputTokens: 4},
		{Messages: json.RawMessage(`[{"role":"user","content":"three"}]`), OutputTokens: 5},
		{Messages: json.RawMessage(`[{"role":"user","content":"four"}]`), OutputTokens: 6},
		{Text: "five", OutputTokens: 128},
		{Text: "one", OutputTokens: 3}, // from the top again
	}
	for i, w := range want {
		w.Entry = i % 5
		if r := mustRequest(t, s, i); fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", w) {
			t.Errorf("request %d: %+v, want %+v", i, r, w)
		}
	}
	c := fileConfig(JSONL, path)
	c.OutputLen = 9
	s, _ = open(t, c)
	if r := mustRequest(t, s, 0); r.OutputTokens != 3 {
		t.Errorf("output_len of the line: %d, want 3", r.OutputTokens)
	}
	if r := mustRequest(t, s, 4); r.OutputTokens != 9 {
		t.Errorf("output_len of the config: %d, want 9", r.OutputTokens)
	}
}

func TestBadLines(t *testing.T) {
	path := write(t, "p.jsonl", `{"prompt":"one"}
oops
{"prompt":""}
{"prompt":7}
{}
[1]
{"prompt":"x","output_len":0}
{"messages":[]}
{"messages":[{"content":"no role"}]}
{"prompt":"two"}
`)
	c := fileConfig(JSONL, path)
	c.MaxBadLines = 8
	s, notes := open(t, c)
	if mustRequest(t, s, 1).Text != "two" {
		t.Error("the good line after the bad ones was not found")
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "p.jsonl: bad lines skipped: 8 (line 2: not JSON") || !strings.Contains(notes[0], "and 3 more") {
		t.Errorf("notes %q", notes)
	}
	c.MaxBadLines = 1
	_, _, err := New(t.Context(), c, Sizer{})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `line 3: "prompt" is empty`) {
		t.Errorf("too many bad lines: %v", err)
	}
	if _, _, err = New(t.Context(), fileConfig(JSONL, write(t, "e.jsonl", "\n")), Sizer{}); err == nil || !strings.Contains(err.Error(), "no usable entry") {
		t.Errorf("empty file: %v", err)
	}
}

const talk = `[
  {"id": "a", "conversations": [
    {"from": "human", "value": "What is the tallest mountain?"},
    {"from": "gpt", "value": "Mount Everest is the tallest one above the sea."},
    {"from": "human", "value": "And the second?"},
    {"from": "gpt", "value": "That is K2, in the Karakoram."},
    {"from": "human", "value": "Third?"},
    {"from": "gpt", "value": "Kangchenjunga."}]},
  {"id": "b", "conversations": [{"from": "gpt", "value": "alone"}]},
  {"id": "c", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello there, nice to meet you."}]},
  {"id": "d", "conversations": "none"}
]`

func TestShareGPT(t *testing.T) {
	c := fileConfig(ShareGPT, write(t, "s.json", talk))
	s, notes := open(t, c)
	r := mustRequest(t, s, 0)
	if r.Text != "What is the tallest mountain?" || r.OutputTokens != 12 || r.Turns != nil {
		t.Errorf("request %+v", r)
	}
	all := strings.Join(notes, "\n")
	if !strings.Contains(all, "bad lines skipped: 1 (line 11: conversations cannot be a string") || !strings.Contains(all, "2 of 4 conversations left out") {
		t.Errorf("notes %q", notes)
	}
	c.Turns, c.OutputLen = 5, 50
	s, _ = open(t, c)
	if r = mustRequest(t, s, 0); len(r.Turns) != 2 {
		t.Errorf("all turns: %+v", r)
	}
	c.Turns = 2
	s, _ = open(t, c)
	if r = mustRequest(t, s, 0); len(r.Turns) != 1 || r.Turns[0].Text != "And the second?" || r.Turns[0].OutputTokens != 50 || r.OutputTokens != 50 {
		t.Errorf("turns %+v", r)
	}
	for name, content := range map[string]string{"cut": talk[:len(talk)-30], "broken": strings.Replace(talk, `"id": "c",`, `"id" "c",`, 1)} {
		line := map[string]string{"cut": "line 11:", "broken": "line 10:"}[name]
		_, _, err := New(t.Context(), fileConfig(ShareGPT, write(t, "s.json", content)), Sizer{})
		if err == nil || !strings.Contains(err.Error(), line) || !strings.Contains(err.Error(), "s.json") {
			t.Errorf("%s: %v, want %s", name, err, line)
		}
	}
}

// TestShareGPTOrder: every entry comes once before any comes twice, in an order
// that depends on the seed.
func TestShareGPTOrder(t *testing.T) {
	for _, n := range []int{1, 2, 3, 64, 1000} {
		seen, moved := make([]bool, n), 0
		for i := range n {
			k := shuffled(5, i, n)
			if k < 0 || k >= n || seen[k] {
				t.Fatalf("n = %d: %d goes to %d, again", n, i, k)
			}
			seen[k] = true
			if k != i {
				moved++
			}
		}
		if n >= 64 && moved < n*9/10 {
			t.Errorf("n = %d: only %d moved", n, moved)
		}
	}
	if shuffled(5, 0, 1000) == shuffled(6, 0, 1000) && shuffled(5, 1, 1000) == shuffled(6, 1, 1000) {
		t.Error("the seed changes nothing")
	}
}

// Messages are sent as they came, but for bytes that would make the body no JSON.
func TestMessagesAreUTF8(t *testing.T) {
	for in, want := range map[string]string{"caf\xc3\xa9": "caf\xc3\xa9", "a\xff\xfeb": "a\uFFFDb"} {
		r, err := parseJSONL([]byte(`{"messages":[{"role":"user","content":"` + in + `"}]}`))
		if got := `[{"role":"user","content":"` + want + `"}]`; err != nil || string(r.messages) != got {
			t.Errorf("%q: %q, %v, want %q", in, r.messages, err, got)
		}
	}
}

// TestMarked: the nonce opens prompts and messages of a data set, and images stay.
func TestMarked(t *testing.T) {
	path := write(t, "p.jsonl", `{"prompt":"one"}
{"messages":[{"role":"user","name":"content","content":"two"}]}
{"messages":[ {"meta":{"content":"no"},"content" : [{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}],"role":"user"},{"role":"user","content":"x"}]}
{"messages":[{"role":"user","content":[]}]}
{"messages":[{"role":"assistant","content":null},{"role":"user","content":"three"}]}
`)
	c := fileConfig(JSONL, path)
	c.Unique, c.Seed = true, 3
	s, _ := open(t, c)
	for i, want := range []string{"", `[{"role":"user","name":"content","content":"MARKtwo"}]`,
		`[ {"meta":{"content":"no"},"content" : [{"type":"text","text":"MARK"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}],"role":"user"},{"role":"user","content":"x"}]`,
		`[{"role":"user","content":[{"type":"text","text":"MARK"}]}]`,
		`[{"role":"assistant","content":null},{"role":"user","content":"three"}]`} {
		open := nonce(3, i)
		mark := strings.Join(open[:], " ")
		r := mustRequest(t, s, i)
		if i == 0 && r.Text != mark+"\n\none" {
			t.Errorf("prompt %q", r.Text)
		}
		if got := strings.Replace(string(r.Messages), mark+`\n\n`, "MARK", 1); got != want || i > 0 && !json.Valid(r.Messages) {
			t.Errorf("messages %s, want %s", got, want)
		}
	}
}

// TestLongLines: a line far beyond any buffer is read, one beyond the cap is bad.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("long ", 1<<20)
	s, _ := open(t, fileConfig(JSONL, write(t, "p.jsonl", `{"prompt":"`+long+`"}`+"\n"+`{"prompt":"two"}`)))
	if mustRequest(t, s, 0).Text != long || mustRequest(t, s, 1).Text != "two" {
		t.Error("a line of 5 MB was not read")
	}
	const most = 1 << 20
	scan := func(content string) (seen []string, err error) {
		err = scanEntries(t.Context(), strings.NewReader(content), most, func(e entry) error {
			if e.bad != "" {
				e.raw = []byte(e.bad)
			}
			seen = append(seen, strings.TrimSpace(string(e.raw)))
			return nil
		})
		return seen, err
	}
	over := strings.Repeat("x", 3*most)
	seen, err := scan(over + "\n" + `{"a":1}`)
	if err != nil || strings.Join(seen, "|") != `longer than 1048576 bytes|{"a":1}` {
		t.Errorf("a line over the cap: %q, %v", seen, err)
	}
	if seen, err = scan(`[{"a":1},"` + over + `"]`); err == nil || len(seen) != 1 || !strings.Contains(err.Error(), "line 1: an entry longer than 1048576 bytes") {
		t.Errorf("an entry over the cap: %d entries, %v", len(seen), err)
	}
}

// TestChangedFile: a file that changes under the run is an error, not a wrong
// prompt.
func TestChangedFile(t *testing.T) {
	path := write(t, "p.jsonl", `{"prompt":"one"}`+"\n"+`{"prompt":"two"}`+"\n")
	s, _ := open(t, fileConfig(JSONL, path))
	if err := os.Truncate(path, 20); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Request(1); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("truncated file: %v", err)
	}
}

// TestBoundedMemory reads files of some MB: what stays in memory is the places
// of the entries.
func TestBoundedMemory(t *testing.T) {
	const entries, size = 1500, 5000
	for _, dataset := range []string{JSONL, ShareGPT} {
		path := filepath.Join(t.TempDir(), "big")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		filler := strings.Repeat("x", size)
		for i := range entries {
			switch {
			case dataset == JSONL:
				fmt.Fprintf(file, "{\"prompt\":\"%d\",\"filler\":%q}\n", i, filler)
			default:
				fmt.Fprintf(file, "%c{\"conversations\":[{\"from\":\"human\",\"value\":\"What is number %d?\"},{\"from\":\"gpt\",\"value\":%q}]}\n", "[,"[min(i, 1)], i, filler)
			}
		}
		if dataset == ShareGPT {
			fmt.Fprint(file, "]")
		}
		file.Close()
		before := heap()
		s, _ := open(t, fileConfigWithOutput(dataset, path))
		if grown := heap() - before; grown > 1<<20 {
			t.Errorf("%s: %d bytes in memory for a file of %d", dataset, grown, entries*size)
		}
		for i := range 10 {
			mustRequest(t, s, i*entries/10)
		}
	}
}

func fileConfigWithOutput(dataset, path string) Config {
	c := fileConfig(dataset, path)
	c.OutputLen = 10
	return c
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// FuzzMarkMessages: the mark goes into a message's content and changes nothing
// else.
func FuzzMarkMessages(f *testing.F) {
	f.Add(`[{"role":"user","content":"x"}]`)
	f.Add(`[{"content":["content",{"content":1}]},{"role":"content","content":""}]`)
	f.Add(`[{"a":{"content":"x"},"content":[]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var before, after []map[string]any
		if json.Unmarshal([]byte(text), &before) != nil {
			return
		}
		marked := markMessages(json.RawMessage(text), "MARK")
		if err := json.Unmarshal(marked, &after); err != nil || len(after) != len(before) {
			t.Fatalf("%s became %s: %v", text, marked, err)
		}
		for i := range before {
			for key := range before[i] {
				if key != "content" && !reflect.DeepEqual(before[i][key], after[i][key]) {
					t.Fatalf("%s of message %d changed: %s became %s", key, i, text, marked)
				}
			}
		}
	})
}

func TestEstimateTokens(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 1, "abcd": 1, "abcde": 2, "汉字": 2, "ab汉": 2} {
		if got := estimateTokens(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if math.Abs(float64(estimateTokens(strings.Repeat("word ", 100))-125)) > 1 {
		t.Error("500 bytes are not about 125 tokens")
	}
}

// Who watches hears of a long file while it is read, in order and not for every
// line, and nothing is different without.
func TestReadingIsSeen(t *testing.T) {
	line := `{"prompt":"` + strings.Repeat("word ", 20_000) + `"}` + "\n"
	path := write(t, "long.jsonl", strings.Repeat(line, 90)) // 9 MB
	var heard []int64
	s, _, err := NewWatched(t.Context(), fileConfig(JSONL, path), Sizer{}, func(read, total int64) {
		if want := int64(90 * len(line)); total != want {
			t.Errorf("%d bytes in all, want %d", total, want)
		}
		heard = append(heard, read)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.(io.Closer).Close()
	if !slices.IsSorted(heard) || len(heard) != 3 || heard[2] < 8_000_000 {
		t.Errorf("heard %v", heard)
	}
}
