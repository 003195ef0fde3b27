package report

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// server is a closed-form server: slots served first in, first out, with a
// decode step of a + b*m seconds and a prefill of p0 + p1*m seconds when m
// requests are running.
type server struct {
	slots    int
	tokens   int
	a, b     float64
	p0, p1   float64
	crashAt  int // requests in flight at which it dies; 0: never
	queueCap int // requests in flight above which it rejects; 0: never
}

// point is what the closed form says at a concurrency.
type point struct{ x, ttft, tpot, r, success float64 }

func (s server) at(n int) point {
	if s.crashAt > 0 && n >= s.crashAt {
		return point{success: 0}
	}
	m := float64(min(n, s.slots))
	prefill := s.p0 + s.p1*m
	step := s.a + s.b*m
	service := prefill + float64(s.tokens-1)*step
	wait := (float64(n) - m) * service / m
	p := point{x: m / service, ttft: wait + prefill, tpot: step, success: 1}
	if s.queueCap > 0 && n > s.queueCap {
		p.success = 0.051
		p.ttft = float64(s.queueCap-s.slots)*service/m + prefill
	}
	p.r = float64(n) / p.x
	return p
}

var (
	slots64     = server{slots: 64, tokens: 101, a: .020, p0: .100}
	decodeBound = server{slots: 1 << 20, tokens: 256, a: .008, b: .0002, p0: .020, p1: .002}
	crash137    = server{slots: 1 << 20, tokens: 128, a: .012, b: .00003, p0: .050, p1: .001, crashAt: 137}
	queueCap48  = server{slots: 32, tokens: 73, a: .020, p0: .060, queueCap: 48}
)

var fixtureStart = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// build makes the results that tests look at. Every figure comes from the
// closed form plus a little seeded noise.
type build struct {
	server  server
	rng     *rand.Rand
	result  *sweep.Result
	elapsed time.Duration
}

func newBuild(name string, s server) *build {
	finished := fixtureStart.Add(6 * time.Minute)
	return &build{
		server: s,
		rng:    rand.New(rand.NewPCG(7, 11)),
		result: &sweep.Result{
			SchemaVersion: sweep.SchemaVersion, CapfindVersion: "v0.1.0", Command: "sweep", Name: name,
			StartedAt: fixtureStart, FinishedAt: &finished, Complete: true, Seed: 20260314,
			Config: map[string]any{
				"target":   map[string]any{"base_url": "http://127.0.0.1:8000/v1", "api": "openai-completions", "api_key_env": "OPENAI_API_KEY"},
				"workload": map[string]any{"dataset": "random", "input_len": 512, "output_len": s.tokens},
				"stop":     map[string]any{"min_success_rate": 0.95, "max_ttft": "1s", "ttft_statistic": "mean", "min_throughput_gain": 0.2},
				"sweep":    map[string]any{"concurrency": []any{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}, "prompts_per_concurrency": 10, "exact": true},
			},
			Target: sweep.TargetInfo{BaseURL: "http://127.0.0.1:8000/v1", API: "openai-completions",
				Model: "meta-llama/Llama-3.1-8B-Instruct", Server: "vllm 0.11.0", ContextLength: 8192,
				MetricsURL: "http://127.0.0.1:8000/metrics"},
			Environment: sweep.Environment{OS: "linux", Arch: "amd64", CPUs: loadgen.Known(2), MemoryBytes: loadgen.Known(8 << 30),
				GoVersion: "go1.26.0", CommandLine: []string{"capfind", "sweep", "llama.yaml", "--set", "workload.seed=20260314"}},
			Answer: sweep.Answer{Limits: map[string]analysis.Limit{}},
		},
	}
}

func (b *build) noise(share float64) float64 { return 1 + share*b.rng.NormFloat64() }

func dist(mean, spread float64, n int) analysis.Dist {
	at := func(z float64) analysis.Number { return loadgen.Known(mean * math.Exp(spread*z-spread*spread/2)) }
	return analysis.Dist{Mean: loadgen.Known(mean), Std: loadgen.Known(mean * spread), Min: at(-2.5), P50: at(0),
		P90: at(1.28), P95: at(1.645), P99: at(2.33), Max: at(2.8), N: n}
}

