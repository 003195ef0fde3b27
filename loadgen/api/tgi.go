package api

import "github.com/capfind/capfind/loadgen/prompt"

// tgi is text-generation-inference's POST /generate_stream.
type tgi struct{}

func (tgi) Name() string { return "tgi" }
func (tgi) Path() string { return "/generate_stream" }

// PlainPath implements PlainPather: /generate_stream always streams.
func (tgi) PlainPath() string { return "/generate" }

func (tgi) AppendBody(b []byte, r prompt.Request, history []Message, o Options) ([]byte, error) {
	text, err := flatText(r, history)
	if err != nil {
		return nil, err
	}
	// There is no way to make it go on after the end-of-sequence token, and it
	// refuses a temperature of 0: greedy is do_sample false.
	parameters := fields{"max_new_tokens": r.OutputTokens, "details": true, "do_sample": false}
	if o.Temperature != nil && *o.Temperature > 0 {
		parameters["temperature"] = *o.Temperature
		parameters["do_sample"] = true
	}
	return fields{"inputs": text, "parameters": parameters}.encode(b, o.Extra)
}

func (tgi) NewDecoder(mediaType string, keepText bool) Decoder {
	return newStream(&tgiPayloads{keepText: keepText}, mediaType, false)
}

// tgiPayloads reads {token: {text, special}, generated_text, details}. A plain
// answer has no token.
type tgiPayloads struct{ keepText bool }

func (p *tgiPayloads) fast(b []byte, e *Event) bool {
	s := scanner{b: b}
	var seen, seenToken uint32
	var text []byte
	special := false
	for key := s.firstKey(); key != nil; key = s.nextKey() {
		switch string(key) {
		case "token":
			s.once(&seen, 1)
			for key := s.firstKey(); key != nil; key = s.nextKey() {
				switch string(key) {
				case "text":
					s.once(&seenToken, 1)
					text = s.text()
				case "special":
					s.once(&seenToken, 2)
					special = s.peek() == 't'
					s.skip()
				default:
					s.skip()
				}
			}
		case "generated_text", "details", "error": // the last event: once a request
			s.bad = s.bad || !s.null()
		default:
			s.skip()
		}
	}
	p.output(text, special, e)
	return s.done()
}

func (p *tgiPayloads) slow(o object, e *Event) {
	token, details := o.object("token"), o.object("details")
	text := token.raw("text")
	if token == nil { // a plain answer
		text = o.raw("generated_text")
	}
	p.output(text, token.truth("special"), e)
	e.OutputTokens = details.count("generated_tokens")
	e.PromptTokens = details.count("input_length")
	e.End = o.has("generated_text")
	e.Finish = e.End || details.has("finish_reason")
}

// output fills in the text of a token. A special token, such as the end of the
// sequence, is counted by the server but shown to nobody.
func (p *tgiPayloads) output(text []byte, special bool, e *Event) {
	e.Output = len(text) > 0 && !special
	e.Size = len(text)
	if e.Output && p.keepText {
		e.Text = unquote(text)
	}
}
