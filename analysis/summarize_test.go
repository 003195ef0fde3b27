package analysis

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

const ms = time.Millisecond

func near(t *testing.T, what string, got Number, want, tolerance float64) {
	t.Helper()
	v, ok := got.Value()
	if !ok {
		t.Errorf("%s is unknown, want %g", what, want)
		return
	}
	if math.Abs(v-want) > tolerance {
		t.Errorf("%s = %g, want %g +- %g", what, v, want, tolerance)
	}
}

// The slots case: 64 slots, service 2.1 s of which 100 ms are prefill.
func slots(n int) synth {
	return synth{n: n, requests: 10 * n, slots: 64, prefill: 100 * ms, decode: 2000 * ms, tokens: 101}
}

func TestSteadyStateOfAQueue(t *testing.T) {
	for _, n := range []int{5, 20, 64, 91, 100} {
		for _, cv := range []float64{0.1, 0.5} {
			var x, ttft, r float64
			const runs = 20
			for seed := range uint64(runs) {
				c := slots(n)
				c.cv, c.seed, c.stagger = cv, seed, c.service()
				s := Summarize([]loadgen.Run{c.run()}, Options{Phase: PhaseLadder})
				if s.VerdictBasis != BasisSteady {
					t.Fatalf("N=%d: verdict from %s", n, s.VerdictBasis)
				}
				x += s.Steady.RequestThroughput.Or(0) / runs
				ttft += s.Steady.TTFT.Mean.Or(0) / runs
				r += s.Steady.MeanResidenceSeconds.Or(0) / runs
			}
			m := math.Min(float64(n), 64)
			wantX := m / 2.1
			wantTTFT := (float64(n)-m)*2.1/m + 0.1
			near(t, "throughput", loadgen.Known(x/wantX), 1, 0.03)
			near(t, "residence", loadgen.Known(r/(float64(n)/wantX)), 1, 0.03)
			near(t, "TTFT", loadgen.Known(ttft), wantTTFT, 0.02+0.05*wantTTFT)
		}
	}
}

func TestWholeRunIsBiasedAndTheWindowIsNot(t *testing.T) {
	c := synth{n: 100, requests: 1000, prefill: 100 * ms, decode: 1900 * ms, tokens: 50, cv: 0.5}
	truth := 100 / 2.0
	var whole, steady float64
	for seed := range uint64(10) {
		c.seed = seed
		s := Summarize([]loadgen.Run{c.run()}, Options{})
		whole += s.Whole.RequestThroughput.Or(0) / 10
		steady += s.Steady.RequestThroughput.Or(0) / 10
	}
	if under := 1 - whole/truth; under < 0.12 || under > 0.22 {
		t.Errorf("ten waves at a variation of 0.5 underestimate by %.3f, want about 0.17", under)
	}
	near(t, "steady throughput", loadgen.Known(steady/truth), 1, 0.02)
}

