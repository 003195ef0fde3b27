package simhttp

import (
	"strconv"

	"github.com/capfind/capfind/internal/simserver"
)

const (
	sse    = "text/event-stream"
	ndjson = "application/x-ndjson"
)

var (
	chat        = protocol{wire: openai{chat: true}, needsModel: true, id: "chatcmpl-"}
	completions = protocol{wire: openai{}, needsModel: true, id: "cmpl-"}
)

// openai is the chat and the completions protocol.
type openai struct{ chat bool }

func (openai) media() string { return sse + "; charset=utf-8" }

// open starts an event up to its choices.
func (o openai) open(st *stream) {
	kind := "text_completion"
	if o.chat {
		kind = "chat.completion.chunk"
	}
	st.put(`{"id":"`, st.id, `","object":"`, kind, `","created":`, strconv.FormatInt(st.s.started.Unix(), 10), `,"model":`, st.s.model, `,"choices":[`)
}

// head is the role-only delta of a chat.
func (o openai) head(st *stream) {
	if !o.chat {
		return
	}
	content := `""`
	if st.q.has("null_content") || st.s.cfg.Server == simserver.LlamaCpp {
		content = "null"
	}
	o.open(st)
	st.put(`{"index":0,"delta":{"role":"assistant","content":`, content, `},"logprobs":null,"finish_reason":`, o.unfinished(st), `}]`)
	o.running(st, 0, false)
	st.put(`}`)
	st.event("")
}

func (openai) unfinished(st *stream) string {
	if st.q.has("empty_finish") {
		return `""`
	}
	return "null"
}

func (o openai) tokens(st *stream, k int) {
	last := k == st.ask.output
	o.open(st)
	st.put(`{"index":0,`)
	o.delta(st, k)
	st.put(`,"logprobs":null,"finish_reason":`)
	if last && !st.q.has("no_finish") {
		st.put(`"`, st.ask.finish, `"`)
	} else {
		st.put(o.unfinished(st))
	}
	st.put(`}]`)
	o.running(st, k, last)
	if last && st.s.cfg.Server == simserver.LlamaCpp {
		o.timings(st)
	}
	st.put(`}`)
	st.event("")
}

// delta writes the output itself. All of a piece's text is free of what JSON
// escapes.
func (o openai) delta(st *stream, k int) {
	text := st.next(k)
	switch {
	case !o.chat:
		st.put(`"text":"`, text, `"`)
		return
	case st.q.has("tool_calls"):
		first := ""
		if st.sent == 0 {
			first = `"id":"call_0","type":"function",`
		}
		st.put(`"delta":{"tool_calls":[{"index":0,`, first, `"function":{"name":"answer","arguments":"`, text, `"}}]}`)
		return
	}
	st.put(`"delta":{`)
	switch {
	case st.reasoning("reasoning_content"):
		st.put(`"reasoning_content":"`, text, `"`)
	case st.reasoning("reasoning"):
		st.put(`"reasoning":"`, text, `"`)
	case st.reasoning("reasoning_both"):
		st.put(`"reasoning":"`, text, `","reasoning_content":"`, text, `"`)
	default:
		st.put(`"content":"`, text, `"`)
	}
	st.put(`}`)
}

// reasoning reports whether the next tokens are reasoning of that kind.
func (st *stream) reasoning(mode string) bool { return st.q.has(mode) && st.sent < st.q[mode].After }

// running adds the usage that some servers send with every event.
func (o openai) running(st *stream, k int, last bool) {
	switch {
	case st.q.has("usage_cumulative"), st.ask.continuous, last && st.q.has("usage_with_finish"):
		st.put(`,"usage":`)
		o.usage(st, k)
	case st.q.has("usage_null"):
		st.put(`,"usage":null`)
	}
}

func (o openai) usage(st *stream, k int) {
	prompt := st.job.Prompt
	if st.q.has("usage_zero") {
		prompt, k = 0, 0
	}
	st.put(`{"prompt_tokens":`)
	st.putInt(prompt)
	st.put(`,"total_tokens":`)
	st.putInt(prompt + k)
	st.put(`,"completion_tokens":`)
	st.putInt(k)
	if st.s.cfg.PrefixCache.Tokens > 0 {
		st.put(`,"prompt_tokens_details":{"cached_tokens":`)
		st.putInt(st.job.Cached)
		st.put(`}`)
	}
	st.put(`}`)
}

// timings is llama.cpp's own account.
func (o openai) timings(st *stream) {
	st.put(`,"timings":{"prompt_n":`)
	st.putInt(st.job.Prompt)
	st.put(`,"predicted_n":`)
	st.putInt(st.ask.output)
	st.put(`}`)
}

func (o openai) tail(st *stream) {
	if st.ask.usage && !st.q.has("no_usage", "usage_with_finish") {
		o.open(st)
		st.put(`],"usage":`)
		o.usage(st, st.ask.output)
		st.put(`}`)
		st.event("")
	}
	if !st.q.has("no_done", "no_finish") {
		st.put("[DONE]")
		st.event("")
	}
}

func (o openai) plain(st *stream) []byte {
	kind, choice := "text_completion", `{"index":0,"text":"`+string(st.text)+`",`
	if o.chat {
		kind, choice = "chat.completion", `{"index":0,"message":{"role":"assistant","content":"`+string(st.text)+`"},`
	}
	st.put(`{"id":"`, st.id, `","object":"`, kind, `","created":`, strconv.FormatInt(st.s.started.Unix(), 10), `,"model":`, st.s.model)
	st.put(`,"choices":[`, choice, `"logprobs":null,"finish_reason":"`, st.ask.finish, `"}]`)
	if !st.q.has("no_usage") {
		st.put(`,"usage":`)
		o.usage(st, st.ask.output)
	}
	st.put(`}`)
	return st.payload
}

func (openai) failure(msg string) string {
	return `{"error":{"message":"` + msg + `","type":"InternalServerError","param":null,"code":500}}`
}
