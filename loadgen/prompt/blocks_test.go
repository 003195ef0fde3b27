package prompt

import (
	"strings"
	"testing"
)

// Every text of a request has the length asked for, and texts of its own.
func TestBatch(t *testing.T) {
	c := Default()
	c.InputLen, c.Batch, c.Seed = 20, 5, 3
	s, _, err := New(t.Context(), c, Sizer{})
	if err != nil {
		t.Fatal(err)
	}
	r := mustRequest(t, s, 7)
	if len(r.Others) != 4 || r.PromptTokens != 100 {
		t.Fatalf("%d others, %d tokens", len(r.Others), r.PromptTokens)
	}
	seen := map[string]bool{r.Text: true}
	for _, text := range r.Others {
		if n := len(strings.Fields(text)); n != 20 || seen[text] {
			t.Errorf("%d words in %q", n, text)
		}
		seen[text] = true
	}
	again := mustRequest(t, s, 7)
	if again.Others[3] != r.Others[3] || mustRequest(t, s, 8).Others[3] == r.Others[3] {
		t.Error("the texts do not follow from seed and number")
	}
	c.Batch = 1
	s, _, _ = New(t.Context(), c, Sizer{})
	if one := mustRequest(t, s, 7); one.Others != nil || one.PromptTokens != 20 || one.Text != r.Text {
		t.Errorf("a batch of one: %+v", one)
	}
	for _, bad := range []Config{{Dataset: Random, InputLen: 1, OutputLen: 1, Batch: -1}, {Dataset: Conversation, Turns: 2, InputLen: 1, OutputLen: 1, Batch: 2}} {
		if p := bad.Validate(); len(p) != 1 || p[0].Key != "batch" {
			t.Errorf("%+v: %v", bad, p)
		}
	}
}

func TestBlocksKeepTheirTokens(t *testing.T) {
	for _, size := range []Sizer{{}, {PerWord: 1.31, Overhead: 12}} {
		b := Blocks{Seed: 4, Size: size}
		blocks := []Block{{1, 100}, {2, 100}, {3, 37}}
		for _, tokens := range []int{1, 90, 237, 500} {
			n := len(strings.Fields(b.Text(0, tokens, blocks, 0)))
			want := max(1, (float64(tokens)-size.Overhead)/size.perWord())
			if float64(n) < want-1 || float64(n) > want+1 {
				t.Errorf("%+v: %d words for %d tokens, want %v", size, n, tokens, want)
			}
		}
	}
}
