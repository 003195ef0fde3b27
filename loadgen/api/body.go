package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/capfind/capfind/loadgen/prompt"
)

// fields is a request body in the making.
type fields map[string]any

// appender writes itself as JSON after b, so that a prompt is copied once on its way
// into a body.
type appender interface {
	append(b []byte) ([]byte, error)
}

// encode merges extra into f and appends the JSON text to b, keys in order. Objects
// merge member by member, so that extra_body can add one sampling parameter; a
// null removes the field.
func (f fields) encode(b []byte, extra map[string]any) ([]byte, error) {
	f.merge(extra)
	return f.append(b)
}

func (f fields) merge(extra map[string]any) {
	for key, value := range extra {
		inner, isObject := value.(map[string]any)
		own, both := f[key].(fields)
		switch {
		case value == nil:
			delete(f, key)
		case isObject && both:
			own.merge(inner)
		default:
			f[key] = value
		}
	}
}

// append implements appender.
func (f fields) append(b []byte) ([]byte, error) {
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(f)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, key), ':')
		switch v := f[key].(type) {
		case appender:
			var err error
			if b, err = v.append(b); err != nil {
				return nil, err
			}
		case string:
			b = appendJSON(b, v)
		default:
			text, err := json.Marshal(v)
			if err != nil {
				return nil, fmt.Errorf("body field %q cannot be written as JSON: %w", key, err)
			}
			b = append(b, text...)
		}
	}
	return append(b, '}'), nil
}

// appendJSON writes s as a JSON string, without the HTML escapes. What is no UTF-8
// becomes U+FFFD; the error that says so does not matter.
func appendJSON(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(slices.Grow(b, len(s)+2), s)
	return b
}

// chat is the messages of a chat request: the conversation so far, then the dataset's
// own messages or the prompt as the user's.
type chat struct {
	r       prompt.Request
	history []Message
}

// append implements appender. Ready-made messages are copied as they are:
// encoding/json would check the megabytes of an image again for every request.
func (c chat) append(b []byte) ([]byte, error) {
	b = appendHistory(append(b, '['), c.history)
	if c.r.Messages == nil {
		return append(appendMessage(b, Message{Role: "user", Content: c.r.Text}), ']'), nil
	}
	own := bytes.TrimSpace(c.r.Messages)
	if len(own) < 2 || own[0] != '[' {
		return nil, errors.New("the messages of the dataset are not a list")
	}
	return append(b, own[1:]...), nil
}

// appendHistory writes the earlier messages of a list that goes on.
func appendHistory(b []byte, history []Message) []byte {
	for _, m := range history {
		b = append(appendMessage(b, m), ',')
	}
	return b
}

func appendMessage(b []byte, m Message) []byte {
	b = appendJSON(append(b, `{"role":`...), m.Role)
	b = appendJSON(append(b, `,"content":`...), m.Content)
	return append(b, '}')
}

// flatText returns the prompt for a protocol that takes text: the conversation
// so far and the new prompt, one paragraph each.
func flatText(r prompt.Request, history []Message) (string, error) {
	if r.Messages == nil && len(history) == 0 {
		return r.Text, nil
	}
	var parts []string
	for _, m := range history {
		parts = append(parts, m.Content)
	}
	if r.Messages == nil {
		return strings.Join(append(parts, r.Text), "\n\n"), nil
	}
	messages, err := parseMessages(r.Messages)
	if err != nil {
		return "", err
	}
	for _, m := range messages {
		if len(m.images) > 0 {
			return "", errors.New("the dataset's messages hold images, which this api cannot send: use openai-chat or ollama")
		}
		parts = append(parts, m.Content)
	}
	return strings.Join(parts, "\n\n"), nil
}

// plainMessage is a message with its text and its images apart.
type plainMessage struct {
	Message
	images []string // base64, without the data: prefix
}

// parseMessages reads OpenAI's messages, whose content is a text or a list of
// parts.
func parseMessages(raw json.RawMessage) ([]plainMessage, error) {
	var in []struct {
		Role    string
		Content json.RawMessage
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("the messages of the dataset are not a list of {role, content}: %w", err)
	}
	out := make([]plainMessage, len(in))
	for i, m := range in {
		out[i].Role = m.Role
		if json.Unmarshal(m.Content, &out[i].Content) == nil {
			continue
		}
		if err := out[i].readParts(m.Content); err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
	}
	return out, nil
}

func (m *plainMessage) readParts(content json.RawMessage) error {
	var parts []struct {
		Type     string
		Text     string
		ImageURL struct{ URL string } `json:"image_url"`
	}
	if err := json.Unmarshal(content, &parts); err != nil {
		return fmt.Errorf("content is neither text nor a list of parts: %w", err)
	}
	var texts []string
	for _, part := range parts {
		switch part.Type {
		case "text":
			texts = append(texts, part.Text)
		case "image_url":
			_, data, ok := strings.Cut(part.ImageURL.URL, ";base64,")
			if !ok {
				return errors.New("an image that is not a base64 data URL")
			}
			m.images = append(m.images, data)
		default:
			return fmt.Errorf("a part of type %q, which this api cannot send", part.Type)
		}
	}
	m.Content = strings.Join(texts, "\n")
	return nil
}
