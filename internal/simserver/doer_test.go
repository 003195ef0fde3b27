package simserver

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/capfind/capfind/loadgen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// closedLoop keeps n requests in flight at d, with staggered starts, and returns
// the samples whose requests were sent in [from, from+length). The load goes on
// as long again as it took to settle, so that the last of them meet it too.
func closedLoop(d *Doer, n int, hold, stagger, from, length time.Duration) []loadgen.Sample {
	start := time.Now()
	var mu sync.Mutex
	var out []loadgen.Sample
	prompt := 0
	next := func() int {
		mu.Lock()
		defer mu.Unlock()
		prompt++
		return prompt
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * stagger / time.Duration(n))
			for time.Since(start) < from+length+from {
				var got loadgen.Sample
				first := loadgen.Sample{PromptIndex: next(), Ready: time.Since(start)}
				_ = d.Do(context.Background(), start, first, func(s *loadgen.Sample) { got = *s })
				if heard := time.Since(start); heard != got.End {
					// A slot that stands idle meanwhile would be load that is only claimed.
					panic(fmt.Sprintf("prompt %d ended at %v and was heard of at %v", got.PromptIndex, got.End, heard))
				}
				if got.Sent >= from && got.Sent < from+length {
					mu.Lock()
					out = append(out, got)
					mu.Unlock()
				}
				if got.Class != loadgen.Success {
					time.Sleep(max(hold, time.Millisecond))
				}
			}
		})
	}
	wg.Wait()
	return out
}

// observed is what a client sees in a window.
type observed struct {
	throughput, success, ttft, tpot, e2e float64
}

func observe(samples []loadgen.Sample, length time.Duration) observed {
	var o observed
	ok := 0.0
	for i := range samples {
		s := &samples[i]
		if s.Class != loadgen.Success {
			continue
		}
		ok++
		ttft, _ := s.TTFT()
		tpot, _ := s.TPOT()
		e2e, _ := s.E2E()
		o.ttft += ttft.Seconds()
		o.tpot += tpot.Seconds()
		o.e2e += e2e.Seconds()
	}
	o.throughput = ok / length.Seconds()
	o.success = ok / float64(len(samples))
	o.ttft /= ok
	o.tpot /= ok
	o.e2e /= ok
	return o
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Max(math.Abs(want), 1e-9)) {
		t.Errorf("%s: %.5g, the formula says %.5g (%+.2f %%)", what, got, want, 100*(got/want-1))
	}
}

// TestDoerFollowsTheFormulas drives every worked case in a closed loop under
// fake time, on both sides of its limits, and holds what the client sees
// against the closed forms.
func TestDoerFollowsTheFormulas(t *testing.T) {
	steps := map[string][]int{
		"slots":      {1, 40, 64, 91, 92, 150},
		"decode":     {1, 50, 109, 200, 490},
		"rate_limit": {10, 30, 31, 50},
		"crash":      {1, 100, 136},
		"queue_cap":  {20, 32, 48, 50, 60},
		"usl":        {1, 20, 37, 57, 143},
	}
	const hold = 500 * time.Millisecond
	for _, c := range Cases() {
		for _, n := range steps[c.Name] {
			t.Run(fmt.Sprintf("%s/%d", c.Name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := c.Rules
					r.ErrorHold = hold
					want := PointOf(c.Config, r, n)
					e2e := time.Duration(want.E2E * float64(time.Second))
					length := 10 * e2e
					settled := 5*e2e + 35*time.Second // a rate limiter's bucket is empty by then
					o := observe(closedLoop(c.Doer(), n, hold, e2e, settled, length), length)
					near(t, "success", o.success, want.Success, 0.01)
					near(t, "throughput", o.throughput, want.Throughput, 0.01)
					near(t, "TTFT", o.ttft, want.TTFT, 0.01)
					near(t, "TPOT", o.tpot, want.TPOT, 0.01)
					near(t, "E2E", o.e2e, want.E2E, 0.01)
				})
			})
		}
	}
}

func TestDoerCrashesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := Case("crash")
		d := c.Doer()
		ctx, start := t.Context(), time.Now()
		if err := d.Ready(ctx); err != nil {
			t.Fatalf("not ready at first: %v", err)
		}
		var mu sync.Mutex
		classes := map[loadgen.Class]int{}
		var wg sync.WaitGroup
		for i := range 140 {
			wg.Go(func() {
				_ = d.Do(ctx, start, loadgen.Sample{PromptIndex: i}, func(s *loadgen.Sample) {
					mu.Lock()
					defer mu.Unlock()
					classes[s.Class]++
				})
			})
		}
		wg.Wait()
		if classes[loadgen.ConnectionReset] != 137 || classes[loadgen.ConnectionRefused] != 3 {
			t.Errorf("classes %v, want 137 reset and 3 refused", classes)
		}
		if err := d.Ready(ctx); err == nil {
			t.Error("ready although it crashed")
		}
		time.Sleep(5 * time.Second)
		if err := d.Ready(ctx); err != nil {
			t.Errorf("not back after its restart: %v", err)
		}
		var got loadgen.Sample
		_ = d.Do(ctx, start, loadgen.Sample{}, func(s *loadgen.Sample) { got = *s })
		if got.Class != loadgen.Success {
			t.Errorf("after the restart: %s", got.Class)
		}
	})
}

func TestDoerSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := Case("slots")
		d := c.Doer()
		start := time.Now()
		time.Sleep(time.Second)
		var got loadgen.Sample
		_ = d.Do(t.Context(), start, loadgen.Sample{Index: 3, PromptIndex: 7, Intended: time.Second, Ready: time.Second}, func(s *loadgen.Sample) { got = *s })
		want := loadgen.Sample{
			Index: 3, PromptIndex: 7, Conversation: -1,
			Intended: time.Second, Ready: time.Second, Sent: time.Second,
			FirstOutput: 1100 * time.Millisecond, FirstAnswer: 1100 * time.Millisecond,
			LastOutput: 3100 * time.Millisecond, End: 3100 * time.Millisecond,
			WasSent: true, Streamed: true, OutputEvents: 101,
			WantPromptTokens: 512, WantOutputTokens: 101, PromptTokens: 512, CachedTokens: -1,
			OutputTokens: 101, TokenSource: loadgen.TokensFromUsage,
			Status: 200, ConnReused: true, Stamp: loadgen.StampUser,
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestDoerCancelFreesTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Slots = 1
		d, _ := NewDoer(cfg, Workload{OutputLen: 101})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var first, second loadgen.Sample
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = d.Do(ctx, start, loadgen.Sample{PromptIndex: 1}, func(s *loadgen.Sample) { first = *s })
		})
		time.Sleep(time.Millisecond)
		wg.Go(func() {
			_ = d.Do(t.Context(), start, loadgen.Sample{PromptIndex: 2}, func(s *loadgen.Sample) { second = *s })
		})
		wg.Wait()
		if first.Class != loadgen.Cancelled || first.End != 500*time.Millisecond || first.OutputTokens != 21 {
			t.Errorf("first: %s at %v with %d tokens, want cancelled at 500ms with 21", first.Class, first.End, first.OutputTokens)
		}
		if want := 600 * time.Millisecond; second.FirstOutput != want {
			t.Errorf("second started late: first token at %v, want %v", second.FirstOutput, want)
		}
	})
}

// TestDoerEndsBesideAnArrival lets requests arrive in the very instants in which
// others end, many times over: whichever comes first, an end is heard of at once.
func TestDoerEndsBesideAnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.StepTimePerRequest = 0
		d, _ := NewDoer(cfg, Workload{OutputLen: 2})
		start := time.Now()
		service := cfg.Prefill + cfg.StepTime
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i/20) * service / 4) // others end as this one comes
				var got loadgen.Sample
				_ = d.Do(t.Context(), start, loadgen.Sample{PromptIndex: i}, func(s *loadgen.Sample) { got = *s })
				if heard := time.Since(start); heard != got.End {
					t.Errorf("request %d ended at %v and was heard of at %v", i, got.End, heard)
				}
			})
		}
		wg.Wait()
	})
}

