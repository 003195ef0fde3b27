package sweep

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// The names of the guide's four rules, as in result.json.
const (
	RuleSuccess   = "success_rate"
	RuleTTFT      = "ttft"
	RuleGain      = "throughput_gain"
	RuleResources = "resources"
)

// RuleGoodput is the rule on how many requests must meet all bounds of load.goodput.
const RuleGoodput = "goodput"

var guideRules = []string{RuleSuccess, RuleTTFT, RuleGain, RuleResources}

const (
	metricTTFT      = "ttft"
	metricTPOT      = "tpot"
	metricE2E       = "e2e"
	metricGap       = "chunk_gap"
	metricTokenRate = "tokens_per_second"
)

var statistics = []string{"mean", "p50", "p90", "p95", "p99"}

// Judge returns every rule that the step cur breaks, the guide's first and in
// the guide's order; none is nil. prev holds the steps before it, of which the
// last with a lower concurrency is what the throughput gain is taken over (an earlier
// one where steps stand close together). A rule whose figure is unknown is not broken.
//
// The figures are those of the step's verdict basis; a gain compares two steps on
// like figures (analysis.Gain).
func Judge(prev []analysis.Step, cur *analysis.Step, rules StopRules) []analysis.Stop {
	var stops []analysis.Stop
	add := func(s *analysis.Stop) {
		if s != nil {
			stops = append(stops, *s)
		}
	}
	add(judgeSuccess(cur, rules))
	add(judgeTTFT(cur, rules))
	// What little an abandoned step completed is no throughput to compare.
	if before := gainBase(prev, cur); before != nil && cur.Abandoned == "" {
		add(judgeGain(before, cur, rules))
	}
	add(judgeResources(cur.Server, rules.Resources))
	add(judgeGoodput(cur, rules))
	for _, slo := range rules.SLO {
		add(judgeSLO(cur, slo))
	}
	return stops
}

// judgeRecorded is judgeArrivals without the backlog: recorded traffic comes and goes,
// and the number in flight with it. What piles up shows in the latencies from the
// intended start.
func judgeRecorded(step *analysis.Step, rules StopRules) []analysis.Stop {
	seen := *step
	seen.Whole = sinceIntended(step.Whole)
	return Judge(nil, &seen, rules)
}

// judgeArrivals holds a step of an open loop against the rules: latencies from the
// intended start, and the backlog. A throughput gain has no meaning here.
func judgeArrivals(step *analysis.Step, rules StopRules) []analysis.Stop {
	seen := *step
	seen.Whole = sinceIntended(step.Whole)
	if step.Steady != nil {
		steady := sinceIntended(*step.Steady)
		seen.Steady = &steady
	}
	stops := Judge(nil, &seen, rules)
	if stop := judgeBacklog(step); stop != nil {
		stops = append(stops, *stop)
	}
	return stops
}

// sinceIntended is a summary whose latencies count from the intended start.
func sinceIntended(sum analysis.Summary) analysis.Summary {
	if sum.TTFTIntended.N > 0 {
		sum.TTFT = sum.TTFTIntended
	}
	if sum.E2EIntended.N > 0 {
		sum.E2E = sum.E2EIntended
	}
	return sum
}

// RuleBacklog is the rule of an arrival rate: the number in flight must not
// drift upwards.
const RuleBacklog = "backlog"

// backlogGate is the share of the arrivals that may pile up.
const backlogGate = 0.05

// judgeBacklog compares the second half of the arrivals with the first: what a server
// cannot keep up with piles up at the rate that it falls behind.
func judgeBacklog(step *analysis.Step) *analysis.Stop {
	b := step.Backlog
	// Between the middles of the halves chance moves a number in flight by about
	// its root, some of it more than once.
	if b == nil || b.Growth <= backlogGate || b.Late-b.Early <= 4*math.Sqrt(max(b.Early, 1)) {
		return nil
	}
	return &analysis.Stop{
		Rule: RuleBacklog, Metric: "share of arrivals piling up", Unit: "share", Value: loadgen.Known(b.Growth), Threshold: loadgen.Known(backlogGate),
		Sentence: fmt.Sprintf("the number in flight drifts upwards at %s req/s: %.1f in the first half, %.1f in the second", figure(step.RequestRate.Or(0)), b.Early, b.Late),
	}
}

