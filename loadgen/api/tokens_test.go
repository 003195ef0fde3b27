package api

import (
	"fmt"
	"strings"
	"testing"
)

// talk is a stream of the OpenAI chat API in short.
type talk struct {
	chunks  int
	text    string          // of each chunk
	beside  func(k int) int // completion_tokens in the k-th chunk, from 1; nil: no usage there
	empties int             // chunks without text after the others
	last    int             // in the usage at the end; 0: none there
	hidden  int             // reasoning_tokens in it
	tools   bool            // the output is a tool call's
}

func (a talk) stream() string {
	var b strings.Builder
	say := func(choices, usage string) { fmt.Fprintf(&b, "data: {\"choices\":[%s]%s}\n\n", choices, usage) }
	say(`{"delta":{"role":"assistant","content":""}}`, "")
	for k := 1; k <= a.chunks+a.empties; k++ {
		delta, usage := fmt.Sprintf(`{"content":%q}`, a.text), ""
		if a.tools {
			delta = `{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}`
		}
		if k > a.chunks {
			delta = `{"content":""}`
		}
		if a.beside != nil {
			usage = fmt.Sprintf(`,"usage":{"prompt_tokens":100,"completion_tokens":%d}`, a.beside(k))
		}
		say(`{"delta":`+delta+`}`, usage)
	}
	say(`{"delta":{},"finish_reason":"stop"}`, "")
	if a.last > 0 {
		say("", fmt.Sprintf(`,"usage":{"prompt_tokens":100,"completion_tokens":%d,"completion_tokens_details":{"reasoning_tokens":%d}}`, a.last, a.hidden))
	}
	return b.String() + "data: [DONE]\n\n"
}

func (a talk) count(want int) TokenCount {
	var t Tokens
	d := openAIChat{}.NewDecoder("text/event-stream", false)
	d.Feed([]byte(a.stream()), t.Add)
	d.Close(t.Add)
	return t.Count(want)
}

func so(n int) func(int) int   { return func(int) int { return n } }
func each(n int) func(int) int { return func(k int) int { return n * k } }

// sums are the counts of a gateway that adds up counts which are sums already.
func sums(k int) int { return k * (k + 1) / 2 }

// uneven is what speculative decoding makes of chunks: 1 to 4 tokens each.
func uneven(k int) int { return k + 3*(k/2) }

