package simserver

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnevenServers: every one can be built, has a truth, and the same ten times as
// fast.
func TestUnevenServers(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range Uneven() {
		if seen[w.Name] {
			t.Errorf("two servers are called %q", w.Name)
		}
		seen[w.Name] = true
		w.Doer()
		truth, fast := w.Truth(), w.Scaled(10).Truth()
		if !truth.Limit.Reached || truth.OutOfModel != nil || truth.Limit.N < 1 {
			t.Errorf("%s: truth %+v", w.Name, truth)
		}
		if l := truth.Limit; l.Low > l.N || l.N > l.High {
			t.Errorf("%s: limit %d lies outside of %d to %d", w.Name, l.N, l.Low, l.High)
		}
		if truth.Limit.N != fast.Limit.N || truth.Limit.Low != fast.Limit.Low || truth.Limit.High != fast.Limit.High || truth.BoundBy != fast.BoundBy {
			t.Errorf("%s: limit %+v by %s, ten times as fast %+v by %s", w.Name, truth.Limit, truth.BoundBy, fast.Limit, fast.BoundBy)
		}
		for _, at := range []time.Duration{time.Second, 40 * time.Second, 90 * time.Second} {
			slow, quick := PointAt(w.Config, w.Rules, 20, at), w.Scaled(10)
			near(t, w.Name+" throughput ten times as fast", PointAt(quick.Config, quick.Rules, 20, at/10).Throughput, 10*slow.Throughput, 1e-6)
		}
		if !w.Config.Stationary() && truth.When == "" {
			t.Errorf("%s changes, and the truth does not say which state it is about", w.Name)
		}
		if w.Config.Stationary() && PointAt(w.Config, w.Rules, 20, time.Second) != PointOf(w.Config, w.Rules, 20) {
			t.Errorf("%s is stationary, but not the same at the start", w.Name)
		}
	}
}

// TestUnevenTruths holds some limits against what was worked out by hand.
//
// The memory-bound server takes 0.82 + 0.022 x seconds with x running, so that
// batches of k bring N/s(N) only where N is a multiple of k: X/N^0.263 there is
// highest at 104 of 8s, at 112 of 16s and at 128 of 64s.
func TestUnevenTruths(t *testing.T) {
	for name, want := range map[string]struct {
		n, low, high int
		by           string
	}{
		"wander 15 % 10 s, 28 slots":                    {28, 28, 28, ByGain},
		"wander 30 % 60 s, TTFT 250 ms":                 {58, 58, 58, ByTTFT}, // 10 + 4.1 x 58 = 247.8 ms
		"batches of 8, TTFT 250 ms":                     {56, 56, 56, ByTTFT}, // the last batch of 8 below 58.5
		"batches of 16, TTFT 250 ms":                    {48, 48, 48, ByTTFT},
		"batches of 8, memory bound":                    {104, 88, 128, ByGain},
		"batches of 16, memory bound":                   {112, 96, 128, ByGain},
		"batches of 64, memory bound":                   {128, 128, 128, ByGain},
		"batches of 16, 28 slots":                       {28, 28, 28, ByGain},
		"captured batches, memory bound":                {96, 96, 128, ByGain},
		"throttled by 30 % after 60 s, TTFT 250 ms":     {40, 40, 40, ByTTFT}, // (250 x 0.7 - 10) / 4.1
		"neighbour every 2 min, TTFT 250 ms":            {58, 58, 58, ByTTFT},
		"doubled after 20 s, 28 slots":                  {56, 56, 56, ByGain},
		"doubled after 20 s, TTFT 250 ms":               {117, 117, 117, ByTTFT}, // 2 x 58.5
		"prefix cache that warms, TTFT 250 ms":          {119, 119, 119, ByTTFT}, // half of the prompt: (2 x 250 - 10) / 4.1
		"3 replicas, round_robin, 28 slots":             {84, 84, 84, ByGain},
		"one of 3 slow, round_robin, 28 slots":          {62, 62, 63, ByGain}, // 28 + 2 x 0.6 x 28 = 61.6
		"one of 3 slow, least_connections, 28 slots":    {84, 84, 84, ByGain},
		"one of 3 small, round_robin, 28 slots":         {36, 36, 36, ByGain}, // 3 x 12
		"one of 3 small, least_connections, 28 slots":   {84, 84, 84, ByGain},
		"one of 3 slow, least_connections, TTFT 250 ms": {151, 151, 151, ByTTFT},
	} {
		found := false
		for _, w := range Uneven() {
			if w.Name != name {
				continue
			}
			found = true
			got := w.Truth()
			if l := got.Limit; l.N != want.n || l.Low != want.low || l.High != want.high || got.BoundBy != want.by {
				t.Errorf("%s: limit %d (%d to %d) by %s, want %+v", name, l.N, l.Low, l.High, got.BoundBy, want)
			}
		}
		if !found {
			t.Errorf("no server %q", name)
		}
	}
}

