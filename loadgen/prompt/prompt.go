// Package prompt is where prompts come from: random lengths, ShareGPT, JSONL, a
// shared prefix, conversations. A Source's Request is a pure function of seed
// and number, so that a run can be repeated and resumed.
package prompt

import (
	"encoding/json"
	"time"
)

// Request is what to ask the model once; it knows nothing of any protocol.
type Request struct {
	Text         string          // the prompt, for a protocol that takes text
	Messages     json.RawMessage // chat messages as they came with the dataset; nil otherwise
	PromptTokens int             // length asked for, in tokens; 0 where the dataset does not say
	OutputTokens int             // output length asked for, in tokens; at least 1
	Turns        []Turn          // further turns of the same conversation; nil for a single request
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