func judgeSuccess(cur *analysis.Step, rules StopRules) *analysis.Stop {
	v := cur.Verdict()
	rate, ok := v.SuccessRate.Value()
	if n := cur.Failures[loadgen.ContextOverflow]; !ok && n > 0 && rules.MinSuccessRate > 0 {
		return &analysis.Stop{
			Rule: RuleSuccess, Metric: "success rate", Unit: "share", Threshold: loadgen.Known(rules.MinSuccessRate),
			Sentence: fmt.Sprintf("no request could be served at %s: %d of %d prompts do not fit the model's context", loadOf(cur), n, n),
		}
	}
	if !ok || rules.MinSuccessRate <= 0 || rate >= rules.MinSuccessRate {
		return nil
	}
	return &analysis.Stop{
		Rule: RuleSuccess, Metric: "success rate", Unit: "share",
		Value: loadgen.Known(rate), Threshold: loadgen.Known(rules.MinSuccessRate),
		Sentence: fmt.Sprintf("success rate %s (%d of %d requests) is below %s at %s",
			percent(rate), v.Completed, v.Completed+v.Failed, percent(rules.MinSuccessRate), loadOf(cur)),
	}
}

func judgeGoodput(cur *analysis.Step, rules StopRules) *analysis.Stop {
	v := cur.Verdict()
	share, ok := v.GoodShare.Value()
	if !ok || rules.MinGoodput <= 0 || share >= rules.MinGoodput {
		return nil
	}
	return &analysis.Stop{
		Rule: RuleGoodput, Metric: "goodput share", Unit: "share", Value: loadgen.Known(share), Threshold: loadgen.Known(rules.MinGoodput),
		Sentence: fmt.Sprintf("goodput: %s of the requests met all their bounds, which is below %s at %s", percent(share), percent(rules.MinGoodput), loadOf(cur)),
	}
}

// judgeTTFT holds the time to first token against the threshold. Where answers
// are not streamed there is none, and the whole response time stands in for it:
// stricter, and said loudly.
func judgeTTFT(cur *analysis.Step, rules StopRules) *analysis.Stop {
	if rules.MaxTTFT <= 0 {
		return nil
	}
	dist, metric, note := cur.Verdict().TTFT, "TTFT", ""
	if NotStreamed(cur) {
		dist, metric = cur.Verdict().E2E, "E2E"
		note = " (the answers are NOT STREAMED, so that there is no TTFT: the rule was applied to E2E)"
	}
	value, ok := statistic(dist, rules.TTFTStatistic)
	if !ok || value <= rules.MaxTTFT.Seconds() {
		return nil
	}
	name := statisticName(rules.TTFTStatistic) + " " + metric
	return &analysis.Stop{
		Rule: RuleTTFT, Metric: name, Unit: "s",
		Value: loadgen.Known(value), Threshold: loadgen.Known(rules.MaxTTFT.Seconds()),
		Sentence: fmt.Sprintf("%s %s is above %s at %s%s",
			name, millis(value), millis(rules.MaxTTFT.Seconds()), loadOf(cur), note),
	}
}

// loadOf names a step's load in a sentence.
func loadOf(s *analysis.Step) string {
	if s.Speed.IsKnown() {
		return recordedAt(s)
	}
	if rate, ok := s.RequestRate.Value(); ok {
		return figure(rate) + " req/s"
	}
	if s.Concurrency == 1 {
		return "1 request in flight"
	}
	return fmt.Sprintf("%d requests in flight", s.Concurrency)
}

// NotStreamed reports whether the step's answers came in one piece, so that
// there is no time to first token.
func NotStreamed(s *analysis.Step) bool {
	v := s.Verdict()
	return v.TTFT.N == 0 && v.E2E.N > 0
}

