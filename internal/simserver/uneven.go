package simserver

import (
	"fmt"
	"time"
)

// Uneven returns servers as they are found outside of textbooks: whose speed
// wanders, whose batches are padded, which change in the course of a measurement or
// are several behind a balancer. Truth is known for each; Config.Stationary says
// which stay what they are, Config.Wander.Share by how much a speed wanders, and
// Truth.When which state of a changing one the truth is about.
func Uneven() []Worked {
	slots := uneven("28 slots", time.Second, func(c *Config) { c.Slots = 28 })
	ttft := uneven("TTFT 250 ms", 250*time.Millisecond, func(c *Config) {
		c.StepTime, c.StepTimePerRequest = 15*time.Millisecond, 100*time.Microsecond
		c.Prefill, c.PrefillPerRequest = 10*time.Millisecond, 4100*time.Microsecond
	})
	memory := uneven("memory bound", time.Second, func(c *Config) {
		c.StepTime, c.StepTimePerRequest = 8*time.Millisecond, 200*time.Microsecond
		c.Prefill, c.PrefillPerRequest = 20*time.Millisecond, 2*time.Millisecond
	})
	var all []Worked
	add := func(name string, w Worked, set func(*Config)) {
		w.Name = name + ", " + w.Name
		set(&w.Config)
		all = append(all, w)
	}
	wander := func(w Worked, share float64, length time.Duration) {
		add(fmt.Sprintf("wander %.0f %% %.0f s", 100*share, length.Seconds()), w, func(c *Config) { c.Wander = Wander{share, length} })
	}
	for _, share := range []float64{0.05, 0.15, 0.30} {
		for _, length := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
			wander(slots, share, length)
			wander(ttft, share, length)
		}
	}
	for _, w := range append(Cases(), memory) {
		if w.Config.RateLimit.PerSecond == 0 { // which does not wander with the server: no mean of it has a formula
			wander(w, 0.15, 10*time.Second)
		}
	}
	steep := slots
	steep.Config.StepTimePerRequest = 400 * time.Microsecond
	for _, w := range []Worked{steep, ttft, memory} {
		for _, k := range []int{8, 16, 64} {
			if p := w.Config.Prefill + time.Duration(k)*w.Config.PrefillPerRequest; p < w.Rules.MaxTTFT {
				add(fmt.Sprintf("batches of %d", k), w, func(c *Config) { c.BatchMultiple = k })
			}
		}
		add("captured batches", w, func(c *Config) {
			c.BatchSizes = []int{1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256}
		})
	}
	for _, w := range []Worked{slots, ttft} {
		add("throttled by 30 % after 60 s", w, func(c *Config) { c.Throttle = Throttle{0.3, time.Minute} })
		add("neighbour every 2 min", w, func(c *Config) {
			c.NoisyNeighbour = NoisyNeighbour{Share: 0.4, Start: 30 * time.Second, For: 15 * time.Second, Every: 2 * time.Minute}
		})
		add("doubled after 20 s", w, func(c *Config) { c.Autoscaler = Autoscaler{Factor: 2, At: 32, After: 20 * time.Second} })
	}
	add("prefix cache that warms", ttft, func(c *Config) { c.PrefixCache = PrefixCache{Tokens: 1 << 20} })
	shared := &all[len(all)-1].Rules.Workload
	shared.Prefixes, shared.PrefixLen = 400, 256
	for _, b := range []Balance{RoundRobin, LeastConnections} {
		for _, w := range []Worked{slots, ttft} {
			add("3 replicas, "+string(b), w, func(c *Config) { c.Replicas = Replicas{Speeds: []float64{1, 1, 1}, Balance: b} })
			add("one of 3 slow, "+string(b), w, func(c *Config) { c.Replicas = Replicas{Speeds: []float64{1, 1, 0.6}, Balance: b} })
		}
		add("one of 3 small, "+string(b), slots, func(c *Config) {
			c.Replicas = Replicas{Speeds: []float64{1, 1, 1}, Slots: []int{28, 28, 12}, Balance: b}
		})
	}
	return all
}

// uneven is what all of them begin with: answers of 101 tokens on the mean, more and
// less, at 20 ms each.
func uneven(name string, ttft time.Duration, set func(*Config)) Worked {
	c := Default()
	c.Slots, c.LengthSpread = 0, 0.3
	set(&c)
	r := GuideRules(Workload{InputLen: 512, OutputLen: 101})
	r.MaxTTFT = ttft
	return Worked{Name: name, Config: c, Rules: r}
}
