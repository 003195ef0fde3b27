package trace

import (
	"bytes"
	"regexp"
	"strconv"
	"time"
)

// vLLM's vllm/entrypoints/logger.py writes, with --enable-log-requests and
// --enable-log-outputs (shortened):
//
//	INFO 07-25 02:41:21 [logger.py:43] Received request chatcmpl-56: prompt: '...',
//	  params: SamplingParams(n=1, ..., max_tokens=128, ...), prompt_token_ids: [1, 2] ...
//	INFO 07-25 02:41:23 [logger.py:71] Generated response chatcmpl-56 (streaming
//	  complete): output: '...', output_token_ids: [3, 4], finish_reason: stop
//
// Either list may be None; the texts are Python literals.
var (
	received  = []byte("Received request ")
	generated = []byte("Generated response ")

	vllmTime   = regexp.MustCompile(`(?:^|\s)(\d{2}-\d{2} \d{2}:\d{2}:\d{2})\s`)
	vllmInput  = regexp.MustCompile(`, prompt_token_ids: \[([0-9, ]*)\]`)
	vllmOutput = regexp.MustCompile(`, output_token_ids: (?:\w+\()?\[([0-9, ]*)\]`)
)

// vllmLine takes in a line of vLLM's log, and reports whether it is one. A log inside
// another has its own time.
func (l *logger) vllmLine(line []byte, at *time.Duration) bool {
	head, rest, isRequest := bytes.Cut(line, received)
	if isRequest {
		return l.vllmRequest(head, rest, at)
	}
	if _, rest, ok := bytes.Cut(line, generated); ok {
		return l.vllmResponse(rest)
	}
	return false
}

func (l *logger) vllmRequest(head, rest []byte, at *time.Duration) bool {
	name, rest, ok := bytes.Cut(rest, []byte(": prompt: "))
	if !ok {
		return false
	}
	q := &logged{}
	if at != nil {
		q.at = *at
	} else {
		found := vllmTime.FindSubmatch(head)
		if found == nil {
			return false
		}
		// The line has no year; one with a 29 February takes all dates.
		t, err := time.Parse("2006-01-02 15:04:05", "2000-"+string(found[1]))
		if err != nil {
			return false
		}
		q.at = time.Duration(t.Unix()) * time.Second
	}
	text, rest := literal(rest)
	if ids := idsIn(vllmInput, rest); len(ids) > 0 {
		l.tokensOf(q, ids)
	} else {
		l.textOf(q, text)
	}
	if q.input == 0 {
		l.other("no length")
		return true
	}
	l.all = append(l.all, q)
	l.open[string(name)] = q
	return true
}

// vllmResponse sets the answer's length. Of a stream the lines before its last tell of
// a piece each.
func (l *logger) vllmResponse(rest []byte) bool {
	name, rest, ok := bytes.Cut(rest, []byte(": output: "))
	if !ok {
		return false
	}
	name, kind, _ := bytes.Cut(name, []byte(" "))
	q := l.open[string(name)]
	if q == nil {
		l.other("answers to requests that are not in the log")
		return true
	}
	text, rest := literal(rest)
	n := len(idsIn(vllmOutput, rest))
	if bytes.Contains(kind, []byte("delta")) {
		q.output += n
		return true
	}
	if n == 0 && len(text) > 0 {
		n = max(1, len(text)/bytesPerToken)
	}
	q.output = max(q.output, n)
	delete(l.open, string(name))
	return true
}

// literal reads a Python string literal, as far as its length and its equality with
// others go, and returns what follows it. None is no text.
func literal(b []byte) (text, rest []byte) {
	if len(b) == 0 || b[0] != '\'' && b[0] != '"' {
		return nil, b
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case b[0]:
			return b[1:i], b[i+1:]
		}
	}
	return b[1:], nil // cut by --max-log-len within the line, or torn
}

// idsIn reads the list of numbers that follows a name.
func idsIn(name *regexp.Regexp, b []byte) []int {
	found := name.FindSubmatch(b)
	if found == nil {
		return nil
	}
	var ids []int
	for field := range bytes.SplitSeq(found[1], []byte(",")) {
		if id, err := strconv.Atoi(string(bytes.TrimSpace(field))); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