func (b *build) summary(n, done, failed int, p point, wave float64) analysis.Summary {
	k := loadgen.Known
	x := p.x * wave * p.success
	s := analysis.Summary{
		Completed: done, Failed: failed, TokenSource: "usage",
		InputTokens: 512 * done, OutputTokens: b.server.tokens * done,
	}
	if done+failed > 0 {
		s.SuccessRate = k(float64(done) / float64(done+failed))
	}
	if done == 0 {
		s.RequestThroughput, s.OutputThroughput, s.Efficiency, s.DurationSeconds = k(0), k(0), k(0), k(1.2)
		return s
	}
	s.DurationSeconds = k(float64(done) / x)
	s.RequestThroughput = k(x)
	s.RequestThroughputSE = k(x * .35 / math.Sqrt(float64(done)))
	s.OutputThroughput = k(x * float64(b.server.tokens))
	s.TotalTokenThroughput = k(x * float64(b.server.tokens+512))
	s.PeakOutputThroughput = k(x * float64(b.server.tokens) * 1.08)
	s.PeakInFlight, s.MeanInFlight = n, k(float64(n)*.995)
	s.MeanResidenceSeconds, s.Efficiency = k(p.r), k(x/float64(n))
	s.TTFT, s.TPOT = dist(p.ttft*b.noise(.01), .25, done), dist(p.tpot, .03, done)
	s.ChunkGap, s.E2E = dist(p.tpot, .12, done*(b.server.tokens-1)), dist(p.r, .1, done)
	s.TTFT.SE = k(p.ttft * .25 / math.Sqrt(float64(done)))
	s.TTFTSE = s.TTFT.SE
	s.RequestTokensPerSec = k(1 / p.tpot)
	return s
}

// step runs the closed form at n and judges it by the guide's rules.
func (b *build) step(n int, phase analysis.Phase) *analysis.Step {
	p := b.server.at(n)
	prompts := 10 * n
	done := int(math.Round(float64(prompts) * p.success))
	failed := prompts - done
	s := analysis.Step{Concurrency: n, Phase: phase, Runs: 1, NumPrompts: prompts, StartedAt: fixtureStart.Add(b.elapsed),
		VerdictBasis: analysis.BasisWhole, Failures: map[loadgen.Class]int{}, FailureExamples: map[loadgen.Class]string{}}
	if p.success == 0 {
		done, failed = 0, 4
		s.Abandoned = "4 requests in a row failed from the step's start"
	}
	s.Whole = b.summary(n, done, failed, p, 1-.03*math.Log10(float64(n)+1))
	if failed > 0 {
		s.Failures[loadgen.HTTP5xx] = failed
		s.FailureExamples[loadgen.HTTP5xx] = `503 Service Unavailable: {"error":"queue full"}`
		if p.success == 0 {
			delete(s.Failures, loadgen.HTTP5xx)
			s.Failures[loadgen.ConnectionRefused] = failed
			s.FailureExamples = map[loadgen.Class]string{loadgen.ConnectionRefused: "dial tcp 127.0.0.1:8000: connect: connection refused"}
		}
	}
	if done >= 60 && p.success == 1 {
		steady := b.summary(n, done-2*n, 0, p, 1)
		s.Steady = &steady
		duration := s.Whole.DurationSeconds.Or(0)
		s.Window = &analysis.Window{FromSeconds: duration * .1, ToSeconds: duration * .9, Requests: done - 2*n}
		s.VerdictBasis = analysis.BasisSteady
	}
	b.fill(&s, p, done)
	b.judge(&s)
	b.elapsed += time.Duration((s.Whole.DurationSeconds.Or(1) + .5) * float64(time.Second))
	b.result.Steps = append(b.result.Steps, s)
	return &b.result.Steps[len(b.result.Steps)-1]
}

