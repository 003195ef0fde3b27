package loadgen

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A row of the table of faults and oddities: what a server does on a real
// socket, and what becomes of the request.
type oddity struct {
	name   string
	answer func(c net.Conn, n int, body []byte) bool
	change func(*ClientConfig)
	class  Class
	said   string             // part of the message
	check  func(*Sample) bool // what else must hold
	asks   int                // requests that the server sees; 0 means 1
}

// closing writes text and closes the connection.
func closing(text string) func(net.Conn, int, []byte) bool {
	return func(c net.Conn, _ int, _ []byte) bool {
		io.WriteString(c, text)
		return false
	}
}

// resetting writes text and resets the connection a moment later.
func resetting(text string) func(net.Conn, int, []byte) bool {
	return func(c net.Conn, _ int, _ []byte) bool {
		io.WriteString(c, text)
		time.Sleep(50 * time.Millisecond)
		c.(*net.TCPConn).SetLinger(0)
		return false
	}
}

// hanging writes text and then nothing until the client hangs up.
func hanging(text string) func(net.Conn, int, []byte) bool {
	return func(c net.Conn, _ int, _ []byte) bool {
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
		return false
	}
}

// repeating writes text, then piece over and over until the client hangs up.
func repeating(text, piece string, every time.Duration) func(net.Conn, int, []byte) bool {
	return func(c net.Conn, _ int, _ []byte) bool {
		_, err := io.WriteString(c, text)
		for err == nil {
			time.Sleep(every)
			_, err = io.WriteString(c, piece)
		}
		return false
	}
}

// trickling writes text in pieces of n bytes.
func trickling(text string, n int) func(net.Conn, int, []byte) bool {
	return func(c net.Conn, _ int, _ []byte) bool {
		for rest := text; rest != ""; {
			k := min(n, len(rest))
			if _, err := io.WriteString(c, rest[:k]); err != nil {
				return false
			}
			rest = rest[k:]
			time.Sleep(100 * time.Microsecond)
		}
		return false
	}
}

