package loadgen_test

import (
	"sync"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

type shortPrompts struct{}

func (shortPrompts) Request(int) (prompt.Request, error) {
	return prompt.Request{Text: "hello", PromptTokens: 1, OutputTokens: 8}, nil
}

// What each fault of the simulated server makes of a request. An absent fault is
// a success with 8 tokens.
var simFaults = map[string]struct {
	fault simserver.Fault
	class loadgen.Class
	check func(*loadgen.Sample) bool
}{
	"status":           {simserver.Fault{Status: 429, RetryAfter: 3 * time.Second}, loadgen.HTTP429, func(s *loadgen.Sample) bool { return s.RetryAfter == 3*time.Second }},
	"redirect":         {class: loadgen.Redirect},
	"html":             {class: loadgen.Malformed},
	"empty_body":       {class: loadgen.Empty},
	"malformed":        {class: loadgen.Malformed},
	"no_choices":       {class: loadgen.Empty},
	"no_output":        {class: loadgen.Empty},
	"slow_headers":     {simserver.Fault{Delay: time.Minute}, loadgen.TimeoutFirstToken, nil},
	"reset":            {simserver.Fault{After: 3}, loadgen.ConnectionReset, nil},
	"truncate_chunked": {simserver.Fault{After: 3}, loadgen.Truncated, events(3)},
	"truncate_close":   {simserver.Fault{After: 3}, loadgen.Truncated, events(3)},
	"no_finish":        {simserver.Fault{After: 3}, loadgen.Truncated, events(3)},
	"error_object":     {simserver.Fault{After: 3}, loadgen.StreamError, events(3)},
	"error_event":      {simserver.Fault{After: 3}, loadgen.StreamError, events(3)},
	"stall":            {simserver.Fault{After: 3}, loadgen.TimeoutIdle, events(3)},
	"endless":          {class: loadgen.TimeoutTotal},
	"flood":            {class: loadgen.TimeoutTotal},
	"idle_close":       {fault: simserver.Fault{Delay: time.Millisecond}},
	"batch":            {fault: simserver.Fault{Tokens: 4}, check: events(2)},
	"plain_json":       {check: func(s *loadgen.Sample) bool { return !s.Streamed }},
	"tool_calls":       {check: func(s *loadgen.Sample) bool { return s.OutputEvents > 0 }},
	"buffered":         {check: func(s *loadgen.Sample) bool { return s.LastOutput-s.FirstOutput < s.FirstOutput-s.Sent }},
	"usage_zero":       {check: func(s *loadgen.Sample) bool { return s.TokenSource == loadgen.TokensFromEvents }},
	"no_usage":         {check: func(s *loadgen.Sample) bool { return s.TokenSource == loadgen.TokensFromEvents }},
	"huge_event":       {fault: simserver.Fault{After: 2}, check: func(s *loadgen.Sample) bool { return s.OutputEvents >= 8 }},
	"reasoning":        {fault: simserver.Fault{After: 3}, check: answerLater},
	"reasoning_both":   {fault: simserver.Fault{After: 3}, check: answerLater},
}

func events(n int) func(*loadgen.Sample) bool {
	return func(s *loadgen.Sample) bool { return s.OutputEvents == n }
}

// answerLater cannot ask for more than order: events 2 ms apart may arrive as one.
func answerLater(s *loadgen.Sample) bool {
	return s.OutputEvents == 8 && s.FirstAnswer >= s.FirstOutput
}

func TestSimulatedFaults(t *testing.T) {
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, mode := range simserver.FaultModes() {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(mode, func(t *testing.T) { testSimFault(t, mode) })
		})
	}
	all.Wait()
}

func testSimFault(t *testing.T, mode string) {
	want := simFaults[mode]
	fault := want.fault
	fault.Mode = mode
	sim := simserver.Default()
	sim.TimeScale = 10
	sim.Faults = []simserver.Fault{fault}
	server, err := simhttp.Start(sim)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	chat, err := api.ByName("openai-chat")
	if err != nil {
		t.Fatal(err)
	}
	target := loadgen.DefaultTarget()
	target.BaseURL = server.URL()
	target.Timeouts.Total = 20 * time.Second
	switch want.class {
	case loadgen.TimeoutFirstToken:
		target.Timeouts.FirstToken = 500 * time.Millisecond
	case loadgen.TimeoutIdle:
		target.Timeouts.Idle = 500 * time.Millisecond
	case loadgen.TimeoutTotal:
		target.Timeouts.Total = 500 * time.Millisecond
	}
	client, err := loadgen.NewClient(loadgen.ClientConfig{
		Target: target, Protocol: chat, Source: shortPrompts{},
		Options: api.Options{Model: sim.Model, HoldOutputLength: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := loadgen.NewEngine(client).Run(t.Context(), loadgen.Load{Concurrency: 2, Requests: 4, MaxHold: time.Millisecond})
	if err != nil || len(r.Samples) != 4 {
		t.Fatalf("%d samples, %v", len(r.Samples), err)
	}
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Class != want.class || want.check != nil && !want.check(s) {
			t.Errorf("class %q (%s), want %q: %+v", s.Class, s.Message, want.class, s)
		}
		if s.Class == loadgen.Success && s.OutputTokens < 8 && mode != "tool_calls" {
			t.Errorf("%d tokens", s.OutputTokens)
		}
	}
}
