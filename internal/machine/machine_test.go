package machine

import (
	"slices"
	"strings"
	"testing"
)

func TestRedactedArgs(t *testing.T) {
	for _, tt := range []struct{ flag, value string }{
		{"--header", "X: canary"},
		{"--header=X: canary", ""},
		{"--base-url", "http://u:canary@h/v1"},
		{"--base-url=http://u:canary@h/v1", ""},
		{"--set", "target.headers.X=canary"},
		{"--set=target.extra_body={api_key: canary}", ""},
		{"--set", "target.base_url=http://u:canary@h"},
		{"--simulator", "{api_key: canary}"},
	} {
		args := []string{"capfind", "run", tt.flag}
		if tt.value != "" {
			args = append(args, tt.value)
		}
		for _, arg := range redactedArgs(args) {
			if strings.Contains(arg, "canary") {
				t.Errorf("%v is recorded as %v", args, redactedArgs(args))
			}
		}
	}
	plain := []string{"capfind", "sweep", "config.yaml", "--concurrency", "1,2", "-o=json", "--set", "stop.max_ttft=2s"}
	if got := redactedArgs(plain); !slices.Equal(got, plain) {
		t.Errorf("%v is recorded as %v", plain, got)
	}
}