func status(line, header, body string) func(net.Conn, int, []byte) bool {
	return say("HTTP/1.1 " + line + "\r\n" + header + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

// sse packs a whole stream as a chunked answer.
func sse(stream string) string {
	return streamHead + "Transfer-Encoding: chunked\r\n\r\n" + chunked(stream) + lastChunk
}

const unfinished = streamHead + "Connection: close\r\n\r\n"

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func outputs(n int) func(*Sample) bool {
	return func(s *Sample) bool { return s.OutputEvents == n }
}

// Short time-outs, one at a time, so that on a busy machine none strikes before
// the one that is meant.
func impatient(c *ClientConfig) { c.Target.Timeouts.FirstToken = 200 * time.Millisecond }
func restless(c *ClientConfig)  { c.Target.Timeouts.Idle = 200 * time.Millisecond }
func brief(c *ClientConfig)     { c.Target.Timeouts.Total = 500 * time.Millisecond }

var oddities = []oddity{
	// Answers that refuse.
	{name: "429 with Retry-After in seconds", answer: status("429 Too Many Requests", "Retry-After: 7\r\n", `{"error":{"message":"slow down"}}`),
		class: HTTP429, said: "slow down", check: func(s *Sample) bool { return s.RetryAfter == 7*time.Second && s.Status == 429 && !s.Streamed }},
	{name: "429 with Retry-After as a date", answer: func(c net.Conn, n int, b []byte) bool {
		return status("429 Too Many Requests", "Retry-After: "+time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)+"\r\n", "")(c, n, b)
	}, class: HTTP429, check: func(s *Sample) bool { return s.RetryAfter > 50*time.Second && s.RetryAfter <= time.Minute }},
	{name: "503", answer: status("503 Service Unavailable", "", "server busy"), class: HTTP5xx, said: "server busy", check: func(s *Sample) bool { return s.Status == 503 }},
	{name: "500 whose body is endless", answer: repeating("HTTP/1.1 500 Internal Server Error\r\n\r\n", strings.Repeat("x", 1000), time.Millisecond), class: HTTP5xx, said: "xxx"},
	{name: "500 whose body never comes", answer: hanging("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 10\r\n\r\n"), class: HTTP5xx},
	{name: "404", answer: status("404 Not Found", "", `{"detail":"Not Found"}`), class: HTTP4xx, said: "Not Found"},
	{name: "413 before the body was read", answer: closing("HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\n\r\n"), class: HTTP4xx, said: "413"},
	{name: "400 for a prompt beyond the context", answer: status("400 Bad Request", "", `{"object":"error","message":"This model's maximum context length is 1000 tokens. However, you requested 1378 tokens."}`), class: ContextOverflow, said: "1000 tokens"},
	{name: "500 for the same", answer: status("500 Internal Server Error", "", `{"error":{"code":500,"message":"the request exceeds the available context size, try increasing it"}}`), class: ContextOverflow},
	{name: "the same in a stream of status 200", answer: say(sse("data:{\"error\":\"Input validation error: `inputs` must have less than 1024 tokens. Given: 1500\",\"error_type\":\"validation\"}\n\n")), class: ContextOverflow, said: "1024"},
	{name: "429 whatever it says", answer: status("429 Too Many Requests", "", "prompt is too long"), class: HTTP429},
	{name: "redirect", answer: status("307 Temporary Redirect", "Location: https://elsewhere.example/v1\r\n", ""), class: Redirect, said: "https://elsewhere.example/v1"},
	{name: "202", answer: status("202 Accepted", "", "later"), class: Malformed, said: "202"},

	// Connections that break.
	{name: "reset mid-stream", answer: resetting(streamHead + "Transfer-Encoding: chunked\r\n\r\n" + chunked(contentChunk("a"))), class: ConnectionReset, check: outputs(1)},
	{name: "reset before the answer", answer: resetting(""), class: ConnectionReset, asks: 2}, // one replay on a fresh connection
	{name: "closed before the answer", answer: closing(""), class: ConnectionReset, said: "without an answer", asks: 2},
	{name: "closed within the head", answer: closing("HTTP/1.1 200 OK\r\nContent-"), class: Truncated},
	{name: "chunked body cut short", answer: closing(streamHead + "Transfer-Encoding: chunked\r\n\r\n" + chunked(contentChunk("a"))), class: Truncated, said: "unexpected EOF", check: outputs(1)},
	{name: "counted body cut short", answer: closing(streamHead + "Content-Length: 10000\r\n\r\n" + contentChunk("a")), class: Truncated, check: outputs(1)},
	{name: "closed body cut short", answer: closing(unfinished + contentChunk("a")), class: Truncated, said: "finish mark", check: outputs(1)},
	{name: "closed body, whole", answer: closing(unfinished + wholeStream), check: outputs(3)},
	{name: "cut after the finish mark", answer: closing(streamHead + "Transfer-Encoding: chunked\r\n\r\n" + chunked(contentChunk("a")+finishChunk)), check: outputs(1)},
	{name: "reset after the finish mark", answer: resetting(streamHead + "Transfer-Encoding: chunked\r\n\r\n" + chunked(contentChunk("a")+finishChunk)), check: outputs(1)},

	// Errors inside a stream of status 200.
	{name: "error object in the stream", answer: say(sse(contentChunk("a") + `data: {"error":{"message":"CUDA out of memory"}}` + "\n\n")), class: StreamError, said: "CUDA", check: outputs(1)},
	{name: "event: error", answer: say(sse("event: error\ndata: {\"message\":\"boom\"}\n\n")), class: StreamError, said: "boom"},
	{name: "error object instead of a stream", answer: status("200 OK", "Content-Type: application/json\r\n", `{"error":{"message":"no model"}}`), class: StreamError, said: "no model"},
	{name: "half a JSON answer", answer: status("200 OK", "Content-Type: application/json\r\n", `{"choices":[{"mess`), class: Malformed},
	{name: "an error after a long time", answer: func(c net.Conn, n int, b []byte) bool {
		time.Sleep(restGrace + 100*time.Millisecond)
		return status("503 Service Unavailable", "", "still busy")(c, n, b)
	}, class: HTTP5xx, said: "still busy"},
	{name: "no choices", answer: say(sse(`data: {"choices":[]}` + "\n\n" + doneChunk)), class: Empty},
	{name: "no output", answer: say(sse(roleChunk + finishChunk + doneChunk)), class: Empty},
	{name: "empty body", answer: status("200 OK", "Content-Type: text/event-stream\r\n", ""), class: Empty},
	{name: "broken JSON", answer: say(sse(contentChunk("a") + "data: {\"choices\":[{\n\n")), class: Malformed},

	// Marks of the end.
	{name: "no [DONE]", answer: say(sse(contentChunk("a") + finishChunk)), check: outputs(1)},
	{name: "[DONE] without finish_reason", answer: say(sse(contentChunk("a") + doneChunk)), check: outputs(1)},
	{name: "left open after [DONE]", answer: hanging(streamHead + "Transfer-Encoding: chunked\r\n\r\n" + chunked(wholeStream)), check: outputs(3)},
	{name: "flooding after [DONE]", answer: repeating(streamHead+"\r\n"+wholeStream, strings.Repeat(contentChunk("z"), 100), 0), check: outputs(3)},
	{name: "left open after finish_reason", answer: hanging(streamHead + "Transfer-Encoding: chunked\r\n\r\n" + chunked(contentChunk("a")+finishChunk)), check: outputs(1)},

	// Framing.
	{name: "one byte at a time", answer: trickling(unfinished+": hi\n\n"+contentChunk("é世界")+finishChunk+doneChunk, 1), check: outputs(1)},
	{name: "CRLF split across reads", answer: trickling(unfinished+strings.ReplaceAll(wholeStream, "\n", "\r\n"), 3), check: outputs(3)},
	{name: "CR", answer: closing(unfinished + strings.ReplaceAll(wholeStream, "\n", "\r")), check: outputs(3)},
	{name: "data: without a space", answer: closing(unfinished + strings.ReplaceAll(wholeStream, "data: ", "data:")), check: outputs(3)},
	{name: "pings", answer: closing(unfinished + ": keep-alive\n\ndata: : keepalive\n\ndata:\n\n" + wholeStream), check: outputs(3)},
	{name: "an event of 3 MB", answer: closing(unfinished + contentChunk(strings.Repeat("x", 3<<20)) + finishChunk + doneChunk), check: outputs(1)},
	{name: "gzip nobody asked for", answer: say(streamHead + "Content-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(zipped(wholeStream))) + "\r\n\r\n" + zipped(wholeStream)), check: outputs(3)},
	{name: "unknown compression", answer: status("200 OK", "Content-Encoding: br\r\n", "?"), class: Malformed, said: "br"},
	{name: "interim answers", answer: say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + sse(wholeStream)), check: outputs(3)},
	{name: "no HTTP", answer: closing("SSH-2.0-OpenSSH_9.6\r\n\r\n"), class: Malformed},
	{name: "endless head", answer: repeating("HTTP/1.1 200 OK\r\n", strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100), 0), class: Malformed, said: "head"},

	// What counts as output.
	{name: "role, null and empty deltas", answer: say(sse(roleChunk + `data: {"choices":[{"delta":{"content":null},"finish_reason":""}]}` + "\n\n" + contentChunk("") + contentChunk("a") + finishChunk)), check: outputs(1)},
	{name: "reasoning, then an answer", answer: func(c net.Conn, _ int, _ []byte) bool {
		io.WriteString(c, unfinished+`data: {"choices":[{"delta":{"reasoning_content":"hm","reasoning":"hm"}}]}`+"\n\n")
		time.Sleep(150 * time.Millisecond)
		io.WriteString(c, contentChunk("a")+finishChunk)
		return false
	},
		check: func(s *Sample) bool { return s.OutputEvents == 2 && s.FirstAnswer > s.FirstOutput }},
	{name: "tool calls", answer: say(sse(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}` + "\n\n" + finishChunk)), check: outputs(1)},
	{name: "many tokens in an event", answer: say(sse(contentChunk("a b c") + contentChunk("d e f") + finishChunk + `data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":8}}` + "\n\n" + doneChunk)),
		check: func(s *Sample) bool {
			return s.OutputEvents == 2 && s.OutputTokens == 8 && s.FirstTokens == 0 && s.PromptTokens == 5
		}},
	{name: "many tokens in an event, and how many in each", answer: func(c net.Conn, _ int, _ []byte) bool {
		counted := func(n string) string {
			return `data: {"choices":[{"delta":{"content":"a b c d "}}],"usage":{"completion_tokens":` + n + `}}` + "\n\n"
		}
		io.WriteString(c, unfinished+counted("4"))
		time.Sleep(80 * time.Millisecond)
		io.WriteString(c, counted("8")+finishChunk)
		return false
	}, check: func(s *Sample) bool {
		tpot, ok := s.TPOT()
		return s.OutputTokens == 8 && s.FirstTokens == 4 && ok && tpot == (s.LastOutput-s.FirstOutput)/4
	}},
	{name: "usage that says far too much", answer: say(sse(contentChunk("a") + contentChunk("b") + finishChunk + `data: {"choices":[],"usage":{"completion_tokens":210}}` + "\n\n" + doneChunk)),
		check: func(s *Sample) bool {
			return s.OutputTokens == 2 && s.DoubtedTokens == 210 && s.TokenSource == TokensFromEvents
		}},
	{name: "usage that only grows", answer: say(sse(`data: {"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}` + "\n\n" + `data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}` + "\n\n" + doneChunk)),
		check: func(s *Sample) bool { return s.OutputTokens == 2 && s.TokenSource == TokensFromUsage }},
	{name: "usage of 0", answer: say(sse(contentChunk("a") + finishChunk + `data: {"choices":[],"usage":{"completion_tokens":0}}` + "\n\n")),
		check: func(s *Sample) bool { return s.OutputTokens == 1 && s.TokenSource == TokensFromEvents }},
	{name: "plain JSON", answer: status("200 OK", "Content-Type: application/json\r\n", `{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":9}}`),
		check: func(s *Sample) bool {
			_, ttft := s.TTFT()
			e2e, ok := s.E2E()
			return !s.Streamed && !ttft && ok && e2e > 0 && s.OutputTokens == 9
		}},

	// Time-outs.
	{name: "no head", answer: hanging(""), change: impatient, class: TimeoutFirstToken, said: "200ms", check: func(s *Sample) bool { return s.End >= s.Sent+200*time.Millisecond && s.Status == 0 }},
	{name: "head, then nothing", answer: hanging(streamHead + "\r\n"), change: impatient, class: TimeoutFirstToken},
	{name: "nothing but pings", answer: repeating(streamHead+"\r\n", ": ping\n\n", 5*time.Millisecond), change: impatient, class: TimeoutFirstToken},
	{name: "stalled stream", answer: hanging(streamHead + "\r\n" + contentChunk("a")), change: restless, class: TimeoutIdle, said: "200ms", check: outputs(1)},
	{name: "endless stream", answer: repeating(streamHead+"\r\n", contentChunk("a"), 5*time.Millisecond), change: brief, class: TimeoutTotal, said: "500ms"},
	{name: "flood", answer: repeating(streamHead+"\r\n", strings.Repeat(contentChunk("a"), 1000), 0), change: brief, class: TimeoutTotal},
	{name: "slow but steady", answer: trickling(unfinished+wholeStream, 40), check: outputs(3), change: func(c *ClientConfig) {
		c.Target.Timeouts.Idle = time.Second // of silence, not of the whole stream
	}},
}

// each runs test for every oddity, several at once, since most of them wait.
func each(t *testing.T, test func(*testing.T, oddity)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, odd := range oddities {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(odd.name, func(t *testing.T) { test(t, odd) })
		})
	}
	all.Wait()
}