func TestWholeRunByHand(t *testing.T) {
	sample := func(i int, sent, first, last time.Duration, tokens int) loadgen.Sample {
		return loadgen.Sample{Index: i, Conversation: -1, CachedTokens: -1, Ready: sent, Sent: sent, WasSent: true, Streamed: true,
			FirstOutput: first, LastOutput: last, End: last, OutputEvents: tokens, OutputTokens: tokens, PromptTokens: 10, TokenSource: loadgen.TokensFromUsage}
	}
	run := loadgen.Run{Load: loadgen.Load{Concurrency: 2, Requests: 4}, Elapsed: 5 * time.Second, Samples: []loadgen.Sample{
		sample(0, 1*time.Second, 1500*ms, 2*time.Second, 11),
		{Index: 1, Conversation: -1, CachedTokens: -1, Ready: time.Second, Sent: time.Second, WasSent: true, End: 2500 * ms, Class: loadgen.HTTP5xx, Message: "HTTP 503"},
		sample(2, 2*time.Second, 2100*ms, 4*time.Second, 20),
		{Index: 3, Conversation: -1, CachedTokens: -1, Ready: 3 * time.Second, Sent: 3 * time.Second, WasSent: true, End: 5 * time.Second, Class: loadgen.Cancelled},
	}}
	s := Summarize([]loadgen.Run{run}, Options{Phase: PhasePoint})
	w := s.Whole
	near(t, "duration", w.DurationSeconds, 3, 1e-9) // first send 1 s, last completion 4 s
	near(t, "request throughput", w.RequestThroughput, 2.0/3, 1e-9)
	near(t, "output throughput", w.OutputThroughput, 31.0/3, 1e-9)
	near(t, "total throughput", w.TotalTokenThroughput, 51.0/3, 1e-9)
	near(t, "success rate", w.SuccessRate, 2.0/3, 1e-9)
	near(t, "mean TTFT", w.TTFT.Mean, 0.3, 1e-9)
	near(t, "std TTFT", w.TTFT.Std, 0.2, 1e-9) // population
	near(t, "median TTFT", w.TTFT.P50, 0.3, 1e-9)
	near(t, "p90 TTFT", w.TTFT.P90, 0.46, 1e-9)
	near(t, "mean TPOT", w.TPOT.Mean, (0.5/10+1.9/19)/2, 1e-9)
	near(t, "mean E2E", w.E2E.Mean, 1.5, 1e-9)
	near(t, "mean residence", w.MeanResidenceSeconds, (1+1.5+2)/3, 1e-9)
	near(t, "mean in flight", w.MeanInFlight, (1+1.5+2+1)/3, 1e-9) // the cancelled one was in flight for 1 s
	near(t, "efficiency", w.Efficiency, 1.0/3, 1e-9)
	near(t, "tokens/s of a request", w.RequestTokensPerSec, (20+10)/2, 1e-9)
	if w.Completed != 2 || w.Failed != 1 || w.Cancelled != 1 || w.PeakInFlight != 2 || w.OutputTokens != 31 || w.InputTokens != 20 {
		t.Errorf("counts: %+v", w)
	}
	if s.Failures[loadgen.HTTP5xx] != 1 || s.Failures[loadgen.Cancelled] != 1 || s.FailureExamples[loadgen.HTTP5xx] != "HTTP 503" {
		t.Errorf("failures %v, examples %v", s.Failures, s.FailureExamples)
	}
	if s.VerdictBasis != BasisWhole || s.NumPrompts != 4 || s.Runs != 1 {
		t.Errorf("basis %s, %d prompts, %d runs", s.VerdictBasis, s.NumPrompts, s.Runs)
	}
	if v := w.TTFT.Percentile(99); v.IsKnown() {
		t.Errorf("p99 of 2 samples is given as %v", v)
	}
	// Seconds counted from 1 s: the first request writes 10 tokens in the first
	// and its last one in the second, the other 9 in the second, and in the third
	// 11, of which the last at its very end.
	near(t, "peak output throughput", w.PeakOutputThroughput, 11, 1e-9)
}

func TestNothingSucceeded(t *testing.T) {
	run := loadgen.Run{Load: loadgen.Load{Concurrency: 1, Requests: 2}, Elapsed: time.Second}
	for i := range 2 {
		at := time.Duration(i) * 100 * ms
		run.Samples = append(run.Samples, loadgen.Sample{Index: i, Conversation: -1, Ready: at, End: at + 10*ms, Class: loadgen.ConnectionRefused})
	}
	s := Summarize([]loadgen.Run{run}, Options{})
	near(t, "success rate", s.Whole.SuccessRate, 0, 0)
	near(t, "throughput", s.Whole.RequestThroughput, 0, 0)
	near(t, "duration", s.Whole.DurationSeconds, 0.11, 1e-9)
	if s.Whole.TTFT.Mean.IsKnown() || s.Whole.MeanResidenceSeconds.IsKnown() {
		t.Error("times without a request that was sent")
	}
	b, err := json.Marshal(s)
	if err != nil || strings.Contains(string(b), "NaN") {
		t.Errorf("marshal: %v", err)
	}
	if s := Summarize(nil, Options{Phase: PhaseProbe}); s.Phase != PhaseProbe || s.Whole.SuccessRate.IsKnown() {
		t.Errorf("no runs gave %+v", s)
	}
}

