package simhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
)

// onWire is what a client must make of each fault.
type onWire struct {
	fault simserver.Fault
	class loadgen.Class
	check func(t *testing.T, s *loadgen.Sample)
}

func events(want int) func(*testing.T, *loadgen.Sample) {
	return func(t *testing.T, s *loadgen.Sample) {
		if s.OutputEvents != want {
			t.Errorf("%d output events, want %d", s.OutputEvents, want)
		}
	}
}

// complete: ten tokens by the server's own count, one an event.
func complete(t *testing.T, s *loadgen.Sample) {
	if s.OutputTokens != 10 || s.OutputEvents != 10 || s.TokenSource != loadgen.TokensFromUsage {
		t.Errorf("%d tokens from %s in %d events, want 10 from usage in 10", s.OutputTokens, s.TokenSource, s.OutputEvents)
	}
}

func counted(t *testing.T, s *loadgen.Sample) {
	if s.OutputTokens != 10 || s.TokenSource != loadgen.TokensFromEvents {
		t.Errorf("%d tokens from %s, want 10 counted events", s.OutputTokens, s.TokenSource)
	}
}

func onTheWire() map[string]onWire {
	f := func(mode string) simserver.Fault { return simserver.Fault{Mode: mode, After: 3} }
	const second = time.Second
	return map[string]onWire{
		"status": {simserver.Fault{Mode: "status", Status: 429, RetryAfter: 3 * second}, loadgen.HTTP429, func(t *testing.T, s *loadgen.Sample) {
			if s.Status != 429 || s.RetryAfter != 3*second {
				t.Errorf("status %d, Retry-After %v", s.Status, s.RetryAfter)
			}
		}},
		"redirect":     {f("redirect"), loadgen.Redirect, nil},
		"html":         {f("html"), "", notSuccess},
		"empty_body":   {f("empty_body"), loadgen.Empty, nil},
		"malformed":    {f("malformed"), loadgen.Malformed, nil},
		"no_choices":   {f("no_choices"), loadgen.Empty, nil},
		"no_output":    {f("no_output"), loadgen.Empty, nil},
		"plain_json":   {f("plain_json"), loadgen.Success, notStreamed},
		"slow_headers": {simserver.Fault{Mode: "slow_headers", Delay: 20 * second}, loadgen.TimeoutFirstToken, nil},

		"reset":            {f("reset"), loadgen.ConnectionReset, nil},
		"truncate_chunked": {f("truncate_chunked"), loadgen.Truncated, events(3)},
		"truncate_close":   {f("truncate_close"), loadgen.Truncated, events(3)},
		"no_finish":        {f("no_finish"), loadgen.Truncated, events(3)},
		"error_object":     {f("error_object"), loadgen.StreamError, events(3)},
		"error_event":      {f("error_event"), loadgen.StreamError, events(3)},
		"stall":            {f("stall"), loadgen.TimeoutIdle, events(3)},
		"endless":          {f("endless"), "", notSuccess},
		"flood":            {f("flood"), "", notSuccess},

		"no_done":         {f("no_done"), loadgen.Success, complete},
		"open_after_done": {f("open_after_done"), loadgen.Success, complete},
		"idle_close":      {simserver.Fault{Mode: "idle_close", Delay: 50 * time.Millisecond}, loadgen.Success, complete},

		"crlf":        {f("crlf"), loadgen.Success, complete},
		"cr":          {f("cr"), loadgen.Success, complete},
		"crlf_split":  {f("crlf_split"), loadgen.Success, complete},
		"no_space":    {f("no_space"), loadgen.Success, complete},
		"multi_line":  {f("multi_line"), loadgen.Success, complete},
		"fields":      {f("fields"), loadgen.Success, complete},
		"pings":       {simserver.Fault{Mode: "pings", Delay: 2 * time.Millisecond}, loadgen.Success, complete},
		"split_utf8":  {f("split_utf8"), loadgen.Success, complete},
		"split_bytes": {f("split_bytes"), loadgen.Success, complete},
		"huge_event":  {simserver.Fault{Mode: "huge_event", After: 3, Size: 3 << 20}, loadgen.Success, complete},
		"gzip":        {f("gzip"), loadgen.Success, complete},
		"buffered":    {f("buffered"), loadgen.Success, complete},

		"role_first":        {f("role_first"), loadgen.Success, complete},
		"null_content":      {f("null_content"), loadgen.Success, complete},
		"empty_finish":      {f("empty_finish"), loadgen.Success, complete},
		"reasoning_content": {f("reasoning_content"), loadgen.Success, answersLater},
		"reasoning":         {f("reasoning"), loadgen.Success, answersLater},
		"reasoning_both":    {f("reasoning_both"), loadgen.Success, answersLater},
		"tool_calls":        {f("tool_calls"), loadgen.Success, complete},
		"batch": {simserver.Fault{Mode: "batch", Tokens: 4}, loadgen.Success, func(t *testing.T, s *loadgen.Sample) {
			events(3)(t, s)
			if s.OutputTokens != 10 {
				t.Errorf("%d tokens, want 10", s.OutputTokens)
			}
		}},
		"usage_with_finish": {f("usage_with_finish"), loadgen.Success, complete},
		"usage_cumulative":  {f("usage_cumulative"), loadgen.Success, complete},
		"usage_null":        {f("usage_null"), loadgen.Success, complete},
		"usage_zero":        {f("usage_zero"), loadgen.Success, counted},
		"no_usage":          {f("no_usage"), loadgen.Success, counted},
	}
}

