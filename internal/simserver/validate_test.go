package simserver

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestValidateNamesTheKey(t *testing.T) {
	for _, tc := range []struct {
		key string
		set func(*Config)
	}{
		{"server", func(c *Config) { c.Server = "gpt" }},
		{"model", func(c *Config) { c.Model = " " }},
		{"context_length", func(c *Config) { c.ContextLength = -1 }},
		{"length_spread", func(c *Config) { c.LengthSpread = -0.1 }},
		{"time_scale", func(c *Config) { c.TimeScale = -1 }},
		{"slots", func(c *Config) { c.Slots = -2 }},
		{"step_time", func(c *Config) { c.StepTime = -1 }},
		{"prefill", func(c *Config) { c.USL.Lambda, c.Prefill = 2, time.Second }},
		{"prefill_per_request", func(c *Config) { c.USL.Lambda, c.PrefillPerRequest = 2, 1 }},
		{"usl.lambda", func(c *Config) { c.USL.Sigma = 0.1 }},
		{"usl.kappa", func(c *Config) { c.USL = USL{Lambda: 2, Kappa: -1} }},
		{"batch_multiple", func(c *Config) { c.BatchMultiple = -8 }},
		{"batch_multiple", func(c *Config) { c.BatchMultiple, c.BatchSizes = 8, []int{1, 2} }},
		{"batch_sizes", func(c *Config) { c.BatchSizes = []int{0, 2} }},
		{"batch_sizes", func(c *Config) { c.BatchSizes = []int{1, 4, 4} }},
		{"replicas.speeds", func(c *Config) { c.Replicas.Speeds = []float64{1, 0} }},
		{"replicas.speeds", func(c *Config) { c.Replicas.Speeds, c.USL.Lambda = []float64{1, 1}, 2 }},
		{"replicas.speeds", func(c *Config) { c.Replicas.Speeds, c.Autoscaler = []float64{1, 1}, Autoscaler{Factor: 2, At: 3} }},
		{"replicas.slots", func(c *Config) { c.Replicas = Replicas{Speeds: []float64{1, 1}, Slots: []int{4}} }},
		{"replicas.slots", func(c *Config) { c.Replicas = Replicas{Speeds: []float64{1}, Slots: []int{-4}} }},
		{"replicas.balance", func(c *Config) { c.Replicas.Balance = "random" }},
		{"throttle.share", func(c *Config) { c.Throttle.Share = 1 }},
		{"throttle.after", func(c *Config) { c.Throttle.After = -1 }},
		{"wander.share", func(c *Config) { c.Wander = Wander{Share: -0.1, Time: 1} }},
		{"wander.time", func(c *Config) { c.Wander.Share = 0.1 }},
		{"queue_cap", func(c *Config) { c.QueueCap = new(-2) }},
		{"queue_cap", func(c *Config) { c.QueueCap, c.Slots = new(4), 0 }},
		{"rate_limit.per_second", func(c *Config) { c.RateLimit.PerSecond = -1 }},
		{"error_rate.base", func(c *Config) { c.ErrorRate.Base = 1.5 }},
		{"warmup.factor", func(c *Config) { c.Warmup = Warmup{Requests: 2, Factor: 0.5} }},
		{"leak.over", func(c *Config) { c.Leak.Share = 0.2 }},
		{"autoscaler.at", func(c *Config) { c.Autoscaler = Autoscaler{Factor: 2} }},
		{"noisy_neighbour.for", func(c *Config) { c.NoisyNeighbour.Share = 0.5 }},
		{"noisy_neighbour.share", func(c *Config) { c.NoisyNeighbour = NoisyNeighbour{Share: 1, For: 1} }},
		{"bimodal.factor", func(c *Config) { c.Bimodal.Share = 0.5 }},
		{"faults[1].mode", func(c *Config) { c.Faults = []Fault{{Mode: "reset"}, {Mode: "rest"}} }},
		{"faults[0].every", func(c *Config) { c.Faults = []Fault{{Mode: "reset", Every: 2, Share: 0.5}} }},
		{"faults[0].delay", func(c *Config) { c.Faults = []Fault{{Mode: "idle_close"}} }},
	} {
		c := Default()
		tc.set(&c)
		keys := []string{}
		for _, p := range c.Validate() {
			keys = append(keys, p.Key)
			if p.Message == "" || !keyExists(reflect.TypeFor[Config](), p.Key) {
				t.Errorf("problem %+v: no message, or no such key", p)
			}
		}
		if !slices.Contains(keys, tc.key) {
			t.Errorf("%s: not among the problems %v", tc.key, keys)
		}
	}
	if p := Default().Validate(); p != nil {
		t.Errorf("the default has problems: %v", p)
	}
	// What Go code may leave out is no problem.
	if p := (Config{}).Validate(); p != nil {
		t.Errorf("the zero config has problems: %v", p)
	}
}

// keyExists follows a key path through the yaml tags.
func keyExists(t reflect.Type, key string) bool {
	for part := range strings.SplitSeq(key, ".") {
		part, _, _ = strings.Cut(part, "[")
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		i := slices.IndexFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			return name == part
		})
		if i < 0 {
			return false
		}
		t = t.Field(i).Type
	}
	return true
}

// TestTagsAgree: the resolved config is stored as JSON under the names of the file.
func TestTagsAgree(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(t2 reflect.Type) {
		for _, f := range reflect.VisibleFields(t2) {
			yaml, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			json, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if yaml == "" || yaml != json {
				t.Errorf("%s.%s: yaml %q, json %q", t2.Name(), f.Name, yaml, json)
			}
			inner := f.Type
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				walk(inner)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}
