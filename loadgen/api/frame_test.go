package api

import (
	"slices"
	"strings"
	"testing"
)

const hi = `{"choices":[{"delta":{"content":"Hi"}}]}`

func TestEventStreamFraming(t *testing.T) {
	big := strings.Repeat("x", 3<<20)
	cases := map[string]struct{ body, want string }{
		"LF":                       {"data: " + hi + "\n\n", "Hi"},
		"CRLF":                     {"data: " + hi + "\r\n\r\n", "Hi"},
		"CR":                       {"data: " + hi + "\r\rdata: " + hi + "\r\r", "Hi|Hi"},
		"mixed ends":               {"data: " + hi + "\r\n\ndata: " + hi + "\n\r\n", "Hi|Hi"},
		"no space":                 {"data:" + hi + "\n\n", "Hi"},
		"two spaces":               {"data:  " + hi + "\n\n", "Hi"},
		"several data lines":       {"data: {\"choices\":[{\ndata: \"delta\":{\"content\":\ndata:\ndata: \"Hi\"}}]}\n\n", "Hi"},
		"comment":                  {": keep-alive\n\n:\ndata: " + hi + "\n: x\n\n", "Hi"},
		"keep-alive as data":       {"data: : keepalive\n\ndata:\n\ndata\n\ndata: " + hi + "\n\n", "Hi"},
		"ping event":               {"event: ping\ndata: {\"type\":\"ping\"}\n\ndata: " + hi + "\n\n", "Hi"},
		"id, event, retry":         {"id: 7\nevent: message\nretry: 100\ndata: " + hi + "\n\n", "Hi"},
		"unknown field":            {"datax: {}\nda ta: {}\n data: {}\ndata: " + hi + "\n\n", "Hi"},
		"byte order mark":          {"\xef\xbb\xbfdata: " + hi + "\n\n", "Hi"},
		"half a byte order mark":   {"\xef\xbbdata: " + hi + "\n\ndata: " + hi + "\n\n", "Hi"},
		"second byte order mark":   {"\xef\xbb\xbf\xef\xbb\xbfdata: " + hi + "\n\ndata: " + hi + "\n\n", "Hi"},
		"indented first line":      {" data: " + hi + "\n\ndata: " + hi + "\n\n", "Hi"},
		"blank lines first":        {"\n\r\n\ndata: " + hi + "\n\n", "Hi"},
		"last line without end":    {"data: " + hi, "Hi"},
		"last event without blank": {"data: " + hi + "\n", "Hi"},
		"done without blank":       {"data: " + hi + "\n\ndata: [DONE]\n", "Hi|END"},
		"done without line end":    {"data: " + hi + "\n\ndata: [DONE]", "Hi|END"},
		"done right after data":    {"data: " + hi + "\ndata: [DONE]\n", "Hi|END"},
		"after done":               {"data: [DONE]\n\ndata: " + hi + "\n\n", "END"},
		"error event":              {"event: error\ndata: {\"message\":\"boom\"}\n\n", "ERROR boom"},
		"error event, name last":   {"data: {\"error\":\"boom\"}\nevent: error\n\n", "ERROR boom"},
		"error event, no data":     {"event: error\n\ndata: " + hi + "\n\n", "ERROR the server sent an error event without a message|Hi"},
		"error field":              {"error: {\"code\":500,\"message\":\"boom\"}\n\n", "ERROR boom"},
		"error in two lines":       {"event: error\ndata: boom\ndata: bang\n\n", "ERROR boom bang"},
		"long comment after data":  {"data: " + hi + "\n: " + strings.Repeat("c", 80) + "\n\n", "Hi"},
		"error in plain words":     {"event: error\ndata: boom\n\n", "ERROR boom"},
		"several MB in one line":   {`data: {"choices":[{"delta":{"content":"` + big + `"}}]}` + "\n\n", big},
		"not JSON":                 {"data: Internal Server Error\n\ndata: " + hi + "\n\n", "MALFORMED|Hi"},
		"JSON, no object":          {"data: [1,2]\n\ndata: 5\n\ndata: null\n\ndata: " + hi + "\n\n", "MALFORMED|MALFORMED|MALFORMED|Hi"},
		"UTF-8":                    {`data: {"choices":[{"delta":{"content":"héé 漢字 🙂"}}]}` + "\n\n", "héé 漢字 🙂"},
		"escapes":                  {`data: {"choices":[{"delta":{"content":"a\n\u00e9\ud83d\ude42\"\\"}}]}` + "\n\n", "a\né🙂\"\\"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, size := range append([]int{4096}, splits...) {
				if size > 0 && size < 64 && len(c.body) > 1<<20 {
					continue
				}
				if got := sketch(events(openAIChat{}.NewDecoder("text/event-stream", true), []byte(c.body), size)); got != c.want {
					t.Errorf("in pieces of %d: %.80q, want %.80q", size, got, c.want)
				}
			}
		})
	}
}

