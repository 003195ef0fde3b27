package trace

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The names under which JSON access logs tell things, the better known first. Every
// one is looked for at the top and in the objects below it.
var (
	startNames   = []string{"start_time", "startTime", "request_start", "arrival_time"}
	endNames     = []string{"time_iso8601", "time", "timestamp", "@timestamp", "ts", "msec", "time_local", "datetime", "created"}
	elapsedNames = []string{"request_time"}                                                // seconds, as nginx writes it
	millisNames  = []string{"duration_ms", "latency_ms", "request_time_ms", "elapsed_ms"}  // milliseconds
	inputNames   = []string{"prompt_tokens", "input_tokens", "input_length", "prompt_len"} // tokens
	outputNames  = []string{"completion_tokens", "output_tokens", "generated_tokens", "output_length"}
	bytesNames   = []string{"request_length"} // bytes of request line, header and body
	sessionNames = []string{"session_id", "conversation_id", "session", "thread_id"}
	statusNames  = []string{"status", "status_code", "response_code"}
	pathNames    = []string{"uri", "request_uri", "path", "url", "request"}
	bodyNames    = []string{"request_body", "body"}
)

// deepest is how far down an access log's objects are searched.
const deepest = 3

// record is a line of a JSON log, its objects searched from the top down.
type record map[string]json.RawMessage

// find returns the first of the names that has a value.
func (r record) find(names []string) json.RawMessage {
	level := []record{r}
	for range deepest {
		var below []record
		for _, name := range names {
			for _, here := range level {
				if v := here[name]; len(v) > 0 && string(v) != "null" && v[0] != '{' {
					return v
				}
			}
		}
		for _, here := range level {
			for _, name := range slices.Sorted(maps.Keys(here)) {
				v := here[name]
				var inner record
				if len(v) > 0 && v[0] == '{' && json.Unmarshal(v, &inner) == nil {
					below = append(below, inner)
				}
			}
		}
		level = below
	}
	return nil
}

// text is a value as text, whether or not it stands in quotes.
func (r record) text(names []string) string {
	v := r.find(names)
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

// amount is a value as a number, whether or not it stands in quotes.
func (r record) amount(names []string) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSpace(r.text(names)), 64)
	return v, err == nil && !math.IsNaN(v)
}

// count is a number of tokens; 0 where there is none that can be believed.
func (r record) count(names []string) int {
	v, ok := r.amount(names)
	if n, err := length("", v); ok && err == nil {
		return n
	}
	return 0
}

// jsonLine takes in a line of a JSON access log, and reports whether it is JSON.
func (l *logger) jsonLine(text []byte) bool {
	var r record
	if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '{' || json.Unmarshal(text, &r) != nil {
		return false
	}
	at, ok := r.arrival()
	if message := r.text([]string{"message", "msg"}); ok && message != "" && l.vllmLine([]byte(message), &at) {
		return true
	}
	if path := r.text(pathNames); path != "" && !asksModel(path) {
		l.other("requests that ask no model")
		return true
	}
	q := &logged{at: at, input: r.count(inputNames), output: r.count(outputNames)}
	if status, ok := r.amount(statusNames); ok && status >= 400 {
		q.failed = true
	}
	if !ok {
		l.other("no time")
		return true
	}
	if name := r.text(sessionNames); name != "" {
		q.session = l.number("session", []byte(name))
	}
	if !q.failed {
		l.textOf(q, r.prompt())
	}
	if n := r.count(bytesNames); q.input == 0 && n > 0 {
		q.input = max(1, n/bytesPerToken)
		l.r.Estimated++
	}
	if q.input == 0 && !q.failed {
		l.other("no length")
		return true
	}
	l.all = append(l.all, q)
	return true
}

// asksModel reports whether a path is one that makes a model work.
func asksModel(path string) bool {
	for _, part := range []string{"completion", "generate", "chat", "responses", "messages", "embed", "rerank", "score"} {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// prompt is the text that was asked, from the log itself or from a logged body.
func (r record) prompt() []byte {
	for _, in := range []record{r, r.body()} {
		if text := in.text([]string{"prompt"}); text != "" {
			return []byte(text)
		}
		if messages := in.find([]string{"messages"}); messages != nil {
			return messages
		}
	}
	return nil
}

// body is a logged request body, an object or one in quotes.
func (r record) body() record {
	for _, name := range bodyNames {
		raw := r[name]
		var quoted string
		if json.Unmarshal(raw, &quoted) == nil {
			raw = []byte(quoted)
		}
		var inner record
		if json.Unmarshal(raw, &inner) == nil {
			return inner
		}
	}
	return nil
}

// arrival is when the request came. A line is written when its answer ended: where it
// says how long that took, it is taken off.
func (r record) arrival() (time.Duration, bool) {
	if at, ok := logTime(r.text(startNames)); ok {
		return at, true
	}
	at, ok := logTime(r.text(endNames))
	if !ok {
		return 0, false
	}
	took, known := r.amount(elapsedNames)
	if ms, ok := r.amount(millisNames); ok && !known {
		took, known = ms/1000, true
	}
	if known && took > 0 && took < 1e6 {
		at -= time.Duration(took * float64(time.Second))
	}
	return at, true
}

// logTimes are the ways in which logs write a moment.
var logTimes = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05,000", "02/Jan/2006:15:04:05 -0700", "2006/01/02 15:04:05"}

// logTime reads a moment: seconds, milli-, micro- or nanoseconds since 1970, or one of
// logTimes.
func logTime(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, false
	}
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		for v > 1e11 { // a date beyond the year 5000 is in a smaller unit
			v /= 1000
		}
		at, err := seconds(v)
		return at, err == nil
	}
	for _, layout := range logTimes {
		if t, err := time.Parse(layout, text); err == nil {
			at, err := sinceEpoch(t)
			return at, err == nil
		}
	}
	return 0, false
}
