package simserver

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Problem is one thing wrong with a Config. Key is the path of the offending
// key below the simulator section, e.g. "rate_limit.per_second" or
// "faults[0].mode".
type Problem struct {
	Key     string
	Message string
}

// Error returns key and message.
func (p Problem) Error() string { return p.Key + ": " + p.Message }

// Validate returns everything that is wrong with the config, nil when nothing is.
func (c Config) Validate() []Problem {
	c = c.WithDefaults()
	var v problems
	v.identity(c)
	v.service(c)
	v.admission(c)
	v.conditions(c)
	for i, f := range c.Faults {
		f.validate(fmt.Sprintf("faults[%d].", i), &v)
	}
	return v
}

type problems []Problem

func (v *problems) add(key, format string, args ...any) {
	*v = append(*v, Problem{key, fmt.Sprintf(format, args...)})
}

func (v *problems) notNegative(key string, x float64) {
	if x < 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		v.add(key, "must be a number of 0 or more, is %v", x)
	}
}

func (v *problems) duration(key string, d time.Duration) {
	if d < 0 {
		v.add(key, "must not be negative, is %v", d)
	}
}

func (v *problems) count(key string, n int) {
	if n < 0 {
		v.add(key, "must not be negative, is %d", n)
	}
}

func (v *problems) share(key string, x float64) {
	if !(x >= 0 && x <= 1) {
		v.add(key, "must be a share between 0 and 1, is %v", x)
	}
}

func (v *problems) below1(key string, x float64) {
	if !(x >= 0 && x < 1) {
		v.add(key, "must be 0 or more and below 1, is %v", x)
	}
}

func (v *problems) factor(key string, x float64) {
	if !(x >= 1) || math.IsInf(x, 0) {
		v.add(key, "must be 1 or more, is %v", x)
	}
}

func (v *problems) identity(c Config) {
	kinds := []Kind{VLLM, SGLang, TGI, LlamaCpp, Ollama}
	if !slices.Contains(kinds, c.Server) {
		v.add("server", "unknown server %q; known are vllm, sglang, tgi, llamacpp, ollama", string(c.Server))
	}
	if strings.TrimSpace(c.Model) == "" {
		v.add("model", "must not be blank")
	}
	v.count("context_length", c.ContextLength)
	v.count("output_length", c.OutputLength)
	v.notNegative("length_spread", c.LengthSpread)
	if !(c.TimeScale > 0) || math.IsInf(c.TimeScale, 0) {
		v.add("time_scale", "must be above 0, is %v", c.TimeScale)
	}
}

func (v *problems) service(c Config) {
	v.count("slots", c.Slots)
	v.duration("step_time", c.StepTime)
	v.duration("step_time_per_request", c.StepTimePerRequest)
	v.duration("prefill", c.Prefill)
	v.duration("prefill_per_request", c.PrefillPerRequest)
	v.duration("prefill_per_token", c.PrefillPerToken)
	v.batches(c)
	v.replicas(c)
	v.notNegative("usl.lambda", c.USL.Lambda)
	v.share("usl.sigma", c.USL.Sigma)
	v.share("usl.kappa", c.USL.Kappa)
	if c.USL.Lambda == 0 {
		if c.USL != (USL{}) {
			v.add("usl.lambda", "must be above 0 where usl is used")
		}
		return
	}
	if c.Prefill.Seconds() >= 1/c.USL.Lambda {
		v.add("prefill", "takes %v, but usl.lambda %v gives a request only %.3g s in all; lower one of them", c.Prefill, c.USL.Lambda, 1/c.USL.Lambda)
	}
	if c.PrefillPerRequest != 0 {
		v.add("prefill_per_request", "has no effect with usl, where prefill grows as the whole service does; remove it")
	}
	if c.PrefillPerToken != 0 {
		v.add("prefill_per_token", "has no effect with usl, where a request takes N/X whatever its length; remove it")
	}
}

func (v *problems) batches(c Config) {
	v.count("batch_multiple", c.BatchMultiple)
	for i, size := range c.BatchSizes {
		if size < 1 || i > 0 && size <= c.BatchSizes[i-1] {
			v.add("batch_sizes", "must rise from 1 or more; %d does not", size)
			return
		}
	}
	if len(c.BatchSizes) > 0 && c.BatchMultiple > 1 {
		v.add("batch_multiple", "excludes batch_sizes; keep one of them")
	}
}

