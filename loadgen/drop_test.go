package loadgen

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen/prompt"
)

// sized is a client of a server that refuses prompts with the word "long", which
// every eighth of a data set of 64 has.
func sized(t *testing.T, drop bool, refusal string) (c ClientConfig, s *wireServer) {
	t.Helper()
	var lines strings.Builder
	for i := range 64 {
		word := "short"
		if i%8 == 0 {
			word = "long"
		}
		lines.WriteString(`{"prompt":"a ` + word + ` one, number ` + strconv.Itoa(i) + `","output_len":3}` + "\n")
	}
	path := filepath.Join(t.TempDir(), "p.jsonl")
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w := prompt.Default()
	w.Dataset, w.Path, w.DropTooLong, w.Seed = prompt.JSONL, path, drop, 1
	source, _, err := prompt.New(context.Background(), w, prompt.Sizer{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.(interface{ Close() error }).Close() })
	s = serve(t, func(c net.Conn, n int, body []byte) bool {
		if bytes.Contains(body, []byte("a long one")) {
			time.Sleep(refusedAfter)
			return status("400 Bad Request", "", refusal)(c, n, body)
		}
		return say(sse(wholeStream))(c, n, body)
	})
	c = config(t, s.url())
	c.Source = source
	return c, s
}

// dropped is how many entries of the client's data set were left out.
func dropped(c ClientConfig) (n, of int, why string) {
	return c.Source.(interface{ Dropped() (int, int, string) }).Dropped()
}

const (
	refusedAfter = 20 * time.Millisecond
	beyond       = `{"error":{"message":"This model's maximum context length is 1000 tokens."}}`
)

// TestTooLongIsNoFailureOfTheServer: it has a class of its own, and holds no
// worker: a pause after an hour would never end.
func TestTooLongIsNoFailureOfTheServer(t *testing.T) {
	c, s := sized(t, false, beyond)
	r := generate(t, c, Load{Concurrency: 2, Requests: 64, ErrorHold: time.Hour})
	classes := map[Class]int{}
	for i := range r.Samples {
		classes[r.Samples[i].Class]++
	}
	if classes[ContextOverflow] != 8 || classes[Success] != 56 || s.requests.Load() != 64 {
		t.Errorf("%v of %d requests", classes, s.requests.Load())
	}
	if ContextOverflow.ServerFailure() || !ContextOverflow.AnyLoad() || HTTP429.AnyLoad() || HTTP5xx.AnyLoad() || !HTTP4xx.AnyLoad() {
		t.Error("which classes are the server's, and which tell of no load")
	}
}

// TestTooLongIsDropped: each such prompt is refused once, counted, and replaced,
// so that nothing of it is among the samples, not even the time it took.
func TestTooLongIsDropped(t *testing.T) {
	c, s := sized(t, true, beyond)
	r := generate(t, c, Load{Concurrency: 1, Requests: 100})
	indexes(t, r, 100)
	for i := range r.Samples {
		if x := &r.Samples[i]; x.Class != Success || x.PromptIndex != x.Index {
			t.Fatalf("%+v", x)
		}
	}
	if first := &r.Samples[0]; first.Ready < refusedAfter || first.Intended != first.Ready {
		t.Errorf("the refusal is among the waiting of request 0: intended %v, ready %v, sent %v", first.Intended, first.Ready, first.Sent)
	}
	n, of, why := dropped(c)
	if n != 8 || of != 64 || s.requests.Load() != 108 || !strings.Contains(why, "1000 tokens") {
		t.Errorf("%d of %d dropped (%s), %d requests", n, of, why, s.requests.Load())
	}
}

// TestOtherRefusalsDropNothing: what a server refuses for another reason stays.
func TestOtherRefusalsDropNothing(t *testing.T) {
	c, _ := sized(t, true, `{"error":{"message":"bad word"}}`)
	r := generate(t, c, Load{Concurrency: 1, Requests: 8})
	if r.Samples[0].Class != HTTP4xx {
		t.Errorf("%+v", r.Samples[0])
	}
	if n, _, _ := dropped(c); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// talks is a source of conversations, the first of which is too long.
type talks struct{ dropped bool }

func (s *talks) Request(int) (prompt.Request, error) {
	if !s.dropped {
		return prompt.Request{Text: "a long one", OutputTokens: 3, Turns: []prompt.Turn{{Text: "more", OutputTokens: 3}}}, nil
	}
	return prompt.Request{Text: "a short one", OutputTokens: 3, Turns: []prompt.Turn{{Text: "a long one", OutputTokens: 3}}}, nil
}

func (s *talks) Drop(prompt.Request, string) bool { s.dropped = true; return true }

// TestConversationsTooLong: one that is too long from the start is replaced; one
// that outgrows the context in a later turn ends there, which no other could help.
func TestConversationsTooLong(t *testing.T) {
	c, s := sized(t, true, beyond)
	c.Source = &talks{}
	r := generate(t, c, Load{Concurrency: 1, Requests: 1})
	if len(r.Samples) != 2 || r.Samples[0].Class != Success || r.Samples[1].Class != ContextOverflow || r.Samples[1].Turn != 1 || s.requests.Load() != 3 {
		t.Errorf("%d requests: %+v", s.requests.Load(), r.Samples)
	}
}

// TestNothingFits: a data set of which every prompt was dropped ends the run.
func TestNothingFits(t *testing.T) {
	c, _ := sized(t, true, beyond)
	c.Source.(prompt.Dropper).Drop(prompt.Request{Entry: 1}, "")
	for i := range 64 {
		c.Source.(prompt.Dropper).Drop(prompt.Request{Entry: i}, "HTTP 400: beyond")
	}
	client, err := NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := NewEngine(client).Run(t.Context(), Load{Concurrency: 4, Requests: 8})
	if r.End != EndFailed {
		t.Errorf("ended as %s, which is nobody's interruption", r.End)
	}
	if !errors.Is(err, prompt.ErrNoneFits) || !strings.Contains(err.Error(), "beyond") {
		t.Errorf("%v", err)
	}
}
