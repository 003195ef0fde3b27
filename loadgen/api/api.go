// Package api holds one small file per protocol: it builds the body of a request
// and decodes the stream into output events. It does no I/O and reads no clock.
package api

import (
	"fmt"
	"strings"

	"github.com/capfind/capfind/loadgen/prompt"
)

// Options are what a body needs beside the prompt. The quirks are settled by the
// compatibility probe before the first step and do not change after it.
type Options struct {
	Model string
	Extra map[string]any // extra body fields from the config; they win over the protocol's own

	NoStream            bool   // ask for a plain JSON answer
	NoUsage             bool   // the server refuses stream_options.include_usage
	NoIgnoreEOS         bool   // the server refuses ignore_eos
	NoMinTokens         bool   // the server refuses min_tokens
	MaxTokensField      string // "max_tokens" (also where empty) or "max_completion_tokens"
	Temperature         *float64
	HoldOutputLength    bool // ask for exactly the output length, where the server can
	ContinuousUsageStat bool // ask vLLM for usage in every chunk
}

// Protocol builds requests of one kind of endpoint and reads its answers.
type Protocol interface {
	Name() string // as in target.api
	Path() string // appended to the base URL, e.g. "/chat/completions"
	// AppendBody appends the request body to b. history holds the earlier turns of a
	// conversation, nil outside one.
	AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error)
	// NewDecoder returns a decoder for one answer with the given media type
	// (the Content-Type header without parameters). keepText makes events carry
	// their text.
	NewDecoder(mediaType string, keepText bool) Decoder
}

// PlainPather is a Protocol whose plain JSON answers come from another path.
type PlainPather interface {
	PlainPath() string
}

// PathFor returns the path for streamed or plain answers.
func PathFor(p Protocol, noStream bool) string {
	if plain, ok := p.(PlainPather); ok && noStream {
		return plain.PlainPath()
	}
	return p.Path()
}

// Message is one message of a conversation so far.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Decoder turns the bytes of one answer into events. Any split of the bytes into
// calls gives the same events. Memory is capped: an event larger than the cap is
// an event with Malformed set.
type Decoder interface {
	// Feed decodes the next bytes and calls emit for every complete event. It
	// does not keep p. After an event with End set the rest is ignored.
	Feed(p []byte, emit func(*Event))
	// Close says that the body ended, and emits what a last line without a line
	// end, or a plain JSON answer, still holds.
	Close(emit func(*Event))
}

// Event is what one unit of the stream means. Its fields are valid during the
// emit call only.
type Event struct {
	Output    bool // carries output: non-empty content, reasoning or tool-call delta
	Reasoning bool // the output is reasoning only
	Finish    bool // carries a finish_reason or what the protocol has instead
	End       bool // the protocol's end mark ([DONE], done: true, generated_text)
	Plain     bool // came from a plain JSON answer, not from a stream

	Text         string // output text, where asked for
	Size         int    // bytes of the output's text or somewhat more, since escapes count as they stand; -1 where it is no text
	OutputTokens int    // the server's count of completion tokens so far; 0 where the event has none
	HiddenTokens int    // of these, reasoning by the server's count, shown or not; 0 where the event has none
	PromptTokens int    // 0 where the event has none
	CachedTokens int    // -1 where the event has none

	Error     string // an error object or event inside the stream: its message, never empty for an error
	Malformed string // what could not be decoded, and why; empty when all is well
}

// protocols in the order in which they are listed to people.
var protocols = []Protocol{openAIChat{}, openAICompletions{}, sglang{}, tgi{}, ollama{}, embeddings{}, rerank{}, teiRerank{}}

// ByName returns the protocol of that name, as in target.api. "auto" is not a
// protocol: the probe turns it into one.
func ByName(name string) (Protocol, error) {
	for _, p := range protocols {
		if p.Name() == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("unknown api %q: use one of %s", name, strings.Join(Names(), ", "))
}

// Names lists the protocols.
func Names() []string {
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.Name()
	}
	return names
}
