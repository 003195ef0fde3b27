package api

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen/prompt"
)

// answer is what a whole body amounts to, in the terms the client uses.
type answer struct {
	outputs, thoughts int
	text, thought     string
	tokens, prompt    int
	cached            int
	finish, end       bool
	plain             bool
	err, malformed    string
}

// decode feeds body in pieces of the given size (0: at once) and sums up.
func decode(t testing.TB, p Protocol, mediaType, body string, size int) answer {
	t.Helper()
	a := answer{cached: -1}
	for _, e := range events(p.NewDecoder(mediaType, true), []byte(body), size) {
		if e.Output {
			a.outputs++
		}
		if e.Reasoning {
			a.thoughts++
			a.thought += e.Text
		} else {
			a.text += e.Text
		}
		a.tokens, a.prompt = max(a.tokens, e.OutputTokens), max(a.prompt, e.PromptTokens)
		a.cached = max(a.cached, e.CachedTokens)
		a.finish, a.end, a.plain = a.finish || e.Finish, a.end || e.End, a.plain || e.Plain
		a.err += e.Error
		a.malformed += e.Malformed
	}
	return a
}

// events returns everything a decoder emits for body in pieces of size bytes. Each
// piece is overwritten after the call: a decoder must not keep it.
func events(d Decoder, body []byte, size int) []Event {
	var all []Event
	emit := func(e *Event) { all = append(all, *e) }
	if size <= 0 {
		size = max(len(body), 1)
	}
	for piece := range slices.Chunk(body, size) {
		own := slices.Clone(piece)
		d.Feed(own, emit)
		for i := range own {
			own[i] = 'X'
		}
	}
	d.Close(emit)
	return all
}

var splits = []int{0, 1, 2, 3, 7, 40, 64}

