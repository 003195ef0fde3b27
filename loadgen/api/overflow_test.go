package api

import "testing"

// TestContextOverflow: in the words of each server, and not in the words of others
// of their complaints.
func TestContextOverflow(t *testing.T) {
	for _, c := range []struct {
		message string
		tokens  int
	}{
		// OpenAI.
		{"This model's maximum context length is 16385 tokens. However, your messages resulted in 17410 tokens. Please reduce the length of the messages.", 16385},
		{"Your input exceeds the context window of this model. Please adjust your input and try again.", 0},
		{"Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300214 tokens. Please reduce the length of the messages.", 272000},
		{"context_length_exceeded", 0},
		// vLLM.
		{"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4872 in the messages, 128 in the completion). Please reduce the length of the messages or completion.", 4096},
		{"This model's maximum context length is 4096 tokens. However, your request has 5120 input tokens. Please reduce the length of the input messages.", 4096},
		{"'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 50 input tokens (5000 > 4096 - 50).", 4096},
		{"The decoder prompt (length 21535) is longer than the maximum model length of 16384. Make sure that `max_model_len` is no smaller than the number of text tokens.", 16384},
		{"Prompt length of 5016 is longer than the maximum model length of 4096.", 4096},
		// SGLang.
		{"The input (1378 tokens) is longer than the model's context length (1000 tokens).", 1000},
		{"Requested token count exceeds the model's maximum context length of 202752 tokens. You requested a total of 202941 tokens: 170941 tokens from the input messages and 32000 tokens for the completion.", 202752},
		{"Input length (1378 tokens) exceeds the maximum allowed length (1000 tokens). Use a shorter input or enable --allow-auto-truncate.", 1000},
		// TGI.
		{"Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", 1024},
		{"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2000 `inputs` tokens and 100 `max_new_tokens`", 2048},
		// llama.cpp.
		{"the request exceeds the available context size, try increasing it", 0},
		{"request (12345 tokens) exceeds the available context size (4096 tokens), try increasing it", 4096},
		// Ollama.
		{"the input length exceeds the context length", 0},
		{"input length exceeds maximum context length", 0},
		// Others behind the same APIs.
		{"prompt is too long: 210000 tokens > 200000 maximum", 200000},
		{"input length and `max_tokens` exceed context limit: 198000 + 8000 > 200000, decrease input length or `max_tokens` and try again", 200000},
		{"The input token count (1048600) exceeds the maximum number of tokens allowed (1048576).", 1048576},
	} {
		if n, ok := ContextOverflow(c.message); !ok || n != c.tokens {
			t.Errorf("%q: %d, %t; want %d", c.message, n, ok, c.tokens)
		}
	}
	for _, message := range []string{
		"", "Not Found", "model overloaded", "Too many requests", "max_tokens is too large: 5000. This model supports at most 4096 completion tokens.",
		"Rate limit reached for gpt-4 on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000.",
		"Unrecognized request argument supplied: min_tokens", "temperature must be at most 2", "request exceeds the maximum number of concurrent requests (128)",
		"KV cache is full", "Context size has been exceeded.", "context canceled", "context deadline exceeded", "Maximum concurrent requests exceeded",
	} {
		if n, ok := ContextOverflow(message); ok {
			t.Errorf("%q is taken for an overflow (%d)", message, n)
		}
	}
}