// TestWorthIsTheKneeOfASmoothCurve: what is said of curves with teeth is said of
// smooth ones as well.
func TestWorthIsTheKneeOfASmoothCurve(t *testing.T) {
	for _, c := range Cases() {
		truth := c.Truth().ThroughputGain
		got := newModel(c.Config, c.Rules, laterState(c.Config)).worth(math.Log2(1.2))
		if got.Reached != truth.Reached || math.Abs(got.At-truth.At) > 1 {
			t.Errorf("%s: worth having to %v, the elasticity says %v", c.Name, got.At, truth.At)
		}
	}
}

// TestUnevenServersFollowTheFormulas drives those that stay what they are in a
// closed loop, on both sides of their bends, with answers of one length.
func TestUnevenServersFollowTheFormulas(t *testing.T) {
	for _, w := range Uneven() {
		if !w.Config.Stationary() || w.Config.Wander.Share > 0 {
			continue
		}
		w.Config.LengthSpread = 0
		for _, n := range []int{5, 17, 33, 90} {
			t.Run(fmt.Sprintf("%s/%d", w.Name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					want := PointOf(w.Config, w.Rules, n)
					e2e := time.Duration(want.E2E * float64(time.Second))
					length := max(20*e2e, time.Duration(1000/want.Throughput*float64(time.Second)))
					o := observe(closedLoop(w.Doer(), n, 0, e2e, 5*e2e, length), length)
					near(t, "throughput", o.throughput, want.Throughput, 0.01)
					exact := 0.01
					if w.Config.Replicas.Balance == RoundRobin {
						// In the fluid limit a request is no jump in its replica's load.
						exact += w.Config.PrefillPerRequest.Seconds() / want.TTFT
					}
					near(t, "TTFT", o.ttft, want.TTFT, exact)
					near(t, "TPOT", o.tpot, want.TPOT, 0.02)
					near(t, "E2E", o.e2e, want.E2E, 0.01)
				})
			})
		}
	}
}

// TestWanderingSpeed: its logarithm is normal, its mean 1, its deviation the share,
// and after the correlation time 1/e of a deviation is left.
func TestWanderingSpeed(t *testing.T) {
	c := Default()
	c.Wander = Wander{Share: 0.3, Time: time.Second}
	w := newWeather(c)
	const periods = 40_000
	speeds, logs := make([]float64, periods), make([]float64, periods)
	for i := range speeds {
		w.turn(time.Duration(i)*c.Wander.Time, 0)
		speeds[i] = 1 / w.slow()
		logs[i] = math.Log(speeds[i])
	}
	mean, deviation := moments(speeds)
	near(t, "mean speed", mean, 1, 0.01)
	near(t, "its deviation", deviation, 0.3, 0.03)
	middle, spread := moments(logs)
	after := 0.0
	for i := range periods - 1 {
		after += (logs[i] - middle) * (logs[i+1] - middle)
	}
	near(t, "correlation after its time", after/(periods-1)/spread/spread, math.Exp(-1), 0.05)
}

func moments(v []float64) (mean, deviation float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		deviation += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, math.Sqrt(deviation)
}

// TestWanderKeepsTheMeans: over a long run the mean times are those of the server
// that does not wander, below its slots and above.
func TestWanderKeepsTheMeans(t *testing.T) {
	for _, n := range []int{20, 40} {
		synctest.Test(t, func(t *testing.T) {
			c := Default()
			c.Slots, c.PrefillPerToken, c.Wander = 28, 200*time.Microsecond, Wander{Share: 0.3, Time: time.Second}
			r := GuideRules(Workload{OutputLen: 101})
			want := PointOf(c, r, n)
			d, _ := NewDoer(c, r.Workload)
			const length = 2500 * time.Second
			o := observe(closedLoop(d, n, 0, time.Second, 10*time.Second, length), length)
			// The mean of a speed over so long is known to 0.3 x sqrt(2 / 2500) = 0.8 %.
			near(t, "throughput", o.throughput, want.Throughput, 0.02)
			near(t, "TTFT", o.ttft, want.TTFT, 0.02)
			near(t, "TPOT", o.tpot, want.TPOT, 0.02)
			near(t, "E2E", o.e2e, want.E2E, 0.02)
		})
	}
}

