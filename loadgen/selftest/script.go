package selftest

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// What the null server says: events of the size that real servers send.
const (
	answerHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	eventStart = `data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"null",`
	eventToken = `"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	eventLast  = `"choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"length","stop_reason":null}]}` + "\n\n"
	truthMark  = `"truth":"`
)

var tokenChunk = []byte(chunk(eventStart + eventToken))

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// firstEvent is the first token. It tells which request it answers and the wall
// clock at which it was sent: no other clock is common to the null server and a
// client in another process, as the benchmark has it.
func firstEvent(n int, now time.Time) string {
	return fmt.Sprintf("%s%s%d@%d\",%s", eventStart, truthMark, n, now.UnixNano(), eventToken)
}

// firstChunk is the answer's head and its first token.
func firstChunk(n int, now time.Time) []byte {
	return []byte(answerHead + chunk(firstEvent(n, now)))
}

// lastEvents is everything after the last token.
func lastEvents(tokens int) string {
	usage := fmt.Sprintf(`%s"choices":[],"usage":{"prompt_tokens":512,"total_tokens":%d,"completion_tokens":%d}}`+"\n\n", eventStart, 512+tokens, tokens)
	return eventStart + eventLast + usage + "data: [DONE]\n\n"
}

// endChunk is the same with the body's end.
func endChunk(tokens int) []byte { return []byte(chunk(lastEvents(tokens)) + "0\r\n\r\n") }

// order is what a request asks of the null server.
type order struct {
	n      int           // number of the request
	tokens int           // at least 1
	ttft   time.Duration // from the request to the first token
	gap    time.Duration // between tokens
}

// prompt is the text of a request that asks for o; padded to the size of a
// prompt of 512 tokens.
func (o order) prompt() string {
	text := fmt.Sprintf("n=%d tokens=%d ttft=%d gap=%d ", o.n, o.tokens, o.ttft.Nanoseconds(), o.gap.Nanoseconds())
	return text + padding[:max(0, len(padding)-len(text))]
}

var padding = string(bytes.Repeat([]byte("null "), 512))

// parseOrder finds an order in a request's body; false where there is none.
func parseOrder(body []byte) (order, bool) {
	n, ok1 := field(body, "n=")
	tokens, ok2 := field(body, " tokens=")
	ttft, ok3 := field(body, " ttft=")
	gap, ok4 := field(body, " gap=")
	return order{n: n, tokens: max(tokens, 1), ttft: time.Duration(ttft), gap: time.Duration(gap)}, ok1 && ok2 && ok3 && ok4
}

// field reads the digits that follow name.
func field(b []byte, name string) (int, bool) {
	at := bytes.Index(b, []byte(name))
	if at < 0 {
		return 0, false
	}
	b = b[at+len(name):]
	end := 0
	for end < len(b) && b[end] >= '0' && b[end] <= '9' {
		end++
	}
	v, err := strconv.Atoi(string(b[:end]))
	return v, err == nil
}

// parseTruth reads the number and the time from a first chunk; false where b
// holds none.
func parseTruth(b []byte) (n int, at int64, ok bool) {
	i := bytes.Index(b, []byte(truthMark))
	if i < 0 {
		return 0, 0, false
	}
	b = b[i+len(truthMark):]
	n, ok1 := field(b, "")
	ns, ok2 := field(b, "@")
	return n, int64(ns), ok1 && ok2
}
