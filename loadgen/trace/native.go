package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// native is our own format: one JSON object a line, with
//
//	time           when the request came: seconds from any moment, or RFC 3339
//	prompt         its text; or
//	messages       its chat messages, as OpenAI's API takes them; or
//	input_tokens   only its length
//	output_tokens  length of its answer; absent: as the workload says
//	session        name or number of its conversation; absent: none
//	blocks         with input_tokens: numbers or names of stretches of the prompt,
//	               in order; equal ones stand for equal text
//	block_tokens   length of a block; absent: 512
//
// Other keys are ignored.
type native struct{}

func (native) format() Format { return Native }

// nativeLine is a line as it is read and written.
type nativeLine struct {
	Time        json.RawMessage `json:"time"`
	Prompt      string          `json:"prompt,omitempty"`
	Messages    json.RawMessage `json:"messages,omitempty"`
	Input       *float64        `json:"input_tokens,omitempty"`
	Output      *float64        `json:"output_tokens,omitempty"`
	Session     number          `json:"session,omitempty"`
	Blocks      []number        `json:"blocks,omitempty"`
	BlockTokens float64         `json:"block_tokens,omitempty"`
}

func (native) parse(line []byte) (Request, error) {
	in := nativeLine{BlockTokens: mooncakeBlock}
	if err := json.Unmarshal(line, &in); err != nil {
		return Request{}, plainError(err)
	}
	at, err := moment(in.Time)
	if err != nil {
		return Request{}, err
	}
	q := Request{At: at, Session: uint64(in.Session), Text: in.Prompt}
	if q.BlockTokens, err = length("block_tokens", in.BlockTokens); err != nil || q.BlockTokens == 0 {
		return Request{}, errors.New("block_tokens must be a number of tokens above 0")
	}
	if m := bytes.TrimSpace(in.Messages); len(m) > 0 && m[0] != 'n' {
		if err := checkMessages(m); err != nil {
			return Request{}, err
		}
		q.Messages = m
	}
	output := 0.0
	if in.Output != nil {
		if output = *in.Output; output == 0 {
			return Request{}, errLeftOut
		}
	}
	if q.OutputTokens, err = length("output_tokens", output); err != nil {
		return Request{}, err
	}
	if in.Input == nil {
		if q.Text == "" && q.Messages == nil {
			return Request{}, errors.New("none of prompt, messages and input_tokens")
		}
		return q, nil
	}
	if q.InputTokens, err = length("input_tokens", *in.Input); err != nil {
		return Request{}, err
	}
	if q.InputTokens == 0 {
		return Request{}, errLeftOut
	}
	q.Blocks = numbers(in.Blocks)
	return q, nil
}

// moment reads a time: seconds, or RFC 3339.
func moment(raw json.RawMessage) (time.Duration, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return 0, errors.New("time " + strconv.Quote(text) + " is neither seconds nor RFC 3339")
		}
		return sinceEpoch(t)
	}
	var s *float64
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return 0, errors.New("time is neither seconds nor RFC 3339")
	}
	return seconds(*s)
}

// sinceEpoch is a moment as a duration.
func sinceEpoch(t time.Time) (time.Duration, error) {
	whole, err := seconds(float64(t.Unix()))
	return whole + time.Duration(t.Nanosecond()), err
}

// checkMessages checks that messages is a list of objects with a role.
func checkMessages(messages []byte) error {
	var list []struct{ Role string }
	if err := json.Unmarshal(messages, &list); err != nil {
		return errors.New("messages is not a list of {role, content}")
	}
	for _, m := range list {
		if m.Role == "" {
			return errors.New("a message without a role")
		}
	}
	if len(list) == 0 {
		return errors.New("messages is empty")
	}
	return nil
}
