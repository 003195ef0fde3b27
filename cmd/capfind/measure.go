package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

// loadSections are the parts of the configuration that a single load uses, and
// pacingKeys those of the ladder's section that apply to it, too.
var loadSections = []flags.Section{"preset", "target", "workload", "load", "stop", "telemetry", "output", "report",
	"sweep.start", "sweep.error_hold", "sweep.budget"}

// question is what a command asks of the controller.
type question struct {
	ask func(ctx context.Context, c *sweep.Controller) (*sweep.Result, error)
	// plan is what that takes, where a single request takes so long.
	plan func(c *sweep.Controller, response time.Duration) sweep.Plan
}

// asking is the question q, by the method of the controller that answers it and the
// one that says what that takes.
func asking[Q any](q Q, ask func(*sweep.Controller, context.Context, Q) (*sweep.Result, error), plan func(*sweep.Controller, Q, time.Duration) sweep.Plan) question {
	return question{
		ask:  func(ctx context.Context, c *sweep.Controller) (*sweep.Result, error) { return ask(c, ctx, q) },
		plan: func(c *sweep.Controller, response time.Duration) sweep.Plan { return plan(c, q, response) },
	}
}

// measure runs a command that loads a server: read, set up, ask, conclude.
func (a *app) measure(c *cli.Context, sections []flags.Section, prepare func(*config.File) (question, error)) error {
	out := c.String("format")
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
	b.console.Close()
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

// benchFlags are the flags of every command that loads a server.
func benchFlags(sections ...flags.Section) []cli.Flag {
	return append([]cli.Flag{
		formatFlag(),
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress on stderr", DisableDefaultText: true},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "load a target outside private networks without asking", DisableDefaultText: true},
		&cli.StringFlag{Name: "resume", Usage: "go on with the interrupted run in `DIR`"},
		&cli.BoolFlag{Name: "dry-run", Usage: "print what would be sent, and send nothing", DisableDefaultText: true},
		&cli.DurationFlag{Name: "response-time", Usage: "with --dry-run: that of a single request, to estimate how long all takes", DefaultText: "unknown"},
	}, flags.Config(sections...)...)
}
