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
	q := sweep.FindLimit{Config: sweep.Default(), Rules: sweep.DefaultStopRules()}
	o := sweep.Outlook{Response: 2 * time.Second, Workload: sweep.Workload{PromptTokens: 512, OutputTokens: 128}, Settle: q.Config.Settle}
	q.Config.Concurrency, q.Config.MinPrompts, q.Config.Exact, q.Config.Repeat = sweep.Steps{1, 2, 5}, 30, false, false
	p := sweep.Foresee(q, o)
	if p.Total.Requests.Or(0) != 30+30+50 || p.Total.Tokens.Or(0) != 110*640 || p.Search.Requests.IsKnown() || p.Repeat.Requests.IsKnown() {
		t.Errorf("plan %+v", p)
	}
	// 30 waves of one, 15 of two, 10 of five, two seconds each, and the pauses.
	if got := p.Total.Seconds.Or(0); math.Abs(got-(2*(30+15+10)+1.5)) > 1e-9 {
		t.Errorf("%v seconds", got)
	}
	q.Config.Exact, q.Config.Repeat = true, true
	o.Response, o.Budget.MaxRequests = 0, 100
	if p := sweep.Foresee(q, o); p.Repeat.Requests.Or(0) != 50 || !p.Search.Requests.IsKnown() || p.Total.Seconds.IsKnown() || len(p.Notes) != 2 ||
		p.Total.Requests.Or(0) != 110+50+p.Search.Requests.Or(0) {
		t.Errorf("plan %+v", p)
	}
}

func TestPlansOfTheOtherQuestions(t *testing.T) {
	foresee := func(q sweep.Planned, response time.Duration) sweep.Plan {
		return sweep.Foresee(q, sweep.Outlook{Response: response, Workload: sweep.Workload{PromptTokens: 90, OutputTokens: 10}, Settle: sweep.Default().Settle})
	}
	point := func(p sweep.LoadPoint) sweep.Planned { return sweep.SinglePoint{Load: p} }
	qps := sweep.FindConcurrency{Target: sweep.QPSConfig{Rate: 20}, Exact: true}
	known := func(n analysis.Number) float64 { return n.Or(-1) }
	for _, tt := range []struct {
		name                      string
		plan                      sweep.Plan
		steps                     int
		requests, tokens, seconds float64 // of the first step
	}{
		{"a number of requests", foresee(point(sweep.LoadPoint{Concurrency: 10, Requests: 50}), 0), 1, 50, 5000, -1},
		{"with a response time", foresee(point(sweep.LoadPoint{Concurrency: 10, Requests: 50}), 2*time.Second), 1, 50, 5000, 10},
		{"at a rate", foresee(point(sweep.LoadPoint{Concurrency: 10, Requests: 50, Rate: 5}), 0), 1, 50, 5000, 10},
		{"at a rate above what the slots bear", foresee(point(sweep.LoadPoint{Concurrency: 1, Requests: 50, Rate: 5}), 2*time.Second), 1, 50, 5000, 100},
		{"for a time at a rate", foresee(point(sweep.LoadPoint{Concurrency: 10, Rate: 5, Duration: time.Minute}), 0), 1, 300, 30000, 60},
		{"for a time", foresee(point(sweep.LoadPoint{Concurrency: 10, Rate: math.Inf(1), Duration: time.Minute}), 0), 1, -1, -1, 60},
		{"for a time, response known", foresee(point(sweep.LoadPoint{Concurrency: 10, Duration: time.Minute}), 2*time.Second), 1, 300, 30000, 60},
		{"requests within a time", foresee(point(sweep.LoadPoint{Concurrency: 10, Requests: 50, Duration: time.Minute}), 2*time.Second), 1, 50, 5000, 10},
		{"qps, the guide's", foresee(qps, 0), 5, 1000, 100000, 50.5},
		{"rate", foresee(sweep.FindRate{Arrivals: sweep.RateConfig{Rates: []float64{2, 4}}, Exact: true}, 0), 2, 60, 6000, 30.5},
	} {
		s := tt.plan.Steps[0]
		if len(tt.plan.Steps) != tt.steps || known(s.Requests) != tt.requests || known(s.Tokens) != tt.tokens || math.Abs(known(s.Seconds)-tt.seconds) > 1e-9 {
			t.Errorf("%s: %+v", tt.name, tt.plan)
		}
		if tt.steps == 1 && (known(tt.plan.Total.Requests) != tt.requests || known(tt.plan.Total.Seconds) != tt.seconds) {
			t.Errorf("%s: in all %+v", tt.name, tt.plan.Total)
		}
	}
	talk := sweep.Outlook{Response: 2 * time.Second, Workload: sweep.Workload{PromptTokens: 90, OutputTokens: 10, Turns: 3}}
	for name, load := range map[string]sweep.LoadPoint{
		"a number": {Concurrency: 10, Requests: 50}, "at a rate": {Concurrency: 10, Requests: 50, Rate: 2}, "for a time": {Concurrency: 10, Rate: 2, Duration: 25 * time.Second},
	} {
		s := sweep.Foresee(point(load), talk).Steps[0]
		if want := map[string]float64{"a number": 30, "at a rate": 31, "for a time": 25}[name]; known(s.Requests) != 150 || known(s.Tokens) != 15000 || known(s.Seconds) != want {
			t.Errorf("conversations of three turns, %s: %+v, want %v s", name, s, want)
		}
	}
	// The guide's five steps of 1000 and a search beyond them.
	if p := foresee(qps, 0); p.Total.Requests.Or(0) <= 5000 || p.Repeat.Requests.IsKnown() {
		t.Errorf("qps: %+v", p)
	}
}