func TestFailuresShareTheWindow(t *testing.T) {
	c := synth{n: 30, requests: 600, prefill: 100 * ms, decode: 900 * ms, tokens: 10, failEvery: 10, refuse: 100 * ms, stagger: time.Second}
	s := Summarize([]loadgen.Run{c.run()}, Options{})
	near(t, "success rate", s.Steady.SuccessRate, 0.9, 0.01)
	near(t, "residence", s.Steady.MeanResidenceSeconds, 0.9*1+0.1*0.1, 0.02)
	near(t, "throughput of successes", s.Steady.RequestThroughput, 30/0.91*0.9, 1)
}

// Six of ten are refused at once and told to come back in an hour: the four that go on
// succeed always, and say nothing of ten in flight.
func TestWorkersHeldBackByRefusals(t *testing.T) {
	run := synth{n: 4, requests: 54, prefill: 10 * ms, decode: 30 * ms, tokens: 10}.run()
	run.Load.Concurrency, run.Load.Requests = 10, 60
	for i := range 6 {
		at := time.Duration(i) * 100 * time.Microsecond
		run.Samples = append(run.Samples, loadgen.Sample{Index: 54 + i, Conversation: -1, Ready: at, Sent: at, End: at + ms, Class: loadgen.HTTP429})
	}
	s := Summarize([]loadgen.Run{run}, Options{})
	if s.VerdictBasis != BasisWhole || s.Steady == nil || s.Steady.SuccessRate.Or(0) != 1 {
		t.Errorf("basis %s, steady %+v", s.VerdictBasis, s.Steady)
	}
	near(t, "success rate", s.Verdict().SuccessRate, 0.9, 1e-9)
	if p := SuccessPoints([]Step{s})[0]; p.Failed != 6 {
		t.Errorf("the search counts %+v", p)
	}
}

func TestRepeatIsPooled(t *testing.T) {
	a, b := slots(100), slots(100)
	a.cv, b.cv, a.seed, b.seed, b.failEvery = 0.2, 0.2, 1, 2, 5
	ra, rb := a.run(), b.run()
	rb.Started = ra.Started.Add(time.Hour)
	s := Summarize([]loadgen.Run{ra, rb}, Options{})
	if s.Runs != 2 || s.NumPrompts != 2000 || s.Whole.Completed != 1800 || s.Whole.Failed != 200 {
		t.Errorf("runs %d, prompts %d, completed %d, failed %d", s.Runs, s.NumPrompts, s.Whole.Completed, s.Whole.Failed)
	}
	near(t, "pooled throughput", s.Whole.RequestThroughput, 1800/(ra.Elapsed+rb.Elapsed).Seconds(), 0.1)
	if one := Summarize([]loadgen.Run{ra}, Options{}); s.Window.Requests <= one.Window.Requests {
		t.Error("the window of the repeat is not counted")
	}
	if last := s.Series[len(s.Series)-1].AtSeconds; last < 3600 {
		t.Errorf("the series ends at %g s, the second run began at 3600", last)
	}
	// A repeat that was lost before it had a window must not be overlooked.
	lost := rb
	lost.Samples = lost.Samples[:4]
	if s := Summarize([]loadgen.Run{ra, lost}, Options{}); s.VerdictBasis != BasisWhole {
		t.Error("verdict from a window that only one of the runs has")
	}
	if s := Summarize([]loadgen.Run{ra}, Options{Abandoned: "lost"}); s.VerdictBasis != BasisWhole {
		t.Error("an abandoned step was judged on all its requests, not on its window")
	}
}

func TestRunCutShort(t *testing.T) {
	var x, ttft float64
	for seed := range uint64(20) {
		c := slots(100)
		c.cv, c.seed, c.stopAt, c.stagger = 0.5, seed, 15*time.Second, 2100*ms
		s := Summarize([]loadgen.Run{c.run()}, Options{})
		if s.Steady == nil || s.Steady.Cancelled == 0 {
			t.Fatal("no window in a run that was cut short, or no cancelled requests")
		}
		x += s.Steady.RequestThroughput.Or(0) / 20
		ttft += s.Steady.TTFT.Mean.Or(0) / 20
	}
	near(t, "throughput", loadgen.Known(x), 64/2.1, 1)
	near(t, "TTFT", loadgen.Known(ttft), 36*2.1/64+0.1, 0.08)
}

