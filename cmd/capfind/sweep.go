package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

// sweepSections are the parts of the configuration that a sweep uses.
var sweepSections = []flags.Section{"preset", "target", "workload", "sweep", "stop", "recommend", "telemetry", "output", "report", "web"}

func (a *app) sweepCommand() *cli.Command {
	return &cli.Command{
		Name:      "sweep",
		Usage:     "find the limit and write the report",
		ArgsUsage: "[CONFIG]",
		Description: "Raises the number of requests in flight step by step until a rule breaks (success, TTFT,\n" +
			"throughput gain, resources), then searches the exact limit between the last good and the\n" +
			"first bad step. Ctrl-C ends it in order and keeps what was found; --resume goes on.",
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "require-limit", Usage: "exit with 99 where the limit is below `N`", DefaultText: "none"},
		}, benchFlags(sweepSections...)...),
		Action: a.sweepAction,
	}
}

func (a *app) sweepAction(c *cli.Context) error {
	r, err := a.measure(c, sweepSections, func(f *config.File) (sweep.Planned, error) {
		return sweep.FindLimit{Config: f.Sweep, Rules: f.Stop, Band: f.Recommend}, nil
	})
	if err != nil || r == nil {
		return err
	}
	return required(r, c.Int("require-limit"))
}

// required holds the limit against --require-limit.
func required(r *sweep.Result, least int) error {
	if least == 0 {
		return nil
	}
	if l := r.Limit; l != nil {
		if n := l.Concurrency.Or(0); n < float64(least) {
			return outcomeError{exitRequirement, fmt.Sprintf("the limit of %.0f is below the required %d", n, least)}
		}
		return nil
	}
	if held := r.Ladder.LastGood.Or(0); held < float64(least) {
		return outcomeError{exitRequirement, fmt.Sprintf("nothing above %.0f was seen to hold; %d was required", held, least)}
	}
	return nil
}