// fill adds what surrounds the figures: validity, client, server, histogram, series.
func (b *build) fill(s *analysis.Step, p point, done int) {
	k := loadgen.Known
	n := float64(s.Concurrency)
	s.Lengths = analysis.Lengths{WantPromptTokens: k(512), PromptTokens: k(511.4), WantOutputTokens: k(float64(b.server.tokens)),
		OutputTokens: k(float64(b.server.tokens)), CachedShare: k(.001)}
	s.Client = analysis.Client{Health: loadgen.Health{CPUShare: k(.01 + n*.0006), GCPauseSeconds: k(.002), GCPauseMaxSeconds: k(.0003),
		DispatchP99Seconds: k(.0004), StampDelayP99Seconds: k(.0011), ConnReuse: k(.99), OpenFiles: k(n + 12), OpenFilesLimit: k(65536), StampSource: "kernel"}}
	if done == 0 {
		return
	}
	s.Validity = []analysis.Check{
		{Check: "little", Value: k(.012), Gate: k(.05), OK: true, Text: "Little's law holds within 1.2 %"},
		{Check: "think_time", Value: k(.004), Gate: k(.02), OK: true, Text: "the client waited 0.4 % of the response time between requests"},
		{Check: "in_flight", Value: k(.995), Gate: k(.95), OK: true, Text: "99.5 % of the asked concurrency was in flight"},
		{Check: "output_length", Value: k(1), Gate: k(.98), OK: true, Text: "outputs have 100 % of the asked length"},
	}
	m := math.Min(n, float64(b.server.slots))
	s.Server = &analysis.Telemetry{Source: "vllm", Scrapes: 10, RunningMean: k(m), RunningMax: k(m), WaitingMean: k(n - m),
		WaitingMax: k(n - m), KVCacheMax: k(math.Min(.0064*m, .99)), KVCacheMean: k(math.Min(.006*m, .95)), Preemptions: k(0),
		PrefixHitRate: k(.001), GPUMemoryMax: k(.91), GPUUtilMean: k(math.Min(.3+.1*math.Log2(n+1), .99))}
	mean := s.Whole.TTFT.Mean.Or(0)
	for i := range 24 {
		z := -3 + float64(i)*.25
		from, to := mean*math.Exp(.25*z), mean*math.Exp(.25*(z+.25))
		count := int(math.Round(float64(done) * .25 * math.Exp(-z*z/2) / math.Sqrt(2*math.Pi)))
		s.TTFTBins = append(s.TTFTBins, analysis.Bin{From: from, To: to, Count: count})
	}
	duration := s.Whole.DurationSeconds.Or(1)
	for i := range 40 {
		at := (float64(i) + .5) / 40
		in := n * math.Min(1, math.Min(at/.08, (1-at)/.08))
		s.Series = append(s.Series, analysis.Slice{AtSeconds: at * duration, InFlight: k(in), RequestRate: k(p.x * b.noise(.08)),
			OutputThroughput: k(p.x * float64(b.server.tokens) * b.noise(.05)), TTFTMean: k(p.ttft * b.noise(.06) * math.Min(1, .4+at*8))})
	}
}

func (b *build) judge(s *analysis.Step) {
	var before []analysis.Step
	for _, p := range b.result.Steps {
		if p.Phase == analysis.PhaseLadder {
			before = append(before, p)
		}
	}
	s.Breaches = sweep.Judge(before, s, sweep.DefaultStopRules())
	if len(s.Breaches) > 0 {
		s.Stop = &s.Breaches[0]
		s.Runs = 2
	}
}

// ladder runs the guide's steps until one fails.
func (b *build) ladder(steps ...int) *build {
	l := &b.result.Ladder
	for _, n := range steps {
		s := b.step(n, analysis.PhaseLadder)
		if s.Stop != nil {
			l.FirstBad, l.StoppedBy, l.Sentence = loadgen.Known(float64(n)), s.Stop.Rule, s.Stop.Sentence
			l.ScriptSuggestion = loadgen.Known(float64(n / 2))
			break
		}
		l.LastGood = loadgen.Known(float64(n))
	}
	for i := range b.result.Steps {
		v, n := b.result.Steps[i].Verdict(), float64(b.result.Steps[i].Concurrency)
		if x := v.RequestThroughput.Or(0); x > b.result.Peak.RequestThroughput.Or(0) {
			b.result.Peak = analysis.Peak{Concurrency: loadgen.Known(n), RequestThroughput: v.RequestThroughput}
		}
		if e := v.Efficiency.Or(0); e > b.result.Efficiency.MaxEfficiency.Or(0) {
			b.result.Efficiency = analysis.Efficiency{OptimalConcurrency: loadgen.Known(n), MaxEfficiency: v.Efficiency}
		}
	}
	return b
}

func (b *build) probes(phase analysis.Phase, ns ...int) *build {
	for _, n := range ns {
		b.step(n, phase)
	}
	return b
}

