package simserver

import "time"

// Worked is a server whose limits were worked out by hand, with the load that
// they belong to.
type Worked struct {
	Name   string
	Config Config
	Rules  Rules
}

// Truth returns the case's true limits.
func (w Worked) Truth() Truth { return TruthOf(w.Config, w.Rules) }

// Doer returns the case's server in process. It panics where the case is
// invalid, which a changed copy may be.
func (w Worked) Doer() *Doer {
	d, err := NewDoer(w.Config, w.Rules.Workload)
	if err != nil {
		panic(err)
	}
	return d
}

// Case returns the worked case of that name; ok is false where there is none.
func Case(name string) (w Worked, ok bool) {
	for _, w := range Cases() {
		if w.Name == name {
			return w, true
		}
	}
	return Worked{}, false
}

// Cases returns the six worked cases:
//
//	slots       64 slots, 2.1 s of service: throughput stops growing at 64, TTFT breaks at 91
//	decode      steps slow down with the batch: gain ends at 108, TTFT at 490
//	rate_limit  429 above 12/s with 2.5 s of service: 30
//	crash       dies at 137 requests: 136
//	queue_cap   32 slots and 16 waiting places of 1.5 s: success ends at 48, gain at 32
//	usl         Universal Scalability Law: gain ends at 37, peak at 57, TTFT at 143
func Cases() []Worked {
	server := func(set func(*Config)) Config {
		c := Default()
		c.Slots, c.StepTime, c.Prefill = 0, 0, 100*time.Millisecond
		set(&c)
		return c
	}
	asked := func(output int) Rules { return GuideRules(Workload{InputLen: 512, OutputLen: output}) }
	return []Worked{
		{"slots", server(func(c *Config) {
			c.Slots, c.StepTime = 64, 20*time.Millisecond
		}), asked(101)},
		{"decode", server(func(c *Config) {
			c.StepTime, c.StepTimePerRequest = 8*time.Millisecond, 200*time.Microsecond
			c.Prefill, c.PrefillPerRequest = 20*time.Millisecond, 2*time.Millisecond
		}), asked(256)},
		{"rate_limit", server(func(c *Config) {
			c.StepTime = 24 * time.Millisecond
			c.RateLimit = RateLimit{PerSecond: 12, RejectAfter: 10 * time.Millisecond}
		}), asked(101)},
		{"crash", server(func(c *Config) {
			c.StepTime, c.StepTimePerRequest = 12*time.Millisecond, 30*time.Microsecond
			c.Prefill, c.PrefillPerRequest = 50*time.Millisecond, time.Millisecond
			c.CrashAt, c.RestartAfter = 137, 5*time.Second
		}), asked(128)},
		{"queue_cap", server(func(c *Config) {
			c.Slots, c.StepTime = 32, 14*time.Millisecond
			c.QueueCap, c.QueueRejectAfter = new(16), 5*time.Millisecond
		}), asked(101)},
		{"usl", server(func(c *Config) {
			c.USL = USL{Lambda: 2, Sigma: 0.02, Kappa: 3e-4}
		}), asked(128)},
	}
}
