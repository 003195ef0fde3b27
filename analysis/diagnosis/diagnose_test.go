package diagnosis

import (
	"math"
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// point is a step with the figures a diagnosis looks at; times in seconds.
func point(n int, x, ttft, tpot float64, tokens int) analysis.Step {
	s := analysis.Step{Concurrency: n, VerdictBasis: analysis.BasisWhole, Failures: map[loadgen.Class]int{}}
	known := loadgen.Known
	s.Whole = analysis.Summary{Completed: 10 * n, SuccessRate: known(1), RequestThroughput: known(x),
		TTFT: analysis.Dist{Mean: known(ttft), N: 10 * n}, TPOT: analysis.Dist{Mean: known(tpot), N: 10 * n},
		E2E: analysis.Dist{Mean: known(ttft + tpot*float64(tokens-1)), N: 10 * n}}
	return s
}

// failedAs makes a step fail: rate of successes and the classes of the failures.
func failedAs(s analysis.Step, rate float64, classes map[loadgen.Class]int) analysis.Step {
	s.Whole.SuccessRate, s.Failures = loadgen.Known(rate), classes
	s.Stop = &analysis.Stop{Rule: "success_rate"}
	return s
}

func slow(s analysis.Step, rule string) analysis.Step {
	s.Stop = &analysis.Stop{Rule: rule}
	return s
}

func slotSteps() []analysis.Step {
	var steps []analysis.Step
	for _, n := range []int{1, 5, 20, 50, 64, 100} {
		m := math.Min(float64(n), 64)
		steps = append(steps, point(n, m/2.1, (float64(n)-m)*2.1/m+0.1, 0.02, 101))
	}
	steps[5] = slow(steps[5], "ttft")
	return steps
}

func decodeSteps() []analysis.Step {
	var steps []analysis.Step
	for _, n := range []float64{1, 10, 50, 100, 200} {
		t := 0.008 + 0.0002*n
		steps = append(steps, point(int(n), n/(2.060+0.053*n), 0.020+0.002*n, t, 256))
	}
	steps[4] = slow(steps[4], "throughput_gain")
	return steps
}

// served adds a server's own metrics to every step.
func served(steps []analysis.Step, of func(s *analysis.Step) analysis.Telemetry) []analysis.Step {
	for i := range steps {
		t := of(&steps[i])
		t.Scrapes = 10
		steps[i].Server = &t
	}
	return steps
}

// queueCapSteps are steps of a server with 32 slots of 1.5 s and 16 places to wait
// in. Workers pause after a refusal, so that the mean in it stays below the 48
// that fit.
func queueCapSteps(concurrencies ...int) []analysis.Step {
	var steps []analysis.Step
	for _, n := range concurrencies {
		m := math.Min(float64(n), 32)
		s := point(n, m/1.5, (float64(n)-m)*1.5/m+0.1, 0.014, 101)
		if n > 48 {
			s = failedAs(point(n, 19, 0.6, 0.014, 101), .9, map[loadgen.Class]int{loadgen.HTTP5xx: n})
		}
		steps = append(steps, s)
	}
	return steps
}

func queueServer(s *analysis.Step) analysis.Telemetry {
	k, n := loadgen.Known, float64(s.Concurrency)
	run, wait := min(n, 32), min(max(n-32, 0), 16)
	return analysis.Telemetry{RunningMean: k(run), RunningMax: k(run), WaitingMean: k(wait), WaitingMax: k(wait)}
}

// kvSteps are steps of a server whose KV cache holds 42 requests: those that run are
// slowed down a little by those that had to make room. Measured.
func kvSteps() []analysis.Step {
	steps := []analysis.Step{point(10, 36.6, .0208, .0040, 64), point(20, 73.3, .0209, .0040, 64), point(41, 149.5, .0218, .0040, 64),
		point(50, 149.1, .0492, .0045, 64), point(100, 150.8, .3332, .0052, 64)}
	steps[4] = slow(steps[4], "throughput_gain")
	return steps
}

func saying(text string, s analysis.Step) analysis.Step {
	s.FailureExamples = map[loadgen.Class]string{}
	for c := range s.Failures {
		s.FailureExamples[c] = text
	}
	return s
}

// slowing makes the last step's tokens come later, which alone would not look like
// slots, and the one before it queue.
func slowing(steps []analysis.Step) []analysis.Step {
	steps[4] = point(80, 64/2.1, 16*2.1/64+0.1, 0.02, 101)
	steps[5].Whole.TPOT.Mean = loadgen.Known(0.026)
	return steps
}

// tightSlots are steps of vLLM with 16 slots on one core. Measured: one prompt alone
// takes 46 ms, which is close to one over the throughput of 16 by chance.
func tightSlots() []analysis.Step {
	steps := []analysis.Step{point(1, 2.11, .0456, .0186, 24), point(2, 4.14, .0495, .0179, 24), point(4, 6.89, .0565, .0227, 24), point(8, 11.1, .0654, .0286, 24),
		point(13, 14.3, .0857, .0356, 24), point(16, 18.4, .0788, .0343, 24), point(21, 16.8, .361, .0384, 24), point(32, 16.9, 1.01, .0381, 24)}
	steps[7] = slow(steps[7], "throughput_gain")
	return steps
}

func tightServer(s *analysis.Step) analysis.Telemetry {
	k, n := loadgen.Known, float64(s.Concurrency)
	return analysis.Telemetry{RunningMean: k(min(n, 15.5)), RunningMax: k(min(n, 16)), WaitingMean: k(max(0, n-17)), WaitingMax: k(max(0, n-16)), KVCacheMax: k(.016)}
}

// retrograde is a server whose throughput falls with load.
func retrograde() []analysis.Step {
	steps := []analysis.Step{point(10, 20, .1, .005, 101), point(50, 50, .1, .01, 101), point(100, 40, .1, .025, 101)}
	steps[2] = slow(steps[2], "throughput_gain")
	return steps
}

// longPrompts are steps of a server with 32 slots whose requests slow each other down
// before those are full: it fails at 29, and a queue there is at 64 only.
func longPrompts() []analysis.Step {
	steps := []analysis.Step{point(1, 20, .036, .001, 12), point(8, 19, .12, .027, 12), point(16, 17, .41, .055, 12), point(22, 18, .32, .085, 12),
		slow(point(29, 17, .94, .112, 12), "ttft"), slow(point(64, 9.9, 4.16, .207, 12), "ttft")}
	return served(steps, func(s *analysis.Step) analysis.Telemetry {
		k, n := loadgen.Known, float64(s.Concurrency)
		return analysis.Telemetry{RunningMean: k(min(n, 32)), RunningMax: k(min(n, 32)), WaitingMean: k(max(0, n-32))}
	})
}

// readings are steps of a server that reads the prompts of all requests in turns, a piece
// of one between the tokens of the others, whose answers are of two tokens.
func readings() []analysis.Step {
	steps := []analysis.Step{point(1, 9, .1, .01, 2), point(2, 11, .17, .015, 2), point(4, 12, .31, .024, 2), slow(point(8, 12, .62, .046, 2), "ttft")}
	return served(steps, func(s *analysis.Step) analysis.Telemetry {
		k, n := loadgen.Known, float64(s.Concurrency)
		return analysis.Telemetry{RunningMean: k(n), RunningMax: k(n), WaitingMean: k(0)}
	})
}

// twoTokens are steps of vLLM on one core with prompts of 700 tokens and answers of two, of
// which its gauges count the few that have their first. Measured.
func twoTokens() []analysis.Step {
	steps := []analysis.Step{point(1, 11.5, .0805, .00644, 2), point(2, 12, .125, .0431, 2), point(3, 12.1, .171, .0793, 2), slow(point(4, 12.8, .221, .0943, 2), "ttft")}
	return served(steps, func(s *analysis.Step) analysis.Telemetry {
		k, n := loadgen.Known, float64(s.Concurrency)
		return analysis.Telemetry{RunningMean: k(n / 3), RunningMax: k(math.Round(n / 2)), WaitingMean: k(0)}
	})
}

func TestDiagnose(t *testing.T) {
	known := loadgen.Known
	slotsServer := func(kv float64) func(*analysis.Step) analysis.Telemetry {
		return func(s *analysis.Step) analysis.Telemetry {
			n := float64(s.Concurrency)
			return analysis.Telemetry{RunningMean: known(min(n, 64)), RunningMax: known(min(n, 64)), WaitingMean: known(max(0, n-64)), KVCacheMax: known(kv * min(n, 64) / 64)}
		}
	}
	prefillSteps := func() []analysis.Step {
		var steps []analysis.Step
		// 0.5 s to read a prompt, one at a time: prompts wait for each other early.
		for _, v := range []struct{ n, x, ttft float64 }{{1, 0.4, 0.5}, {3, 1.1, 0.73}, {5, 1.7, 0.95}, {10, 2, 3}, {20, 2, 8}} {
			steps = append(steps, point(int(v.n), v.x, v.ttft, 0.02, 101))
		}
		steps[4] = slow(steps[4], "ttft")
		return steps
	}
	growingPrefill := func() []analysis.Step {
		var steps []analysis.Step
		for _, n := range []float64{1, 10, 20, 50, 100} { // every prompt slows the others
			p := 0.1 + 0.012*n
			steps = append(steps, point(int(n), n/(p+4), p, 0.04, 101))
		}
		steps[4] = slow(steps[4], "ttft")
		return steps
	}
	fewSlots := func() []analysis.Step { // whose throughput happens to be one over the prefill
		var steps []analysis.Step
		for _, n := range []float64{1, 5, 10, 20, 50} {
			m := min(n, 23)
			steps = append(steps, point(int(n), m/2.4, (n-m)*2.4/m+0.1, 0.023, 101))
		}
		steps[4] = slow(steps[4], "ttft")
		return steps
	}
	easing := slotSteps() // TPOT falls by a hair
	easing[5] = slow(point(100, 64/2.1, 1.28125, 0.01999, 101), "ttft")
	cases := []struct {
		name   string
		steps  []analysis.Step
		limits map[string]analysis.Limit
		kind   string

		says []string
	}{
		{"slots, with metrics", served(slotSteps(), slotsServer(0.41)), nil, KindSlots,
			[]string{"64 running from N = 64 on, 36 waiting at N = 100, KV 41 %, TPOT flat at 20.0 ms", "max-num-seqs"}},
		{"slots, by shape", slotSteps(), nil, KindSlots, []string{"about 64 requests run at once", "TTFT grows to 1281 ms at N = 100"}},
		{"slots, by shape, TPOT falling", easing, nil, KindSlots, []string{"TPOT grows by 0 % a doubling"}},
		{"KV cache", served(slotSteps(), slotsServer(0.99)), nil, KindKVCache, []string{"99 % full at 100"}},
		{"preemptions", served(slotSteps(), func(s *analysis.Step) analysis.Telemetry {
			return analysis.Telemetry{KVCacheMax: known(0.9), Preemptions: known(7)}
		}), nil,
			KindKVCache, []string{"7 preemptions"}},
		{"front end", served(slotSteps(), func(s *analysis.Step) analysis.Telemetry {
			return analysis.Telemetry{ServerTTFTMean: known(0.1), WaitingMean: known(0), RunningMax: known(64)}
		}), nil, KindFrontEnd, []string{"of a TTFT of 1281 ms at 100 the model server knows only 100 ms"}},
		{"memory bandwidth, by shape", decodeSteps(), nil, KindMemoryBandwidth, []string{"TPOT grows from 28.0 ms at 100 to 48.0 ms at 200 with no queue"}},
		{"memory bandwidth, with metrics", served(decodeSteps(), func(s *analysis.Step) analysis.Telemetry {
			return analysis.Telemetry{WaitingMean: known(0), RunningMax: known(float64(s.Concurrency)), KVCacheMax: known(0.5), GPUBandwidthMean: known(0.82), GPUTensorMean: known(0.31)}
		}), nil, KindMemoryBandwidth, []string{"memory bandwidth", "at 200: the GPU's memory moved 82 % of what it can at its peak", "at 200: the GPU's tensor cores were busy 31 % of the time"}},
		{"prefill", prefillSteps(), nil, KindPrefill, []string{"reading prompts is busy 100 % of the time"}},
		{"prefill that grows", growingPrefill(), nil, KindPrefill, []string{"TTFT grows with every further prompt", "TTFT 700 ms at 50, 1300 ms at 100"}},
		{"prefill that the server's gauges do not see", twoTokens(), nil, KindPrefill, []string{"reading prompts is busy 100 % of the time", "TTFT 125 ms at 2, 221 ms at 4"}},
		{"prefill between the tokens of others", readings(), nil, KindPrefill, []string{"TTFT grows with every further prompt and by far more than what follows the first token", "TTFT 310 ms at 4, 620 ms at 8"}},
		{"slots that are full far above the limit only", longPrompts(), nil, KindMemoryBandwidth, []string{"TPOT grows from"}},
		{"few slots", fewSlots(), nil, KindSlots, []string{"about 23 requests run at once"}},
		{"crash without a refusal", []analysis.Step{point(136, 40, .1, .02, 101), failedAs(point(137, 5, .1, .02, 101), .1, map[loadgen.Class]int{loadgen.ConnectionReset: 137})}, nil,
			KindCrash, []string{"died at 137"}},
		{"resets now and then", []analysis.Step{point(50, 40, .1, .02, 101), failedAs(point(100, 50, .1, .02, 101), .9, map[loadgen.Class]int{loadgen.ConnectionReset: 100})}, nil,
			KindErrorRate, []string{"100 connection_reset"}},
		{"rate limiter", []analysis.Step{point(10, 4, .1, .02, 101), point(20, 8, .1, .02, 101),
			failedAs(point(50, 12, .1, .02, 101), .006, map[loadgen.Class]int{loadgen.HTTP429: 497})}, nil,
			KindRateLimiter, []string{"497 requests were answered 429 at 50", "12.0 req/s got through"}},
		{"queue cap", []analysis.Step{point(10, 6.7, .1, .014, 101), point(20, 13, .1, .014, 101),
			failedAs(point(50, 21.3, .85, .014, 101), .05, map[loadgen.Class]int{loadgen.HTTP5xx: 475})}, nil,
			KindQueueCap, []string{"between 48 and 49 requests fit", "475 http_5xx"}},
		{"no queue, a fixed number admitted", []analysis.Step{point(20, 13, .1, .014, 101),
			failedAs(point(50, 21.3, .1, .014, 101), .5, map[loadgen.Class]int{loadgen.HTTP5xx: 250}), failedAs(point(100, 21.3, .1, .014, 101), .2, map[loadgen.Class]int{loadgen.HTTP5xx: 800})}, nil,
			KindQueueCap, []string{"about 32 requests fit"}},
		{"queue cap by the server's own figures", served(queueCapSteps(20, 50), queueServer), nil, KindQueueCap,
			[]string{"48 requests fit into the server, 32 running and 16 waiting", "at 50: 32.0 running, 16.0 waiting"}},
		{"queue cap between neighbours", queueCapSteps(20, 48, 49, 50), nil, KindQueueCap, []string{"queue cap: 48 requests fit into the server and its queue;", "at 48: none turned away"}},
		{"429 of a server that says it is full", []analysis.Step{point(10, 6.7, .1, .014, 101), saying("Model is overloaded",
			failedAs(point(50, 21.3, .1, .014, 101), .4, map[loadgen.Class]int{loadgen.HTTP429: 300}))}, nil, KindQueueCap, []string{"between 32 and 49 requests fit"}},
		{"slots of a server that slows down meanwhile", served(slowing(slotSteps()), slotsServer(0.41)), nil, KindSlots,
			[]string{"64 running from N = 64 on, 36 waiting at N = 100, KV 41 %; "}},
		{"slots as many as make throughput one over the TTFT of one alone", served(tightSlots(), tightServer), nil, KindSlots,
			[]string{"16 running from N = 16 on, 15 waiting at N = 32"}},
		{"full KV cache, by shape", kvSteps(), nil, KindSlots, []string{"TPOT goes from 4.5 ms to 5.2 ms while TTFT grows to 333 ms at N = 100; unless the KV cache is full"}},
		{"throughput falls", retrograde(), nil, KindMemoryBandwidth, []string{"throughput falls from 50.0 req/s at 50 to 40.0 req/s at 100"}},
		{"errors of a busy server", []analysis.Step{point(20, 13, .1, .014, 101), failedAs(point(50, 30, .1, .014, 101), .9, map[loadgen.Class]int{loadgen.HTTP5xx: 50})}, nil,
			KindErrorRate, []string{"50 http_5xx"}},
		{"full queue answered 429", []analysis.Step{point(10, 6.7, .1, .014, 101), failedAs(point(50, 21.3, .85, .014, 101), .05, map[loadgen.Class]int{loadgen.HTTP429: 475})}, nil,
			KindQueueCap, []string{"queue cap"}},
		{"crash", []analysis.Step{point(100, 40, .1, .02, 101), failedAs(point(200, 0, 0, 0, 2), 0, map[loadgen.Class]int{loadgen.ConnectionRefused: 100, loadgen.ConnectionReset: 100})}, nil,
			KindCrash, []string{"answered at 100 and died at 200", "100 connection_refused, 100 connection_reset"}},
		{"error rate", []analysis.Step{point(50, 20, .1, .02, 101), failedAs(point(100, 30, .1, .02, 101), .9, map[loadgen.Class]int{loadgen.StreamError: 100})}, nil,
			KindErrorRate, []string{"10 % of the requests failed at 100 (100 stream_error)"}},
		{"vLLM's full queue, said inside some streams", []analysis.Step{point(16, 22, .36, .014, 24), point(20, 24, .48, .012, 24),
			saying("The engine is currently busy and cannot accept new requests.", failedAs(point(21, 24, .52, .013, 24), .91, map[loadgen.Class]int{loadgen.HTTP5xx: 2, loadgen.StreamError: 3}))}, nil,
			KindQueueCap, []string{"20 requests fit into the server and its queue"}},
		{"llama.cpp's slots share a full cache", []analysis.Step{point(4, 20, .1, .02, 64), saying("Context size has been exceeded.",
			failedAs(point(8, 30, .1, .02, 64), .6, map[loadgen.Class]int{loadgen.StreamError: 9, loadgen.Cancelled: 7}))}, nil, KindKVCache, []string{"no room for 8 contexts at once (9 stream_error), though there was for 4"}},
		{"a context too short for one request alone", []analysis.Step{saying("Context size has been exceeded.", failedAs(point(1, 20, .1, .02, 64), .5, map[loadgen.Class]int{loadgen.StreamError: 5}))}, nil,
			KindErrorRate, []string{"5 stream_error"}},
		// The queue limits throughput at 32 already, before it is full at 48.
		{"queue cap behind slots", []analysis.Step{point(10, 6.7, .1, .014, 101), point(20, 13.3, .1, .014, 101), point(32, 21.3, .1, .014, 101), point(47, 21.3, .8, .014, 101),
			failedAs(point(50, 21.3, .85, .014, 101), .05, map[loadgen.Class]int{loadgen.HTTP5xx: 475})},
			map[string]analysis.Limit{"success_rate": {Concurrency: known(48)}, "throughput_gain": {Concurrency: known(32)}}, KindSlots, []string{"slots"}},
		{"client", []analysis.Step{point(10, 6.7, .1, .014, 101), {Concurrency: 20, Client: analysis.Client{Limits: []string{"the client used 90 % of the CPU"}}}}, nil,
			KindClient, []string{"at 20 this machine could not make the load", "the client used 90 %"}},
		{"client busy once, server at its limit", append(slotSteps(), analysis.Step{Concurrency: 70, Client: analysis.Client{Limits: []string{"the client used 90 % of the CPU"}}}), nil,
			KindSlots, []string{"about 64 requests run at once"}},
		{"nothing to see", []analysis.Step{point(1, 1, .1, .01, 101), point(2, 2, .1, .01, 101), point(4, 4, .1, .01, 101)}, nil, KindNone, []string{"nothing saturates up to 4 requests in flight"}},
		{"slow alone before the first token", []analysis.Step{slow(point(1, .7, 1.3, .004, 16), "ttft")}, nil, KindPrefill, []string{"one request alone takes 1300 ms to the first token"}},
		{"slow alone in writing", []analysis.Step{slow(point(1, .7, .1, .1, 101), "e2e p95")}, nil, KindMemoryBandwidth, []string{"one request alone takes 10100 ms to the end of its answer"}},
		{"nothing at all", nil, nil, KindUnknown, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := Diagnose(c.steps, Context{Limits: c.limits})
			if b.Kind != c.kind {
				t.Fatalf("%s: %s %q, want %s", b.Kind, b.Sentence, b.Evidence, c.kind)
			}
			text := b.Sentence + "\n" + strings.Join(b.Evidence, "\n")
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
			if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || b.Kind != KindUnknown && b.Kind != KindNone && len(b.Evidence) == 0 {
				t.Errorf("evidence: %q", text)
			}
		})
	}
}

