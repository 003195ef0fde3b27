package loadgen

import (
	"strings"
	"testing"
)

func TestTargetURL(t *testing.T) {
	for _, test := range []struct{ base, path, want string }{
		{"http://h:8000", "/chat/completions", "http://h:8000/v1/chat/completions"},
		{"http://h:8000/", "/chat/completions", "http://h:8000/v1/chat/completions"},
		{"http://h:8000/v1", "/chat/completions", "http://h:8000/v1/chat/completions"},
		{"http://h:8000/v1/", "/v1/models", "http://h:8000/v1/models"},
		{"http://h:8000/v1//", "/completions", "http://h:8000/v1/completions"},
		{"http://h:8000/v1", "/metrics", "http://h:8000/metrics"},
		{"http://h:8000", "/generate", "http://h:8000/generate"},
		{"http://h:8000/llm/v1", "/health", "http://h:8000/llm/health"},
		{"http://h:8000/llm", "/models", "http://h:8000/llm/v1/models"},
		{"https://h/v1beta/openai/", "/chat/completions", "https://h/v1beta/openai/chat/completions"},
		{"https://h/openai/deployments/m?api-version=2", "/chat/completions", "https://h/openai/deployments/m/chat/completions?api-version=2"},
		{"http://h/a%20b", "/models", "http://h/a%20b/v1/models"},
		{"http://h/a%2Fb/v1", "/models", "http://h/a%2Fb/v1/models"},
		{"http://h/100%", "/models", "http://h/100%25/v1/models"},
		{"http://bob:pw@h/v1", "/models", "http://h/v1/models"},
		{"http://[::1]:8000", "/models", "http://[::1]:8000/v1/models"},
		{"http://h/v1/chat/completions", "/models", "http://h/v1/models"},
		{"http://h/v1/chat/completions/", "/chat/completions", "http://h/v1/chat/completions"},
		{"http://h/llm/v1/completions?k=1", "/metrics", "http://h/llm/metrics?k=1"},
		{"http://h/v1/models", "/chat/completions", "http://h/v1/chat/completions"},
		{"http://h/api/chat", "/api/chat", "http://h/api/chat"},
		{"http://h/x/generate_stream", "/models", "http://h/x/v1/models"},
		{"http://h/v1#part", "/models", "http://h/v1/models"},
	} {
		got, err := Target{BaseURL: test.base}.URL(test.path)
		if err != nil || got != test.want {
			t.Errorf("URL(%q, %q) = %q, %v; want %q", test.base, test.path, got, err, test.want)
		}
	}
}

func TestTargetURLRefuses(t *testing.T) {
	for base, want := range map[string]string{
		"":                           "empty",
		"127.0.0.1:8000":             "base_url",
		"localhost:8000":             "http://",
		"ftp://h":                    "http://",
		"http://":                    "no host",
		"http://user:hunter2@h:port": "no URL",
	} {
		_, err := Target{BaseURL: base}.URL("/models")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("URL of base %q: error %v, want one with %q", base, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
}
