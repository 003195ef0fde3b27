package api

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzSplit: no body panics or hangs a decoder, any split into reads gives the
// same events, memory stays within the cap, and nothing follows the end mark.
func FuzzSplit(f *testing.F) {
	generating := generating()
	for i, p := range generating {
		c := conformance[p.Name()]
		for _, body := range []string{c.stream, c.plain, c.failing, c.cut} {
			f.Add(body, uint8(i), uint8(3), true)
			f.Add(strings.ReplaceAll(body, "\n", "\r\n"), uint8(i), uint8(1), false)
			f.Add(strings.ReplaceAll(body, "\n", "\r"), uint8(i), uint8(5), true)
		}
	}
	f.Add("\xef\xbb\xbfdata: {}\ndata: [DONE]\n", uint8(0), uint8(1), false)
	f.Add("error: x\n\nevent: error\n\n: ping\n\ndata", uint8(0), uint8(2), true)
	f.Fuzz(func(t *testing.T, body string, which, size uint8, keepText bool) {
		const limit = 512
		p := generating[int(which)%len(generating)]
		for _, mediaType := range []string{"text/event-stream", "application/json", "application/x-ndjson"} {
			decoder := func() *stream {
				d := p.NewDecoder(mediaType, keepText).(*stream)
				d.limit = limit
				return d
			}
			d := decoder()
			whole := events(decoder(), []byte(body), 0)
			split := events(d, []byte(body), int(size))
			if !slices.Equal(whole, split) {
				t.Fatalf("%s, %s: pieces of %d change the events:\n%+v\n%+v", p.Name(), mediaType, size, whole, split)
			}
			if most := max(cap(d.line), cap(d.held)); most > 4*limit {
				t.Fatalf("a buffer of %d bytes for a limit of %d", most, limit)
			}
			for i, e := range whole {
				if e.End && i != len(whole)-1 {
					t.Fatalf("events after the end mark: %+v", whole[i:])
				}
				if e.Reasoning && !e.Output || !keepText && e.Text != "" || e.OutputTokens < 0 || e.PromptTokens < 0 || e.CachedTokens < -1 {
					t.Fatalf("impossible event %+v", e)
				}
			}
		}
	})
}

// FuzzFastAgrees: where the byte scan accepts a payload, encoding/json accepts it
// too and gives the same event.
func FuzzFastAgrees(f *testing.F) {
	generating := generating()
	for i, p := range generating {
		for line := range strings.Lines(conformance[p.Name()].stream + conformance[p.Name()].plain) {
			f.Add(strings.TrimSpace(strings.TrimPrefix(line, "data:")), uint8(i))
		}
	}
	f.Add(`{"choices":[{"delta":{"content":"a\u0041","tool_calls":[{}]}}],"usage":{"completion_tokens":1}}`, uint8(0))
	for _, odd := range []string{
		`{"object":}`, `{"usage":{"completion_tokens":01}}`, `{"usage":{"completion_tokens":12345678901}}`,
		`{"usage":{"completion_tokens":1.5}}`, `{"usage":{"completion_tokens":-1}}`, `{"usage":{"completion_tokens":1}}x`,
		"{\"choices\":[{\"delta\":{\"content\":\"a raw\nline end\"}}]}", `{"choices":[{"delta":{"content":"\x"}}]}`,
		`{"choices":[{"delta":{"refusal":"r","content":"c"}}]}`, `{"choices":[{"text":"t","delta":{"content":"c"}}]}`,
		`{"choices":[{"delta":{"content":"c"},"message":{"content":"m"}}]}`, `{"choices":[{"delta":{"content":"a"},"delta":{}}]}`,
		`{"a":-0.5e+3,"b":[1,{"c":null}],"d":tru}`, `{"a":.5}`, `{"a":1.}`, `{"a":00}`, `{,}`, `{"a":1,}`, `[]`, "\xff",
	} {
		f.Add(odd, uint8(0))
		f.Add(odd, uint8(4))
	}
	f.Add(`{"thinking":"t","message":{"thinking":"m"},"response":"r"}`, uint8(4))
	f.Fuzz(func(t *testing.T, payload string, which uint8) {
		name := generating[int(which)%len(generating)].Name()
		fast, slow := Event{CachedTokens: -1}, Event{CachedTokens: -1}
		b := bytes.TrimSpace([]byte(payload))
		if !newPayloads(name).fast(b, &fast) {
			return
		}
		if !json.Valid(b) {
			t.Fatalf("%s: the scan accepted %q", name, b)
		}
		o, problem := parseObject(b)
		if problem != "" || o.errorMessage() != "" {
			t.Fatalf("%s: %q: %s %s", name, b, problem, o.errorMessage())
		}
		if newPayloads(name).slow(o, &slow); fast != slow {
			t.Fatalf("%s: %q:\nfast %+v\nslow %+v", name, b, fast, slow)
		}
		if !utf8.ValidString(fast.Text) {
			t.Fatalf("%s: %q: text %q", name, b, fast.Text)
		}
	})
}

