package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// reply is the model's answer to one request.
type reply struct {
	*response // body holds the text of an error only

	outputs      int // events that carried output
	tokens       api.TokenCount
	promptTokens int
	first, last  time.Duration // arrival of the first and last output, from sent
	plain        bool
	finished     bool   // a finish reason came
	ended        bool   // the end mark came
	torn         bool   // the connection broke off after the finish reason, so that the answer was whole
	problem      string // an error inside the stream, or what could not be decoded
}

// ask sends one request to the model and reads the answer to its end mark, within
// the time-outs of the load. An error means that there was no whole answer; a
// refusal is a reply with a status.
func (s *server) ask(ctx context.Context, p api.Protocol, o api.Options, r prompt.Request) (*reply, error) {
	body, err := p.AppendBody(nil, r, nil, o)
	if err != nil {
		return nil, err
	}
	b := within(ctx, s.target.Timeouts, o.NoStream)
	defer b.end()
	defer s.waiting(func() string { return b.awaited(s.asking, o.NoStream) })()
	sent := time.Now()
	head, resp, err := s.start(b, http.MethodPost, api.PathFor(p, o.NoStream), body)
	if err == nil {
		defer resp.Body.Close()
		a := &reply{response: head}
		if err = a.readAll(resp.Body, p, r.OutputTokens, sent, b); err == nil {
			s.heard = true
			return a, nil
		}
		err = s.broken(a, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if l := b.overrun(); l != nil {
		return nil, &Error{Kind: ErrTimeout, Method: head.method, URL: head.url, Text: l.text, Advice: l.advice}
	}
	return nil, err
}

// readAll reads the body: as an answer of the protocol where the status is 200,
// else as the text of an error. What happens after the finish mark takes nothing
// from the answer, here as under load.
func (a *reply) readAll(body io.Reader, p api.Protocol, want int, sent time.Time, b *bounds) error {
	if a.status != http.StatusOK {
		var err error
		a.body, err = io.ReadAll(io.LimitReader(body, answerMost))
		return err
	}
	decoder := p.NewDecoder(mediaType(a.header), false)
	var tokens api.Tokens
	now := time.Duration(0)
	emit := func(e *api.Event) {
		if e.Output {
			if a.outputs++; a.outputs == 1 {
				a.first = now
			}
			a.last = now
		}
		tokens.Add(e)
		a.promptTokens = max(a.promptTokens, e.PromptTokens)
		a.plain = a.plain || e.Plain
		a.finished = a.finished || e.Finish
		a.ended = a.ended || e.End
		if a.problem == "" {
			a.problem = e.Error + e.Malformed
		}
	}
	buffer := make([]byte, 32<<10)
	var err error
	for !a.ended && err == nil {
		var n int
		n, err = body.Read(buffer)
		now = time.Since(sent)
		decoder.Feed(buffer[:n], emit)
		if errors.Is(err, io.EOF) {
			decoder.Close(emit)
		}
		b.heard(a.outputs, a.finished)
	}
	a.tokens = tokens.Count(want)
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case a.finished:
		a.torn = errors.Is(err, io.ErrUnexpectedEOF)
		return nil
	}
	return err
}

// broken words the end of an answer that broke off before its finish mark.
func (s *server) broken(a *reply, err error) error {
	e := s.unreachable(a.response, err).(*Error)
	if hungUp(err) {
		e.Kind = ErrCut
		e.Text = fmt.Sprintf("%s after %d output events, without a finish mark", e.Text, a.outputs)
		e.Advice = cutAdvice
	}
	return e
}
