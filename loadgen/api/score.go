package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/capfind/capfind/loadgen/prompt"
)

// The protocols in this file read texts and write none: their answers come in one
// piece, so that there is no time to first token, and have no output tokens. Success
// rate, response time and throughput are what there is to judge by.

// Generates reports whether a protocol's answers are text in tokens.
func Generates(p Protocol) bool {
	_, scores := p.(scorer)
	return !scores
}

// scorer is a protocol that writes no text.
type scorer interface{ scores() }

// embeddings is POST /v1/embeddings, as OpenAI, vLLM, SGLang, TEI, llama.cpp and
// Ollama speak it. All texts of a request are its input.
type embeddings struct{}

func (embeddings) Name() string { return "openai-embeddings" }
func (embeddings) Path() string { return "/embeddings" }
func (embeddings) scores()      {}

func (embeddings) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	first, err := flatText(r, history)
	if err != nil {
		return nil, err
	}
	f := fields{"input": texts{first, r.Others}}
	if o.Model != "" {
		f["model"] = o.Model
	}
	return f.encode(b, o.Extra)
}

func (embeddings) NewDecoder(string, bool) Decoder { return &scores{list: "data"} }

// rerank is POST /v1/rerank, as vLLM, llama.cpp, Jina and Cohere speak it: a query
// and documents, of which each gets a score.
type rerank struct{}

func (rerank) Name() string { return "rerank" }
func (rerank) Path() string { return "/v1/rerank" }
func (rerank) scores()      {}

func (rerank) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	return rankBody(b, "documents", r, history, o)
}

func (rerank) NewDecoder(string, bool) Decoder { return &scores{list: "results"} }

// teiRerank is text-embeddings-inference's POST /rerank.
type teiRerank struct{}

func (teiRerank) Name() string { return "tei-rerank" }
func (teiRerank) Path() string { return "/rerank" }
func (teiRerank) scores()      {}

func (teiRerank) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	o.Model = "" // it serves one, and has no field for it
	return rankBody(b, "texts", r, history, o)
}

func (teiRerank) NewDecoder(string, bool) Decoder { return &scores{} }

// queryWords is how long the query of a ranking is: a question of some words. They
// are the first of the first document.
const queryWords = 12

func rankBody(b []byte, name string, r prompt.Request, history []Message, o Options) ([]byte, error) {
	first, err := flatText(r, history)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(first)
	f := fields{"query": strings.Join(words[:min(len(words), queryWords)], " "), name: texts{first, r.Others}}
	if o.Model != "" {
		f["model"] = o.Model
	}
	return f.encode(b, o.Extra)
}

// texts is the list of all texts of a request.
type texts struct {
	first  string
	others []string
}

func (t texts) append(b []byte) ([]byte, error) {
	b = appendJSON(append(b, '['), t.first)
	for _, text := range t.others {
		b = appendJSON(append(b, ','), text)
	}
	return append(b, ']'), nil
}

// maxScores caps the memory that one answer may take: 500 embeddings of 4096 numbers.
const maxScores = 64 << 20

// scores decodes an answer that is one JSON document: it means something when it is
// whole.
type scores struct {
	list    string // member that holds a result for each text; empty: the document is the list
	body    []byte
	tooLong bool
}

// Feed implements Decoder.
func (d *scores) Feed(p []byte, _ func(*Event)) {
	if d.tooLong = d.tooLong || len(d.body)+len(p) > maxScores; d.tooLong {
		d.body = nil
		return
	}
	d.body = append(d.body, p...)
}

// Close implements Decoder.
func (d *scores) Close(emit func(*Event)) {
	e := Event{CachedTokens: -1, Plain: true, Size: -1}
	body := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(d.body), []byte("\xef\xbb\xbf")))
	switch {
	case d.tooLong:
		e.Malformed = "an answer longer than " + sizeText(maxScores)
	case len(body) == 0:
		return
	default:
		if err := d.read(body, &e); err != nil {
			e.Malformed = err.Error()
		}
	}
	d.body = nil
	emit(&e)
}

var errCut = errors.New("the answer ended before it was whole")

// read fills in what the document says.
func (d *scores) read(body []byte, e *Event) error {
	if syntax := (*json.SyntaxError)(nil); !json.Valid(body) {
		var any json.RawMessage
		if errors.As(json.Unmarshal(body, &any), &syntax) && int(syntax.Offset) >= len(body) {
			return errCut
		}
		return fmt.Errorf("not JSON: %q", excerpt(body))
	}
	if body[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(body, &list) != nil || d.list != "" {
			return fmt.Errorf("a list where an object with %s was expected: %q", d.list, excerpt(body))
		}
		e.Output = len(list) > 0
	} else {
		o, problem := parseObject(body)
		if problem != "" {
			return errors.New(problem)
		}
		if e.Error = o.errorMessage(); e.Error != "" {
			return nil
		}
		e.Output = o.hasElements(d.list)
		usage := o.object("usage")
		e.PromptTokens = max(usage.count("prompt_tokens"), usage.count("total_tokens"))
	}
	e.Finish, e.End = true, true
	return nil
}