// TestUnstreamed tells slots by the curve where nothing but E2E is known.
func TestUnstreamed(t *testing.T) {
	steps := slotSteps()
	for i := range steps {
		steps[i].Whole.TTFT, steps[i].Whole.TPOT = analysis.Dist{}, analysis.Dist{}
	}
	b := Diagnose(steps, Context{Curve: &analysis.Curve{Model: "slots", Parameters: map[string]float64{"slots": 64}}, Server: "ollama 0.12"})
	if b.Kind != KindSlots || !strings.Contains(b.Sentence, "about 64 requests run at once") || !strings.Contains(b.Sentence, "E2E grows to 3281 ms at N = 100") {
		t.Errorf("%s: %s", b.Kind, b.Sentence)
	}
	if len(b.Evidence) != 2 || b.Evidence[0] != "at 64: 30.48 req/s, E2E 2100 ms" {
		t.Errorf("evidence %q", b.Evidence)
	}
	if b := Diagnose(steps, Context{Curve: &analysis.Curve{Model: "slots", Parameters: map[string]float64{"slots": 95}}}); b.Kind == KindSlots {
		t.Errorf("slots that were hardly passed are claimed: %s", b.Sentence)
	}
}

// TestCrashThatWasSeen tells a crash from failures by what the sweep saw: of the
// requests that a dying server cuts off most are cancelled with the step.
func TestCrashThatWasSeen(t *testing.T) {
	steps := []analysis.Step{point(72, 143, .06, .007, 64), failedAs(point(73, 16, .03, .0066, 64), .47, map[loadgen.Class]int{loadgen.ConnectionReset: 9, loadgen.Cancelled: 64})}
	if b := Diagnose(steps, Context{}); b.Kind != KindErrorRate {
		t.Errorf("nine resets alone are %s: %s", b.Kind, b.Sentence)
	}
	b := Diagnose(steps, Context{Deaths: []Death{{Concurrency: 100}, {Concurrency: 73, InFlight: loadgen.Known(73), RecoveredSeconds: loadgen.Known(2.04)}}})
	text := strings.Join(append(b.Evidence, b.Sentence), "\n")
	for _, want := range []string{"answered at 72 and died at 73", "with 73 requests in flight", "again after 2.0 s"} {
		if b.Kind != KindCrash || !strings.Contains(text, want) {
			t.Errorf("%s: %q does not say %q", b.Kind, text, want)
		}
	}
}