func judgeResources(t *analysis.Telemetry, rules Resources) *analysis.Stop {
	if t == nil {
		return nil
	}
	over := func(metric string, n analysis.Number, limit float64, why string) *analysis.Stop {
		v, ok := n.Value()
		if !ok || limit <= 0 || v < limit {
			return nil
		}
		return &analysis.Stop{
			Rule: RuleResources, Metric: metric, Unit: "share", Value: loadgen.Known(v), Threshold: loadgen.Known(limit),
			Sentence: fmt.Sprintf("%s %s has reached %s%s", metric, percent(v), percent(limit), why),
		}
	}
	// A full KV cache alone is how a prefix cache should look; only together
	// with requests that wait or were thrown out is it exhausted.
	if p := t.Preemptions.Or(0); p > 0 {
		if s := over("KV cache usage", t.KVCacheMax, rules.MaxKVCache, fmt.Sprintf(" with %.0f preemptions", p)); s != nil {
			return s
		}
	}
	if w := t.WaitingMax.Or(0); w > 0 {
		if s := over("KV cache usage", t.KVCacheMax, rules.MaxKVCache, fmt.Sprintf(" with up to %.0f requests waiting", w)); s != nil {
			return s
		}
	}
	if s := over("GPU memory", t.GPUMemoryMax, rules.MaxGPUMemory, ""); s != nil {
		return s
	}
	return over("CPU of the server's host", t.HostCPUMin, rules.MaxHostCPU, " throughout the step")
}

func judgeSLO(cur *analysis.Step, slo SLO) *analysis.Stop {
	if slo.Metric == metricTokenRate {
		v, ok := cur.Verdict().RequestTokensPerSec.Value()
		if !ok || v >= slo.Min {
			return nil
		}
		return &analysis.Stop{
			Rule: slo.Title(), Metric: "tokens/s per request", Unit: "tok/s",
			Value: loadgen.Known(v), Threshold: loadgen.Known(slo.Min),
			Sentence: fmt.Sprintf("%s: %s tokens/s per request is below %s at %s",
				slo.Title(), figure(v), figure(slo.Min), loadOf(cur)),
		}
	}
	v, ok := sloValue(cur, slo)
	if !ok || v <= slo.Max.Seconds() {
		return nil
	}
	name := statisticName(slo.statistic()) + " " + metricName(slo.Metric)
	return &analysis.Stop{
		Rule: slo.Title(), Metric: name, Unit: "s",
		Value: loadgen.Known(v), Threshold: loadgen.Known(slo.Max.Seconds()),
		Sentence: fmt.Sprintf("%s: %s %s is above %s at %s",
			slo.Title(), name, millis(v), millis(slo.Max.Seconds()), loadOf(cur)),
	}
}

// sloValue returns the step's figure for a requirement on a time, in seconds.
func sloValue(s *analysis.Step, slo SLO) (float64, bool) {
	v := s.Verdict()
	dist := map[string]analysis.Dist{metricTTFT: v.TTFT, metricTPOT: v.TPOT, metricE2E: v.E2E, metricGap: v.ChunkGap}[slo.Metric]
	return statistic(dist, slo.statistic())
}

// statistic returns a named statistic of a distribution. One that rests on few
// samples counts too: with 10 requests a p99 is about the slowest of them, and
// a rule that waited for 299 would let every low step pass unseen.
func statistic(d analysis.Dist, name string) (float64, bool) {
	return map[string]analysis.Number{
		"": d.Mean, "mean": d.Mean, "p50": d.P50, "p90": d.P90, "p95": d.P95, "p99": d.P99,
	}[name].Value()
}

func statisticName(s string) string {
	if s == "" {
		return "mean"
	}
	return s
}

func metricName(m string) string {
	return map[string]string{metricTTFT: "TTFT", metricTPOT: "TPOT", metricE2E: "E2E", metricGap: "chunk gap"}[m]
}

// percent writes a share with two decimals, so that 94.96 % does not read as 95.
func percent(share float64) string {
	return trimZeros(strconv.FormatFloat(100*share, 'f', 2, 64)) + " %"
}

func signedPercent(share float64) string {
	return fmt.Sprintf("%+.1f %%", math.Round(1000*share)/10+0) // the sum of -0 and 0 is 0
}

// millis writes seconds as whole milliseconds, as the guide does, or with
// decimals where whole ones would say nothing.
func millis(seconds float64) string {
	ms := seconds * 1000
	if math.Abs(ms) < 10 {
		return trimZeros(strconv.FormatFloat(ms, 'f', 2, 64)) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
}

// figure writes a number with about four significant digits.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// trimZeros drops the trailing zeros of a number with a decimal point.
func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// span writes a duration for people: 0.5 s, 12 s, 3m20s.
func span(d time.Duration) string {
	if d < time.Minute {
		return trimZeros(strconv.FormatFloat(d.Seconds(), 'f', 1, 64)) + " s"
	}
	return d.Round(time.Second).String()
}
