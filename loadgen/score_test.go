package loadgen_test

import (
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// What writes no text has a response time, and neither a TTFT nor output tokens. The
// simulated server reads all texts of a request.
func TestScoringEndpoints(t *testing.T) {
	cfg := simserver.Default()
	cfg.Server, cfg.Slots, cfg.Prefill = simserver.TGI, 4, 10*time.Millisecond
	s, err := simhttp.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := prompt.Default()
	w.InputLen, w.Batch, w.Seed = 10, 3, 1
	source, _, err := prompt.New(t.Context(), w, prompt.Sizer{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tokens := range map[string]int{"openai-embeddings": 3 * 11, "rerank": 3 * 21, "tei-rerank": 0} {
		p, err := api.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		client, err := loadgen.NewClient(loadgen.ClientConfig{Target: loadgen.Target{BaseURL: s.URL()}, Protocol: p,
			Options: api.Options{Model: cfg.Model, NoStream: true}, Source: source})
		if err != nil {
			t.Fatal(err)
		}
		run, err := loadgen.NewEngine(client).Run(t.Context(), loadgen.Load{Concurrency: 2, Requests: 4})
		client.Close()
		if err != nil || len(run.Samples) != 4 {
			t.Fatalf("%s: %d samples, %v", name, len(run.Samples), err)
		}
		for _, x := range run.Samples {
			_, ttft := x.TTFT()
			e2e, ok := x.E2E()
			if x.Class != loadgen.Success || ttft || !ok || e2e <= 0 || x.OutputTokens != 0 || x.WantOutputTokens != 0 || x.PromptTokens != tokens || x.WantPromptTokens != 30 {
				t.Errorf("%s: %+v", name, x)
			}
		}
	}
}
