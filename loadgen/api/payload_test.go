package api

import (
	"strings"
	"testing"
)

// TestOddPayloads goes through what real servers send, one payload each.
func TestOddPayloads(t *testing.T) {
	chat, sgl, text, oll := Protocol(openAIChat{}), Protocol(sglang{}), Protocol(tgi{}), Protocol(ollama{})
	out := func(s string) answer { return answer{outputs: 1, text: s, cached: -1} }
	nothing := answer{cached: -1}
	thought := answer{outputs: 1, thoughts: 1, thought: "hm", cached: -1}
	cases := []struct {
		name    string
		p       Protocol
		payload string
		want    answer
	}{
		{"role only", chat, `{"choices":[{"delta":{"role":"assistant"}}]}`, nothing},
		{"null content", chat, `{"choices":[{"delta":{"role":"assistant","content":null}}]}`, nothing},
		{"empty content and finish_reason", chat, `{"choices":[{"delta":{"content":""},"finish_reason":""}]}`, nothing},
		{"no choices", chat, `{"id":"x"}`, nothing},
		{"null choices", chat, `{"choices":null}`, nothing},
		{"null delta", chat, `{"choices":[{"delta":null,"finish_reason":null}]}`, nothing},
		{"white space", chat, ` { "choices" : [ { "delta" : { "content" : "a" } } ] } `, out("a")},
		{"refusal", chat, `{"choices":[{"delta":{"refusal":"no"}}]}`, out("no")},
		{"content in parts", chat, `{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}`, out("a")},
		{"thinking in parts", chat, `{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}}]}`, thought},
		{"reasoning_content", chat, `{"choices":[{"delta":{"reasoning_content":"hm"}}]}`, thought},
		{"reasoning", chat, `{"choices":[{"delta":{"reasoning":"hm","content":null}}]}`, thought},
		{"reasoning under both names", chat, `{"choices":[{"delta":{"reasoning":"HM","reasoning_content":"hm"}}]}`, thought},
		{"reasoning and content", chat, `{"choices":[{"delta":{"reasoning":"hm","content":"a"}}]}`, out("a")},
		{"tool call", chat, `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}`, out("")},
		{"no tool call", chat, `{"choices":[{"delta":{"content":"","tool_calls":[]}}]}`, nothing},
		{"function call", chat, `{"choices":[{"delta":{"function_call":{"name":"f"}}}]}`, out("")},
		{"two choices", chat, `{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}`, out("a")},
		{"usage null", chat, `{"choices":[{"delta":{"content":"a"}}],"usage":null}`, out("a")},
		{"usage 0", chat, `{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":0,"prompt_tokens":0}}`, out("a")},
		{"usage in every chunk", chat, `{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":7,"prompt_tokens":5,"total_tokens":12}}`, answer{outputs: 1, text: "a", tokens: 7, prompt: 5, cached: -1}},
		{"usage with finish_reason", chat, `{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"completion_tokens":7,"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}`, answer{tokens: 7, prompt: 5, cached: 4, finish: true}},
		{"usage within the choice", chat, `{"choices":[{"delta":{},"finish_reason":"stop","usage":{"completion_tokens":7,"prompt_tokens":5}}]}`, answer{tokens: 7, prompt: 5, cached: -1, finish: true}},
		{"usage as fractions", chat, `{"choices":[],"usage":{"completion_tokens":7.0,"prompt_tokens":5e0}}`, answer{tokens: 7, prompt: 5, cached: -1}},
		{"usage of nonsense", chat, `{"choices":[],"usage":{"completion_tokens":"7","prompt_tokens":-5}}`, nothing},
		{"DeepSeek's cache", chat, `{"choices":[],"usage":{"completion_tokens":7,"prompt_tokens":5,"prompt_cache_hit_tokens":3}}`, answer{tokens: 7, prompt: 5, cached: 3}},
		{"llama.cpp's timings", chat, `{"choices":[{"delta":{},"finish_reason":"length"}],"timings":{"prompt_n":5,"cache_n":2,"predicted_n":7}}`, answer{tokens: 7, prompt: 7, cached: -1, finish: true}},
		{"usage and timings", chat, `{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7},"timings":{"prompt_n":1,"predicted_n":7}}`, answer{tokens: 7, prompt: 5, cached: -1}},
		{"finish_reason as object", chat, `{"choices":[{"delta":{},"finish_reason":{"type":"stop"}}]}`, answer{finish: true, cached: -1}},
		{"aborted", chat, `{"choices":[{"delta":{},"finish_reason":"abort"}]}`, answer{finish: true, cached: -1, err: "the server ended the answer with finish_reason abort"}},
		{"null error", chat, `{"error":null,"choices":[{"delta":{"content":"a"}}]}`, out("a")},
		{"error as text", chat, `{"error":"boom"}`, answer{err: "boom", cached: -1}},
		{"error without a word", chat, `{"error":{}}`, answer{err: "{}", cached: -1}},
		{"old vLLM's error", chat, `{"object":"error","message":"boom","code":400}`, answer{err: "boom", cached: -1}},
		{"bare code and message", chat, `{"code":"Throttling","message":"boom"}`, answer{err: "boom", cached: -1}},
		{"escaped key", chat, `{"choices":[{"delta":{"con\u0074ent":"a"}}]}`, out("a")},
		{"key of another case", chat, `{"choices":[{"delta":{"Content":"a"}}]}`, nothing},
		{"key twice", chat, `{"choices":[{"delta":{"content":"a","content":""}}]}`, nothing},

		{"aborted", sgl, `{"text":"","meta_info":{"finish_reason":{"type":"abort","message":"full"}}}`, answer{finish: true, cached: -1, err: "the server aborted the request: full"}},
		{"no new text", sgl, `{"text":"","meta_info":{"completion_tokens":1,"cached_tokens":null}}`, answer{tokens: 1, cached: -1}},
		{"cached", sgl, `{"text":"a","meta_info":{"completion_tokens":1,"prompt_tokens":9,"cached_tokens":8}}`, answer{outputs: 1, text: "a", tokens: 1, prompt: 9, cached: 8}},

		{"special token", text, `{"token":{"text":"</s>","special":true},"generated_text":null}`, nothing},
		{"special last token", text, `{"token":{"text":"</s>","special":true},"generated_text":"a","details":{"finish_reason":"eos_token","generated_tokens":2}}`, answer{tokens: 2, finish: true, end: true, cached: -1}},
		{"empty generated_text", text, `{"token":{"text":"a","special":false},"generated_text":""}`, answer{outputs: 1, text: "a", finish: true, end: true, cached: -1}},

		{"thinking", oll, `{"message":{"content":"","thinking":"hm"},"done":false}`, thought},
		{"generate", oll, `{"response":"a","done":false}`, out("a")},
		{"tool call", oll, `{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]},"done":false}`, out("")},
		{"load only", oll, `{"response":"","done":true,"done_reason":"load"}`, answer{finish: true, end: true, cached: -1}},
	}
	for _, c := range cases {
		mediaType, body := "text/event-stream", "data: "+c.payload+"\n\n"
		if c.p == oll {
			mediaType, body = "application/x-ndjson", c.payload+"\n"
		}
		for _, size := range splits {
			if got := decode(t, c.p, mediaType, body, size); got != c.want {
				t.Errorf("%s, %s: got %+v, want %+v", c.p.Name(), c.name, got, c.want)
				break
			}
		}
	}
}