func TestOddities(t *testing.T) {
	each(t, func(t *testing.T, odd oddity) {
		s := serve(t, odd.answer)
		c := config(t, s.url())
		if odd.change != nil {
			odd.change(&c)
		}
		began := time.Now()
		got := once(t, c)
		if got.Class != odd.class || !strings.Contains(got.Message, odd.said) || (got.Class == Success) != (got.Message == "") {
			t.Errorf("class %q (%s), want %q with %q", got.Class, got.Message, odd.class, odd.said)
		}
		if odd.check != nil && !odd.check(&got) {
			t.Errorf("sample %+v", got)
		}
		if asks := s.requests.Load(); asks != int64(max(odd.asks, 1)) {
			t.Errorf("the server saw %d requests, want %d", asks, max(odd.asks, 1))
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// The same servers under load: every request ends and is counted once.
func TestOdditiesUnderLoad(t *testing.T) {
	each(t, func(t *testing.T, odd oddity) {
		c := config(t, serve(t, odd.answer).url())
		impatient(&c)
		restless(&c)
		c.Target.Timeouts.Total = 250 * time.Millisecond
		r := generate(t, c, Load{Concurrency: 4, Requests: 12, MaxHold: time.Millisecond})
		indexes(t, r, 12)
	})
}

// Through a proxy net/http carries the requests, and the classes are the same.
func TestOdditiesThroughAProxy(t *testing.T) {
	var proxies sync.Map // by host
	defer func(was func(*http.Request) (*url.URL, error)) { proxyFromEnvironment = was }(proxyFromEnvironment)
	proxyFromEnvironment = func(r *http.Request) (*url.URL, error) {
		address, _ := proxies.Load(r.URL.Host)
		return url.Parse(address.(string))
	}
	each(t, func(t *testing.T, odd oddity) {
		switch odd.name {
		case "closed within the head", "endless head": // net/http has its own words for these
			return
		}
		s := serve(t, odd.answer)
		host := "proxied-to-" + s.listener.Addr().String()
		proxies.Store(host, s.url())
		c := config(t, "http://"+host)
		if odd.change != nil {
			odd.change(&c)
		}
		if got := once(t, c); got.Class != odd.class || odd.check != nil && !odd.check(&got) {
			t.Errorf("class %q, want %q: %+v", got.Class, odd.class, got)
		}
	})
}