// conformance holds what every protocol must be able to say, in its own words:
// an answer of the three tokens "Hi", " wörld", "!" to a prompt of 11 tokens.
var conformance = map[string]struct {
	stream, mediaType string
	plain             string
	failing           string // an error after the first token
	cut               string // the body ends after the first token
	body              map[string]string
}{
	"openai-chat": {
		mediaType: "text/event-stream",
		stream: `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"choices":[{"index":0,"delta":{"content":" wörld"},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":"!"},"finish_reason":"length"}]}

data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":0}}}

data: [DONE]

`,
		plain:   `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi wörld!"},"finish_reason":"length"}],"usage":{"prompt_tokens":11,"completion_tokens":3}}`,
		failing: "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n",
		cut:     "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"choices\":[{\"del",
		body: map[string]string{
			"model": `"m"`, "messages.0.role": `"user"`, "messages.0.content": `"Say <hi>"`, "max_tokens": "3",
			"stream": "true", "stream_options.include_usage": "true", "ignore_eos": "true", "min_tokens": "3", "top_k": "1",
		},
	},
	"openai-completions": {
		mediaType: "text/event-stream",
		stream: `data: {"choices":[{"index":0,"text":"Hi","finish_reason":null}]}

data: {"choices":[{"index":0,"text":" wörld","finish_reason":null}]}

data: {"choices":[{"index":0,"text":"!","finish_reason":"length"}],"usage":{"prompt_tokens":11,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}

data: [DONE]

`,
		plain:   `{"object":"text_completion","choices":[{"index":0,"text":"Hi wörld!","finish_reason":"length"}],"usage":{"prompt_tokens":11,"completion_tokens":3}}`,
		failing: "data: {\"choices\":[{\"text\":\"Hi\"}]}\n\nevent: error\ndata: out of memory\n\n",
		cut:     "data: {\"choices\":[{\"text\":\"Hi\"}]}\n\ndata: {\"choi",
		body: map[string]string{
			"model": `"m"`, "prompt": `"Say <hi>"`, "max_tokens": "3", "stream": "true",
			"stream_options.include_usage": "true", "ignore_eos": "true", "min_tokens": "3", "top_k": "1",
		},
	},
	"sglang": {
		mediaType: "text/event-stream",
		stream: `data: {"text":"Hi","meta_info":{"id":"a","finish_reason":null,"prompt_tokens":11,"completion_tokens":1,"cached_tokens":0}}

data: {"text":"Hi wörld","meta_info":{"id":"a","finish_reason":null,"prompt_tokens":11,"completion_tokens":2,"cached_tokens":0}}

data: {"text":"Hi wörld!","meta_info":{"id":"a","finish_reason":{"type":"length","length":3},"prompt_tokens":11,"completion_tokens":3,"cached_tokens":0}}

data: [DONE]

`,
		plain:   `{"text":"Hi wörld!","meta_info":{"id":"a","finish_reason":{"type":"length","length":3},"prompt_tokens":11,"completion_tokens":3}}`,
		failing: "data: {\"text\":\"Hi\",\"meta_info\":{\"finish_reason\":null}}\n\ndata: {\"error\":{\"message\":\"out of memory\"}}\n\n",
		cut:     "data: {\"text\":\"Hi\",\"meta_info\":{\"finish_reason\":null}}\n\ndata: {\"te",
		body: map[string]string{
			"model": `"m"`, "text": `"Say <hi>"`, "sampling_params.max_new_tokens": "3", "stream": "true",
			"sampling_params.ignore_eos": "true", "sampling_params.min_new_tokens": "3", "top_k": "1",
		},
	},
	"tgi": {
		mediaType: "text/event-stream",
		stream: `data:{"index":1,"token":{"id":1,"text":"Hi","logprob":-0.1,"special":false},"generated_text":null,"details":null}

data:{"index":2,"token":{"id":2,"text":" wörld","logprob":-0.1,"special":false},"generated_text":null,"details":null}

data:{"index":3,"token":{"id":3,"text":"!","logprob":-1e-2,"special":false},"generated_text":"Hi wörld!","details":{"finish_reason":"length","generated_tokens":3,"seed":null,"input_length":11}}

`,
		plain:   `[{"generated_text":"Hi wörld!","details":{"finish_reason":"length","generated_tokens":3,"input_length":11}}]`,
		failing: "data:{\"token\":{\"text\":\"Hi\",\"special\":false},\"generated_text\":null}\n\ndata:{\"error\":\"out of memory\",\"error_type\":\"generation\"}\n\n",
		cut:     "data:{\"token\":{\"text\":\"Hi\",\"special\":false},\"generated_text\":null}\n\ndata:{\"tok",
		body: map[string]string{
			"inputs": `"Say <hi>"`, "parameters.max_new_tokens": "3", "parameters.do_sample": "false",
			"parameters.details": "true", "top_k": "1",
		},
	},
	"ollama": {
		mediaType: "application/x-ndjson",
		stream: `{"model":"m","message":{"role":"assistant","content":"Hi"},"done":false}
{"model":"m","message":{"role":"assistant","content":" wörld"},"done":false}
{"model":"m","message":{"role":"assistant","content":"!"},"done":false}
{"model":"m","message":{"role":"assistant","content":""},"done_reason":"length","done":true,"eval_count":3,"prompt_eval_count":11}
`,
		plain:   `{"model":"m","message":{"role":"assistant","content":"Hi wörld!"},"done":true,"eval_count":3,"prompt_eval_count":11}`,
		failing: "{\"message\":{\"content\":\"Hi\"},\"done\":false}\n{\"error\":\"out of memory\"}\n",
		cut:     "{\"message\":{\"content\":\"Hi\"},\"done\":false}\n{\"mess",
		body: map[string]string{
			"model": `"m"`, "messages.0.role": `"user"`, "messages.0.content": `"Say <hi>"`, "options.num_predict": "3",
			"stream": "true", "top_k": "1",
		},
	},
}

// TestConformance holds every protocol to the same account of the same answer.
func TestConformance(t *testing.T) {
	generating := 0
	for _, name := range Names() {
		if p, err := ByName(name); err == nil && !Generates(p) {
			continue // TestScoring
		}
		generating++
		t.Run(name, func(t *testing.T) {
			p, err := ByName(name)
			if err != nil || p.Name() != name {
				t.Fatalf("ByName(%q) = %v, %v", name, p, err)
			}
			c, ok := conformance[name]
			if !ok {
				t.Fatal("no conformance fixture")
			}
			t.Run("body", func(t *testing.T) { checkBody(t, p, c.body) })
			for _, size := range splits {
				a := decode(t, p, c.mediaType, c.stream, size)
				if a.outputs != 3 || a.text != "Hi wörld!" || a.tokens != 3 || a.prompt != 11 || !a.finish || !a.end || a.plain || a.err+a.malformed != "" {
					t.Errorf("stream in pieces of %d: %+v", size, a)
				}
				if a = decode(t, p, "application/json", c.plain, size); a.outputs != 1 || a.text != "Hi wörld!" || a.tokens != 3 || a.prompt != 11 || !a.finish || !a.end || !a.plain || a.err+a.malformed != "" {
					t.Errorf("plain answer in pieces of %d: %+v", size, a)
				}
				if a = decode(t, p, c.mediaType, c.failing, size); a.outputs != 1 || a.finish || a.end || a.err != "out of memory" {
					t.Errorf("error in pieces of %d: %+v", size, a)
				}
				if a = decode(t, p, c.mediaType, c.cut, size); a.outputs != 1 || a.finish || a.end || a.err+a.malformed != "" {
					t.Errorf("cut stream in pieces of %d: %+v", size, a)
				}
			}
			checkEndIsEnd(t, p, c.mediaType, c.stream)
			checkPages(t, p)
		})
	}
	if len(conformance) != generating {
		t.Errorf("%d fixtures for %d protocols", len(conformance), generating)
	}
}