func TestSGLangIncrements(t *testing.T) {
	event := func(text string) string {
		return `data: {"text":"` + text + `","meta_info":{"finish_reason":null}}` + "\n\n"
	}
	cases := []struct {
		name, body, text string
		outputs          int
	}{
		{"repeating", event("Hi") + event("Hi th") + event("Hi there"), "Hi there", 3},
		{"repeating, nothing new", event("Hi") + event("Hi") + event("Hi there"), "Hi there", 2},
		{"increments", event("Hi") + event(" th") + event("ere, you"), "Hi there, you", 3},
		{"repeating, escaped", event(`\"`) + event(`\"é\n`) + event(`\"é\n🙂`), "\"é\n🙂", 3},
	}
	for _, c := range cases {
		if a := decode(t, sglang{}, "text/event-stream", c.body, 0); a.text != c.text || a.outputs != c.outputs {
			t.Errorf("%s: %+v, want %d outputs, %q", c.name, a, c.outputs, c.text)
		}
	}
}

func TestErrorText(t *testing.T) {
	cases := map[string]string{
		`{"error":{"message":"boom","type":"x"}}`:                      "boom",
		`{"error":"boom"}`:                                             "boom",
		`{"message":"boom"}`:                                           "boom",
		`{"object":"error","message":"boom"}`:                          "boom",
		`{"detail":"Not Found"}`:                                       "Not Found",
		`{"detail":[{"loc":["body","max_tokens"],"msg":"too large"}]}`: "body.max_tokens: too large",
		`{"error":"Input validation error: ` + "`temperature`" + `","error_type":"validation"}`: "Input validation error: `temperature`",
		"  plain\n words ": "plain words",
		`{"a":1}`:          `{"a":1}`,
		"":                 "",
		"\xff\xfe":         "",
	}
	for body, want := range cases {
		if got := ErrorText([]byte(body)); got != want {
			t.Errorf("ErrorText(%q) = %q, want %q", body, got, want)
		}
	}
	if got := ErrorText([]byte(strings.Repeat("long ", 10000))); len(got) > 510 {
		t.Errorf("an error text of %d bytes", len(got))
	}
}
