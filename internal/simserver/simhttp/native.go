package simhttp

import (
	"strconv"
	"time"
)

var (
	sglang         = protocol{wire: sglangWire{}}
	tgi            = protocol{wire: tgiWire{}, streams: true, fixed: true}
	tgiPlain       = protocol{wire: tgiWire{}, fixed: true}
	ollamaGenerate = protocol{wire: ollamaWire{}, streams: true, needsModel: true}
	ollamaChat     = protocol{wire: ollamaWire{chat: true}, streams: true, needsModel: true}
)

// sglangWire is SGLang's /generate: every event has the whole text so far.
type sglangWire struct{}

func (sglangWire) media() string { return sse }
func (sglangWire) head(*stream)  {}

func (s sglangWire) tokens(st *stream, k int) {
	st.text = append(st.text, st.next(k)...)
	s.object(st, k)
	st.event("")
}

func (sglangWire) object(st *stream, k int) {
	st.put(`{"text":"`, string(st.text), `","meta_info":{"id":"`, st.id, `","finish_reason":`)
	if k == st.ask.output {
		st.put(`{"type":"`, st.ask.finish, `","length":`)
		st.putInt(k)
		st.put(`}`)
	} else {
		st.put("null")
	}
	st.put(`,"prompt_tokens":`)
	st.putInt(st.job.Prompt)
	st.put(`,"completion_tokens":`)
	st.putInt(k)
	st.put(`,"cached_tokens":`)
	st.putInt(st.job.Cached)
	st.put(`}}`)
}

func (sglangWire) tail(st *stream) {
	if !st.q.has("no_done", "no_finish") {
		st.put("[DONE]")
		st.event("")
	}
}

func (s sglangWire) plain(st *stream) []byte {
	s.object(st, st.ask.output)
	return st.payload
}

func (sglangWire) failure(msg string) string {
	return `{"error":{"message":"` + msg + `"}}`
}

// tgiWire is TGI's /generate_stream: the last token's event carries the account.
type tgiWire struct{}

func (tgiWire) media() string { return sse }
func (tgiWire) head(*stream)  {}
func (tgiWire) tail(*stream)  {}

func (t tgiWire) tokens(st *stream, k int) {
	text := st.next(k)
	st.text = append(st.text, text...)
	st.put(`{"index":`)
	st.putInt(k)
	st.put(`,"token":{"id":`, strconv.FormatUint(uint64(tokenID(text)), 10), `,"text":"`, text, `","logprob":-0.5,"special":false}`)
	if k == st.ask.output && !st.q.has("no_done", "no_finish") {
		st.put(`,"generated_text":"`, string(st.text), `","details":`)
		t.details(st)
	} else {
		st.put(`,"generated_text":null,"details":null`)
	}
	st.put(`}`)
	st.event("")
}

func (tgiWire) details(st *stream) {
	reason := st.ask.finish
	if reason == "stop" {
		reason = "eos_token"
	}
	st.put(`{"finish_reason":"`, reason, `","generated_tokens":`)
	st.putInt(st.ask.output)
	st.put(`,"input_length":`)
	st.putInt(st.job.Prompt)
	st.put(`,"seed":null}`)
}

func (t tgiWire) plain(st *stream) []byte {
	st.put(`{"generated_text":"`, string(st.text), `","details":`)
	t.details(st)
	st.put(`}`)
	return st.payload
}

func (tgiWire) failure(msg string) string {
	return `{"error":"` + msg + `","error_type":"generation"}`
}

// ollamaWire is Ollama's own API: one JSON object a line.
type ollamaWire struct{ chat bool }

func (ollamaWire) media() string { return ndjson }
func (ollamaWire) head(*stream)  {}

func (o ollamaWire) object(st *stream, text string) {
	st.put(`{"model":`, st.s.model, `,"created_at":"`, time.Now().UTC().Format(time.RFC3339Nano), `",`)
	if o.chat {
		st.put(`"message":{"role":"assistant","content":"`, text, `"}`)
	} else {
		st.put(`"response":"`, text, `"`)
	}
}

func (o ollamaWire) tokens(st *stream, k int) {
	o.object(st, st.next(k))
	st.put(`,"done":false}`)
	st.event("")
}

func (o ollamaWire) done(st *stream, text string) {
	total, prefill, decode := st.job.Times()
	o.object(st, text)
	st.put(`,"done":true,"done_reason":"`, st.ask.finish, `","total_duration":`)
	st.put(strconv.FormatInt(int64(total), 10), `,"load_duration":0,"prompt_eval_count":`)
	st.putInt(st.job.Prompt)
	st.put(`,"prompt_eval_duration":`, strconv.FormatInt(int64(prefill), 10), `,"eval_count":`)
	st.putInt(st.ask.output)
	st.put(`,"eval_duration":`, strconv.FormatInt(int64(decode), 10), `}`)
}

func (o ollamaWire) tail(st *stream) {
	if !st.q.has("no_done", "no_finish") {
		o.done(st, "")
		st.event("")
	}
}

func (o ollamaWire) plain(st *stream) []byte {
	o.done(st, string(st.text))
	return st.payload
}

func (ollamaWire) failure(msg string) string { return `{"error":"` + msg + `"}` }
