package trace

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen/prompt"
)

var sizer = prompt.Sizer{}

func mustRequest(t testing.TB, s prompt.Source, i int) prompt.Request {
	t.Helper()
	r, err := s.Request(i)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoadPutsInOrder(t *testing.T) {
	tr := load(t, []byte(`{"time":30,"input_tokens":3,"session":"a"}
{"time":10,"input_tokens":1,"session":"a"}
{"time":20,"input_tokens":2,"session":1}
{"time":20,"input_tokens":4}
{"time":45,"input_tokens":5,"session":"a"}
{"time":50,"input_tokens":6,"session":1}
`), Cut{})
	second := time.Second
	if want := []time.Duration{0, 10 * second, 10 * second, 20 * second, 35 * second, 40 * second}; !slices.Equal(tr.At, want) {
		t.Errorf("at %v, want %v", tr.At, want)
	}
	if want := []int32{1, 2, 4, 3, 5, 6}; !slices.Equal(tr.Input, want) {
		t.Errorf("lengths %v, want %v", tr.Input, want)
	}
	if want := []int32{-1, -1, -1, 0, 3, 1}; !slices.Equal(tr.Before, want) {
		t.Errorf("before %v, want %v", tr.Before, want)
	}
	if p, a := tr.Shares(); len(p) != 6 || p[0] != 0.25 || p[5] != 1.5 || len(a) != 6 || a[0] != 1 {
		t.Errorf("shares %v and %v", p, a)
	}
	if in, out := tr.Means(); in != 4 || out != 0 {
		t.Errorf("means %v and %v", in, out)
	}
	// The places follow the requests.
	source := tr.Source(1, sizer, 7)
	for i, want := range tr.Input {
		if r := mustRequest(t, source, i); r.PromptTokens != int(want) || len(strings.Fields(r.Text)) != int(want) || r.OutputTokens != 7 {
			t.Errorf("request %d: %+v", i, r)
		}
	}
}

func TestCut(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, `{"time":%d,"input_tokens":%d}`+"\n", 1000+i, i+1)
	}
	for _, c := range []struct {
		cut         Cut
		first, last int32
	}{
		{Cut{}, 1, 100},
		{Cut{From: 10 * time.Second}, 11, 100},
		{Cut{For: 5 * time.Second}, 1, 5},
		{Cut{From: 90500 * time.Millisecond, For: 3 * time.Second}, 92, 94},
	} {
		tr := load(t, []byte(b.String()), c.cut)
		if n := tr.Len(); tr.Input[0] != c.first || tr.Input[n-1] != c.last || tr.At[0] != 0 || tr.Whole != 100 {
			t.Errorf("%+v: %d to %d of %d, first at %v", c.cut, tr.Input[0], tr.Input[n-1], tr.Whole, tr.At[0])
		}
	}
	path := filepath.Join(t.TempDir(), "none")
	if _, err := Load(t.Context(), path, Cut{}, nil); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestEmptyCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "trace")
	write(t, path, nativeText)
	_, err := Load(t.Context(), path, Cut{From: time.Hour}, nil)
	if err == nil || !strings.Contains(err.Error(), "none of its 3 requests lies in the cut from 1h0m0s") {
		t.Errorf("%v", err)
	}
}

// commonWords is how many words two texts begin with in common.
func commonWords(a, b string) int {
	x, y := strings.Fields(a), strings.Fields(b)
	n := 0
	for n < min(len(x), len(y)) && x[n] == y[n] {
		n++
	}
	return n
}

// Equal blocks are equal text, and nothing else is.
func TestBlocksBecomeText(t *testing.T) {
	tr := load(t, []byte(mooncakeText), Cut{})
	for _, size := range []prompt.Sizer{{}, {PerWord: 1.37, Overhead: 31}} {
		source := tr.Source(42, size, 1)
		a, b := mustRequest(t, source, 0), mustRequest(t, source, 1)
		shared := int(float64(12*512) / max(size.PerWord, 1))
		if n := commonWords(a.Text, b.Text); n < shared-1 || n > shared+3 {
			t.Errorf("%+v: %d words in common, want %d", size, n, shared)
		}
		for _, r := range []prompt.Request{a, b} {
			want := (float64(r.PromptTokens) - size.Overhead) / max(size.PerWord, 1)
			if n := float64(len(strings.Fields(r.Text))); n < want-1 || n > want+1 {
				t.Errorf("%+v: %v words, want %v", size, n, want)
			}
		}
		if again := mustRequest(t, tr.Source(42, size, 1), 0); again.Text != a.Text {
			t.Error("the same seed gives another text")
		}
		if other := mustRequest(t, tr.Source(43, size, 1), 0); commonWords(other.Text, a.Text) > 3 {
			t.Error("another seed gives the same text")
		}
		// Sent again, the requests share with each other and not with those before.
		c, d := mustRequest(t, source, 2), mustRequest(t, source, 3)
		if n := commonWords(a.Text, c.Text); n > 3 {
			t.Errorf("the second round begins with %d words of the first", n)
		}
		if n := commonWords(c.Text, d.Text); n < shared-1 {
			t.Errorf("in the second round %d words in common, want %d", n, shared)
		}
	}
}

