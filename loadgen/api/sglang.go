package api

import (
	"bytes"

	"github.com/capfind/capfind/loadgen/prompt"
)

// sglang is SGLang's own POST /generate.
type sglang struct{}

func (sglang) Name() string { return "sglang" }
func (sglang) Path() string { return "/generate" }

func (sglang) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	text, err := flatText(r, history)
	if err != nil {
		return nil, err
	}
	sampling := fields{"max_new_tokens": r.OutputTokens}
	if o.Temperature != nil {
		sampling["temperature"] = *o.Temperature
	}
	if o.HoldOutputLength && !o.NoIgnoreEOS {
		sampling["ignore_eos"] = true
	}
	if o.HoldOutputLength && !o.NoMinTokens {
		sampling["min_new_tokens"] = r.OutputTokens
	}
	f := fields{"text": text, "sampling_params": sampling, "stream": !o.NoStream}
	if o.Model != "" {
		f["model"] = o.Model
	}
	return f.encode(b, o.Extra)
}

func (sglang) NewDecoder(mediaType string, keepText bool) Decoder {
	return newStream(&sglangPayloads{keepText: keepText}, mediaType, false)
}

// sglangPayloads reads {text, meta_info: {completion_tokens, prompt_tokens,
// cached_tokens, finish_reason}}. The text of each event repeats what came
// before, unless the server was started to send increments; which one it is
// shows in the text itself.
type sglangPayloads struct {
	keepText    bool
	increments  bool   // texts do not repeat what came before
	opening     []byte // the start of the first text, to recognise repetition
	escaped     int    // bytes of the longest text so far, escaped
	plainLength int    // and decoded; kept only with keepText
}

// openingLength is how much of the first text is compared.
const openingLength = 64

func (p *sglangPayloads) fast(b []byte, e *Event) bool {
	s := scanner{b: b}
	var seen uint32
	var text []byte
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "text":
			s.once(&seen, 1)
			text = s.text()
		case "meta_info":
			s.once(&seen, 2)
			p.scanMeta(&s, e)
		case "object", "error":
			s.bad = s.bad || !s.null()
		default:
			s.skip()
		}
	}
	if !s.done() {
		return false
	}
	p.output(text, e)
	return true
}

func (p *sglangPayloads) scanMeta(s *scanner, e *Event) {
	var seen uint32
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "completion_tokens":
			s.once(&seen, 1)
			e.OutputTokens = s.count()
		case "prompt_tokens":
			s.once(&seen, 2)
			e.PromptTokens = s.count()
		case "cached_tokens":
			s.once(&seen, 4)
			if !s.null() {
				e.CachedTokens = s.count()
			}
		case "finish_reason": // an object, once a request
			s.bad = s.bad || !s.null()
		default:
			s.skip()
		}
	}
}

func (p *sglangPayloads) slow(o object, e *Event) {
	meta := o.object("meta_info")
	e.OutputTokens = meta.count("completion_tokens")
	e.PromptTokens = meta.count("prompt_tokens")
	if meta.has("cached_tokens") {
		e.CachedTokens = meta.count("cached_tokens")
	}
	e.Finish = len(meta.raw("finish_reason")) > 0 || meta.object("finish_reason") != nil
	if reason := meta.object("finish_reason"); reason.text("type") == "abort" {
		e.Error = oneLine("the server aborted the request: " + reason.text("message"))
	}
	p.output(o.raw("text"), e)
}

// output fills in what is new in text, which is still escaped. Escaping is done
// byte by byte, so a text that repeats another does so escaped as well.
func (p *sglangPayloads) output(text []byte, e *Event) {
	if len(text) == 0 {
		return
	}
	if p.opening == nil {
		p.opening = bytes.Clone(text[:min(len(text), openingLength)])
	} else if len(text) < p.escaped || !bytes.HasPrefix(text, p.opening) {
		p.increments = true
	}
	e.Output = p.increments || len(text) > p.escaped
	e.Size = len(text)
	if !p.increments {
		e.Size = max(0, len(text)-p.escaped)
	}
	if e.Output && p.keepText {
		whole := unquote(text)
		e.Text = whole
		if !p.increments {
			e.Text = whole[min(p.plainLength, len(whole)):]
			p.plainLength = len(whole)
		}
	}
	p.escaped = max(p.escaped, len(text))
}
