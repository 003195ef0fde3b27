package loadgen

import (
	"bytes"
	"errors"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen/api"
)

// dechunk reads a body whose bytes come in pieces of n.
func dechunk(body string, n int) (content string, rest int, err error) {
	var d dechunker
	var got bytes.Buffer
	for at := 0; at < len(body) && err == nil; at += n {
		p := []byte(body[at:min(at+n, len(body))])
		for len(p) > 0 && err == nil {
			var some []byte
			some, p, err = d.next(p)
			got.Write(some)
		}
		rest = len(p) + len(body) - min(at+n, len(body))
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return got.String(), rest, err
}

func TestDechunker(t *testing.T) {
	for _, c := range []struct {
		name, body, content string
		rest                int
		err                 error
	}{
		{"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", 0, io.EOF},
		{"several, of either case", "A\r\n0123456789\r\nb\r\nhello world\r\n0\r\n\r\n", "0123456789hello world", 0, io.EOF},
		{"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", "hello", 0, io.EOF},
		{"an extension", "5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n", "hello", 0, io.EOF},
		{"trailers", "5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", "hello", 0, io.EOF},
		{"bare line feeds", "5\nhello\n0\n\n", "hello", 0, io.EOF},
		{"something after it", "5\r\nhello\r\n0\r\n\r\nHTTP", "hello", 4, io.EOF},
		{"empty", "0\r\n\r\n", "", 0, io.EOF},
		{"cut in the data", "5\r\nhel", "hel", 0, io.ErrUnexpectedEOF},
		{"cut in the framing", "5\r\nhello\r\n", "hello", 0, io.ErrUnexpectedEOF},
		{"cut in the trailers", "5\r\nhello\r\n0\r\nA: b", "hello", 0, io.ErrUnexpectedEOF},
		{"no size", "\r\nhello", "", 0, errChunkSize},
		{"no number", "x\r\nhello", "", 0, errChunkSize},
		{"a huge size", strings.Repeat("1", 16) + "\r\n", "", 0, errChunkSize},
		{"more than its size", "3\r\nhello\r\n0\r\n\r\n", "hel", 0, errChunkEnd},
		{"an extension without end", "5;" + strings.Repeat("x", framingMost+2), "", 0, errChunkLine},
		{"trailers without end", "0\r\n" + strings.Repeat("A: b\r\n", framingMost/3), "", 0, errChunkLine},
	} {
		for n := 1; n <= min(len(c.body), 40); n++ {
			content, rest, err := dechunk(c.body, n)
			if content != c.content || err != c.err || c.err == io.EOF && rest != c.rest {
				t.Errorf("%s in pieces of %d: %q, %d bytes after it, %v", c.name, n, content, rest, err)
			}
		}
	}
}

// What net/http takes for a whole chunked body is one here too, with the same content;
// no matter how the bytes are cut.
func FuzzDechunker(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\n\r\n", 3)
	f.Add("5;x\r\nhello\r\n1\n!\n0\r\nA: b\r\n\r\n", 1)
	f.Fuzz(func(t *testing.T, body string, n int) {
		whole, _, err := dechunk(body, len(body)+1)
		if n > 0 {
			if cut, _, again := dechunk(body, n); cut != whole || !errors.Is(again, err) {
				t.Errorf("%q: %q, %v; in pieces of %d: %q, %v", body, whole, err, n, cut, again)
			}
		}
		want, wantErr := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(body)))
		if wantErr == nil && err == io.EOF && whole != string(want) {
			t.Errorf("%q: %q, want %q", body, whole, want)
		}
	})
}

// An event in the middle of a stream costs no memory: with thousands of streams that
// would be the collector's work all the time.
func TestEventsCostNoMemory(t *testing.T) {
	chat, err := api.ByName("openai-chat")
	if err != nil {
		t.Fatal(err)
	}
	s := &Sample{Gaps: make([]uint32, 0, 1<<12), Conversation: -1}
	x := &exchange{ctx: t.Context(), client: &Client{config: ClientConfig{Protocol: chat}}, start: time.Now(), s: s, decoder: chat.NewDecoder("text/event-stream", false)}
	x.watch.arm(0, phaseFirst, func() {})
	defer x.watch.disarm()
	x.link, x.emit = &netLink{}, x.event
	body := &pushedBody{c: &conn{}, to: x}
	event := []byte("e0\r\n" + `data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"some-model",` +
		`"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]}` + "\n\n")
	event = append(event, "\r\n"...)
	copy(event, hexSize(len(event)-6))
	one := func() {
		if !body.feed(event) {
			t.Fatalf("the stream ended: %+v, %v", s, body.err)
		}
	}
	one() // the first one makes what is kept for the stream
	if n := testing.AllocsPerRun(500, one); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
	if s.OutputEvents < 500 {
		t.Errorf("%d events were seen", s.OutputEvents)
	}
}

func hexSize(n int) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[n>>4&15], digits[n&15]})
}