// A block that is the last of one prompt and shorter there begins like the whole one.
func TestShorterLastBlock(t *testing.T) {
	tr := load(t, []byte(`{"time":0,"input_tokens":30,"blocks":[5,6],"block_tokens":20}
{"time":1,"input_tokens":60,"blocks":[5,6],"block_tokens":20}
{"time":2,"input_tokens":10,"blocks":[5,6,7],"block_tokens":20}
`), Cut{})
	s := tr.Source(1, sizer, 1)
	a, b, c := mustRequest(t, s, 0).Text, mustRequest(t, s, 1).Text, mustRequest(t, s, 2).Text
	if n := commonWords(a, b); n != 30 {
		t.Errorf("%d words in common, want 30", n)
	}
	if n := commonWords(b, c); n != 10 || len(strings.Fields(c)) != 10 {
		t.Errorf("%d words in common, want 10", n)
	}
	if n := len(strings.Fields(b)); n != 60 {
		t.Errorf("%d words, want 60", n)
	}
}

// Without blocks nothing is shared.
func TestNothingShared(t *testing.T) {
	tr := load(t, []byte(azureText), Cut{})
	s := tr.Source(1, sizer, 1)
	if n := commonWords(mustRequest(t, s, 0).Text, mustRequest(t, s, 1).Text); n > 0 {
		t.Errorf("%d words in common", n)
	}
}

func TestRecordedTexts(t *testing.T) {
	tr := load(t, []byte(nativeText), Cut{})
	s := tr.Source(1, sizer, 9)
	if r := mustRequest(t, s, 1); r.Text != "what time is it?" || r.OutputTokens != 5 {
		t.Errorf("%+v", r)
	}
	first, second := mustRequest(t, s, 2), mustRequest(t, s, 5)
	if string(first.Messages) != `[{"role": "user", "content": "hello"}]` || first.OutputTokens != 9 {
		t.Errorf("%+v", first)
	}
	var messages []struct{ Content string }
	if err := json.Unmarshal(second.Messages, &messages); err != nil || !strings.HasSuffix(messages[0].Content, "\n\nhello") {
		t.Errorf("second round: %s, %v", second.Messages, err)
	}
	if r := mustRequest(t, s, 4); r.Text == "what time is it?" || !strings.HasSuffix(r.Text, "\n\nwhat time is it?") {
		t.Errorf("second round: %+v", r)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A narrowed trace is what it would be if only that had been recorded.
func TestNarrow(t *testing.T) {
	tr := load(t, []byte(`{"time":0,"input_tokens":1,"session":"a"}
{"time":10,"input_tokens":2,"session":"a"}
{"time":11,"input_tokens":3,"session":"a"}
{"time":12,"input_tokens":4}
{"time":30,"input_tokens":5,"session":"a"}
`), Cut{})
	if at := tr.Busiest(5 * time.Second); at != 10*time.Second {
		t.Errorf("busiest at %v", at)
	}
	tr.Narrow(10*time.Second, 5*time.Second)
	second := time.Second
	if !slices.Equal(tr.At, []time.Duration{0, second, 2 * second}) || !slices.Equal(tr.Input, []int32{2, 3, 4}) || !slices.Equal(tr.Before, []int32{-1, 0, -1}) {
		t.Errorf("%v, %v, %v", tr.At, tr.Input, tr.Before)
	}
	if r := mustRequest(t, tr.Source(1, sizer, 1), 1); len(strings.Fields(r.Text)) != 3 {
		t.Errorf("%+v", r)
	}
}

// What came at the same moment keeps the order of its lines, and of two stretches that
// are as busy the first is taken.
func TestEqualTimesAndStretches(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, `{"time":%d,"input_tokens":%d}`+"\n", 100*(i%2), i+1) // by turns
	}
	tr := load(t, []byte(b.String()), Cut{})
	for i, n := range tr.Input {
		if want := 2*(i%100) + 1 + i/100; int(n) != want {
			t.Fatalf("request %d is that of line %d, want %d", i, n, want)
		}
	}
	if at := tr.Busiest(50 * time.Second); at != 0 {
		t.Errorf("busiest at %v", at)
	}
}

func TestLongerThanTheContext(t *testing.T) {
	tr := load(t, []byte(`{"time":0,"input_tokens":90,"output_tokens":10}
{"time":1,"input_tokens":91,"output_tokens":10}
{"time":2,"input_tokens":96}
`), Cut{})
	for _, c := range []struct{ context, output, want int }{{100, 4, 1}, {100, 5, 2}, {99, 4, 3}, {0, 4, 0}} {
		if n := tr.Longer(c.context, c.output); n != c.want {
			t.Errorf("context %d: %d are longer, want %d", c.context, n, c.want)
		}
	}
}
