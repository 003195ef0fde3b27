package main

import (
	"testing"
	"time"

	"github.com/capfind/capfind/internal/simserver"
)

func TestTruth(t *testing.T) {
	const begin = "its true limit for prompts of 512 and answers of 128 tokens: "
	for _, tt := range []struct {
		change func(*simserver.Config)
		want   string
	}{
		{func(c *simserver.Config) { c.Slots = 8 }, "8 requests in flight, by throughput gain"},
		{func(c *simserver.Config) { c.Slots, c.CrashAt = 0, 137 }, "136 requests in flight, by success"},
		{func(c *simserver.Config) { c.Slots = 0 }, "none"},
		{func(c *simserver.Config) { c.Slots, c.ColdStart = 8, time.Second }, "8 requests in flight, by throughput gain"},
		{func(c *simserver.Config) { c.Slots, c.Faults = 8, []simserver.Fault{{Mode: "reset", Share: 0.1}} }, "8 requests in flight, by throughput gain (without its faults, which no formula covers)"},
		{func(c *simserver.Config) { c.Slots, c.Throttle = 8, simserver.Throttle{Share: 0.3} }, "8 requests in flight, by throughput gain, once it is throttled"},
		{func(c *simserver.Config) { c.Slots, c.StepTimePerRequest, c.BatchMultiple = 0, time.Millisecond, 8 }, "56 requests in flight, or any from 48 to 72, which no measurement can tell from it, by throughput gain"},
	} {
		cfg := simserver.Default()
		tt.change(&cfg)
		if got := truth(cfg); got != begin+tt.want {
			t.Errorf("%q, want %q", got, begin+tt.want)
		}
	}
}
