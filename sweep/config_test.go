package sweep_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

func TestStepsFromYAML(t *testing.T) {
	for _, c := range []struct {
		yaml string
		want sweep.Steps
		says string // of the error
	}{
		{"[1, 2, 5]", sweep.Steps{1, 2, 5}, ""},
		{"{from: 1, to: 1000}", sweep.Steps{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}, ""},
		{"{from: 8, to: 64}", sweep.Steps{8, 10, 20, 50, 64}, ""},
		{"{to: 5}", sweep.Steps{1, 2, 5}, ""},
		{"{from: 7, to: 7}", sweep.Steps{7}, ""},
		{"{from: 10}", nil, "needs the key to"},
		{"{from: 10, to: 5}", nil, "1 <= from <= to"},
		{"{from: 1, up_to: 5}", nil, `unknown key "up_to"`},
		{"[1, two]", nil, "want a list of whole numbers"},
		{"fast", nil, "want a list of whole numbers"},
	} {
		var got sweep.Steps
		err := yaml.Unmarshal([]byte(c.yaml), &got)
		switch {
		case c.says == "" && (err != nil || !slices.Equal(got, c.want)):
			t.Errorf("%s: %v, %v; want %v", c.yaml, got, err, c.want)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: error %v, want one that says %q", c.yaml, err, c.says)
		}
	}
}

func TestValidateNamesEveryKey(t *testing.T) {
	if p := sweep.Default().Validate(); p != nil {
		t.Errorf("the defaults are refused: %v", p)
	}
	if p := sweep.DefaultStopRules().Validate(); p != nil {
		t.Errorf("the default rules are refused: %v", p)
	}
	if p := sweep.ValidateBand(sweep.DefaultBand()); p != nil {
		t.Errorf("the default band is refused: %v", p)
	}
	keys := func(p []sweep.Problem) string {
		var out []string
		for _, x := range p {
			out = append(out, x.Key)
			if x.Text == "" {
				t.Errorf("%s: no text", x.Key)
			}
		}
		return strings.Join(out, " ")
	}
	c := sweep.Config{
		Concurrency: sweep.Steps{0, 5, 5, 3}, MinPrompts: -1, Start: "slowly", ErrorHold: -1, Settle: -1, RecoverWait: -1,
		Budget: sweep.Budget{MaxRequests: -1, MaxTokens: -1, MaxDuration: -1},
	}
	want := "concurrency[0] concurrency[2] concurrency[3] prompts_per_concurrency min_prompts start error_hold settle recover_wait " +
		"budget.max_requests budget.max_tokens budget.max_duration"
	if got := keys(c.Validate()); got != want {
		t.Errorf("sweep:\n got %s\nwant %s", got, want)
	}
	r := sweep.StopRules{
		MinSuccessRate: 95, MaxTTFT: -1, TTFTStatistic: "p42", MinThroughputGain: math.NaN(), Resources: sweep.Resources{MaxKVCache: 2, MaxGPUMemory: -1, MaxHostCPU: 1.1},
		SLO: []sweep.SLO{
			{Metric: "tps"}, {Metric: "tokens_per_second", Max: time.Second, Statistic: "p99"}, {Name: "ttft", Metric: "e2e", Min: 1},
			{Metric: "tpot", Max: 1}, {Metric: "tpot", Max: 2},
		},
	}
	want = "min_success_rate max_ttft ttft_statistic min_throughput_gain resources.max_kv_cache resources.max_gpu_memory resources.max_host_cpu " +
		"slo[0].metric slo[0].max slo[1].min slo[1].max slo[1].statistic slo[2].max slo[2].min slo[2].name slo[4].name"
	if got := keys(r.Validate()); got != want {
		t.Errorf("stop:\n got %s\nwant %s", got, want)
	}
	if got := keys(sweep.ValidateBand(analysis.Band{Low: 0.9, High: 0.7})); got != "low" {
		t.Errorf("recommend: %s", got)
	}
}

func TestPlanCountsWhatASweepSends(t *testing.T) {
	c := &sweep.Controller{Config: sweep.Default(), Workload: sweep.Workload{PromptTokens: 512, OutputTokens: 128}}
	c.Config.Concurrency, c.Config.MinPrompts, c.Config.Exact = sweep.Steps{1, 2, 5}, 30, false
	p := c.Plan(2 * time.Second)
	if p.Total.Requests != 30+30+50 || p.Total.Tokens.Or(0) != 110*640 || p.Search.Requests != 0 {
		t.Errorf("plan %+v", p)
	}
	// 30 waves of one, 15 of two, 10 of five, two seconds each, and the pauses.
	if got := p.Total.Seconds.Or(0); math.Abs(got-(2*(30+15+10)+1.5)) > 1e-9 {
		t.Errorf("%v seconds", got)
	}
	c.Config.Exact = true
	c.Config.Budget.MaxRequests = 100
	if p := c.Plan(0); p.Search.Requests == 0 || p.Total.Seconds.IsKnown() || len(p.Notes) != 2 {
		t.Errorf("plan %+v", p)
	}
}