// sketch puts events into one readable line.
func sketch(all []Event) string {
	var parts []string
	for _, e := range all {
		switch {
		case e.Error != "":
			parts = append(parts, "ERROR "+e.Error)
		case e.Malformed != "":
			parts = append(parts, "MALFORMED")
		case e.Output:
			parts = append(parts, e.Text)
		case e.End:
			parts = append(parts, "END")
		default:
			parts = append(parts, "-")
		}
	}
	return strings.Join(parts, "|")
}

func TestLinesFraming(t *testing.T) {
	const line = `{"message":{"content":"Hi"},"done":false}`
	cases := map[string]struct{ body, want string }{
		"LF":                    {line + "\n" + line + "\n", "Hi|Hi"},
		"CRLF":                  {line + "\r\n" + line + "\r\n", "Hi|Hi"},
		"blank lines":           {"\n\n" + line + "\n\n \n" + line, "Hi|Hi"},
		"last line without end": {line + "\n" + line, "Hi|Hi"},
		"byte order mark":       {"\xef\xbb\xbf" + line + "\n", "Hi"},
		"not JSON":              {line + "\noops\n" + line + "\n", "Hi|MALFORMED|Hi"},
	}
	for name, c := range cases {
		for _, size := range splits {
			if got := sketch(events(ollama{}.NewDecoder("application/x-ndjson", true), []byte(c.body), size)); got != c.want {
				t.Errorf("%s in pieces of %d: %q, want %q", name, size, got, c.want)
			}
		}
	}
}

// TestMediaTypeIsNotTrusted: the body itself says what it is.
func TestMediaTypeIsNotTrusted(t *testing.T) {
	plain := `{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}`
	for _, mediaType := range []string{"", "text/plain", "application/json", "text/event-stream", "application/octet-stream"} {
		if a := decode(t, openAIChat{}, mediaType, "data: "+hi+"\n\ndata: [DONE]\n\n", 5); a.text != "Hi" || a.plain || !a.end {
			t.Errorf("stream as %q: %+v", mediaType, a)
		}
		if a := decode(t, openAIChat{}, mediaType, " \n"+plain, 5); a.text != "Hi" || !a.plain || !a.end || !a.finish {
			t.Errorf("plain answer as %q: %+v", mediaType, a)
		}
	}
}

// TestMemoryCap feeds events beyond the cap in every way: they are one malformed
// event each, the next event is read, and no buffer outgrows the cap.
func TestMemoryCap(t *testing.T) {
	const limit = 1000
	long := strings.Repeat("y", limit)
	cases := map[string]struct {
		body, want string
		p          Protocol
	}{
		"data line":     {"data: " + long + "\n\ndata: " + hi + "\n\n", "MALFORMED|Hi", openAIChat{}},
		"without end":   {"data: " + long + long, "MALFORMED", openAIChat{}},
		"data lines":    {strings.Repeat("data: "+long[:300]+"\n", 20) + "\ndata: " + hi + "\n\n", "MALFORMED|Hi", openAIChat{}},
		"comment":       {":" + long + "\r\n\r\ndata: " + hi + "\r\n\r\n", "MALFORMED|Hi", openAIChat{}},
		"JSON line":     {`{"a":"` + long + "\"}\n" + `{"message":{"content":"Hi"}}` + "\n", "MALFORMED|Hi", ollama{}},
		"plain answer":  {"{" + long, "MALFORMED", openAIChat{}},
		"just fits":     {"data: " + long[:limit-6] + "\n\ndata: " + hi + "\n\n", "MALFORMED|Hi", openAIChat{}},
		"many, in turn": {strings.Repeat("data: "+long+"\n\n", 3), "MALFORMED|MALFORMED|MALFORMED", openAIChat{}},
	}
	for name, c := range cases {
		for _, size := range splits {
			d := c.p.NewDecoder("", true).(*stream)
			d.limit = limit
			if got := sketch(events(d, []byte(c.body), size)); got != c.want {
				t.Errorf("%s in pieces of %d: %q, want %q", name, size, got, c.want)
			}
			if most := max(cap(d.line), cap(d.held)); most > 2*limit {
				t.Errorf("%s in pieces of %d: a buffer of %d bytes for a limit of %d", name, size, most, limit)
			}
		}
	}
}

func TestNothingKeptWithoutKeepText(t *testing.T) {
	for _, name := range Names() {
		p, _ := ByName(name)
		c := conformance[name]
		kept := events(p.NewDecoder(c.mediaType, true), []byte(c.stream), 0)
		plain := events(p.NewDecoder(c.mediaType, false), []byte(c.stream), 0)
		for i := range kept {
			kept[i].Text = ""
		}
		if !slices.Equal(kept, plain) {
			t.Errorf("%s: keepText changes more than the text:\n%+v\n%+v", name, kept, plain)
		}
	}
}
