package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen/prompt"
)

func TestQuirks(t *testing.T) {
	r := prompt.Request{Text: "x", OutputTokens: 9}
	half := 0.5
	zero := 0.0
	cases := []struct {
		name string
		p    Protocol
		o    Options
		want map[string]string // "" means absent
	}{
		{"no quirks", openAIChat{}, Options{}, map[string]string{"model": "", "ignore_eos": "", "min_tokens": "", "temperature": "", "stream_options.continuous_usage_stats": ""}},
		{"refused", openAIChat{}, Options{HoldOutputLength: true, NoUsage: true, NoIgnoreEOS: true, NoMinTokens: true, MaxTokensField: "max_completion_tokens"},
			map[string]string{"stream_options": "", "ignore_eos": "", "min_tokens": "", "max_tokens": "", "max_completion_tokens": "9"}},
		{"usage in every chunk", openAICompletions{}, Options{ContinuousUsageStat: true, Temperature: &zero}, map[string]string{"stream_options.continuous_usage_stats": "true", "temperature": "0"}},
		{"no stream", openAICompletions{}, Options{NoStream: true}, map[string]string{"stream": "false", "stream_options": ""}},
		{"tgi refuses 0", tgi{}, Options{Temperature: &zero}, map[string]string{"parameters.temperature": "", "parameters.do_sample": "false"}},
		{"tgi samples", tgi{}, Options{Temperature: &half}, map[string]string{"parameters.temperature": "0.5", "parameters.do_sample": "true"}},
		{"sglang", sglang{}, Options{HoldOutputLength: true, NoIgnoreEOS: true, NoMinTokens: true, Temperature: &half}, map[string]string{"sampling_params.ignore_eos": "", "sampling_params.min_new_tokens": "", "sampling_params.temperature": "0.5"}},
		{"extra merges", ollama{}, Options{Extra: map[string]any{"options": map[string]any{"num_ctx": 8192}, "keep_alive": "5m"}}, map[string]string{"options.num_ctx": "8192", "options.num_predict": "9", "keep_alive": `"5m"`}},
		{"extra wins", openAIChat{}, Options{Extra: map[string]any{"max_tokens": 5, "stream_options": map[string]any{"include_usage": false}}}, map[string]string{"max_tokens": "5", "stream_options.include_usage": "false"}},
		{"extra removes", openAIChat{}, Options{Extra: map[string]any{"stream_options": nil}}, map[string]string{"stream_options": ""}},
	}
	for _, c := range cases {
		raw, err := c.p.AppendBody(nil, r, nil, c.o)
		if err != nil || !json.Valid(raw) {
			t.Errorf("%s: %v: %s", c.name, err, raw)
		}
		for path, want := range c.want {
			if got := member(raw, path); got != want {
				t.Errorf("%s: %s = %q, want %q, in %s", c.name, path, got, want, raw)
			}
		}
	}
}

// TestImages: data URLs pass through OpenAI's messages as they are, move beside
// the text for Ollama, and are an error where only text can be sent.
func TestImages(t *testing.T) {
	r := prompt.Request{OutputTokens: 1, Messages: json.RawMessage(`[{"role":"user","content":[{"type":"text","text":"what?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}]}]`)}
	raw, err := openAIChat{}.AppendBody(nil, r, nil, Options{})
	if err != nil || member(raw, "messages") != string(r.Messages) {
		t.Errorf("openai-chat: %s, %v", raw, err)
	}
	raw, err = ollama{}.AppendBody(nil, r, nil, Options{})
	if err != nil || member(raw, "messages.0.content") != `"what?"` || member(raw, "messages.0.images") != `["QUJD"]` {
		t.Errorf("ollama: %s, %v", raw, err)
	}
	for _, p := range []Protocol{openAICompletions{}, sglang{}, tgi{}} {
		if _, err := p.AppendBody(nil, r, nil, Options{}); err == nil || !strings.Contains(err.Error(), "openai-chat") {
			t.Errorf("%s: %v", p.Name(), err)
		}
	}
}

func TestBodyErrors(t *testing.T) {
	if _, err := (openAIChat{}).AppendBody(nil, prompt.Request{Messages: json.RawMessage(`{}`)}, nil, Options{}); err == nil {
		t.Error("messages that are no list: no error")
	}
	if _, err := (openAIChat{}).AppendBody(nil, prompt.Request{}, nil, Options{Extra: map[string]any{"f": func() {}}}); err == nil || !strings.Contains(err.Error(), `"f"`) {
		t.Errorf("a field that JSON cannot hold: %v", err)
	}
}

// TestExtraIsNotChanged: the map of the config serves every request, from many
// goroutines.
func TestExtraIsNotChanged(t *testing.T) {
	extra := map[string]any{"options": map[string]any{"num_ctx": 1}, "stream_options": map[string]any{"a": 1}}
	before, _ := json.Marshal(extra)
	for _, name := range Names() {
		p, _ := ByName(name)
		for range 2 {
			if _, err := p.AppendBody(nil, prompt.Request{Text: "x", OutputTokens: 1}, nil, Options{Extra: extra, HoldOutputLength: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after, _ := json.Marshal(extra); string(after) != string(before) {
		t.Errorf("extra body changed from %s to %s", before, after)
	}
}

func TestByNameUnknown(t *testing.T) {
	if _, err := ByName("openai"); err == nil || !strings.Contains(err.Error(), "openai-chat, openai-completions, sglang, tgi, ollama") {
		t.Errorf("ByName: %v", err)
	}
}

func TestPathFor(t *testing.T) {
	if got := PathFor(tgi{}, true); got != "/generate" {
		t.Error(got)
	}
	if got := PathFor(tgi{}, false); got != "/generate_stream" {
		t.Error(got)
	}
	if got := PathFor(openAIChat{}, true); got != "/chat/completions" {
		t.Error(got)
	}
}