func TestBatchMeansCoverTheTruth(t *testing.T) {
	skipStatistics(t)
	for _, n := range []int{20, 91, 200} {
		coverX, coverTTFT := 0, 0
		const runs = 60
		for seed := range uint64(runs) {
			c := slots(n)
			c.cv, c.seed, c.stagger = 0.5, seed, 2100*ms
			s := Summarize([]loadgen.Run{c.run()}, Options{})
			m := math.Min(float64(n), 64)
			q := StudentT(float64(len(s.Steady.Batches) - 1))
			within := func(v, se Number, truth float64) int {
				if math.Abs(v.Or(0)-truth) <= q*se.Or(0) {
					return 1
				}
				return 0
			}
			coverX += within(s.Steady.RequestThroughput, s.Steady.RequestThroughputSE, m/2.1)
			coverTTFT += within(s.Steady.TTFT.Mean, s.Steady.TTFTSE, (float64(n)-m)*2.1/m+0.1)
		}
		t.Logf("N=%d: 95 %% intervals cover throughput in %.1f %%, TTFT in %.1f %% of %d runs", n, 100*float64(coverX)/runs, 100*float64(coverTTFT)/runs, runs)
		if coverX < runs*88/100 || coverTTFT < runs*88/100 {
			t.Errorf("N=%d: coverage too low", n)
		}
	}
}

func TestPercentilesAsNumpy(t *testing.T) {
	// numpy.percentile([1, 2, 4, 8, 16], [50, 90, 95, 99])
	d := Describe([]float64{16, 1, 8, 2, 4})
	near(t, "p50", d.P50, 4, 1e-12)
	near(t, "p90", d.P90, 12.8, 1e-12)
	near(t, "p95", d.P95, 14.4, 1e-12)
	near(t, "p99", d.P99, 15.68, 1e-12)
	near(t, "std", d.Std, 5.455272678794342, 1e-12)
	for p, want := range map[float64]int{50: 5, 90: 29, 95: 59, 99: 299} {
		if got := MinSamples(p); got != want {
			t.Errorf("MinSamples(%g) = %d, want %d", p, got, want)
		}
	}
	enough := Describe(make([]float64, 59))
	if !enough.Percentile(95).IsKnown() || enough.Percentile(99).IsKnown() {
		t.Error("59 samples make a p95 and no p99")
	}
	if few := Describe(make([]float64, 58)); few.Percentile(95).IsKnown() || !few.P95.IsKnown() {
		t.Error("58 samples are stored as p95 but mean nothing")
	}
	g, f := describeGaps([]uint32{16e6, 1e6, 8e6, 2e6, 4e6}), d
	near(t, "std of gaps", g.Std, f.Std.Or(0), 1e-12)
	g.Std = f.Std
	f.P50SE, f.P90SE, f.P95SE, f.P99SE = Number{}, Number{}, Number{}, Number{}
	if g != f {
		t.Errorf("gaps in microseconds describe as %+v, want %+v", g, f)
	}
	if v, ok := enough.Statistic("p95"); !ok || !v.IsKnown() {
		t.Error("statistic p95")
	}
	if v, ok := enough.Statistic("p98"); ok || v.IsKnown() {
		t.Error("a statistic that is not stored was given")
	}
}

func check(t *testing.T, s *Step, name string) Check {
	t.Helper()
	for _, c := range s.Validity {
		if c.Check == name {
			return c
		}
	}
	t.Fatalf("no check %q", name)
	return Check{}
}

