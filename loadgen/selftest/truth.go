package selftest

import (
	"sync"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// Truth is a protocol that reads answers as chat completions and, beside that,
// keeps what the null server says about when it sent each first token. It is also
// the source of the prompts that order those answers.
type Truth struct {
	api.Protocol
	Tokens int           // per stream
	TTFT   time.Duration // from request to first token
	Gap    time.Duration // between tokens

	mu   sync.Mutex
	sent map[int]int64 // wall clock in ns, by number of the prompt
}

// NewTruth returns the protocol for streams of tokens at that many per second.
func NewTruth(tokens int, perSecond float64) (*Truth, error) {
	chat, err := api.ByName("openai-chat")
	if err != nil {
		return nil, err
	}
	gap := time.Duration(float64(time.Second) / perSecond)
	return &Truth{Protocol: chat, Tokens: tokens, TTFT: gap, Gap: gap, sent: map[int]int64{}}, nil
}

// Request returns the prompt that orders stream i.
func (t *Truth) Request(i int) (prompt.Request, error) {
	o := order{n: i, tokens: t.Tokens, ttft: t.TTFT, gap: t.Gap}
	return prompt.Request{Text: o.prompt(), PromptTokens: 512, OutputTokens: t.Tokens}, nil
}

// NewDecoder returns the protocol's own decoder, which also looks for the truth.
func (t *Truth) NewDecoder(mediaType string, keepText bool) api.Decoder {
	return &truthDecoder{Decoder: t.Protocol.NewDecoder(mediaType, keepText), truth: t}
}

type truthDecoder struct {
	api.Decoder
	truth *Truth
	found bool
}

// Feed notes the truth of the first token, then decodes as usual.
func (d *truthDecoder) Feed(p []byte, emit func(*api.Event)) {
	if !d.found {
		if n, at, ok := parseTruth(p); ok {
			d.found = true
			d.truth.mu.Lock()
			d.truth.sent[n] = at
			d.truth.mu.Unlock()
		}
	}
	d.Decoder.Feed(p, emit)
}

// Errors returns, for every successful request of a run, how much later than the
// null server's stamp the client saw the first token. Negative is impossible but
// for the clocks' grain.
func (t *Truth) Errors(r loadgen.Run) []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []time.Duration
	for i := range r.Samples {
		s := &r.Samples[i]
		at, ok := t.sent[s.PromptIndex]
		if !ok || s.Class != loadgen.Success {
			continue
		}
		all = append(all, time.Duration(r.Started.Add(s.FirstOutput).UnixNano()-at))
	}
	return all
}
