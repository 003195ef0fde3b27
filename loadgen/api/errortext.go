package api

import (
	"bytes"
	"encoding/json"
	"strings"
)

// ErrorText returns the message of an error body in any of the forms that these
// servers send: {"error": {"message": ...}}, {"error": "..."}, {"message": ...},
// {"detail": ...}, or the text itself. It is one line and of bounded length;
// empty where the body is.
func ErrorText(body []byte) string {
	body = bytes.TrimSpace(body)
	if o, problem := parseObject(body); problem == "" {
		if message := o.errorMessage(); message != "" {
			return message
		}
		if message := messageOf(body); message != "" {
			return oneLine(message)
		}
	}
	return oneLine(string(body[:min(len(body), 4096)]))
}

// errorMessage returns the message of an object that is an error; empty where it
// is none.
func (o object) errorMessage() string {
	if e := bytes.TrimSpace(o["error"]); len(e) > 0 {
		switch string(e) {
		case "null", "false", `""`:
		default:
			if message := messageOf(e); message != "" {
				return oneLine(message)
			}
			return oneLine(string(e[:min(len(e), 4096)]))
		}
	}
	if o.text("object") == "error" {
		if message := o.text("message"); message != "" {
			return oneLine(message)
		}
		return "an error object without a message"
	}
	return ""
}

// messageOf finds the words for a person in an error value of any shape.
func messageOf(b []byte) string {
	var s string
	if json.Unmarshal(b, &s) == nil {
		return strings.TrimSpace(s)
	}
	var list []json.RawMessage
	if json.Unmarshal(b, &list) == nil { // FastAPI: [{loc, msg, input}]
		var all []string
		for _, item := range list {
			all = append(all, validationMessage(item))
		}
		return strings.Join(all, "; ")
	}
	var o object
	if json.Unmarshal(b, &o) != nil {
		return ""
	}
	for _, key := range []string{"message", "msg", "detail", "error", "errors", "description", "type", "code"} {
		if message := messageOf(o[key]); message != "" {
			return message
		}
	}
	return ""
}

// validationMessage returns "body.max_tokens: Extra inputs are not permitted" of
// one entry of a validation error.
func validationMessage(b []byte) string {
	var entry struct {
		Loc []any
		Msg string
	}
	if json.Unmarshal(b, &entry) != nil || entry.Msg == "" {
		return messageOf(b)
	}
	var path []string
	for _, part := range entry.Loc {
		if s, ok := part.(string); ok {
			path = append(path, s)
		}
	}
	if len(path) == 0 {
		return entry.Msg
	}
	return strings.Join(path, ".") + ": " + entry.Msg
}

// oneLine puts s on one line of bounded length.
func oneLine(s string) string {
	const most = 500
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
