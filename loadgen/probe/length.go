package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// tokenizeForms are the bodies that servers take at /tokenize: vLLM's for chat
// and for text (SGLang takes the same), llama.cpp's, TGI's.
func tokenizeForms(p api.Protocol, model, text string) []map[string]any {
	if p.Name() == "openai-chat" {
		// A chat template adds tokens that only this form counts.
		return []map[string]any{{"model": model, "messages": []api.Message{{Role: "user", Content: text}}}}
	}
	return []map[string]any{
		{"model": model, "prompt": text},
		{"content": text, "add_special": true},
		{"inputs": text},
	}
}

// tokenize counts by the server's /tokenize, in the form with that number.
func (s *server) tokenize(ctx context.Context, p api.Protocol, model, text string, form int) (int, error) {
	r, err := s.post(ctx, "/tokenize", tokenizeForms(p, model, text)[form])
	if err != nil {
		return 0, err
	}
	var counted struct {
		Count  int
		Tokens []json.RawMessage
	}
	var list []json.RawMessage
	switch {
	case r.read(&counted) && max(counted.Count, len(counted.Tokens)) > 0:
		return max(counted.Count, len(counted.Tokens)), nil
	case r.read(&list) && len(list) > 0:
		return len(list), nil
	}
	return 0, s.fault(r)
}

// tokenizer returns the server's own /tokenize, where it agrees with what the
// server counted for the warm-up request; nil where there is none.
func (f *finder) tokenizer(ctx context.Context) prompt.Counter {
	p, model := f.Protocol, f.Model
	for form := range tokenizeForms(p, model, "") {
		n, err := f.tokenize(ctx, p, model, f.warmUp.Text, form)
		if errors.Is(err, ErrTimeout) {
			break
		}
		// One that leaves out the chat template or the begin mark disagrees.
		if err == nil && (f.counted == 0 || math.Abs(float64(n-f.counted)) <= 1) {
			return func(ctx context.Context, text string) (int, error) {
				return f.tokenize(ctx, p, model, text, form)
			}
		}
	}
	return nil
}

// counter finds a way to have prompts counted: /tokenize, else requests for one
// token; nil where the server counts prompts nowhere.
func (f *finder) counter(ctx context.Context) (prompt.Counter, string) {
	if count := f.tokenizer(ctx); count != nil {
		return count, "the server's /tokenize"
	}
	if f.counted == 0 {
		return nil, ""
	}
	return func(ctx context.Context, text string) (int, error) {
		a, err := f.askPatiently(ctx, prompt.Request{Text: text, OutputTokens: 1})
		if err == nil && a.promptTokens == 0 && a.torn {
			err = errors.New("the answer broke off before the server's count of tokens")
		}
		if err != nil {
			return 0, err
		}
		return a.promptTokens, nil
	}, "the prompt_tokens of short requests"
}

// calibrate makes prompts of the length asked for; of prompts that are given and
// to be dropped where they are too long, it finds out who can tell.
func (f *finder) calibrate(ctx context.Context) error {
	if f.options.Workload.DropTooLong && f.ContextLength > 0 {
		f.CountTokens = f.tokenizer(ctx)
	}
	if f.options.SkipCalibration || !f.options.Workload.Generated() {
		return nil
	}
	f.asking = "a short request that counts the tokens of a prompt"
	count, by := f.counter(ctx)
	if count == nil {
		f.warn("the server does not count prompt tokens: prompts are made at one token a word, and their true length is unknown")
		return nil
	}
	f.progress("calibrating prompt lengths by " + by)
	// Some dozen requests in a row may be more than a rate limit allows.
	f.patience.until = time.Now().Add(max(f.options.Wait, time.Minute))
	size, result, err := prompt.Calibrate(ctx, f.options.Workload, count)
	if errors.Is(err, ErrContext) { // the refusal may have told how long the context is
		if every := f.checkContext(ctx); every != nil {
			return every
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrAuth), errors.Is(err, ErrUnreachable):
		return err
	case err != nil:
		f.warn(fmt.Sprintf("prompt lengths could not be calibrated, so they are made at one token a word: %v", err))
		return nil
	}
	f.Sizer, f.Calibration = size, result
	f.note(fmt.Sprintf("prompts of %d tokens have %.1f on average, calibrated by %s", result.Asked, result.Mean, by))
	if !result.Within {
		f.warn(fmt.Sprintf("prompts of %d tokens were asked for, but the server counts %.1f on average: its chat template may be longer than the prompt, or it may cut long prompts (Ollama: set extra_body: {options: {num_ctx: ...}})", result.Asked, result.Mean))
	}
	return nil
}
