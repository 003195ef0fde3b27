package simhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/capfind/capfind/internal/simserver"
)

// maxBody bounds a request body, in bytes: images in messages are large.
const maxBody = 256 << 20

// body is a request in any protocol.
type body struct {
	Model    string          `json:"model"`
	Messages json.RawMessage `json:"messages"`
	Prompt   json.RawMessage `json:"prompt"`    // text or token ids
	Text     json.RawMessage `json:"text"`      // SGLang
	InputIDs []uint32        `json:"input_ids"` // SGLang
	Inputs   *string         `json:"inputs"`    // TGI

	Input     json.RawMessage `json:"input"`     // embeddings: a text or several
	Query     string          `json:"query"`     // of a ranking
	Documents []string        `json:"documents"` // which it ranks
	Texts     []string        `json:"texts"`     // TEI's name for them

	Stream              *bool `json:"stream"`
	MaxTokens           *int  `json:"max_tokens"`
	MaxCompletionTokens *int  `json:"max_completion_tokens"`
	MinTokens           int   `json:"min_tokens"`
	IgnoreEOS           bool  `json:"ignore_eos"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
		Continuous   bool `json:"continuous_usage_stats"`
	} `json:"stream_options"`
	Sampling   sampling `json:"sampling_params"` // SGLang
	Parameters sampling `json:"parameters"`      // TGI
	Options    struct {
		NumPredict *int `json:"num_predict"`
	} `json:"options"` // Ollama
}

type sampling struct {
	MaxNewTokens *int `json:"max_new_tokens"`
	MinNewTokens int  `json:"min_new_tokens"`
	IgnoreEOS    bool `json:"ignore_eos"`
}

// ask is what a request comes down to.
type ask struct {
	prompt     []uint32
	texts      int    // results that the answer has, where it is no text
	output     int    // tokens that will be put out
	finish     string // finish_reason: length or stop
	stream     bool
	usage      bool // a usage chunk at the end
	continuous bool // and usage in every chunk
}

// errPrompt says that there is nothing to answer.
var errPrompt = errors.New("the request has no prompt, messages, text or inputs")

// promptIDs returns the prompt's tokens, with those that the template adds.
func (b *body) promptIDs() ([]uint32, error) {
	switch {
	case len(b.Messages) > 0:
		return chatIDs(b.Messages)
	case len(b.InputIDs) > 0:
		return b.InputIDs, nil
	case b.Inputs != nil:
		return tokenIDs([]uint32{beginToken}, *b.Inputs), nil
	}
	raw := b.Prompt
	if len(raw) == 0 {
		raw = b.Text
	}
	if len(raw) == 0 {
		return nil, errPrompt
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return tokenIDs([]uint32{beginToken}, text), nil
	}
	var ids []uint32
	if json.Unmarshal(raw, &ids) == nil {
		return ids, nil
	}
	return nil, errors.New("the prompt is neither a string nor a list of token ids")
}

// tokensPerImage is what an image costs, whatever its size.
const tokensPerImage = 256

func chatIDs(raw json.RawMessage) ([]uint32, error) {
	var messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(raw, &messages); err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	if len(messages) == 0 {
		return nil, errPrompt
	}
	ids := []uint32{beginToken}
	for _, m := range messages {
		ids = append(ids, templateToken, tokenID(m.Role), templateToken, templateToken)
		var text string
		if json.Unmarshal(m.Content, &text) == nil {
			ids = tokenIDs(ids, text)
			continue
		}
		var parts []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(m.Content, &parts); err != nil {
			return nil, errors.New("a message's content is neither a string nor a list of parts")
		}
		for _, p := range parts {
			if p.Type == "text" {
				ids = tokenIDs(ids, p.Text)
			} else {
				ids = append(ids, make([]uint32, tokensPerImage)...)
			}
		}
	}
	return append(ids, templateToken, templateToken, templateToken), nil
}

// read turns a request's body into an ask; or says what to answer instead.
func (s *Server) read(w http.ResponseWriter, r *http.Request, p protocol, n uint64) (*ask, *simserver.Answer) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, new(badRequest("The request body cannot be read: %v", err))
	}
	var b body
	if err := json.Unmarshal(raw, &b); err != nil {
		return nil, new(badRequest("The request body is not understood: %v", err))
	}
	if a := s.strict(raw); a != nil {
		return nil, a
	}
	if b.Model != s.cfg.Model && (b.Model != "" || p.needsModel) && b.Model+":latest" != s.cfg.Model {
		return nil, &simserver.Answer{
			Status: http.StatusNotFound, Kind: "NotFoundError",
			Message: fmt.Sprintf("The model `%s` does not exist.", b.Model),
		}
	}
	a := &ask{stream: p.streams, usage: b.StreamOptions.IncludeUsage, continuous: b.StreamOptions.Continuous}
	if b.Stream != nil && !p.fixed {
		a.stream = *b.Stream
	}
	if p.scores {
		a.prompt, a.texts = b.textIDs()
		if a.output, a.finish = 1, "stop"; a.texts == 0 {
			return nil, new(badRequest("the request has no input, documents or texts"))
		}
		return a, nil
	}
	if a.prompt, err = b.promptIDs(); err != nil {
		return nil, new(badRequest("%v", err))
	}
	s.length(a, &b, n)
	return a, nil
}

// defaultLength is how long an answer is where neither request nor config says.
const defaultLength = 128

// length settles how many tokens the answer has and why it ends there.
func (s *Server) length(a *ask, b *body, n uint64) {
	most := 0 // asked for
	for _, m := range []*int{b.MaxTokens, b.MaxCompletionTokens, b.Sampling.MaxNewTokens, b.Parameters.MaxNewTokens, b.Options.NumPredict} {
		if m != nil && *m > 0 {
			most = *m
		}
	}
	least := max(b.MinTokens, b.Sampling.MinNewTokens)
	held := b.IgnoreEOS || b.Sampling.IgnoreEOS
	if s.ignores("ignore_eos") {
		held = false
	}
	if s.ignores("min_tokens") {
		least = 0
	}
	mean := s.cfg.OutputLength
	if mean == 0 {
		mean = most
	}
	if mean == 0 {
		mean = defaultLength
	}
	natural := max(s.cfg.Length(mean, n), least)
	if most == 0 {
		most = max(1, s.cfg.ContextLength-len(a.prompt))
		held = false
	}
	a.output, a.finish = min(natural, most), "stop"
	if held || natural >= most {
		a.output, a.finish = most, "length"
	}
}

func (s *Server) ignores(param string) bool { return slices.Contains(s.cfg.IgnoredParams, param) }

// strict refuses a request that has one of the strict parameters, also inside
// sampling_params, parameters or options.
func (s *Server) strict(raw []byte) *simserver.Answer {
	if len(s.cfg.StrictParams) == 0 {
		return nil
	}
	var fields, inner map[string]json.RawMessage
	_ = json.Unmarshal(raw, &fields) // read once already
	for _, name := range s.cfg.StrictParams {
		_, found := fields[name]
		for _, group := range []string{"sampling_params", "parameters", "options"} {
			inner = nil
			_ = json.Unmarshal(fields[group], &inner) // absent in most protocols
			if _, ok := inner[name]; ok {
				found = true
			}
		}
		if found {
			return new(refusedParam(name))
		}
	}
	return nil
}