// TestStatesOfChangingServers holds what a client sees at a time against the state
// that the server is said to be in then.
func TestStatesOfChangingServers(t *testing.T) {
	for _, c := range []struct {
		name string
		at   []time.Duration // middles of windows of 20 s in which nothing changes
	}{
		{"throttled by 30 % after 60 s, TTFT 250 ms", []time.Duration{40 * time.Second, 90 * time.Second}},
		{"neighbour every 2 min, 28 slots", []time.Duration{20 * time.Second, 70 * time.Second, 260 * time.Second}},
		{"doubled after 20 s, 28 slots", []time.Duration{60 * time.Second}},
		{"prefix cache that warms, TTFT 250 ms", []time.Duration{90 * time.Second}},
	} {
		for _, w := range Uneven() {
			if w.Name != c.name {
				continue
			}
			for _, at := range c.at {
				synctest.Test(t, func(t *testing.T) {
					w.Config.LengthSpread = 0
					want := PointAt(w.Config, w.Rules, 40, at)
					const window = 20 * time.Second
					o := observe(closedLoop(w.Doer(), 40, 0, time.Duration(want.E2E*float64(time.Second)), at-window/2, window), window)
					near(t, fmt.Sprintf("%s, throughput at %v", c.name, at), o.throughput, want.Throughput, 0.02)
					near(t, fmt.Sprintf("%s, TTFT at %v", c.name, at), o.ttft, want.TTFT, 0.02)
				})
			}
		}
	}
}

// TestPointAtFollowsTheChanges: the states of a server differ as its settings say.
func TestPointAtFollowsTheChanges(t *testing.T) {
	c := Default()
	c.Slots = 32
	r := GuideRules(Workload{OutputLen: 101})
	still := PointOf(c, r, 20).Throughput
	speed := func(set func(*Config), n int, at time.Duration) float64 {
		changed := c
		set(&changed)
		return PointAt(changed, r, n, at).Throughput / PointOf(c, r, n).Throughput
	}
	later := func(set func(*Config)) float64 {
		changed := c
		set(&changed)
		return PointOf(changed, r, 20).Throughput / still
	}
	throttle := func(c *Config) { c.Throttle = Throttle{Share: 0.3, After: time.Minute} }
	near(t, "before the throttle", speed(throttle, 20, 59*time.Second), 1, 1e-9)
	near(t, "after it", speed(throttle, 20, time.Minute), 0.7, 1e-9)
	near(t, "in the end", later(throttle), 0.7, 1e-9)
	leak := func(c *Config) { c.Leak = Leak{Share: 0.5, Over: 100 * time.Second} }
	near(t, "half leaked", speed(leak, 20, 50*time.Second), 1/1.25, 1e-9)
	near(t, "leaked", later(leak), 1/1.5, 1e-9)
	guest := NoisyNeighbour{Share: 0.4, Start: 30 * time.Second, For: 10 * time.Second, Every: time.Minute}
	neighbour := func(c *Config) { c.NoisyNeighbour = guest }
	for at, want := range map[time.Duration]float64{29: 1, 30: 0.6, 39: 0.6, 40: 1, 90: 0.6, 100: 1} {
		near(t, fmt.Sprintf("neighbour at %d s", at), speed(neighbour, 20, at*time.Second), want, 1e-9)
	}
	near(t, "rare neighbour", later(neighbour), 1, 1e-9)
	guest.For = 40 * time.Second
	near(t, "frequent neighbour", later(neighbour), 0.6, 1e-9)
	scale := func(c *Config) { c.Autoscaler = Autoscaler{Factor: 2, At: 40, After: 20 * time.Second} }
	near(t, "before the scaling", speed(scale, 64, 19*time.Second), 1, 1e-9)
	near(t, "after it", speed(scale, 64, 20*time.Second), 2, 1e-9)
	near(t, "too few for it", speed(scale, 39, time.Hour), 1, 1e-9)
	for _, name := range []string{"decode", "usl"} {
		w, _ := Case(name)
		before := w.Truth().ThroughputGain.At
		scale(&w.Config)
		near(t, name+": knee of twice the server", w.Truth().ThroughputGain.At, 2*before, 1e-9)
	}
}

