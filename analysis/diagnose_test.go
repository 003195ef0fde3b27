package analysis

import (
	"math"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

// point is a step with the figures a diagnosis looks at; times in seconds.
func point(n int, x, ttft, tpot float64, tokens int) Step {
	s := Step{Concurrency: n, VerdictBasis: BasisWhole, Failures: map[loadgen.Class]int{}}
	known := loadgen.Known
	s.Whole = Summary{Completed: 10 * n, SuccessRate: known(1), RequestThroughput: known(x),
		TTFT: Dist{Mean: known(ttft), N: 10 * n}, TPOT: Dist{Mean: known(tpot), N: 10 * n},
		E2E: Dist{Mean: known(ttft + tpot*float64(tokens-1)), N: 10 * n}}
	return s
}

// failedAs makes a step fail: rate of successes and the classes of the failures.
func failedAs(s Step, rate float64, classes map[loadgen.Class]int) Step {
	s.Whole.SuccessRate, s.Failures = loadgen.Known(rate), classes
	s.Stop = &Stop{Rule: "success_rate"}
	return s
}

func slow(s Step, rule string) Step {
	s.Stop = &Stop{Rule: rule}
	return s
}

func slotSteps() []Step {
	var steps []Step
	for _, n := range []int{1, 5, 20, 50, 64, 100} {
		m := math.Min(float64(n), 64)
		steps = append(steps, point(n, m/2.1, (float64(n)-m)*2.1/m+0.1, 0.02, 101))
	}
	steps[5] = slow(steps[5], "ttft")
	return steps
}

func decodeSteps() []Step {
	var steps []Step
	for _, n := range []float64{1, 10, 50, 100, 200} {
		t := 0.008 + 0.0002*n
		steps = append(steps, point(int(n), n/decodeR(n), 0.020+0.002*n, t, 256))
	}
	steps[4] = slow(steps[4], "throughput_gain")
	return steps
}

// served adds a server's own metrics to every step.
func served(steps []Step, of func(s *Step) Telemetry) []Step {
	for i := range steps {
		t := of(&steps[i])
		t.Scrapes = 10
		steps[i].Server = &t
	}
	return steps
}

func TestDiagnose(t *testing.T) {
	known := loadgen.Known
	slotsServer := func(kv float64) func(*Step) Telemetry {
		return func(s *Step) Telemetry {
			n := float64(s.Concurrency)
			return Telemetry{RunningMean: known(min(n, 64)), RunningMax: known(min(n, 64)), WaitingMean: known(max(0, n-64)), KVCacheMax: known(kv * min(n, 64) / 64)}
		}
	}
	prefillSteps := func() []Step {
		var steps []Step
		// 0.5 s to read a prompt, one at a time: prompts wait for each other early.
		for _, v := range []struct{ n, x, ttft float64 }{{1, 0.4, 0.5}, {3, 1.1, 0.73}, {5, 1.7, 0.95}, {10, 2, 3}, {20, 2, 8}} {
			steps = append(steps, point(int(v.n), v.x, v.ttft, 0.02, 101))
		}
		steps[4] = slow(steps[4], "ttft")
		return steps
	}
	growingPrefill := func() []Step {
		var steps []Step
		for _, n := range []float64{1, 10, 20, 50, 100} { // every prompt slows the others
			p := 0.1 + 0.012*n
			steps = append(steps, point(int(n), n/(p+4), p, 0.04, 101))
		}
		steps[4] = slow(steps[4], "ttft")
		return steps
	}
	fewSlots := func() []Step { // whose throughput happens to be one over the prefill
		var steps []Step
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
		steps  []Step
		limits map[string]Limit
		kind   string
		says   []string
	}{
		{"slots, with metrics", served(slotSteps(), slotsServer(0.41)), nil, KindSlots,
			[]string{"64 running from N = 64 on, 36 waiting at N = 100, KV 41 %, TPOT flat at 20.0 ms", "max-num-seqs"}},
		{"slots, by shape", slotSteps(), nil, KindSlots, []string{"about 64 requests run at once", "TTFT grows to 1281 ms at N = 100"}},
		{"slots, by shape, TPOT falling", easing, nil, KindSlots, []string{"TPOT grows by 0 % a doubling"}},
		{"KV cache", served(slotSteps(), slotsServer(0.99)), nil, KindKVCache, []string{"99 % full at 100"}},
		{"preemptions", served(slotSteps(), func(s *Step) Telemetry { return Telemetry{KVCacheMax: known(0.9), Preemptions: known(7)} }), nil,
			KindKVCache, []string{"7 preemptions"}},
		{"front end", served(slotSteps(), func(s *Step) Telemetry {
			return Telemetry{ServerTTFTMean: known(0.1), WaitingMean: known(0), RunningMax: known(64)}
		}), nil, KindFrontEnd, []string{"of a TTFT of 1281 ms at 100 the model server knows only 100 ms"}},
		{"memory bandwidth, by shape", decodeSteps(), nil, KindMemoryBandwidth, []string{"TPOT grows from 28.0 ms at 100 to 48.0 ms at 200 with no queue"}},
		{"memory bandwidth, with metrics", served(decodeSteps(), func(s *Step) Telemetry {
			return Telemetry{WaitingMean: known(0), RunningMax: known(float64(s.Concurrency)), KVCacheMax: known(0.5)}
		}), nil, KindMemoryBandwidth, []string{"memory bandwidth"}},
		{"prefill", prefillSteps(), nil, KindPrefill, []string{"reading prompts is busy 100 % of the time"}},
		{"prefill that grows", growingPrefill(), nil, KindPrefill, []string{"TTFT grows with every further prompt", "TTFT 700 ms at 50, 1300 ms at 100"}},
		{"few slots", fewSlots(), nil, KindSlots, []string{"about 23 requests run at once"}},
		{"crash without a refusal", []Step{point(136, 40, .1, .02, 101), failedAs(point(137, 5, .1, .02, 101), .1, map[loadgen.Class]int{loadgen.ConnectionReset: 137})}, nil,
			KindCrash, []string{"died at 137"}},
		{"resets now and then", []Step{point(50, 40, .1, .02, 101), failedAs(point(100, 50, .1, .02, 101), .9, map[loadgen.Class]int{loadgen.ConnectionReset: 100})}, nil,
			KindErrorRate, []string{"100 connection_reset"}},
		{"rate limiter", []Step{point(10, 4, .1, .02, 101), point(20, 8, .1, .02, 101),
			failedAs(point(50, 12, .1, .02, 101), .006, map[loadgen.Class]int{loadgen.HTTP429: 497})}, nil,
			KindRateLimiter, []string{"497 requests were answered 429 at 50", "12.0 req/s got through"}},
		{"queue cap", []Step{point(10, 6.7, .1, .014, 101), point(20, 13, .1, .014, 101),
			failedAs(point(50, 21.3, .85, .014, 101), .05, map[loadgen.Class]int{loadgen.HTTP5xx: 475})}, nil,
			KindQueueCap, []string{"about 48 requests fit", "475 http_5xx"}},
		{"no queue, a fixed number admitted", []Step{point(20, 13, .1, .014, 101),
			failedAs(point(50, 21.3, .1, .014, 101), .5, map[loadgen.Class]int{loadgen.HTTP5xx: 250}), failedAs(point(100, 21.3, .1, .014, 101), .2, map[loadgen.Class]int{loadgen.HTTP5xx: 800})}, nil,
			KindQueueCap, []string{"about 32 requests fit"}},
		{"errors of a busy server", []Step{point(20, 13, .1, .014, 101), failedAs(point(50, 30, .1, .014, 101), .9, map[loadgen.Class]int{loadgen.HTTP5xx: 50})}, nil,
			KindErrorRate, []string{"50 http_5xx"}},
		{"full queue answered 429", []Step{point(10, 6.7, .1, .014, 101), failedAs(point(50, 21.3, .85, .014, 101), .05, map[loadgen.Class]int{loadgen.HTTP429: 475})}, nil,
			KindQueueCap, []string{"queue cap"}},
		{"crash", []Step{point(100, 40, .1, .02, 101), failedAs(point(200, 0, 0, 0, 2), 0, map[loadgen.Class]int{loadgen.ConnectionRefused: 100, loadgen.ConnectionReset: 100})}, nil,
			KindCrash, []string{"answered at 100 and died at 200", "100 connection_refused, 100 connection_reset"}},
		{"error rate", []Step{point(50, 20, .1, .02, 101), failedAs(point(100, 30, .1, .02, 101), .9, map[loadgen.Class]int{loadgen.StreamError: 100})}, nil,
			KindErrorRate, []string{"10 % of the requests failed at 100 (100 stream_error)"}},
		// The queue limits throughput at 32 already, before it is full at 48.
		{"queue cap behind slots", []Step{point(10, 6.7, .1, .014, 101), point(20, 13.3, .1, .014, 101), point(32, 21.3, .1, .014, 101), point(47, 21.3, .8, .014, 101),
			failedAs(point(50, 21.3, .85, .014, 101), .05, map[loadgen.Class]int{loadgen.HTTP5xx: 475})},
			map[string]Limit{"success_rate": {Concurrency: known(48)}, "throughput_gain": {Concurrency: known(32)}}, KindSlots, []string{"slots"}},
		{"client", []Step{point(10, 6.7, .1, .014, 101), {Concurrency: 20, Client: Client{Limits: []string{"the client used 90 % of the CPU"}}}}, nil,
			KindClient, []string{"at 20 this machine could not make the load: the client used 90 %"}},
		{"nothing to see", []Step{point(1, 1, .1, .01, 101), point(2, 2, .1, .01, 101), point(4, 4, .1, .01, 101)}, nil, KindUnknown, nil},
		{"nothing at all", nil, nil, KindUnknown, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := Diagnose(c.steps, c.limits, nil)
			if b.Kind != c.kind {
				t.Fatalf("%s: %s %q, want %s", b.Kind, b.Sentence, b.Evidence, c.kind)
			}
			text := b.Sentence + "\n" + strings.Join(b.Evidence, "\n")
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
			if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || b.Kind != KindUnknown && len(b.Evidence) == 0 {
				t.Errorf("evidence: %q", text)
			}
		})
	}
}

func TestShares(t *testing.T) {
	steps := slotSteps()
	steps[5].Stop = nil // the last good one is now that at 100
	s := Diagnose(steps, nil, nil).Shares
	near(t, "queue", s.Queue, 1.18125/3.28125, 1e-6)
	near(t, "prefill", s.Prefill, 0.1/3.28125, 1e-6)
	near(t, "decode", s.Decode, 2/3.28125, 1e-6)
	steps = served(steps, func(*Step) Telemetry { return Telemetry{ServerQueueMean: loadgen.Known(1)} })
	near(t, "queue by the server", Diagnose(steps, nil, nil).Shares.Queue, 1/3.28125, 1e-6)
	alone := Diagnose(slotSteps()[:1], nil, nil).Shares
	if alone.Queue.IsKnown() || !alone.Decode.IsKnown() {
		t.Errorf("one step cannot tell queue from prefill: %+v", alone)
	}
}