// TestTokenCounts: which count of a stream's tokens is believed.
func TestTokenCounts(t *testing.T) {
	const long = "a rather long piece of text in one chunk "
	for _, c := range []struct {
		name string
		talk
		want int // asked for at most
		TokenCount
	}{
		{"one a chunk", talk{chunks: 20, text: "tok ", last: 20}, 128, TokenCount{20, true, 1, 0}},
		{"no usage", talk{chunks: 20, text: "tok "}, 128, TokenCount{20, false, 1, 0}},
		{"usage so far in every chunk", talk{chunks: 20, text: "tok ", beside: each(1), last: 20}, 128, TokenCount{20, true, 1, 0}},
		{"usage so far in every chunk, none at the end", talk{chunks: 20, text: "tok ", beside: each(1)}, 128, TokenCount{20, true, 1, 0}},

		// Counts that the stream contradicts.
		{"a sum of sums", talk{chunks: 20, text: "tok ", beside: sums, last: 210}, 128, TokenCount{20, false, 1, 210}},
		{"a sum of sums of long chunks", talk{chunks: 20, text: long, beside: sums, last: 210}, 1000, TokenCount{20, false, 1, 210}},
		{"a sum of sums at the end only", talk{chunks: 20, text: "tok ", last: 210}, 128, TokenCount{20, false, 1, 210}},
		{"the same of longer words, beyond what was asked for", talk{chunks: 20, text: "token twenty ", last: 210}, 128, TokenCount{20, false, 1, 210}},
		{"right in the stream, a sum at the end", talk{chunks: 20, text: long, beside: each(1), last: 210}, 1000, TokenCount{20, true, 1, 210}},
		{"always 1", talk{chunks: 20, text: "tok ", beside: so(1), last: 1}, 128, TokenCount{20, false, 1, 1}},
		{"always 1, of single letters", talk{chunks: 20, text: "x", beside: so(1), last: 1}, 128, TokenCount{20, false, 1, 1}},
		{"8 in every chunk and at the end", talk{chunks: 8, text: long, beside: so(8), last: 8}, 128, TokenCount{8, false, 1, 8}},
		{"1 at the end only", talk{chunks: 20, text: "x", last: 1}, 128, TokenCount{20, false, 1, 1}},
		{"1 for five words", talk{chunks: 5, text: "token ", last: 1}, 128, TokenCount{5, false, 1, 1}},
		{"1 for a tool call", talk{chunks: 20, tools: true, last: 1}, 128, TokenCount{20, false, 1, 1}},

		// Counts that only look odd.
		{"all of them told with every chunk", talk{chunks: 20, text: "tok ", beside: so(20), last: 20}, 128, TokenCount{20, true, 1, 0}},
		{"eight a chunk, each told by itself, and all in the end", talk{chunks: 8, text: long, beside: so(8), last: 64}, 128, TokenCount{64, true, 8, 0}},
		{"each chunk's own in every chunk", talk{chunks: 20, text: "tok ", beside: so(1), last: 20}, 128, TokenCount{20, true, 1, 0}},
		{"eight a chunk", talk{chunks: 8, text: strings.Repeat("tok ", 8), last: 64}, 128, TokenCount{64, true, 0, 0}},
		{"eight a chunk, told in every chunk", talk{chunks: 8, text: strings.Repeat("tok ", 8), beside: each(8), last: 64}, 128, TokenCount{64, true, 8, 0}},
		{"speculated, told in every chunk", talk{chunks: 20, text: "tok tok ", beside: uneven, last: 50}, 128, TokenCount{50, true, 1, 0}},
		{"a gateway that sends letter by letter", talk{chunks: 80, text: "x", last: 20}, 128, TokenCount{20, true, 0, 0}},
		{"tokens that are not shown", talk{chunks: 20, text: "tok ", empties: 108, last: 128}, 1000, TokenCount{128, true, 0, 0}},
		{"just what was asked for", talk{chunks: 5, text: "tok ", last: 128}, 128, TokenCount{128, true, 0, 0}},
		{"more than was asked for, and the text to show for it", talk{chunks: 20, text: long, last: 160}, 128, TokenCount{160, true, 0, 0}},
		{"reasoned in secret", talk{chunks: 20, text: "tok ", last: 500, hidden: 480}, 1000, TokenCount{500, true, 481, 0}},
		{"a tool call", talk{chunks: 4, tools: true, last: 30}, 128, TokenCount{30, true, 0, 0}},
		{"nothing", talk{last: 3}, 128, TokenCount{3, true, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.count(c.want); got != c.TokenCount {
				t.Errorf("counted %+v, want %+v", got, c.TokenCount)
			}
		})
	}
}

// TestTokensOfEveryProtocol: each says with its first event how many tokens that
// one carries, or leaves it open.
func TestTokensOfEveryProtocol(t *testing.T) {
	for _, c := range []struct {
		protocol Protocol
		media    string
		stream   string
		want     TokenCount
	}{
		{sglang{}, "text/event-stream", "data: {\"text\":\"a b c\",\"meta_info\":{\"completion_tokens\":3}}\n\ndata: {\"text\":\"a b c d e\",\"meta_info\":{\"completion_tokens\":5}}\n\n", TokenCount{5, true, 3, 0}},
		{tgi{}, "text/event-stream", "data:{\"token\":{\"text\":\"a\"}}\n\ndata:{\"token\":{\"text\":\"b\"},\"generated_text\":\"ab\",\"details\":{\"generated_tokens\":2}}\n\n", TokenCount{2, true, 1, 0}},
		{ollama{}, "application/x-ndjson", "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"message\":{\"content\":\"b\"},\"done\":false}\n{\"message\":{\"content\":\"\"},\"done\":true,\"eval_count\":2}\n", TokenCount{2, true, 1, 0}},
		{openAIChat{}, "application/json", `{"choices":[{"message":{"content":"a b c"},"finish_reason":"stop"}],"usage":{"completion_tokens":3}}`, TokenCount{3, true, 3, 0}},
		{openAICompletions{}, "text/event-stream", "data: {\"choices\":[{\"text\":\"abcd\"}]}\n\ndata: {\"choices\":[{\"text\":\"efgh\"}],\"usage\":{\"completion_tokens\":40}}\n\n", TokenCount{2, false, 1, 40}},
		{openAIChat{}, "application/json", `{"choices":[{"message":{"content":"OK"},"finish_reason":"stop"}],"usage":{"completion_tokens":3}}`, TokenCount{3, true, 3, 0}},
	} {
		var tokens Tokens
		d := c.protocol.NewDecoder(c.media, false)
		d.Feed([]byte(c.stream), tokens.Add)
		d.Close(tokens.Add)
		if got := tokens.Count(100); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.protocol.Name(), got, c.want)
		}
	}
}