func found(n, low, high float64, by string) analysis.Limit {
	k := loadgen.Known
	return analysis.Limit{Concurrency: k(n), Low: k(low), High: k(high), Confidence: k(.95), BoundBy: by}
}

func atLeast(n float64, by string) analysis.Limit {
	return analysis.Limit{AtLeast: loadgen.Known(n), BoundBy: by}
}

// settle stores the verdict: the binding limit and what follows from it.
func (b *build) settle(v sweep.Verdict, sentence string, binding string, limits ...analysis.Limit) *build {
	r := b.result
	r.Verdict, r.Sentence = v, sentence
	for _, l := range limits {
		r.Limits[l.BoundBy] = l
		if l.BoundBy == binding {
			bound := l
			r.Limit = &bound
		}
	}
	if r.Limit != nil && r.Limit.Concurrency.IsKnown() {
		n := r.Limit.Concurrency.Or(0)
		r.Recommendation = &analysis.Recommendation{Low: loadgen.Known(math.Floor(n * .7)), High: loadgen.Known(math.Floor(n * .8)),
			BurstSafe: loadgen.Known(math.Floor(math.Pow(math.Sqrt(n+.68)-.82, 2))),
			Reasons:   []string{"70-80 % of the measured limit, in whole numbers, never above a step that passed"}}
	}
	return b
}

func (b *build) telemetry() []analysis.TelemetryPoint {
	k := loadgen.Known
	var points []analysis.TelemetryPoint
	for _, s := range b.result.Steps {
		for t := 0.0; t < s.Whole.DurationSeconds.Or(1); t++ {
			if s.Server == nil {
				points = append(points, analysis.TelemetryPoint{At: s.StartedAt.Add(time.Duration(t * 1e9)), Error: "connection refused"})
				continue
			}
			points = append(points, analysis.TelemetryPoint{At: s.StartedAt.Add(time.Duration(t * 1e9)), Running: k(s.Server.RunningMean.Or(0) * b.noise(.02)),
				Waiting: k(math.Max(0, s.Server.WaitingMean.Or(0)*b.noise(.05))), KVCache: k(math.Min(1, s.Server.KVCacheMean.Or(0)*b.noise(.02))),
				Preemptions: k(0), GPUMemory: k(.91), GPUUtil: k(math.Min(1, s.Server.GPUUtilMean.Or(0)*b.noise(.03)))})
		}
	}
	return points
}

var ladder = []int{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}

func slotsFixture() *build {
	b := newBuild("slots", slots64).ladder(ladder...).probes(analysis.PhaseProbe, 70, 64, 66, 62).probes(analysis.PhaseConfirm, 63, 68)
	b.settle(sweep.LimitFound, "limit 64 (95 % CI 62-67), bound by throughput gain; TTFT 91 (90-92); success > 100",
		"throughput_gain", found(64, 62, 67, "throughput_gain"), found(91, 90, 92, "ttft"), atLeast(100, "success_rate"), atLeast(100, "resources"))
	r := b.result
	r.Curve = &analysis.Curve{Model: "slots", Chi2PerDof: loadgen.Known(.9), Knee: loadgen.Known(64), KneeLow: loadgen.Known(62), KneeHigh: loadgen.Known(67),
		FromConcurrency: 1, ToConcurrency: 100, Refusals: []string{"no throughput peak is claimed: it would lie beyond the largest concurrency tested (> 100)"}}
	for n := 1; n <= 100; n++ {
		r.Curve.Points = append(r.Curve.Points, analysis.CurvePoint{Concurrency: float64(n), RequestThroughput: slots64.at(n).x})
	}
	r.Bottleneck = &diagnosis.Bottleneck{Kind: "slots", Sentence: "The server runs 64 requests at once and queues the rest; raising max-num-seqs is worth trying.",
		Evidence: []string{"64 running from concurrency 64 on, 36 waiting at 100", "KV cache at 41 %", "TPOT flat at 20 ms"},
		Shares:   &diagnosis.Shares{Queue: loadgen.Known(0), Prefill: loadgen.Known(.048), Decode: loadgen.Known(.952)}}
	r.Search = &sweep.Search{Requests: 1550, Tokens: 950000, Seconds: 141, Confirmed: true,
		Notes: []string{"probe 70: TTFT 297 ms, gain below threshold", "probe 64: passes", "confirmed: 63 passes, 68 fails"}}
	return b
}