func notSuccess(t *testing.T, s *loadgen.Sample) {
	if s.Class == loadgen.Success {
		t.Error("taken for a success")
	}
}

func notStreamed(t *testing.T, s *loadgen.Sample) {
	if s.Streamed {
		t.Error("taken for a stream")
	}
}

func answersLater(t *testing.T, s *loadgen.Sample) {
	complete(t, s)
	if s.FirstAnswer <= s.FirstOutput {
		t.Errorf("first answer at %v, first output at %v: reasoning was not told apart", s.FirstAnswer, s.FirstOutput)
	}
}

// TestFaultsOnTheWire shows every fault mode to the real client over a socket.
func TestFaultsOnTheWire(t *testing.T) {
	table := onTheWire()
	for _, mode := range simserver.FaultModes() {
		want, ok := table[mode]
		if !ok {
			t.Errorf("%s: no test", mode)
			continue
		}
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := quick()
			if strings.HasPrefix(mode, "reasoning") {
				c.StepTime = 50 * time.Millisecond // far enough apart for a reader that takes several events at once
			}
			c.Faults = []simserver.Fault{want.fault}
			s := start(t, c)
			cl := client(t, s, "openai-chat", func(c *loadgen.ClientConfig) {
				if !strings.HasPrefix(string(want.class), "timeout") && mode != "endless" && mode != "flood" {
					return
				}
				c.Target.Timeouts = loadgen.Timeouts{Connect: 5 * time.Second, FirstToken: 1500 * time.Millisecond, Idle: 700 * time.Millisecond, Total: 2500 * time.Millisecond}
			})
			got := do(t, cl, 0)
			if want.class != "" && got.Class != want.class || want.check == nil && got.Class != want.class {
				t.Errorf("class %q (%s), want %q", got.Class, got.Message, want.class)
			}
			if want.check != nil {
				want.check(t, &got)
			}
			// Whatever happened, the server must be done with it.
			deadline := time.Now().Add(10 * time.Second)
			for st := s.State(); st.Running+st.Waiting > 0; st = s.State() {
				if time.Now().After(deadline) {
					t.Fatalf("a slot is still taken: %+v", st)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

func TestFaultsHitTheirShare(t *testing.T) {
	hits := func(f simserver.Fault, of int) (out []int) {
		c := quick()
		f.Mode = "status"
		c.Faults = []simserver.Fault{f}
		s := start(t, c)
		for i := 1; i <= of; i++ {
			status, _, _ := post(t, s.URL()+"/v1/completions", `{"model":"simulated-model","prompt":"hi","max_tokens":1}`)
			if status == http.StatusServiceUnavailable {
				out = append(out, i)
			}
		}
		return out
	}
	if got := fmt.Sprint(hits(simserver.Fault{Every: 3}, 10)); got != "[3 6 9]" {
		t.Errorf("every third: %s", got)
	}
	if got := fmt.Sprint(hits(simserver.Fault{Count: 2}, 5)); got != "[1 2]" {
		t.Errorf("the first two: %s", got)
	}
	if n := len(hits(simserver.Fault{Share: 0.3}, 100)); n < 15 || n > 45 {
		t.Errorf("a share of 30 %%: %d of 100", n)
	}
}

// TestIdleConnectionsAreClosed: the fault closes what nobody uses.
func TestIdleConnectionsAreClosed(t *testing.T) {
	c := quick()
	c.Faults = []simserver.Fault{{Mode: "idle_close", Delay: 20 * time.Millisecond}}
	s := start(t, c)
	cl := client(t, s, "openai-chat", nil)
	do(t, cl, 0)
	time.Sleep(200 * time.Millisecond)
	if got := do(t, cl, 1); got.ConnReused || got.Class != loadgen.Success {
		t.Errorf("second request: re-used %v, class %q %s", got.ConnReused, got.Class, got.Message)
	}
}

// TestFaultsInOtherProtocols: what is cut is cut in all of them.
func TestFaultsInOtherProtocols(t *testing.T) {
	for name, kinds := range protocols {
		for mode, class := range map[string]loadgen.Class{
			"truncate_chunked": loadgen.Truncated, "truncate_close": loadgen.Truncated, "no_finish": loadgen.Truncated,
			"error_object": loadgen.StreamError, "reset": loadgen.ConnectionReset, "no_output": loadgen.Empty, "batch": loadgen.Success,
		} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				c := quick()
				c.Server = kinds[0]
				c.Faults = []simserver.Fault{{Mode: mode, After: 3}}
				got := do(t, client(t, start(t, c), name, nil), 0)
				if got.Class != class {
					t.Errorf("class %q (%s), want %q", got.Class, got.Message, class)
				}
			})
		}
	}
}