func TestValidity(t *testing.T) {
	healthy := slots(20)
	healthy.cv, healthy.stagger, healthy.seed = 0.3, 2100*ms, 3
	cached := func(r loadgen.Run) loadgen.Run {
		for i := range r.Samples {
			r.Samples[i].CachedTokens = 256
		}
		return r
	}
	short := func(r loadgen.Run) loadgen.Run {
		for i := range r.Samples {
			r.Samples[i].OutputTokens = 50
		}
		return r
	}
	buffered := func(r loadgen.Run) loadgen.Run {
		for i := range r.Samples {
			r.Samples[i].FirstOutput = r.Samples[i].LastOutput
		}
		return r
	}
	idle, drifting := healthy, healthy
	idle.pause = 80 * ms
	drifting.drift = 0.5
	cases := []struct {
		name  string
		run   loadgen.Run
		o     Options
		fails []string
	}{
		{"healthy", healthy.run(), Options{}, nil},
		{"client pauses", idle.run(), Options{}, []string{"think_time"}},
		{"slower and slower", drifting.run(), Options{}, []string{"e2e_trend"}},
		{"cache hits in the answers", cached(healthy.run()), Options{}, []string{"prefix_cache"}},
		{"cache hits wanted", cached(healthy.run()), Options{SharedPrefix: true}, nil},
		{"cache hits by counter", healthy.run(), Options{Server: &Telemetry{PrefixHitRate: loadgen.Known(0.2)}}, []string{"prefix_cache"}},
		{"short answers", short(healthy.run()), Options{}, []string{"output_length"}},
		{"buffered", buffered(healthy.run()), Options{}, []string{"buffering"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := Summarize([]loadgen.Run{c.run}, c.o)
			failed := map[string]string{}
			for _, v := range s.Validity {
				if !v.OK {
					failed[v.Check] = v.Text
				}
				if v.Text == "" {
					t.Errorf("%s says nothing", v.Check)
				}
			}
			for _, f := range c.fails {
				if failed[f] == "" {
					t.Errorf("%s did not fail: %s", f, check(t, &s, f).Text)
				}
				delete(failed, f)
			}
			delete(failed, "ttft_trend") // goes with e2e_trend where both drift
			if len(failed) > 0 {
				t.Errorf("failed as well: %v", failed)
			}
			if s.Valid() != (len(c.fails) == 0) {
				t.Errorf("Valid() = %v", s.Valid())
			}
		})
	}
}

func TestClientGates(t *testing.T) {
	c := slots(20)
	c.stagger = 2100 * ms
	known := loadgen.Known
	cases := []struct {
		name   string
		health loadgen.Health
		limit  string
	}{
		{"fine", loadgen.Health{CPUShare: known(0.69), DispatchP99Seconds: known(0.2), OpenFiles: known(100), OpenFilesLimit: known(1024), PortsLimit: known(28000)}, ""},
		{"CPU", loadgen.Health{CPUShare: known(0.71)}, "CPU"},
		{"dispatch", loadgen.Health{DispatchP99Seconds: known(0.22)}, "freed slot"},
		{"stamps", loadgen.Health{StampDelayP99Seconds: known(0.22)}, "received data"},
		{"files", loadgen.Health{OpenFiles: known(1000), OpenFilesLimit: known(1024)}, "ulimit"},
		{"ports", loadgen.Health{PortsLimit: known(21)}, "ports"},
		{"garbage", loadgen.Health{GCPauseSeconds: known(2)}, "garbage"},
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			r := c.run()
			r.Health = x.health
			s := Summarize([]loadgen.Run{r}, Options{})
			if s.ClientLimited() != (x.limit != "") {
				t.Fatalf("limits: %q", s.Client.Limits)
			}
			if x.limit != "" && !strings.Contains(s.Client.Limits[0], x.limit) {
				t.Errorf("limits: %q, want a sentence about %q", s.Client.Limits, x.limit)
			}
		})
	}
	r := c.run()
	r.Samples[7].Class, r.Samples[7].Message = loadgen.ClientLimit, "too many open files"
	s := Summarize([]loadgen.Run{r}, Options{})
	if !s.ClientLimited() || s.Whole.Failed != 0 {
		t.Errorf("a request that failed on this machine: limits %q, %d failures of the server", s.Client.Limits, s.Whole.Failed)
	}
	c.pause = 300 * ms
	s = Summarize([]loadgen.Run{c.run()}, Options{})
	if !s.ClientLimited() || !strings.Contains(s.Client.Limits[0], "idled 298.8 ms") {
		t.Errorf("idle workers: %q", s.Client.Limits)
	}
}

// Two waves sent at once leave a window of a millisecond, in which not every worker
// had a turn: nothing is said of the client then.
func TestShortRunIsNotTheClient(t *testing.T) {
	c := synth{n: 10, requests: 20, prefill: 20 * ms, decode: 254 * ms, tokens: 128, pause: ms}
	c.cv = 0.003
	for seed := range uint64(60) {
		c.requests, c.seed = 11+int(seed%10), seed
		if s := Summarize([]loadgen.Run{c.run()}, Options{}); s.ClientLimited() {
			t.Errorf("%d requests: %q, window %+v", c.requests, s.Client.Limits, s.Window)
		}
	}
	c.requests, c.pause, c.stagger = 50, 100*ms, 275*ms
	if s := Summarize([]loadgen.Run{c.run()}, Options{}); !s.ClientLimited() {
		t.Errorf("workers that pause in five waves are not noticed: window %+v", s.Window)
	}
}