// TestThrottleCountsWork: a server that idles does not get hot.
func TestThrottleCountsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.Throttle = Throttle{Share: 0.5, After: 15 * time.Second}
		// 300 ms of work a second: 15 s of it are over with the 50th request.
		_, took := serviceTimes(c, 60, time.Second)
		for i, d := range took {
			want := 300 * time.Millisecond
			if i >= 50 {
				want *= 2
			}
			if d != want {
				t.Errorf("request %d: %v, want %v", i, d, want)
			}
		}
	})
}

// TestPrefixCacheOfTheDoer: the first request of each prefix is computed whole, the
// others without it.
func TestPrefixCacheOfTheDoer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.PrefixCache = PrefixCache{Tokens: 100_000}
		w := Workload{InputLen: 512, OutputLen: 11, Prefixes: 5, PrefixLen: 384}
		d, err := NewDoer(c, w)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 15 {
			want, cached := c.Prefill, 0
			if i >= 5 {
				want, cached = c.Prefill/4, 384
			}
			got := one(t, d, i)
			ttft, _ := got.TTFT()
			if ttft != want || got.CachedTokens != cached {
				t.Errorf("request %d: first token after %v with %d tokens cached, want %v with %d", i, ttft, got.CachedTokens, want, cached)
			}
		}
		near(t, "TTFT of a warm cache by formula", PointOf(c, GuideRules(w), 1).TTFT, 0.025, 1e-9)
		w.Prefixes = 0
		if truth := TruthOf(c, GuideRules(w)); len(truth.OutOfModel) != 1 || PointOf(c, GuideRules(w), 1).TTFT != 0.1 {
			t.Errorf("a cache of which nothing is known is part of the truth: %+v", truth)
		}
	})
}

// TestBalancers: in turn, whatever waits where; and to where the fewest are.
func TestBalancers(t *testing.T) {
	for _, b := range []Balance{"", RoundRobin, LeastConnections} {
		c := Default()
		c.Replicas, c.KVTokens = Replicas{Speeds: []float64{1, 1, 0.5}, Balance: b}, 1000
		core := newCore(c)
		for i := range uint64(9) {
			core.arrive(newJob(i, 10, 11))
		}
		near(t, "KV cache in use by three prompts of 10 in each", core.state().KVUsage, 0.03, 1e-9)
		core.advance(400 * time.Millisecond) // the two fast ones are done with theirs: 100 ms + 10 x 20 ms
		for i := range uint64(6) {
			core.arrive(newJob(100+i, 10, 11))
		}
		got := []int{core.replicas[0].inside(), core.replicas[1].inside(), core.replicas[2].inside()}
		want := []int{2, 2, 5}
		if b == LeastConnections {
			want = []int{3, 3, 3}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("balance %q: %v in the replicas, want %v", b, got, want)
		}
	}
}

// TestOutOfModel: what has no closed form together with something else is left out
// of the truth, and named.
func TestOutOfModel(t *testing.T) {
	limiter := RateLimit{PerSecond: 10}
	several := Replicas{Speeds: []float64{1, 1}}
	for _, c := range []struct {
		want string
		set  func(*Config)
	}{
		{"[]", func(c *Config) { c.Wander = Wander{Share: 0.1, Time: time.Second} }},
		{"[wander]", func(c *Config) { c.Wander, c.RateLimit = Wander{Share: 0.1, Time: time.Second}, limiter }},
		{"[bimodal]", func(c *Config) { c.Bimodal, c.ErrorRate = Bimodal{Share: 0.1, Factor: 2}, ErrorRate{Base: 0.1} }},
		{"[rate_limit]", func(c *Config) { c.BatchMultiple, c.RateLimit = 8, limiter }},
		{"[error_rate]", func(c *Config) { c.BatchSizes, c.ErrorRate = []int{8}, ErrorRate{Base: 0.1} }},
		{"[replicas]", func(c *Config) { c.BatchMultiple, c.Replicas = 8, several }},
		{"[queue_cap kv_tokens]", func(c *Config) { c.Replicas, c.QueueCap, c.KVTokens = several, new(4), 9000 }},
		{"[faults]", func(c *Config) { c.Faults = []Fault{{Mode: "reset"}} }},
	} {
		cfg := Default()
		c.set(&cfg)
		if got := fmt.Sprint(TruthOf(cfg, GuideRules(Workload{})).OutOfModel); got != c.want {
			t.Errorf("out of model: %s, want %s", got, c.want)
		}
	}
}