func (v *problems) replicas(c Config) {
	r := c.Replicas
	for _, speed := range r.Speeds {
		if !(speed > 0) || math.IsInf(speed, 0) {
			v.add("replicas.speeds", "each must be above 0; one is %v", speed)
		}
	}
	for _, n := range r.Slots {
		v.count("replicas.slots", n)
	}
	if len(r.Slots) > 0 && len(r.Slots) != len(r.Speeds) {
		v.add("replicas.slots", "names %d replicas where replicas.speeds names %d", len(r.Slots), len(r.Speeds))
	}
	if !slices.Contains([]Balance{"", RoundRobin, LeastConnections}, r.Balance) {
		v.add("replicas.balance", "unknown balance %q; known are round_robin, least_connections", string(r.Balance))
	}
	if len(r.Speeds) == 0 {
		return
	}
	if c.USL.Lambda > 0 {
		v.add("replicas.speeds", "cannot be used with usl, which is the law of a whole service; remove one of them")
	}
	if c.Autoscaler.Factor != 0 {
		v.add("replicas.speeds", "cannot be used with autoscaler, which adds replicas of its own; remove one of them")
	}
}

func (v *problems) admission(c Config) {
	if c.QueueCap != nil && *c.QueueCap < -1 {
		v.add("queue_cap", "must be -1 (no bound), 0 or more, is %d", *c.QueueCap)
	}
	if c.QueueCap != nil && *c.QueueCap >= 0 && c.Slots == 0 && c.KVTokens == 0 {
		v.add("queue_cap", "nothing ever waits without slots or kv_tokens; set one of them")
	}
	v.duration("queue_reject_after", c.QueueRejectAfter)
	v.notNegative("rate_limit.per_second", c.RateLimit.PerSecond)
	v.count("rate_limit.burst", c.RateLimit.Burst)
	v.duration("rate_limit.reject_after", c.RateLimit.RejectAfter)
	v.duration("rate_limit.retry_after", c.RateLimit.RetryAfter)
	v.count("crash_at", c.CrashAt)
	v.duration("restart_after", c.RestartAfter)
	v.share("error_rate.base", c.ErrorRate.Base)
	v.share("error_rate.per_request", c.ErrorRate.PerRequest)
	v.count("error_rate.from", c.ErrorRate.From)
	v.duration("error_rate.after", c.ErrorRate.After)
	v.count("kv_tokens", c.KVTokens)
	v.count("prefix_cache.tokens", c.PrefixCache.Tokens)
	v.count("prefix_cache.block_size", c.PrefixCache.BlockSize)
}

func (v *problems) conditions(c Config) {
	v.duration("cold_start", c.ColdStart)
	v.count("warmup.requests", c.Warmup.Requests)
	if c.Warmup.Requests > 0 {
		v.factor("warmup.factor", c.Warmup.Factor)
	}
	v.below1("throttle.share", c.Throttle.Share)
	v.duration("throttle.after", c.Throttle.After)
	v.notNegative("wander.share", c.Wander.Share)
	if c.Wander.Share > 0 && c.Wander.Time <= 0 {
		v.add("wander.time", "must be above 0, is %v", c.Wander.Time)
	}
	v.notNegative("leak.share", c.Leak.Share)
	if c.Leak.Share > 0 && c.Leak.Over <= 0 {
		v.add("leak.over", "must be above 0, is %v", c.Leak.Over)
	}
	if c.Autoscaler.Factor != 0 {
		v.factor("autoscaler.factor", c.Autoscaler.Factor)
		if c.Autoscaler.At < 1 {
			v.add("autoscaler.at", "must be 1 or more, is %d", c.Autoscaler.At)
		}
		v.duration("autoscaler.after", c.Autoscaler.After)
		v.duration("autoscaler.down_after", c.Autoscaler.DownAfter)
	}
	v.below1("noisy_neighbour.share", c.NoisyNeighbour.Share)
	if n := c.NoisyNeighbour; n.Share != 0 {
		v.duration("noisy_neighbour.start", n.Start)
		if n.For <= 0 {
			v.add("noisy_neighbour.for", "must be above 0, is %v", n.For)
		}
		if n.Every != 0 && n.Every <= n.For {
			v.add("noisy_neighbour.every", "must be longer than for (%v), is %v", n.For, n.Every)
		}
	}
	v.share("bimodal.share", c.Bimodal.Share)
	if c.Bimodal.Share > 0 {
		v.factor("bimodal.factor", c.Bimodal.Factor)
		v.duration("bimodal.dwell", c.Bimodal.Dwell)
		if c.Bimodal.Dwell > 0 && c.Bimodal.Share == 1 {
			v.add("bimodal.share", "must be below 1 where dwell is set: the server needs a fast mode to go back to")
		}
	}
}
