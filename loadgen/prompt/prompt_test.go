package prompt

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustNew(t *testing.T, c Config, size Sizer) Source {
	t.Helper()
	s, notes, err := New(t.Context(), c, size)
	if err != nil || len(notes) > 0 {
		t.Fatalf("New: %v, %v", notes, err)
	}
	return s
}

func mustRequest(t *testing.T, s Source, i int) Request {
	t.Helper()
	r, err := s.Request(i)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func generatedConfigs() map[string]Config {
	base := Default()
	base.Seed, base.InputLen = 7, 40
	ranged := base
	ranged.RangeRatio = 0.3
	shared := ranged
	shared.Dataset, shared.PrefixLen, shared.Prefixes = SharedPrefix, 20, 3
	talk := ranged
	talk.Dataset, talk.Turns, talk.ThinkTime = Conversation, 3, time.Second
	return map[string]Config{"random": base, "random, ranged": ranged, "shared_prefix": shared, "conversation": talk}
}

// TestPure: a request depends on seed and number alone, whoever asks, in
// whichever order.
func TestPure(t *testing.T) {
	for name, c := range generatedConfigs() {
		a, b := mustNew(t, c, Sizer{PerWord: 1.3, Overhead: 4}), mustNew(t, c, Sizer{PerWord: 1.3, Overhead: 4})
		for _, i := range []int{5, 0, 1, 5, 1 << 28} {
			mustRequest(t, b, i+1)
			if !reflect.DeepEqual(mustRequest(t, a, i), mustRequest(t, b, i)) {
				t.Errorf("%s: request %d differs", name, i)
			}
		}
		c.Seed++
		if mustRequest(t, mustNew(t, c, Sizer{}), 5).Text == mustRequest(t, a, 5).Text {
			t.Errorf("%s: another seed gives the same request", name)
		}
	}
}

// TestUnique: no two prompts share their first words, and any 1024 in a row not
// even the first.
func TestUnique(t *testing.T) {
	if len(words) != 1<<wordBits || len(slices.Compact(slices.Sorted(slices.Values(words)))) != len(words) {
		t.Fatalf("%d words, or some twice", len(words))
	}
	for name, c := range generatedConfigs() {
		s := mustNew(t, c, Sizer{})
		open, first := map[string]int{}, map[string]int{}
		for i := range 5000 {
			text := mustRequest(t, s, i).Text
			fields := strings.Fields(text)
			if text != strings.Join(fields, " ") {
				t.Fatalf("%s: prompt %d is not words with a space between them: %q", name, i, text)
			}
			if c.Dataset == SharedPrefix {
				fields = fields[c.PrefixLen:]
			}
			key := strings.Join(fields[:nonceWords], " ")
			if j, ok := open[key]; ok {
				t.Fatalf("%s: prompts %d and %d open with %q", name, j, i, key)
			}
			open[key] = i
			if j, ok := first[fields[0]]; ok && i-j < 1024 {
				t.Fatalf("%s: prompts %d and %d open with %q", name, j, i, fields[0])
			}
			first[fields[0]] = i
		}
	}
}

func TestNotUnique(t *testing.T) {
	c := generatedConfigs()["random"]
	c.Unique = false
	s := mustNew(t, c, Sizer{})
	if !reflect.DeepEqual(mustRequest(t, s, 3), mustRequest(t, s, 3+repeatAfter)) {
		t.Error("prompts do not repeat")
	}
}

// TestLengths: with one token a word the lengths are exact, and a range is vLLM's.
func TestLengths(t *testing.T) {
	c := Default()
	c.InputLen, c.OutputLen = 10, 4
	for i := range 100 {
		r := mustRequest(t, mustNew(t, c, Sizer{}), i)
		if n := len(strings.Fields(r.Text)); n != 10 || r.PromptTokens != 10 || r.OutputTokens != 4 {
			t.Fatalf("request %d: %d words, %+v", i, n, r)
		}
	}
	c.RangeRatio = 0.25 // floor(7.5) to ceil(12.5), floor(3) to ceil(5)
	in, out := map[int]int{}, map[int]int{}
	s := mustNew(t, c, Sizer{})
	for i := range 7000 {
		r := mustRequest(t, s, i)
		in[r.PromptTokens]++
		out[r.OutputTokens]++
		if n := len(strings.Fields(r.Text)); n != r.PromptTokens {
			t.Fatalf("request %d: %d words, %+v", i, n, r)
		}
	}
	for length := 7; length <= 13; length++ {
		if in[length] < 850 || in[length] > 1150 {
			t.Errorf("input length %d drawn %d times of 7000, want about 1000", length, in[length])
		}
	}
	if len(in) != 7 || len(out) != 3 || out[3] == 0 || out[5] == 0 {
		t.Errorf("input lengths %v, output lengths %v", in, out)
	}
}

func TestSharedPrefix(t *testing.T) {
	c := Default()
	c.Dataset, c.PrefixLen, c.Prefixes, c.InputLen = SharedPrefix, 50, 3, 30
	s := mustNew(t, c, Sizer{})
	prefixes := map[string]int{}
	for i := range 300 {
		r := mustRequest(t, s, i)
		fields := strings.Fields(r.Text)
		if len(fields) != 80 || r.PromptTokens != 80 {
			t.Fatalf("%d words, %d tokens", len(fields), r.PromptTokens)
		}
		prefixes[strings.Join(fields[:50], " ")]++
	}
	if len(prefixes) != 3 {
		t.Errorf("%d prefixes, want 3", len(prefixes))
	}
}

func TestConversation(t *testing.T) {
	c := generatedConfigs()["conversation"]
	r := mustRequest(t, mustNew(t, c, Sizer{PerWord: 1, Overhead: 10}), 0)
	if len(r.Turns) != 2 || r.Turns[0].Think != time.Second || r.Turns[0].Text == r.Turns[1].Text || r.Turns[0].OutputTokens < 1 {
		t.Errorf("turns %+v", r.Turns)
	}
}

// TestFractionsOfWords: where a word is several tokens, the mean length is right
// all the same.
func TestFractionsOfWords(t *testing.T) {
	c := Default()
	c.InputLen = 16
	size := Sizer{PerWord: 1.37, Overhead: 3}
	s := mustNew(t, c, size)
	sum := 0.0
	const n = 4000
	for i := range n {
		sum += size.Overhead + size.PerWord*float64(len(strings.Fields(mustRequest(t, s, i).Text)))
	}
	if mean := sum / n; math.Abs(mean-16) > 0.1 {
		t.Errorf("mean length %.2f, want 16", mean)
	}
}

func TestValidate(t *testing.T) {
	hot := 99.0
	cases := []struct {
		name string
		edit func(*Config)
		keys []string
	}{
		{"default", func(c *Config) {}, nil},
		{"unknown data set", func(c *Config) { c.Dataset = "rnd" }, []string{"dataset"}},
		{"everything", func(c *Config) {
			c.InputLen, c.OutputLen, c.RangeRatio, c.Turns, c.ThinkTime, c.PrefixLen, c.Prefixes, c.Path, c.MaxBadLines, c.Temperature = 0, -1, 1, 2, -1, 5, 1, "x", -1, &hot
		}, []string{"input_len", "output_len", "path", "range_ratio", "prefix_len", "prefixes", "turns", "think_time", "max_bad_lines", "temperature"}},
		{"no path", func(c *Config) { c.Dataset = JSONL }, []string{"path"}},
		{"missing file", func(c *Config) { c.Dataset, c.Path = ShareGPT, "/does/not/exist.json" }, []string{"path"}},
		{"directory", func(c *Config) { c.Dataset, c.Path = JSONL, "." }, []string{"path"}},
		{"no prefix", func(c *Config) { c.Dataset = SharedPrefix }, []string{"prefix_len"}},
		{"no turns", func(c *Config) { c.Dataset = Conversation }, []string{"turns"}},
		{"nothing to think before", func(c *Config) { c.Dataset, c.Turns, c.ThinkTime = Conversation, 1, 1 }, []string{"think_time"}},
	}
	for _, c := range cases {
		config := Default()
		c.edit(&config)
		var keys []string
		for _, p := range config.Validate() {
			keys = append(keys, p.Key)
		}
		if !slices.Equal(keys, c.keys) {
			t.Errorf("%s: problems with %v, want %v", c.name, keys, c.keys)
		}
		_, _, err := New(t.Context(), config, Sizer{})
		if (err != nil) != (c.keys != nil) {
			t.Errorf("%s: New: %v", c.name, err)
		}
	}
}
