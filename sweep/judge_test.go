package sweep_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// stepAt builds a step by hand; the throughput is x, the mean TTFT in seconds.
func stepAt(n, completed, failed int, x, ttft float64) analysis.Step {
	s := analysis.Step{Concurrency: n, Runs: 1, VerdictBasis: analysis.BasisWhole}
	s.Whole = analysis.Summary{Completed: completed, Failed: failed, RequestThroughput: loadgen.Known(x)}
	if completed+failed > 0 {
		s.Whole.SuccessRate = loadgen.Known(float64(completed) / float64(completed+failed))
	}
	if completed > 0 {
		s.Whole.TTFT = analysis.Dist{Mean: loadgen.Known(ttft), P99: loadgen.Known(2 * ttft), N: completed}
		s.Whole.E2E = analysis.Dist{Mean: loadgen.Known(ttft + 2), N: completed}
	}
	return s
}

// Between steps that are less than a doubling apart the gain that is asked for is as much
// less, and it is taken over a step half a doubling below where there is one.
func TestJudgeGainBetweenCloseSteps(t *testing.T) {
	at := func(n int, x, se float64) analysis.Step {
		s := stepAt(n, 10*n, 0, x, .1)
		s.Whole.RequestThroughputSE = loadgen.Known(se)
		return s
	}
	for _, c := range []struct {
		name string
		prev []analysis.Step
		cur  analysis.Step
		says string // "" where the rule holds
	}{
		{"no contention, one more", []analysis.Step{at(5, 5, .01)}, at(6, 6, .01), ""},
		{"flat", []analysis.Step{at(10, 10, .01)}, at(12, 10.2, .01),
			"throughput gain +2.0 % from 10 to 12 requests in flight (10.00 to 10.20 req/s) is below 4.91 %; that is +7.8 % per doubling; 20 % is asked of a doubling"},
		{"just enough", []analysis.Step{at(10, 10, .01)}, at(12, 10.5, .01), ""},
		{"literal from a doubling on", []analysis.Step{at(10, 10, .01)}, at(25, 11.9, .01), "from 10 to 25 requests in flight (10.00 to 11.90 req/s) is below 20 %; that is +14.1 % per doubling"},
		{"by chance below the one before", []analysis.Step{at(60, 60, 1), at(98, 98, 1), at(99, 100, 1)}, at(100, 99, 1), ""},
		{"flat over half a doubling", []analysis.Step{at(50, 50, 1), at(60, 80, 1), at(98, 82, 1), at(99, 80, 1)}, at(100, 82, 1), "from 60 to 100"},
		{"none half a doubling below", []analysis.Step{at(20, 20, 1), at(80, 80, 1), at(98, 98, 1)}, at(100, 81, 1), "from 80 to 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stops := sweep.Judge(c.prev, &c.cur, sweep.DefaultStopRules())
			switch {
			case c.says == "" && len(stops) > 0:
				t.Errorf("broken: %s", stops[0].Sentence)
			case c.says != "" && (len(stops) != 1 || !strings.Contains(stops[0].Sentence, c.says)):
				t.Errorf("%+v does not say %q", stops, c.says)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	before := stepAt(50, 500, 0, 24, .1)
	notStreamed := stepAt(100, 1000, 0, 40, .1)
	notStreamed.Whole.TTFT = analysis.Dist{}
	full := stepAt(100, 1000, 0, 40, .1)
	full.Server = &analysis.Telemetry{KVCacheMax: loadgen.Known(.97), WaitingMax: loadgen.Known(3)}
	cached := full
	cached.Server = &analysis.Telemetry{KVCacheMax: loadgen.Known(.97), WaitingMax: loadgen.Known(0), Preemptions: loadgen.Known(0)}
	slow := stepAt(100, 1000, 0, 40, .1)
	slow.Whole.RequestTokensPerSec = loadgen.Known(12)
	abandoned := stepAt(100, 2, 60, 1, .1)
	abandoned.Abandoned = "abandoned: lost"

	slo := sweep.DefaultStopRules()
	slo.SLO = []sweep.SLO{{Metric: "e2e", Statistic: "mean", Max: 2 * time.Second}, {Name: "reading speed", Metric: "tokens_per_second", Min: 15}}
	p99 := sweep.DefaultStopRules()
	p99.TTFTStatistic = "p99"
	none := sweep.StopRules{TTFTStatistic: "mean"}
	half := sweep.DefaultStopRules()
	half.MinThroughputGain = .5

	for _, c := range []struct {
		name  string
		step  analysis.Step
		rules sweep.StopRules
		want  string // rules broken
		says  string
	}{
		{"all well", stepAt(100, 1000, 0, 40, .1), sweep.DefaultStopRules(), "", ""},
		{"exactly 95 %", stepAt(100, 950, 50, 40, .1), sweep.DefaultStopRules(), "", ""},
		{"just below 95 %", stepAt(100, 9499, 501, 40, .1), sweep.DefaultStopRules(), "success_rate",
			"success rate 94.99 % (9499 of 10000 requests) is below 95 % at 100 requests in flight"},
		{"exactly at the TTFT", stepAt(100, 1000, 0, 40, 1), sweep.DefaultStopRules(), "", ""},
		{"above the TTFT", stepAt(100, 1000, 0, 40, 1.281), sweep.DefaultStopRules(), "ttft",
			"mean TTFT 1281 ms is above 1000 ms at 100 requests in flight"},
		{"p99 instead of the mean", stepAt(100, 1000, 0, 40, .6), p99, "ttft", "p99 TTFT 1200 ms"},
		{"gain on a doubling", stepAt(100, 1000, 0, 27.9, .1), sweep.DefaultStopRules(), "throughput_gain",
			"throughput gain +16.2 % from 50 to 100 requests in flight (24.00 to 27.90 req/s) is below 20 %"},
		{"gain exactly as asked for", stepAt(100, 1000, 0, 36, .1), half, "", ""},
		{"gain just below", stepAt(100, 1000, 0, 35.9, .1), half, "throughput_gain", "is below 50 %"},
		{"gain over more than a doubling", stepAt(125, 1000, 0, 27.9, .1), sweep.DefaultStopRules(), "throughput_gain", "; that is +12.1 % per doubling"},
		{"nothing succeeded: no TTFT to judge", stepAt(100, 0, 40, 0, 0), sweep.DefaultStopRules(), "success_rate throughput_gain", "success rate 0 %"},
		{"nothing finished: nothing is known", stepAt(100, 0, 0, math.NaN(), 0), sweep.DefaultStopRules(), "", ""},
		{"a step cut short has no throughput", abandoned, sweep.DefaultStopRules(), "success_rate", ""},
		{"not streamed", notStreamed, sweep.DefaultStopRules(), "ttft", "mean E2E 2100 ms is above 1000 ms at 100 requests in flight (the answers are NOT STREAMED"},
		{"KV cache full and requests waiting", full, sweep.DefaultStopRules(), "resources", "KV cache usage 97 % has reached 95 % with up to 3 requests waiting"},
		{"KV cache full of prefixes", cached, sweep.DefaultStopRules(), "", ""},
		{"further requirements", slow, slo, "mean_e2e reading speed", "mean_e2e: mean E2E 2100 ms is above 2000 ms"},
		{"no rules", stepAt(100, 1, 99, 1, 50), none, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A step at the same load, its own first run say, is none to gain over.
			prev := []analysis.Step{before}
			if c.step.Concurrency == 100 {
				prev = append(prev, stepAt(100, 1000, 0, 24.1, .1))
			}
			stops := sweep.Judge(prev, &c.step, c.rules)
			var broken []string
			for _, s := range stops {
				broken = append(broken, s.Rule)
				if !s.Value.IsKnown() || !s.Threshold.IsKnown() {
					t.Errorf("rule %s: value %v, threshold %v: both must be known", s.Rule, s.Value, s.Threshold)
				}
			}
			if got := strings.Join(broken, " "); got != c.want {
				t.Fatalf("broken rules %q, want %q", got, c.want)
			}
			if c.says != "" && !strings.Contains(stops[0].Sentence, c.says) {
				t.Errorf("sentence %q does not say %q", stops[0].Sentence, c.says)
			}
		})
	}
}
