package api

import (
	"github.com/capfind/capfind/loadgen/prompt"
)

// ollama is Ollama's own POST /api/chat. Its answers come as one JSON object a
// line.
type ollama struct{}

func (ollama) Name() string { return "ollama" }
func (ollama) Path() string { return "/api/chat" }

func (ollama) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	// There is no way to make it go on after the end-of-sequence token.
	options := fields{"num_predict": r.OutputTokens}
	if o.Temperature != nil {
		options["temperature"] = *o.Temperature
	}
	f := fields{"messages": ollamaChat{r, history}, "stream": !o.NoStream, "options": options}
	if o.Model != "" {
		f["model"] = o.Model
	}
	return f.encode(b, o.Extra)
}

// ollamaChat is the messages in Ollama's form: images stand beside the text and not
// within it.
type ollamaChat chat

func (c ollamaChat) append(b []byte) ([]byte, error) {
	if c.r.Messages == nil {
		return chat(c).append(b)
	}
	messages, err := parseMessages(c.r.Messages)
	if err != nil {
		return nil, err
	}
	b = appendHistory(append(b, '['), c.history)
	for i, m := range messages {
		if i > 0 {
			b = append(b, ',')
		}
		f := fields{"role": m.Role, "content": m.Content}
		if len(m.images) > 0 {
			f["images"] = m.images
		}
		if b, err = f.append(b); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func (ollama) NewDecoder(mediaType string, keepText bool) Decoder {
	return newStream(&ollamaPayloads{keepText: keepText}, mediaType, true)
}

// ollamaPayloads reads the lines of /api/chat (message.content and .thinking)
// and of /api/generate (response and thinking).
type ollamaPayloads struct{ keepText bool }

func (p *ollamaPayloads) fast(b []byte, e *Event) bool {
	s := scanner{b: b}
	var out output
	var seen uint32
	var response, thinking []byte
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "message":
			s.once(&seen, 1)
			out.ollamaMessage(&s)
		case "response":
			s.once(&seen, 2)
			response = s.text()
		case "thinking":
			s.once(&seen, 4)
			thinking = s.text()
		case "done": // true comes once a request, with the counts
			s.once(&seen, 8)
			s.bad = s.bad || s.peek() != 'f'
			s.skip()
		case "error":
			s.bad = s.bad || !s.null()
		case "eval_count":
			s.once(&seen, 16)
			e.OutputTokens = s.count()
		case "prompt_eval_count":
			s.once(&seen, 32)
			e.PromptTokens = s.count()
		default:
			s.skip()
		}
	}
	out.addAnswer(response)
	out.addThought(thinking)
	out.into(e, p.keepText)
	return s.done()
}

func (t *output) ollamaMessage(s *scanner) {
	var seen uint32
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "content":
			s.once(&seen, 1)
			t.addAnswer(s.text())
		case "thinking":
			s.once(&seen, 2)
			t.addThought(s.text())
		case "tool_calls":
			s.once(&seen, 4)
			t.textless = s.hasElements() || t.textless
			t.answer = t.answer || t.textless
		default:
			s.skip()
		}
	}
}

func (p *ollamaPayloads) slow(o object, e *Event) {
	var out output
	message := o.object("message")
	out.addAnswer(message.raw("content"))
	out.addAnswer(o.raw("response"))
	out.addThought(message.raw("thinking"))
	out.addThought(o.raw("thinking"))
	out.textless = message.hasElements("tool_calls")
	out.answer = out.answer || out.textless
	out.finish = o.truth("done")
	out.into(e, p.keepText)
	e.End = o.truth("done")
	e.OutputTokens = o.count("eval_count")
	e.PromptTokens = o.count("prompt_eval_count")
}
