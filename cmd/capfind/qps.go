package main

import (
	"math"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

func (a *app) qpsCommand() *cli.Command {
	sections := append([]flags.Section{"sweep"}, loadSections...)
	return &cli.Command{
		Name:      "qps",
		Usage:     "the smallest concurrency that holds a request rate",
		ArgsUsage: "[CONFIG]",
		Description: "Tries 10 20 50 100 200 requests in flight (or --concurrency) at --request-rate until one\n" +
			"reaches 95 % of it, then finds the smallest that does. Exit code 99 where none does.",
		Flags: append([]cli.Flag{
			&cli.Float64Flag{Name: "share", Value: 0.95, Usage: "of the rate that must be reached"},
		}, benchFlags(sections...)...),
		Action: a.asking(sections, func(c *cli.Context, f *config.File) (sweep.Planned, error) {
			q, err := qpsOf(f, c.Float64("share"))
			return sweep.FindConcurrency{Target: q, Rules: f.Stop, Exact: f.Sweep.Exact}, err
		}),
	}
}

func qpsOf(f *config.File, share float64) (sweep.QPSConfig, error) {
	q := sweep.QPSConfig{Rate: f.Load.Rate(), Burstiness: f.Load.Burstiness, Share: share}
	if math.IsInf(q.Rate, 1) {
		return q, f.Problem("load.request_rate", "missing: which rate is to be held? Give requests per second here or with --request-rate")
	}
	if !(share > 0 && share <= 1) {
		return q, usagef("--share must be above 0 and at most 1, not %v", share)
	}
	if f.Given("sweep.concurrency") {
		q.Concurrency = f.Sweep.Concurrency
	}
	if f.Given("load.num_prompts") {
		q.Requests = f.Load.NumPrompts
	}
	return q, nil
}