// TestDoerIsDeterministic runs a noisy server twice, the workers of one instant in
// another order: the same samples.
func TestDoerIsDeterministic(t *testing.T) {
	run := func(workers []int) (out []string) {
		synctest.Test(t, func(t *testing.T) {
			cfg := Default()
			cfg.Slots, cfg.LengthSpread, cfg.StepTimePerRequest = 8, 0.5, time.Millisecond
			cfg.ErrorRate = ErrorRate{Base: 0.05}
			cfg.Replicas = Replicas{Speeds: []float64{1, 0.7}, Balance: LeastConnections}
			cfg.Wander = Wander{Share: 0.2, Time: time.Second}
			d, _ := NewDoer(cfg, Workload{OutputLen: 50})
			start := time.Now()
			var mu sync.Mutex
			var wg sync.WaitGroup
			for _, w := range workers {
				wg.Go(func() {
					for i := range 20 {
						_ = d.Do(t.Context(), start, loadgen.Sample{PromptIndex: 100*w + i}, func(s *loadgen.Sample) {
							mu.Lock()
							defer mu.Unlock()
							out = append(out, fmt.Sprintf("%+v", *s))
						})
					}
				})
			}
			wg.Wait()
		})
		slices.Sort(out)
		return out
	}
	order := make([]int, 20)
	for i := range order {
		order[i] = i
	}
	a := run(order)
	slices.Reverse(order)
	if b := run(order); !slices.Equal(a, b) {
		t.Error("two runs with the same seed differ")
	}
}

func TestDoerLengthSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.LengthSpread = 0.5
		d, _ := NewDoer(cfg, Workload{OutputLen: 101})
		samples := closedLoop(d, 90, 0, 2*time.Second, 10*time.Second, 300*time.Second)
		var sum, squares float64
		for _, s := range samples {
			sum += float64(s.OutputTokens)
			squares += float64(s.OutputTokens) * float64(s.OutputTokens)
		}
		mean := sum / float64(len(samples))
		near(t, "mean length", mean, 101, 0.01)
		near(t, "coefficient of variation", math.Sqrt(squares/float64(len(samples))/mean/mean-1), 0.5, 0.05)
		o := observe(samples, 300*time.Second)
		near(t, "throughput", o.throughput, 64/2.1, 0.02)
	})
}

// TestKVCacheActsAsSlots: K / (P + L (1+c^2)/2) requests run at once.
func TestKVCacheActsAsSlots(t *testing.T) {
	for _, spread := range []float64{0, 0.5} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Default()
			cfg.Slots, cfg.KVTokens, cfg.LengthSpread = 0, 20000, spread
			r := GuideRules(Workload{InputLen: 200, OutputLen: 400})
			d, _ := NewDoer(cfg, r.Workload)
			want := PointOf(cfg, r, 100)
			samples := closedLoop(d, 100, 0, 8*time.Second, 100*time.Second, 400*time.Second)
			o := observe(samples, 400*time.Second)
			st := d.engine.State()
			t.Logf("c=%v: %+v; formula %+v; %d preemptions of %d", spread, o, want, st.Preemptions, st.Finished)
			near(t, "throughput", o.throughput, want.Throughput, 0.05)
			if st.Preemptions == 0 {
				t.Error("no preemption")
			}
		})
	}
}

// A short answer that starts beside a long one ends first, and its client must
// hear of it then: one that hears of it only when the long one ends keeps its
// slot idle, and the load is less than it claims to be.
func TestShortAnswerBesideALongOneIsHeardAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Slots, cfg.StepTime, cfg.Prefill, cfg.LengthSpread = 0, 20*time.Millisecond, 100*time.Millisecond, 0.5
		d, err := NewDoer(cfg, Workload{OutputLen: 100})
		if err != nil {
			t.Fatal(err)
		}
		long, short := 0, 0
		for key := range 100 {
			if cfg.Length(100, uint64(key)) > cfg.Length(100, uint64(long)) {
				long = key
			}
			if cfg.Length(100, uint64(key)) < cfg.Length(100, uint64(short)) {
				short = key
			}
		}
		start := time.Now()
		var ended, heard time.Duration
		done := make(chan struct{})
		go func() {
			_ = d.Do(context.Background(), start, loadgen.Sample{PromptIndex: long}, func(*loadgen.Sample) {})
			close(done)
		}()
		time.Sleep(50 * time.Millisecond)
		_ = d.Do(context.Background(), start, loadgen.Sample{PromptIndex: short}, func(s *loadgen.Sample) {
			ended, heard = s.End, time.Since(start)
		})
		if heard-ended > time.Millisecond {
			t.Errorf("the short answer ended at %v and was heard of at %v", ended, heard)
		}
		<-done
	})
}