// TestAdvice holds that a server's own settings are named, and no other's.
func TestAdvice(t *testing.T) {
	for server, want := range map[string]string{
		"vllm 0.11.0": "raising --max-num-seqs is worth trying", "SGLang 0.5.2": "--max-running-requests", "tgi 3.3.4": "--max-batch-total-tokens",
		"llama.cpp b6000": "--parallel", "ollama 0.12.3": "OLLAMA_NUM_PARALLEL", "": "vLLM --max-num-seqs, SGLang", "triton 25.01": "vLLM --max-num-seqs, SGLang",
	} {
		b := Diagnose(slotSteps(), Context{Server: server})
		if !strings.Contains(b.Sentence, want) {
			t.Errorf("%q: %q does not say %q", server, b.Sentence, want)
		}
		if server != "" && server != "triton 25.01" && server != "vllm 0.11.0" && strings.Contains(b.Sentence, "max-num-seqs") {
			t.Errorf("%q is told to set what only vLLM has: %q", server, b.Sentence)
		}
	}
	for kind, by := range cures {
		for _, server := range []string{"", "vllm", "sglang", "tgi", "llama.cpp", "ollama"} {
			if by[server] == "" {
				t.Errorf("no advice against %s for %q", kind, server)
			}
		}
	}
}

// TestShares holds the parts of the response time to the closed form of 64 slots:
// W = (N - 64) 2.1 s / 64, prefill 0.1 s, decode 2 s.
func TestShares(t *testing.T) {
	near := func(name string, got analysis.Number, want float64) {
		t.Helper()
		if v, ok := got.Value(); !ok || math.Abs(v-want) > 1e-6 {
			t.Errorf("%s = %s, want %g", name, got, want)
		}
	}
	near3 := func(name string, s *Shares, n int, queue, prefill, decode float64) {
		t.Helper()
		if s == nil || s.Concurrency != n {
			t.Fatalf("%s: %+v, want those at %d", name, s, n)
		}
		near(name+", queue", s.Queue, queue)
		near(name+", prefill", s.Prefill, prefill)
		near(name+", decode", s.Decode, decode)
	}
	known := loadgen.Known
	steps := slotSteps()
	b := Diagnose(steps, Context{})
	near3("last good", b.Shares, 64, 0, 0.1/2.1, 2/2.1)
	near3("overload", b.Overload, 100, 1.18125/3.28125, 0.1/3.28125, 2/3.28125)
	// A step that passed though it lies above the limit is not what to size by.
	steps[5].Stop = nil
	b = Diagnose(steps, Context{Limits: map[string]analysis.Limit{"throughput_gain": {Concurrency: known(64)}}})
	near3("up to the limit", b.Shares, 64, 0, 0.1/2.1, 2/2.1)
	// The server's means are over the whole step, whose first requests did not wait.
	steps = served(slotSteps(), func(s *analysis.Step) analysis.Telemetry {
		queue := 0.8 * max(0, s.Whole.TTFT.Mean.Or(0)-0.1)
		return analysis.Telemetry{ServerQueueMean: known(queue), ServerTTFTMean: known(queue + 0.1), WaitingMean: known(max(0, float64(s.Concurrency)-64)), RunningMax: known(64)}
	})
	near3("by the server's times", Diagnose(steps, Context{}).Overload, 100, 1.18125/3.28125, 0.1/3.28125, 2/3.28125)
	steps = served(slotSteps(), func(s *analysis.Step) analysis.Telemetry {
		return analysis.Telemetry{WaitingMean: known(max(0, float64(s.Concurrency)-64)), RunningMax: known(min(float64(s.Concurrency), 64))}
	})
	near3("by its queue's length", Diagnose(steps, Context{}).Overload, 100, 1.18125/3.28125, 0.1/3.28125, 2/3.28125)
	// Prompts that slow each other down do not queue.
	b = Diagnose(decodeSteps(), Context{})
	near3("prefill that grows", b.Overload, 200, 0, 0.42/(0.42+255*0.048), 1-0.42/(0.42+255*0.048))
	front := Diagnose(served(slotSteps(), func(*analysis.Step) analysis.Telemetry {
		return analysis.Telemetry{ServerTTFTMean: known(0.1), ServerQueueMean: known(0), WaitingMean: known(0), RunningMax: known(64)}
	}), Context{}).Overload
	near3("front end", front, 100, 0, 0.1/3.28125, 2/3.28125)
	near("lost in the front end", front.FrontEnd, 1.18125/3.28125)
	alone := Diagnose(slotSteps()[:1], Context{}).Shares
	if alone.Queue.IsKnown() || !alone.Decode.IsKnown() {
		t.Errorf("one step cannot tell queue from prefill: %+v", alone)
	}
}

func TestBindingCriterion(t *testing.T) {
	at := func(n float64) analysis.Limit { return analysis.Limit{Concurrency: loadgen.Known(n)} }
	for _, c := range []struct {
		limits map[string]analysis.Limit
		want   string
	}{
		{map[string]analysis.Limit{"success_rate": at(30), "throughput_gain": at(30), "ttft": at(30)}, "success_rate"},
		{map[string]analysis.Limit{"success_rate": at(48), "throughput_gain": at(32), "ttft": {}}, "throughput_gain"},
		{map[string]analysis.Limit{"ttft": at(9), "throughput_gain": at(9)}, "throughput_gain"},
	} {
		for range 20 { // whatever the order of the map
			if got := binding(c.limits, nil); got != c.want {
				t.Fatalf("%v: %s", c.limits, got)
			}
		}
	}
	if got := binding(nil, &analysis.Step{Stop: &analysis.Stop{Rule: "ttft"}}); got != "ttft" {
		t.Errorf("without limits: %s", got)
	}
}
