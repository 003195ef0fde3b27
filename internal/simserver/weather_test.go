package simserver

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// one sends one request.
func one(t *testing.T, d *Doer, prompt int) (got loadgen.Sample) {
	_ = d.Do(t.Context(), time.Now(), loadgen.Sample{PromptIndex: prompt}, func(s *loadgen.Sample) { got = *s })
	return got
}

// serviceTimes sends one request of 11 tokens after the other, 300 ms each from the
// default server, and returns when each was sent and how long it took.
func serviceTimes(cfg Config, n int, every time.Duration) (sent, took []time.Duration) {
	d, err := NewDoer(cfg, Workload{OutputLen: 11})
	if err != nil {
		panic(err)
	}
	start := time.Now()
	for i := range n {
		_ = d.Do(context.Background(), start, loadgen.Sample{PromptIndex: i}, func(s *loadgen.Sample) {
			sent = append(sent, s.Sent)
			took = append(took, s.End-s.Sent)
		})
		time.Sleep(time.Until(start.Add(time.Duration(i+1) * every)))
	}
	return sent, took
}

func TestLeakSlowsTheServerToItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.Leak = Leak{Share: 0.2, Over: 100 * time.Second}
		sent, took := serviceTimes(c, 150, time.Second)
		for i := range sent {
			progress := min(1, (sent[i].Seconds()+took[i].Seconds()/2)/100)
			near(t, "service at "+sent[i].String(), took[i].Seconds(), 0.3*(1+0.2*progress), 0.003)
		}
	})
}

func TestNeighbourComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.NoisyNeighbour = NoisyNeighbour{Share: 0.5, Start: 20 * time.Second, For: 10 * time.Second, Every: 60 * time.Second}
		sent, took := serviceTimes(c, 120, time.Second)
		for i, at := range sent {
			want := 300 * time.Millisecond
			if phase := at % (60 * time.Second); phase >= 20*time.Second && phase < 30*time.Second {
				want *= 2
			}
			if took[i] != want {
				t.Errorf("at %v: %v, want %v", at, took[i], want)
			}
		}
	})
}

// TestNeighbourInTheMiddle: work already begun is slowed while the neighbour is
// there and not before or after, in every phase.
func TestNeighbourInTheMiddle(t *testing.T) {
	for _, start := range []time.Duration{ // in the middle of
		50 * time.Millisecond,  // 100 ms that no other request slows down,
		150 * time.Millisecond, // 100 ms of prefill,
		250 * time.Millisecond, // 200 ms of output
	} {
		synctest.Test(t, func(t *testing.T) {
			c := Default()
			c.PrefillPerToken = 100 * time.Millisecond / 512
			c.NoisyNeighbour = NoisyNeighbour{Share: 0.5, Start: start, For: 20 * time.Millisecond}
			_, took := serviceTimes(c, 1, time.Second)
			if want := 410 * time.Millisecond; (took[0] - want).Abs() > time.Microsecond {
				t.Errorf("took %v, want %v: 380ms at full speed, 20ms from %v on at half", took[0], want, start)
			}
		})
	}
}

func TestWarmupAndBimodal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.Warmup = Warmup{Requests: 3, Factor: 4}
		_, took := serviceTimes(c, 6, 2*time.Second)
		for i, d := range took {
			want := 300 * time.Millisecond
			if i < 3 {
				want *= 4
			}
			if d != want {
				t.Errorf("request %d: %v, want %v", i, d, want)
			}
		}
		c = Default()
		c.Bimodal = Bimodal{Share: 0.25, Factor: 3}
		near(t, "mean time by formula", PointOf(c, Rules{Workload: Workload{OutputLen: 11}}, 1).E2E, 0.3*1.5, 1e-9)
		_, took = serviceTimes(c, 1000, time.Second)
		slow := 0
		for _, d := range took {
			switch d {
			case 900 * time.Millisecond:
				slow++
			case 300 * time.Millisecond:
			default:
				t.Fatalf("took %v", d)
			}
		}
		if slow < 200 || slow > 300 {
			t.Errorf("%d of 1000 slow, want about 250", slow)
		}
	})
}

func TestBimodalServerDwells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.Bimodal = Bimodal{Share: 0.3, Factor: 2, Dwell: 20 * time.Second}
		_, took := serviceTimes(c, 20000, time.Second)
		near(t, "mean time by formula", PointOf(c, Rules{Workload: Workload{OutputLen: 11}}, 1).E2E, 0.3/(0.7+0.3/2), 1e-9)
		slow, switches := 0, 0
		for i, d := range took {
			if d > 450*time.Millisecond {
				slow++
			}
			if i > 0 && (d > 450*time.Millisecond) != (took[i-1] > 450*time.Millisecond) {
				switches++
			}
		}
		near(t, "share of time in the slow mode", float64(slow)/20000, 0.3, 0.15)
		near(t, "mean stay in it, s", float64(slow)/float64(switches)*2, 20, 0.15)
	})
}

