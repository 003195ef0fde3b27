package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

// loadSections are the parts of the configuration that a single load uses, and
// pacingKeys those of the ladder's section that apply to it, too.
var loadSections = []section{"preset", "target", "workload", "load", "stop", "telemetry", "output", "report",
	"sweep.start", "sweep.error_hold", "sweep.budget"}

// question is what a command asks of the controller.
type question struct {
	ask func(ctx context.Context, c *sweep.Controller) (*sweep.Result, error)
	// plan is what that takes, where a single request takes so long.
	plan func(c *sweep.Controller, response time.Duration) sweep.Plan
}

// measure runs a command that loads a server: read, set up, ask, conclude.
func (a *app) measure(c *cli.Context, sections []section, prepare func(*config.File) (question, error)) error {
	out, err := format(c)
	if err != nil {
		return err
	}
	f, err := a.configFor(c, sections...)
	if err != nil {
		return err
	}
	q, err := prepare(f)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return a.dryRun(c, q.plan(controllerFor(f), c.Duration("response-time")), out)
	}
	b, err := a.newBench(c.Context, c, f)
	if err != nil {
		return err
	}
	defer b.close()
	r, err := q.ask(c.Context, b.controller())
	b.console.close()
	return b.conclude(r, err, out)
}

// point is the load that the configuration's load section describes.
func point(f *config.File) sweep.LoadPoint {
	l := f.Load
	return sweep.LoadPoint{
		Concurrency: l.Concurrency(), Rate: l.Rate(), Burstiness: l.Burstiness,
		Requests: l.NumPrompts, Duration: l.Duration, Goodput: l.Goodput.Asked(),
	}
}

func (a *app) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "one load point: quick check, realistic traffic, capacity planning",
		ArgsUsage: "[CONFIG]",
		Description: "capfind run --base-url http://127.0.0.1:8000/v1 --concurrency 10 --num-prompts 50\n" +
			"needs no file. Prints vLLM's console block. A requirement of the stop section that does\n" +
			"not hold ends with exit code 99; --slo adds one, e.g. --slo p99_ttft:2s.",
		Flags: benchFlags(loadSections...),
		Action: func(c *cli.Context) error {
			return a.measure(c, loadSections, func(f *config.File) (question, error) {
				return question{
					ask: func(ctx context.Context, ctl *sweep.Controller) (*sweep.Result, error) {
						return ctl.Point(ctx, point(f))
					},
					plan: func(ctl *sweep.Controller, response time.Duration) sweep.Plan {
						return ctl.PlanPoint(point(f), response)
					},
				}, nil
			})
		},
	}
}
