package report

import (
	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// fixtures are all the states that a page can be in, by name.
func fixtures() map[string]*build {
	all := map[string]*build{"slots": slotsFixture()}
	all["decode"] = newBuild("decode", decodeBound).ladder(ladder...).probes(analysis.PhaseProbe, 110, 105, 120).
		settle(sweep.LimitFound, "limit 108 (95 % CI 106-111), bound by throughput gain", "throughput_gain",
			found(108, 106, 111, "throughput_gain"), found(490, 400, 600, "ttft"), atLeast(200, "success_rate"))
	all["crash"] = newBuild("crash", crash137).ladder(ladder...).probes(analysis.PhaseProbe, 130, 140, 136).
		settle(sweep.LimitFound, "limit 136 (bracket 136-137), bound by success rate", "success_rate",
			analysis.Limit{Concurrency: loadgen.Known(136), Low: loadgen.Known(136), High: loadgen.Known(137), BoundBy: "success_rate"}, atLeast(136, "throughput_gain"), atLeast(136, "ttft"))
	all["queue"] = newBuild("queue", queueCap48).ladder(ladder...).
		settle(sweep.LimitFound, "limit 32 (bracket 20-50), bound by success rate", "success_rate",
			analysis.Limit{Concurrency: loadgen.Known(20), Low: loadgen.Known(20), High: loadgen.Known(50), BoundBy: "success_rate"})
	all["not_reached"] = newBuild("not_reached", decodeBound).ladder(1, 2, 5, 10, 20, 50).
		settle(sweep.NotReached, "no limit within the ladder: at least 50", "", atLeast(50, "success_rate"), atLeast(50, "ttft"), atLeast(50, "throughput_gain"))
	slow := slots64
	slow.p0 = 1.4
	all["first"] = newBuild("first", slow).ladder(1, 2).
		settle(sweep.FailedAtFirstStep, "concurrency 1 already fails: mean TTFT 1.40 s is above 1.00 s", "")
	all["client"] = clientLimited()
	all["interrupted"] = newBuild("interrupted", slots64).ladder(1, 2, 5, 10, 20).
		settle(sweep.Interrupted, "interrupted after concurrency 20; at least 20", "", atLeast(20, "ttft"))
	all["interrupted"].result.Complete = false
	all["imported"] = importedFixture()
	all["single"] = newBuild("single", slots64)
	all["single"].step(10, analysis.PhasePoint)
	all["single"].result.Command = "run"
	all["empty"] = newBuild("empty", slots64)
	all["empty"].result.FinishedAt = nil
	all["empty"].result.Complete = false
	all["hostile"] = hostile()
	all["qps"], all["rate"], all["soak"] = qpsFixture(), rateFixture(), soakFixture()
	return all
}

// qpsFixture holds 20 requests/s with 95 %: 40 by Little's law at 2.1 s.
func qpsFixture() *build {
	b := newBuild("qps", slots64)
	for _, n := range []int{10, 20, 50, 40, 39} {
		b.step(n, analysis.PhasePoint).RequestRate = loadgen.Known(20)
	}
	k := loadgen.Known
	b.result.Command, b.result.Verdict, b.result.Sentence = "qps", sweep.Met, "concurrency 40 (95 % CI 39-41) holds 95 % of 20 req/s"
	b.result.QPS = &sweep.QPSAnswer{Target: 20, Share: .95, Reached: true, FirstHit: k(50), LastMiss: k(20), Concurrency: k(40), Low: k(39), High: k(41),
		Confidence: k(.95), FullTarget: k(42), HighestRate: k(23.8)}
	return b
}

func rateFixture() *build {
	b := newBuild("rate", slots64)
	for _, n := range []int{5, 10, 20, 50, 60} {
		s := b.step(n, analysis.PhasePoint)
		s.RequestRate = loadgen.Known(slots64.at(n).x)
		s.Concurrency = 1000
	}
	k := loadgen.Known
	b.result.Command, b.result.Verdict, b.result.Sentence = "rate", sweep.LimitFound, "25.1 req/s (24.4-25.9), bound by mean TTFT"
	b.result.Rate = &sweep.RateAnswer{Rate: k(25.1), Low: k(24.4), High: k(25.9), BoundBy: "ttft", InFlight: k(52.7), Predicted: k(26), Sentence: "the sweep predicts 26.0 req/s"}
	return b
}

// soakFixture slows down by a fifth over an hour.
func soakFixture() *build {
	b := newBuild("soak", slots64)
	b.step(40, analysis.PhasePoint)
	b.result.Command, b.result.Verdict, b.result.Sentence = "soak", sweep.NotMet, "TTFT grows by 20 % over the hour"
	a := &sweep.SoakAnswer{Degrades: true, Kept: 4000}
	for i := range 60 {
		slow := 1 + .2*float64(i)/60
		a.Slices = append(a.Slices, sweep.SoakSlice{AtSeconds: float64(i) * 60, Seconds: 60, Completed: int(1140 / slow), RequestThroughput: 19 / slow * b.noise(.02),
			OutputThroughput: 1919 / slow, TTFT: loadgen.Known(.1 * slow * b.noise(.03)), TPOT: loadgen.Known(.02 * slow), E2E: loadgen.Known(2.1 * slow), ResidentBytes: loadgen.Known(9e9 + 2e7*float64(i))})
	}
	a.Trends = []sweep.SoakTrend{{Metric: "mean TTFT", Change: loadgen.Known(.2), SE: loadgen.Known(.01), Gate: .1, Degrades: true, Sentence: "mean TTFT rose by 20 % (gate 10 %)"},
		{Metric: "throughput", Change: loadgen.Known(-.02), SE: loadgen.Known(.01), Gate: .1, Sentence: "within the gate"}}
	b.result.Soak = a
	return b
}

func clientLimited() *build {
	b := newBuild("client", decodeBound).ladder(1, 2, 5, 10, 20, 50)
	last := &b.result.Steps[len(b.result.Steps)-1]
	last.Client.CPUShare = loadgen.Known(.93)
	last.Client.Limits = []string{"this machine's CPU was 93 % busy (gate 70 %)"}
	last.Validity[1] = analysis.Check{Check: "think_time", Value: loadgen.Known(.11), Gate: loadgen.Known(.02), Text: "the client waited 11 % of the response time between requests"}
	return b.settle(sweep.ClientLimited, "limited by the client at concurrency 50: this machine's CPU was 93 % busy (gate 70 %)", "", atLeast(20, "ttft"))
}

// imported is what a vLLM result file without details leaves known.
func importedFixture() *build {
	b := newBuild("imported", slots64).ladder(1, 2, 5, 10, 20, 50, 100)
	b.result.Command = "import"
	b.result.Environment = sweep.Environment{}
	b.result.Target = sweep.TargetInfo{Model: "meta-llama/Llama-3.1-8B-Instruct", Server: "vllm"}
	b.result.Config, b.result.Seed = nil, 0
	for i := range b.result.Steps {
		s := &b.result.Steps[i]
		w := s.Whole
		none := analysis.Number{}
		w.RequestThroughputSE, w.TTFTSE, w.MeanInFlight, w.MeanResidenceSeconds, w.PeakOutputThroughput, w.RequestTokensPerSec = none, none, none, none, none, none
		w.TTFT.P90, w.TTFT.P95, w.TPOT.P90, w.TPOT.P95, w.ChunkGap.P90, w.ChunkGap.P95 = none, none, none, none, none, none
		*s = analysis.Step{Concurrency: s.Concurrency, Phase: analysis.PhaseLadder, Runs: 1, NumPrompts: s.NumPrompts, StartedAt: s.StartedAt,
			VerdictBasis: analysis.BasisWhole, Whole: w, Stop: s.Stop, Breaches: s.Breaches}
	}
	return b.settle(sweep.LimitFound, "limit 50 (bracket 50-100), bound by TTFT", "ttft",
		analysis.Limit{Concurrency: loadgen.Known(50), Low: loadgen.Known(50), High: loadgen.Known(100), BoundBy: "ttft"})
}

const hostileName = `</script><img src=x onerror=alert(1)>|` + "`" + `<b>"'&` + "\n# heading"

func hostile() *build {
	b := slotsFixture()
	b.result.Name, b.result.Target.Model, b.result.Target.Server = hostileName, hostileName, hostileName
	b.result.Target.BaseURL = "javascript:alert(1)"
	b.result.Sentence = hostileName
	b.result.Warnings = []string{hostileName}
	b.result.Environment.CommandLine = []string{"capfind", "run", hostileName}
	b.result.Config["workload"] = map[string]any{"path": hostileName}
	b.result.Steps[0].FailureExamples = map[loadgen.Class]string{loadgen.HTTP4xx: hostileName}
	b.result.Steps[0].Failures = map[loadgen.Class]int{loadgen.HTTP4xx: 1}
	return b
}
