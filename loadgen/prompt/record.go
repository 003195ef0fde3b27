package prompt

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// record is what one entry of a data set asks for.
type record struct {
	text         string
	messages     json.RawMessage
	outputTokens int      // 0 where the entry does not say
	later        []answer // later turns of a conversation
}

// answer is a later question and the length of its answer.
type answer struct {
	text         string
	outputTokens int
}

// errLeftOut says that an entry is well formed but of no use as a request.
var errLeftOut = errors.New("left out")

// estimateTokens is a rule of thumb for texts that are not made here: four bytes
// of ASCII a token, other characters a token each.
func estimateTokens(text string) int {
	runes := utf8.RuneCountInString(text)
	ascii := 0
	for i := range len(text) {
		if text[i] < utf8.RuneSelf {
			ascii++
		}
	}
	return (ascii+3)/4 + runes - ascii
}

// The limits of vLLM's ShareGPT data set, in tokens; estimated here.
const (
	shareGPTMin       = 4
	shareGPTMaxPrompt = 1024
	shareGPTMaxTotal  = 2048
)

// shareGPTTurn is one turn, under the names of ShareGPT or of its descendants.
type shareGPTTurn struct {
	From    string `json:"from"`
	Role    string `json:"role"`
	Value   string `json:"value"`
	Content string `json:"content"`
}

// parseShareGPT reads {"conversations": [{"from", "value"}, ...]}: the first
// question of a person is the prompt, the answer to it gives the output length.
// What vLLM leaves out (fewer than two turns, too short, too long) is left out
// here as well.
func parseShareGPT(raw []byte, c Config) (record, error) {
	var in struct {
		Conversations []shareGPTTurn `json:"conversations"`
		Messages      []shareGPTTurn `json:"messages"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return record{}, plainError(err)
	}
	var pairs []answer
	question, open := "", false
	for _, m := range append(in.Conversations, in.Messages...) {
		text := m.Value + m.Content
		switch strings.ToLower(m.From + m.Role) {
		case "human", "user":
			question, open = text, true
		case "gpt", "assistant", "chatgpt", "bing", "bard", "model":
			if open {
				pairs = append(pairs, answer{question, max(1, estimateTokens(text))})
			}
			open = false
		}
	}
	if len(pairs) == 0 {
		return record{}, errLeftOut
	}
	first := pairs[0]
	tokens := estimateTokens(first.text)
	if tokens < shareGPTMin || tokens > shareGPTMaxPrompt {
		return record{}, errLeftOut
	}
	// A length that the config sets does not depend on the recorded answer.
	if c.OutputLen == 0 && (first.outputTokens < shareGPTMin || tokens+first.outputTokens > shareGPTMaxTotal) {
		return record{}, errLeftOut
	}
	r := record{text: first.text, outputTokens: first.outputTokens}
	if c.Turns > 1 {
		r.later = pairs[1:min(len(pairs), c.Turns)]
	}
	return r, nil
}

// jsonlRecord is a line of a JSONL data set: our own form, vLLM's custom form
// (prompt, output_tokens), or a line of OpenAI's batch format (body).
type jsonlRecord struct {
	Prompt              json.RawMessage `json:"prompt"`
	Messages            json.RawMessage `json:"messages"`
	OutputLen           *int            `json:"output_len"`
	OutputTokens        *int            `json:"output_tokens"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	Body                *jsonlRecord    `json:"body"`
}

// parseJSONL reads one line.
func parseJSONL(raw []byte) (record, error) {
	var in jsonlRecord
	if err := json.Unmarshal(raw, &in); err != nil {
		return record{}, plainError(err)
	}
	if in.Body != nil {
		in = *in.Body
	}
	var r record
	for _, n := range []*int{in.OutputLen, in.OutputTokens, in.MaxTokens, in.MaxCompletionTokens} {
		if n == nil {
			continue
		}
		if *n < 1 || *n > maxLength {
			return record{}, errors.New("an output length that is not between 1 and 10000000 tokens")
		}
		r.outputTokens = *n
		break
	}
	if messages := bytes.TrimSpace(in.Messages); len(messages) > 0 && messages[0] != 'n' {
		return r, r.readMessages(messages)
	}
	if len(in.Prompt) == 0 {
		return record{}, errors.New(`neither "prompt" nor "messages"`)
	}
	if json.Unmarshal(in.Prompt, &r.text) != nil {
		return record{}, errors.New(`"prompt" is not a text`)
	}
	if r.text == "" {
		return record{}, errors.New(`"prompt" is empty`)
	}
	return r, nil
}

// readMessages checks that messages is a list of objects with a role.
func (r *record) readMessages(messages []byte) error {
	var list []struct{ Role string }
	if err := json.Unmarshal(messages, &list); err != nil {
		return errors.New(`"messages" is not a list of {role, content}`)
	}
	if len(list) == 0 {
		return errors.New(`"messages" is empty`)
	}
	for _, m := range list {
		if m.Role == "" {
			return errors.New(`a message without a "role"`)
		}
	}
	// They are sent as they are, and what is no UTF-8 would be no JSON.
	r.messages = bytes.ToValidUTF8(messages, []byte("\uFFFD"))
	return nil
}

// plainError words an error of encoding/json without the names of our types.
func plainError(err error) error {
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		if wrong.Field == "" {
			return errors.New("a JSON object is wanted, not a " + wrong.Value)
		}
		return errors.New(wrong.Field + " cannot be a " + wrong.Value)
	}
	return errors.New("not JSON: " + err.Error())
}

// markMessages puts open in front of the text of the first message that has
// one, and changes nothing else.
func markMessages(messages json.RawMessage, open string) json.RawMessage {
	at := contentOffset(messages)
	if at < 0 {
		return messages
	}
	quoted, _ := json.Marshal(open) // a string can always be encoded
	var insert []byte
	switch messages[at] {
	case '"':
		insert = quoted[1 : len(quoted)-1]
	case '[':
		insert = append(append([]byte(`{"type":"text","text":`), quoted...), '}')
		if rest := bytes.TrimSpace(messages[at+1:]); len(rest) > 0 && rest[0] != ']' {
			insert = append(insert, ',')
		}
	default:
		return messages
	}
	marked := make(json.RawMessage, 0, len(messages)+len(insert))
	marked = append(marked, messages[:at+1]...)
	marked = append(marked, insert...)
	return append(marked, messages[at+1:]...)
}

// contentOffset returns where the value of the first "content" key of the first
// messages begins; -1 where there is none.
func contentOffset(messages []byte) int {
	decoder := json.NewDecoder(bytes.NewReader(messages))
	depth, wantKey := 0, false
	for {
		token, err := decoder.Token()
		if err != nil {
			return -1
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			wantKey = token == json.Delim('{')
			continue
		case json.Delim(']'), json.Delim('}'):
			depth--
			wantKey = depth == 2
			continue
		}
		if depth == 2 && wantKey && token == "content" {
			rest := messages[decoder.InputOffset():]
			value := bytes.TrimLeft(rest, ": \t\r\n")
			return len(messages) - len(value)
		}
		// Keys and values take turns in a message.
		wantKey = depth == 2 && !wantKey
	}
}