// checkBody compares members of a request body, named by path.
func checkBody(t *testing.T, p Protocol, want map[string]string) {
	o := Options{Model: "m", HoldOutputLength: true, Extra: map[string]any{"top_k": 1}}
	raw, err := p.AppendBody(nil, prompt.Request{Text: "Say <hi>", OutputTokens: 3}, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	for path, value := range want {
		if got := member(raw, path); got != value {
			t.Errorf("%s = %s, want %s, in %s", path, got, value, raw)
		}
	}
	o.NoStream = true
	raw, err = p.AppendBody(nil, prompt.Request{Text: "x", OutputTokens: 3}, nil, o)
	if err != nil || member(raw, "stream") == "true" || member(raw, "stream_options") != "" {
		t.Errorf("plain request: %s, %v", raw, err)
	}
	history := []Message{{"user", "one"}, {"assistant", "two"}}
	raw, err = p.AppendBody(nil, prompt.Request{Text: "three", OutputTokens: 3}, history, o)
	one, two, three := strings.Index(string(raw), "one"), strings.Index(string(raw), "two"), strings.Index(string(raw), "three")
	if err != nil || !json.Valid(raw) || one < 0 || one > two || two > three {
		t.Errorf("conversation: %s, %v", raw, err)
	}
	if after, err := p.AppendBody([]byte("before"), prompt.Request{Text: "three", OutputTokens: 3}, history, o); err != nil || string(after) != "before"+string(raw) {
		t.Errorf("after other bytes: %s, %v", after, err)
	}
	messages := json.RawMessage(`[{"role":"system","content":"be kind"},{"role":"user","content":"hello"}]`)
	raw, err = p.AppendBody(nil, prompt.Request{Messages: messages, OutputTokens: 3}, nil, o)
	if err != nil || !json.Valid(raw) || !strings.Contains(string(raw), "be kind") || !strings.Contains(string(raw), "hello") {
		t.Errorf("messages: %s, %v", raw, err)
	}
}

// member returns the JSON text of a member, named by a dotted path.
func member(raw json.RawMessage, path string) string {
	for part := range strings.SplitSeq(path, ".") {
		var o map[string]json.RawMessage
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil && part == "0" && len(list) > 0 {
			raw = list[0]
			continue
		}
		if json.Unmarshal(raw, &o) != nil {
			return ""
		}
		raw = o[part]
	}
	return string(raw)
}

// checkEndIsEnd makes sure that nothing is emitted after the end mark.
func checkEndIsEnd(t *testing.T, p Protocol, mediaType, stream string) {
	want := decode(t, p, mediaType, stream, 0)
	if got := decode(t, p, mediaType, stream+stream, 0); got != want {
		t.Errorf("after the end mark: %+v, want %+v", got, want)
	}
}

// checkPages feeds answers that are no answers.
func checkPages(t *testing.T, p Protocol) {
	a := decode(t, p, "text/html", "<html><body>Bad gateway</body></html>", 0)
	if a.outputs != 0 || a.finish || !strings.Contains(a.malformed, "Bad gateway") {
		t.Errorf("HTML page: %+v", a)
	}
	if a = decode(t, p, "text/event-stream", `{"error":{"message":"no such model"}}`, 0); a.err != "no such model" || a.end {
		t.Errorf("bare error object: %+v", a)
	}
	if a = decode(t, p, "text/event-stream", "", 0); a.outputs != 0 || a.finish || a.end || a.err+a.malformed != "" {
		t.Errorf("empty body: %+v", a)
	}
}
