package api

import (
	"github.com/capfind/capfind/loadgen/prompt"
)

// openAIChat is POST /v1/chat/completions, as OpenAI, vLLM, SGLang, llama.cpp,
// TGI, Ollama and most gateways speak it.
type openAIChat struct{}

func (openAIChat) Name() string { return "openai-chat" }
func (openAIChat) Path() string { return "/chat/completions" }

func (openAIChat) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	f := openAIFields(r, o)
	f["messages"] = chat{r, history}
	return f.encode(b, o.Extra)
}

func (openAIChat) NewDecoder(mediaType string, keepText bool) Decoder {
	return newStream(&openAI{keepText: keepText}, mediaType, false)
}

// openAICompletions is POST /v1/completions.
type openAICompletions struct{}

func (openAICompletions) Name() string { return "openai-completions" }
func (openAICompletions) Path() string { return "/completions" }

func (openAICompletions) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	text, err := flatText(r, history)
	if err != nil {
		return nil, err
	}
	f := openAIFields(r, o)
	f["prompt"] = text
	return f.encode(b, o.Extra)
}

func (openAICompletions) NewDecoder(mediaType string, keepText bool) Decoder {
	return newStream(&openAI{keepText: keepText}, mediaType, false)
}

// openAIFields returns what both endpoints share.
func openAIFields(r prompt.Request, o Options) fields {
	f := fields{"stream": !o.NoStream}
	if o.Model != "" {
		f["model"] = o.Model
	}
	limit := o.MaxTokensField
	if limit == "" {
		limit = "max_tokens"
	}
	f[limit] = r.OutputTokens
	if o.Temperature != nil {
		f["temperature"] = *o.Temperature
	}
	if !o.NoStream && !o.NoUsage {
		usage := fields{"include_usage": true}
		if o.ContinuousUsageStat {
			usage["continuous_usage_stats"] = true
		}
		f["stream_options"] = usage
	}
	if o.HoldOutputLength && !o.NoIgnoreEOS {
		f["ignore_eos"] = true
	}
	if o.HoldOutputLength && !o.NoMinTokens {
		f["min_tokens"] = r.OutputTokens
	}
	return f
}

// openAI reads the chunks and plain answers of both endpoints. Chunks carry
// choices[].delta or choices[].text, plain answers choices[].message.
type openAI struct{ keepText bool }

// output gathers what the choices of one payload carry. Texts are still escaped.
type output struct {
	answer, thought       bool
	answerText, thinkText []byte
	size                  int
	textless              bool // a tool call
	finish                bool
}

// into fills in the event. Reasoning that comes under two names at once is one
// output.
func (t *output) into(e *Event, keepText bool) {
	e.Output = t.answer || t.thought
	e.Reasoning = t.thought && !t.answer
	e.Finish = t.finish
	e.Size = t.size
	if t.textless {
		e.Size = -1
	}
	if !keepText {
		return
	}
	if e.Reasoning {
		e.Text = unquote(t.thinkText)
	} else {
		e.Text = unquote(t.answerText)
	}
}

func (t *output) addAnswer(raw []byte) {
	t.size += len(raw)
	if len(raw) > 0 && len(t.answerText) == 0 {
		t.answer, t.answerText = true, raw
	}
}

func (t *output) addThought(raw []byte) {
	t.size += len(raw)
	if len(raw) > 0 && len(t.thinkText) == 0 {
		t.thought, t.thinkText = true, raw
	}
}

func (p *openAI) fast(b []byte, e *Event) bool {
	s := scanner{b: b}
	var out output
	var seen uint32
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "choices":
			s.once(&seen, 1)
			if !s.null() {
				for more := s.firstElem(); more; more = s.nextElem() {
					out.choice(&s)
				}
			}
		case "usage":
			s.once(&seen, 2)
			scanUsage(&s, e)
		case "object":
			s.once(&seen, 4)
			if string(s.word()) == "error" { // rare: the slow way knows it
				s.bad = true
			}
		case "error", "timings", "message": // rare: the slow way knows them
			s.bad = s.bad || !s.null()
		default:
			s.skip()
		}
	}
	out.into(e, p.keepText)
	return s.done()
}

// choice reads one element of choices.
func (t *output) choice(s *scanner) {
	var seen uint32
	var text []byte
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "delta", "message": // never both
			s.once(&seen, 1)
			t.delta(s)
		case "text":
			s.once(&seen, 2)
			text = s.text()
		case "finish_reason":
			s.once(&seen, 4)
			t.finishReason(s)
		case "usage":
			s.bad = s.bad || !s.null()
		default:
			s.skip()
		}
	}
	t.addAnswer(text)
}

func (t *output) finishReason(s *scanner) {
	switch string(s.word()) {
	case "":
	case "error", "abort": // rare: the slow way knows them
		s.bad = true
	default:
		t.finish = true
	}
}

// delta reads a delta or message. Which text counts where several are there must
// not depend on their order in the payload.
func (t *output) delta(s *scanner) {
	if s.null() {
		return
	}
	var seen uint32
	var content, refusal, thought, alias []byte
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "content":
			s.once(&seen, 1)
			content = s.text()
		case "refusal":
			s.once(&seen, 2)
			refusal = s.text()
		case "reasoning_content":
			s.once(&seen, 4)
			thought = s.text()
		case "reasoning":
			s.once(&seen, 8)
			alias = s.text()
		case "tool_calls":
			s.once(&seen, 16)
			t.textless = s.hasElements() || t.textless
			t.answer = t.answer || t.textless
		case "function_call":
			s.bad = s.bad || !s.null()
		default:
			s.skip()
		}
	}
	t.addAnswer(content)
	t.addAnswer(refusal)
	t.addThought(thought)
	t.addThought(alias)
}

func scanUsage(s *scanner, e *Event) {
	if s.null() {
		return
	}
	var seen uint32
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "completion_tokens":
			s.once(&seen, 1)
			e.OutputTokens = s.count()
		case "prompt_tokens":
			s.once(&seen, 2)
			e.PromptTokens = s.count()
		case "prompt_tokens_details":
			s.once(&seen, 4)
			scanCached(s, e)
		case "completion_tokens_details":
			s.once(&seen, 8)
			scanHidden(s, e)
		case "prompt_cache_hit_tokens": // DeepSeek, once a request
			s.bad = s.bad || !s.null()
		default:
			s.skip()
		}
	}
}

func scanCached(s *scanner, e *Event) {
	if n, ok := scanMember(s, "cached_tokens"); ok {
		e.CachedTokens = n
	}
}

func scanHidden(s *scanner, e *Event) {
	if n, ok := scanMember(s, "reasoning_tokens"); ok {
		e.HiddenTokens = n
	}
}

// scanMember reads an object or null and returns one of its members that is a
// count; false where it is not there or null.
func scanMember(s *scanner, name string) (n int, ok bool) {
	if s.null() {
		return 0, false
	}
	var seen uint32
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		if string(key) != name {
			s.skip()
			continue
		}
		s.once(&seen, 1)
		if !s.null() {
			n, ok = s.count(), true
		}
	}
	return n, ok
}