// generating are the protocols whose answers are streams.
func generating() []Protocol {
	return slices.DeleteFunc(slices.Clone(protocols), func(p Protocol) bool { return !Generates(p) })
}

func newPayloads(name string) payloads {
	p, _ := ByName(name)
	return p.NewDecoder("", true).(*stream).protocol
}

// TestCommonPayloadsAreFast: the payloads that make up a stream take the byte
// scan, without a single allocation, whether or not the reads cut them.
func TestCommonPayloadsAreFast(t *testing.T) {
	for name, event := range commonEvents {
		p, _ := ByName(name)
		d := p.NewDecoder(conformance[name].mediaType, false)
		emit := func(e *Event) {}
		cut := len(event) / 2
		per := testing.AllocsPerRun(100, func() {
			d.Feed(event, emit)
			d.Feed(event[:cut], emit)
			d.Feed(event[cut:], emit)
		})
		if per != 0 {
			t.Errorf("%s: %v allocations for two events", name, per)
		}
	}
}

// commonEvents holds one event of the middle of a stream.
var commonEvents = map[string][]byte{
	"openai-chat":        []byte(`data: {"id":"chatcmpl-3f2b8a0c9d1e4f57a6b8c9d0e1f2a3b4","object":"chat.completion.chunk","created":1735689600,"model":"meta-llama/Llama-3.1-8B-Instruct","choices":[{"index":0,"delta":{"content":" token\n"},"logprobs":null,"finish_reason":null}]}` + "\n\n"),
	"openai-completions": []byte(`data: {"id":"cmpl-3f2b8a0c9d1e4f57a6b8c9d0e1f2a3b4","object":"text_completion","created":1735689600,"model":"meta-llama/Llama-3.1-8B-Instruct","choices":[{"index":0,"text":" token","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":{"prompt_tokens":512,"total_tokens":600,"completion_tokens":88}}` + "\n\n"),
	"sglang":             []byte(`data: {"text":" token","output_ids":[1,2,3],"meta_info":{"id":"3f2b8a0c","finish_reason":null,"prompt_tokens":512,"weight_version":"default","completion_tokens":3,"cached_tokens":0}}` + "\n\n"),
	"tgi":                []byte(`data:{"index":12,"token":{"id":5993,"text":" token","logprob":-0.28125,"special":false},"generated_text":null,"details":null}` + "\n\n"),
	"ollama":             []byte(`{"model":"llama3.1:8b","created_at":"2025-01-01T00:00:00.123456789Z","message":{"role":"assistant","content":" token"},"done":false}` + "\n"),
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range Names() {
		event, streams := commonEvents[name]
		if !streams {
			continue
		}
		b.Run(name, func(b *testing.B) {
			p, _ := ByName(name)
			d := p.NewDecoder(conformance[name].mediaType, false)
			n := 0
			emit := func(e *Event) { n++ }
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				d.Feed(event, emit)
			}
			if n == 0 {
				b.Fatal("no events")
			}
		})
	}
}

// BenchmarkDecodeByEncodingJSON is what the byte scan saves.
func BenchmarkDecodeByEncodingJSON(b *testing.B) {
	payload := bytes.TrimSpace(commonEvents["openai-chat"][len("data:"):])
	p := &openAI{}
	b.ReportAllocs()
	for b.Loop() {
		o, problem := parseObject(payload)
		if problem != "" {
			b.Fatal(problem)
		}
		e := Event{CachedTokens: -1}
		p.slow(o, &e)
	}
}
