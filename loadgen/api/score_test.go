package api

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen/prompt"
)

// scoring holds answers of every protocol that writes no text, to two texts.
var scoring = map[string]struct {
	answer string
	prompt int
	body   map[string]string
}{
	"openai-embeddings": {
		answer: `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2e-3]},{"object":"embedding","index":1,"embedding":[1,2]}],"model":"m","usage":{"prompt_tokens":11,"total_tokens":11}}`,
		prompt: 11, body: map[string]string{"model": `"m"`, "input": `["Say <hi>","two"]`, "dimensions": "2", "stream": "", "max_tokens": ""},
	},
	"rerank": {
		answer: `{"id":"r","model":"m","usage":{"total_tokens":11},"results":[{"index":0,"document":{"text":"Say"},"relevance_score":0.9},{"index":1,"relevance_score":0.1}]}`,
		prompt: 11, body: map[string]string{"model": `"m"`, "query": `"Say <hi>"`, "documents": `["Say <hi>","two"]`, "dimensions": "2"},
	},
	"tei-rerank": {
		answer: `[{"index":0,"score":0.9},{"index":1,"score":0.1}]`,
		body:   map[string]string{"model": "", "query": `"Say <hi>"`, "texts": `["Say <hi>","two"]`, "dimensions": "2"},
	},
}

func TestScoring(t *testing.T) {
	n := 0
	for _, p := range protocols {
		if Generates(p) {
			continue
		}
		n++
		c := scoring[p.Name()]
		raw, err := p.AppendBody(nil, prompt.Request{Text: "Say <hi>", Others: []string{"two"}, OutputTokens: 3}, nil, Options{Model: "m", NoStream: true, HoldOutputLength: true, Extra: map[string]any{"dimensions": 2}})
		if err != nil || !json.Valid(raw) {
			t.Fatalf("%s: %s, %v", p.Name(), raw, err)
		}
		for path, want := range c.body {
			if got := member(raw, path); got != want {
				t.Errorf("%s: %s = %s, want %s", p.Name(), path, got, want)
			}
		}
		for _, size := range splits {
			a := decode(t, p, "application/json", c.answer, size)
			if a.outputs != 1 || a.tokens != 0 || a.prompt != c.prompt || !a.finish || !a.end || !a.plain || a.err+a.malformed != "" {
				t.Errorf("%s in pieces of %d: %+v", p.Name(), size, a)
			}
			if a = decode(t, p, "application/json", c.answer[:len(c.answer)-9], size); a.outputs != 0 || a.finish || a.malformed != errCut.Error() {
				t.Errorf("%s cut: %+v", p.Name(), a)
			}
			if a = decode(t, p, "application/json", `{"error":{"message":"out of memory"}}`, size); a.finish || a.err != "out of memory" {
				t.Errorf("%s failing: %+v", p.Name(), a)
			}
			if a = decode(t, p, "text/html", "<html>Bad gateway</html>", size); a.finish || !strings.Contains(a.malformed, "Bad gateway") {
				t.Errorf("%s page: %+v", p.Name(), a)
			}
			if a = decode(t, p, "application/json", "", size); a.outputs != 0 || a.finish || a.err+a.malformed != "" {
				t.Errorf("%s empty: %+v", p.Name(), a)
			}
		}
		none := map[string]string{"openai-embeddings": `{"data":[]}`, "rerank": `{"results":[]}`, "tei-rerank": `[]`}[p.Name()]
		if a := decode(t, p, "application/json", none, 0); a.outputs != 0 || !a.finish {
			t.Errorf("%s without results: %+v", p.Name(), a)
		}
	}
	if n != len(scoring) {
		t.Errorf("%d protocols for %d fixtures", n, len(scoring))
	}
}

func TestScoresAreCapped(t *testing.T) {
	d := &scores{list: "data"}
	piece := make([]byte, 8<<20)
	for range 10 {
		d.Feed(piece, nil)
	}
	if len(d.body) > maxScores {
		t.Fatal("more is kept than the cap allows")
	}
	var last Event
	d.Close(func(e *Event) { last = *e })
	if !strings.Contains(last.Malformed, "longer than 64 MiB") {
		t.Errorf("%+v", last)
	}
}

func TestQueryIsShort(t *testing.T) {
	raw, err := rerank{}.AppendBody(nil, prompt.Request{Text: strings.Repeat("word ", 40)}, nil, Options{})
	if err != nil || len(strings.Fields(member(raw, "query"))) != queryWords {
		t.Errorf("%s, %v", member(raw, "query"), err)
	}
}

// FuzzScores: no body panics, and what is taken for an answer is JSON, however it is
// cut into reads.
func FuzzScores(f *testing.F) {
	for _, c := range scoring {
		f.Add([]byte(c.answer), uint8(3))
	}
	f.Add([]byte(`{"data":null,"results":[1],"usage":[]}`), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		for _, p := range protocols {
			if Generates(p) {
				continue
			}
			whole, split := events(p.NewDecoder("", false), body, 0), events(p.NewDecoder("", false), body, int(size))
			if !slices.Equal(whole, split) || len(whole) > 1 {
				t.Fatalf("%s: %+v and %+v", p.Name(), whole, split)
			}
			for _, e := range whole {
				if e.Finish && (!json.Valid(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf"))) || e.Error+e.Malformed != "") {
					t.Fatalf("%s takes %q for an answer: %+v", p.Name(), body, e)
				}
			}
		}
	})
}
