package probe

import (
	"context"
	"errors"
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
	outputTokens int // the server's count; 0 where it gave none
	promptTokens int
	first, last  time.Duration // arrival of the first and last output, from sent
	plain        bool
	proper       bool   // ended with a finish reason or the end mark
	problem      string // an error inside the stream, or what could not be decoded
}

// ask sends one request to the model and reads the answer to its end mark. An
// error means that there was no answer; a refusal is a reply with a status.
func (s *server) ask(ctx context.Context, p api.Protocol, o api.Options, r prompt.Request) (*reply, error) {
	body, err := p.Body(r, nil, o)
	if err != nil {
		return nil, err
	}
	bounded := ctx
	if total := s.target.Timeouts.Total; total > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, total)
		defer cancel()
	}
	sent := time.Now()
	head, resp, err := s.start(bounded, http.MethodPost, api.PathFor(p, o.NoStream), body)
	if err == nil {
		defer resp.Body.Close()
		a := &reply{response: head}
		if err = a.readAll(resp.Body, p, sent); err == nil {
			return a, nil
		}
		err = s.unreachable(head, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, err
}

// readAll reads the body: as an answer of the protocol where the status is 200,
// else as the text of an error.
func (a *reply) readAll(body io.Reader, p api.Protocol, sent time.Time) error {
	if a.status != http.StatusOK {
		var err error
		a.body, err = io.ReadAll(io.LimitReader(body, answerMost))
		return err
	}
	decoder := p.NewDecoder(mediaType(a.header), false)
	now, ended := time.Duration(0), false
	emit := func(e *api.Event) {
		if e.Output {
			if a.outputs++; a.outputs == 1 {
				a.first = now
			}
			a.last = now
		}
		a.outputTokens = max(a.outputTokens, e.OutputTokens)
		a.promptTokens = max(a.promptTokens, e.PromptTokens)
		a.plain = a.plain || e.Plain
		a.proper = a.proper || e.Finish || e.End
		if a.problem == "" {
			a.problem = e.Error + e.Malformed
		}
		ended = ended || e.End
	}
	buffer := make([]byte, 32<<10)
	for !ended {
		n, err := body.Read(buffer)
		now = time.Since(sent)
		decoder.Feed(buffer[:n], emit)
		if errors.Is(err, io.EOF) {
			decoder.Close(emit)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// counted returns the number of output tokens: the server's count, or else the
// number of output events.
func (a *reply) counted() int {
	if a.outputTokens > 0 {
		return a.outputTokens
	}
	return a.outputs
}