// One worker, a request a second: the window runs from the first completion, at
// which the second request leaves, to the last dispatch. The second belongs to it
// and the last does not.
func TestWindowHoldsItsFirstDispatchAndNotItsLast(t *testing.T) {
	run := synth{n: 1, requests: 40, prefill: 100 * ms, decode: 900 * ms, tokens: 10}.run()
	for i, tokens := range map[int]int{0: 1000, 1: 100, 39: 5000} {
		run.Samples[i].OutputTokens = tokens
	}
	s := Summarize([]loadgen.Run{run}, Options{})
	if s.Window == nil || s.Window.FromSeconds != 1 || s.Window.ToSeconds != 39 || s.Window.Requests != 38 {
		t.Fatalf("window %+v, want 38 requests from 1 s to 39 s", s.Window)
	}
	near(t, "throughput", s.Steady.RequestThroughput, 1, 1e-9)
	near(t, "output throughput", s.Steady.OutputThroughput, (100+37*10)/38., 1e-9)
}

// A batch holds a wave of requests where there are enough, and batches there are
// five at least and twenty at most.
func TestBatchesHoldAWave(t *testing.T) {
	for _, c := range []struct{ n, requests, want int }{
		{40, 440, 10}, {40, 160, 5}, {10, 1000, 20}, {100, 101, 0},
	} {
		run := synth{n: c.n, requests: c.requests, prefill: 100 * ms, decode: 900 * ms, tokens: 10}.run()
		s := Summarize([]loadgen.Run{run}, Options{})
		if s.Steady == nil {
			if c.want > 0 {
				t.Errorf("%d requests of %d in flight: no window", c.requests, c.n)
			}
			continue
		}
		if got := len(s.Steady.Batches); got < c.want-1 || got > c.want || c.want == 5 && got != 5 {
			t.Errorf("%d requests of %d in flight make %d batches of %d, want %d", c.requests, c.n, got, s.Window.Requests, c.want)
		}
	}
}

// The throughput is that of successes: where every other request of every other
// wave fails it is far less sure than the requests' durations, which do not vary.
func TestThroughputIsAsUnsureAsTheSuccessesAre(t *testing.T) {
	c := synth{n: 10, requests: 1000, prefill: 100 * ms, decode: 900 * ms, tokens: 10}
	even := Summarize([]loadgen.Run{c.run()}, Options{})
	near(t, "without any failure", even.Steady.RequestThroughputSE, 0, 1e-9)
	run := c.run()
	for i := range run.Samples {
		if i/100%2 == 0 && i%2 == 0 {
			run.Samples[i].Class = loadgen.HTTP5xx
		}
	}
	if se := Summarize([]loadgen.Run{run}, Options{}).Steady.RequestThroughputSE.Or(0); se < 0.2 {
		t.Errorf("standard error %v req/s of 5 and 10 req/s by turns", se)
	}
}

func TestOpenLoop(t *testing.T) {
	run := loadgen.Run{Load: loadgen.Load{Concurrency: 1000, Requests: 400, Rate: 20}}
	for i := range 400 {
		at := time.Duration(i) * 50 * ms
		run.Samples = append(run.Samples, loadgen.Sample{Index: i, Conversation: -1, CachedTokens: -1, Intended: at, Ready: at, Sent: at + 10*ms, WasSent: true,
			Streamed: true, FirstOutput: at + 110*ms, LastOutput: at + 1010*ms, End: at + 1010*ms, OutputEvents: 10, OutputTokens: 10})
		run.Elapsed = at + 1010*ms
	}
	s := Summarize([]loadgen.Run{run}, Options{})
	if s.VerdictBasis != BasisSteady {
		t.Fatalf("basis %s: %+v", s.VerdictBasis, s.Window)
	}
	near(t, "rate", s.RequestRate, 20, 0)
	near(t, "throughput", s.Steady.RequestThroughput, 20, 0.1)
	near(t, "TTFT", s.Steady.TTFT.Mean, 0.1, 1e-9)
	near(t, "TTFT from the intended start", s.Steady.TTFTIntended.Mean, 0.11, 1e-9)
	near(t, "E2E from the intended start", s.Steady.E2EIntended.Mean, 1.01, 1e-9)
	// It takes as many completions to settle as were in flight at most, twenty or
	// so, and not as many as the cap would have let in.
	near(t, "the window's beginning", loadgen.Known(s.Window.FromSeconds), 1.985, 0.03)
	if c := check(t, &s, "in_flight"); c.Value.IsKnown() || !c.OK {
		t.Errorf("an open loop has no concurrency to keep: %+v", c)
	}
}

