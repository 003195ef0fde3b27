package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/internal/telemetry"
)

// TestSimulatedServers loads a server of every kind over a real socket and holds
// what its metrics say against what was sent.
func TestSimulatedServers(t *testing.T) {
	const slots, requests, tokens = 4, 10, 20
	for _, kind := range []simserver.Kind{simserver.VLLM, simserver.SGLang, simserver.TGI, simserver.LlamaCpp} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			cfg := simserver.Default()
			cfg.Server, cfg.Slots, cfg.StepTime, cfg.Prefill = kind, slots, 10*time.Millisecond, 20*time.Millisecond
			cfg.StepTimePerRequest, cfg.KVTokens = 0, 16000
			server, err := simhttp.Start(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			root := strings.TrimSuffix(server.URL(), "/v1")
			s, err := telemetry.New(telemetry.Config{ServerURL: root + "/metrics", Interval: 10 * time.Millisecond,
				Notice: func(text string) { t.Errorf("notice: %s", text) }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); s.Run(ctx) }()
			s.Wait(t)

			from := time.Now()
			load(t, root, requests, tokens)
			got, ok := s.Window(from, time.Now())
			cancel()
			<-done
			if !ok || got.Source != string(kind) || got.WentAway {
				t.Fatalf("ok %v, %+v", ok, got)
			}
			want(t, "running max", got.RunningMax, slots)
			if v := got.WaitingMax.Or(0); v < 1 || v > requests-slots {
				t.Errorf("waiting max = %v", got.WaitingMax)
			}
			if kind == simserver.VLLM {
				want(t, "preemptions", got.Preemptions, 0)
			}
			if kind != simserver.TGI { // which counts tokens in a histogram that is not simulated
				want(t, "generation tokens", got.GenerationTokens, requests*tokens)
			}
			if v, ok := got.ServerQueueMean.Value(); ok && v <= 0 {
				t.Errorf("queue mean = %v although requests waited", v)
			}
			switch kind {
			case simserver.VLLM:
				if !got.ServerTTFTMean.IsKnown() {
					t.Error("no server TTFT")
				}
				want(t, "prefill", got.ServerPrefillMean, cfg.Prefill.Seconds())
				want(t, "KV capacity", got.KVCapacity, 16000)
			case simserver.SGLang:
				want(t, "KV capacity", got.KVCapacity, 16000)
				if v, ok := got.OutputRateMean.Value(); !ok || v < 0 || v > slots/cfg.StepTime.Seconds() {
					t.Errorf("output rate %v tokens/s", got.OutputRateMean)
				}
			case simserver.TGI:
				want(t, "batch tokens", got.BatchTokensMax, 16000)
			case simserver.LlamaCpp:
				// Ten requests in four slots: four, four and two at a time.
				if v, ok := got.BatchMean.Value(); !ok || v < 2.5 || v > slots {
					t.Errorf("%v slots busy a decode", got.BatchMean)
				}
			}
		})
	}
}

// load sends requests all at once and reads every answer to its end.
func load(t *testing.T, root string, requests, tokens int) {
	t.Helper()
	body := fmt.Sprintf(`{"model":"simulated-model","messages":[{"role":"user","content":"hello"}],"max_tokens":%d,"ignore_eos":true,"stream":true}`, tokens)
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			resp, err := http.Post(root+"/v1/chat/completions", "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("HTTP %d, %v: %s", resp.StatusCode, err, b)
			}
		})
	}
	wg.Wait()
	http.DefaultClient.CloseIdleConnections()
}
