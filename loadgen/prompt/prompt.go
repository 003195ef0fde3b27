// Package prompt is where prompts come from: random lengths, ShareGPT, JSONL, a
// shared prefix, conversations. A Source's Request is a pure function of seed
// and number, so that a run can be repeated and resumed.
package prompt

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Request is what to ask the model once; it knows nothing of any protocol.
type Request struct {
	Text         string          // the prompt, for a protocol that takes text
	Others       []string        // further texts of the same request: inputs of an embedding, documents of a ranking
	Messages     json.RawMessage // chat messages as they came with the dataset; nil otherwise
	PromptTokens int             // length asked for, in tokens; 0 where the dataset does not say
	OutputTokens int             // output length asked for, in tokens; at least 1
	Turns        []Turn          // further turns of the same conversation; nil for a single request
	Entry        int             // number of the data set's entry that it was made of, for Drop
}

// Turn is a later turn of a conversation.
type Turn struct {
	Text         string
	OutputTokens int
	Think        time.Duration // pause before it is sent
}

// Source gives requests by number. Request is safe for concurrent use and gives
// the same request for the same number. An error means that the dataset cannot
// give this request (a file that went away, say); it ends the run.
type Source interface {
	Request(i int) (Request, error)
}

// New returns the source that c describes. size turns tokens into words where
// prompts are generated; its zero value is one token a word. notes tell what a
// person should know of the data set, such as lines that were skipped. A source
// that reads a file is also an io.Closer.
//
// Reading a large data set takes a while: it is checked to its end, so that no
// bad line comes up in the middle of a measurement.
func New(ctx context.Context, c Config, size Sizer) (s Source, notes []string, err error) {
	return NewWatched(ctx, c, size, nil)
}

// NewWatched is New for who wants to see how far the reading of a file has come:
// watch hears now and then how many of its bytes were read. It may be nil.
func NewWatched(ctx context.Context, c Config, size Sizer, watch func(read, total int64)) (s Source, notes []string, err error) {
	if problems := c.Validate(); len(problems) > 0 {
		var all []error
		for _, p := range problems {
			all = append(all, errors.New("workload."+p.Key+": "+p.Text))
		}
		return nil, nil, errors.Join(all...)
	}
	if c.Dataset == Trace {
		return nil, nil, errors.New("workload.dataset: recorded traffic is sent by capfind replay: give the trace to it, or choose another data set")
	}
	if c.Generated() {
		return newGenerated(c, size), nil, nil
	}
	return openDataset(ctx, c, watch)
}