func TestGoodput(t *testing.T) {
	c := slots(20)
	c.cv, c.seed = 0.3, 1
	r := c.run()
	limit := 2 * time.Second
	good := 0
	for i := range r.Samples {
		if e, _ := r.Samples[i].E2E(); e <= limit {
			good++
		}
	}
	s := Summarize([]loadgen.Run{r}, Options{Goodput: &Goodput{E2E: limit, TTFT: time.Hour, TPOT: time.Hour}})
	near(t, "goodput", s.Whole.RequestGoodput, float64(good)/s.Whole.DurationSeconds.Or(0), 1e-9)
	if s := Summarize([]loadgen.Run{r}, Options{}); s.Whole.RequestGoodput.IsKnown() {
		t.Error("goodput without a bound")
	}
}

func TestSeriesAndBinsAddUp(t *testing.T) {
	c := slots(100)
	c.cv, c.seed, c.failEvery = 0.3, 1, 50
	r := c.run()
	s := Summarize([]loadgen.Run{r}, Options{})
	width := r.Elapsed.Seconds() / float64(len(s.Series))
	var completed, inFlight, tokens float64
	failed := 0
	for _, x := range s.Series {
		completed += x.RequestRate.Or(0) * width
		inFlight += x.InFlight.Or(0) * width
		tokens += x.OutputThroughput.Or(0) * width
		failed += x.Failed
	}
	near(t, "completed", loadgen.Known(completed), 980, 2)
	near(t, "tokens", loadgen.Known(tokens), 980*101, 400)
	near(t, "in flight", loadgen.Known(inFlight/r.Elapsed.Seconds()), s.Whole.MeanInFlight.Or(0), 0.2)
	if failed != 20 || len(s.Series) < 58 || len(s.Series) > 62 {
		t.Errorf("%d failed in %d slices", failed, len(s.Series))
	}
	binned := 0
	for i, b := range s.TTFTBins {
		binned += b.Count
		if b.To <= b.From || i > 0 && math.Abs(b.From-s.TTFTBins[i-1].To) > 1e-9 {
			t.Errorf("bin %d from %g to %g", i, b.From, b.To)
		}
	}
	if binned != s.Verdict().TTFT.N {
		t.Errorf("%d of %d values are in the histogram", binned, s.Verdict().TTFT.N)
	}
}

// Slices of recorded traffic are a round stretch of the time in which it was recorded,
// whatever its speed.
func TestSeriesOfRecordedTraffic(t *testing.T) {
	for _, c := range []struct {
		span  time.Duration
		speed float64
		own   bool
		want  float64 // seconds of the run
	}{{50 * time.Minute, 1, false, 60}, {50 * time.Minute, 2.5, false, 300 / 2.5}, {50 * time.Minute, 2.5, true, 60}, {50 * time.Second, 0.3, false, 0.5 / 0.3}} {
		r := loadgen.Run{Elapsed: c.span, Load: loadgen.Load{Arrivals: &loadgen.Arrivals{Speed: c.speed, OwnPace: c.own}}}
		for i := range 200 {
			at := c.span * time.Duration(i) / 200
			r.Samples = append(r.Samples, loadgen.Sample{Intended: at, Sent: at, End: at + time.Millisecond, WasSent: true})
		}
		s := Summarize([]loadgen.Run{r}, Options{})
		if got := 2 * s.Series[0].AtSeconds; math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%v at %v x: slices of %v s, want %v", c.span, c.speed, got, c.want)
		}
	}
}
