package main

import (
	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

func (a *app) rateCommand() *cli.Command {
	sections := append([]flags.Section{flags.Rates, "sweep.exact", "sweep.settle"}, loadSections...)
	return &cli.Command{
		Name:      "rate",
		Usage:     "the highest arrival rate that keeps the SLO",
		ArgsUsage: "[CONFIG]",
		Description: "Requests arrive at random, whether or not earlier ones were answered, at rising rates\n" +
			"(--rates), until a requirement of the stop section breaks or requests pile up.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "compare with what the sweep in `RESULT` predicts"},
		}, benchFlags(sections...)...),
		Action: a.asking(sections, func(c *cli.Context, f *config.File) (sweep.Planned, error) {
			q := sweep.RateConfig{Rates: f.Load.Rates, Burstiness: f.Load.Burstiness, Look: !f.Given("load.rates")}
			if f.Given("load.num_prompts") {
				q.Requests = f.Load.NumPrompts
			}
			if f.Given("load.max_concurrency") {
				q.Concurrency = f.Load.Concurrency()
			}
			var err error
			q.Closed, err = fromResult(c)
			return sweep.FindRate{Arrivals: q, Rules: f.Stop, Exact: f.Sweep.Exact, Repeat: f.Sweep.Repeat}, err
		}),
	}
}