// TestAutoscalerDoublesThroughput: 32 slots become 64 after the delay, and 32
// again when the load is gone.
func TestAutoscalerDoublesThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.Slots = 32
		c.Autoscaler = Autoscaler{Factor: 2, At: 40, After: 30 * time.Second, DownAfter: 20 * time.Second}
		d, _ := NewDoer(c, Workload{OutputLen: 101})
		load := func(n int, from, length time.Duration) float64 {
			return observe(closedLoop(d, n, 0, 2*time.Second, from, length), length).throughput
		}
		near(t, "throughput before", load(64, 8*time.Second, 12*time.Second), 32/2.1, 0.07)
		near(t, "throughput after", load(64, 30*time.Second, 40*time.Second), 64/2.1, 0.05)
		time.Sleep(30 * time.Second)
		near(t, "throughput after a pause", load(64, 8*time.Second, 12*time.Second), 32/2.1, 0.07)
	})
}

// TestReplicasShareTheLoad: with two replicas each running request weighs half.
func TestReplicasShareTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := Case("decode")
		c.Config.Autoscaler = Autoscaler{Factor: 2, At: 100, After: time.Millisecond}
		d := c.Doer()
		want := PointOf(c.Config, c.Rules, 100)
		o := observe(closedLoop(d, 100, 0, 5*time.Second, 20*time.Second, 100*time.Second), 100*time.Second)
		near(t, "throughput of two replicas at 100", o.throughput, want.Throughput, 0.01)
		near(t, "TTFT", o.ttft, want.TTFT, 0.01)
	})
}

func TestColdStartOfTheDoer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.ColdStart = 5 * time.Second
		d, _ := NewDoer(c, Workload{})
		if err := d.Ready(t.Context()); err == nil {
			t.Error("ready while cold")
		}
		if got := one(t, d, 0); got.Class != loadgen.HTTP5xx || got.Status != 503 {
			t.Errorf("while cold: %s %d", got.Class, got.Status)
		}
		time.Sleep(5 * time.Second)
		if err := d.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if got := one(t, d, 1); got.Class != loadgen.Success {
			t.Errorf("when warm: %s", got.Class)
		}
	})
}

// TestErrorRateFollowsTheFormula holds the gradual errors against the closed form.
func TestErrorRateFollowsTheFormula(t *testing.T) {
	c := Default()
	c.Slots = 0
	c.ErrorRate = ErrorRate{Base: 0.01, PerRequest: 0.001, From: 20, After: 50 * time.Millisecond}
	r := GuideRules(Workload{OutputLen: 101})
	r.ErrorHold = 500 * time.Millisecond
	truth := TruthOf(c, r)
	// 1 % + 0.1 % x (n - 20) = 5 % at 60 in the server; clients on hold come on top.
	if truth.BoundBy != BySuccess || truth.Limit.N < 60 || truth.Limit.N > 62 {
		t.Errorf("limit %+v by %s, want 60 to 62 by success", truth.Limit, truth.BoundBy)
	}
	for _, n := range []int{20, 60, 120} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := NewDoer(c, r.Workload)
			want := PointOf(c, r, n)
			o := observe(closedLoop(d, n, r.ErrorHold, 2*time.Second, 10*time.Second, 400*time.Second), 400*time.Second)
			near(t, "share of failures", 1-o.success, 1-want.Success, 0.12)
			near(t, "throughput", o.throughput, want.Throughput, 0.01)
		})
	}
}

// TestTimeScale: ten times as fast in everything.
func TestTimeScale(t *testing.T) {
	for _, c := range Cases() {
		synctest.Test(t, func(t *testing.T) {
			want := PointOf(c.Config, c.Rules, 20)
			c.Config.TimeScale = 10
			fast := PointOf(c.Config, c.Rules, 20)
			near(t, c.Name+" throughput by formula", fast.Throughput, 10*want.Throughput, 1e-6)
			o := observe(closedLoop(c.Doer(), 20, 0, time.Second, 2*time.Second, 10*time.Second), 10*time.Second)
			near(t, c.Name+" throughput", o.throughput, fast.Throughput, 0.02)
			near(t, c.Name+" TTFT", o.ttft, want.TTFT/10, 0.01)
		})
	}
}

// TestEveryTimeIsScaled: no time of the config is forgotten.
func TestEveryTimeIsScaled(t *testing.T) {
	unscaled := map[string]bool{"RateLimit.RetryAfter": true} // whole seconds of the client's own time
	var walk func(v reflect.Value, path string, visit func(reflect.Value, string))
	walk = func(v reflect.Value, path string, visit func(reflect.Value, string)) {
		for i := range v.NumField() {
			f, name := v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, ".")
			switch {
			case f.Kind() == reflect.Struct:
				walk(f, name, visit)
			case f.Type() == reflect.TypeFor[time.Duration]():
				visit(f, name)
			}
		}
	}
	c := Default()
	walk(reflect.ValueOf(&c).Elem(), "", func(f reflect.Value, _ string) { f.SetInt(int64(time.Second)) })
	c.TimeScale = 10
	scaled := c.scaled()
	walk(reflect.ValueOf(&scaled).Elem(), "", func(f reflect.Value, name string) {
		if got := time.Duration(f.Int()); got != 100*time.Millisecond && !unscaled[name] {
			t.Errorf("%s: 1s became %v on a server that is ten times as fast", name, got)
		}
	})
}
