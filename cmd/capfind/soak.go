package main

import (
	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

func (a *app) soakCommand() *cli.Command {
	return &cli.Command{
		Name:      "soak",
		Usage:     "a long run below the limit, watched for drift",
		ArgsUsage: "[CONFIG]",
		Description: "capfind soak config.yaml --from results/sweep-... --duration 2h\n" +
			"runs at 80 % of the limit that a sweep found, or at --concurrency. Exit code 99 where the\n" +
			"server degrades or a requirement breaks.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "take the concurrency from the sweep in `RESULT`"},
			&cli.Float64Flag{Name: "share", Value: sweep.SoakShare, Usage: "of the limit in --from"},
			&cli.Float64Flag{Name: "max-degradation", Value: 0.10, Usage: "share by which a figure may worsen over the run"},
		}, benchFlags(loadSections...)...),
		Action: a.asking(loadSections, func(c *cli.Context, f *config.File) (sweep.Planned, error) {
			q, err := soakOf(c, f)
			return sweep.LongRun{Soak: q, Rules: f.Stop}, err
		}),
	}
}

func soakOf(c *cli.Context, f *config.File) (sweep.SoakConfig, error) {
	q := sweep.SoakConfig{LoadPoint: point(f), MaxDegradation: c.Float64("max-degradation")}
	if q.Duration <= 0 {
		return q, f.Problem("load.duration", "missing: how long is the soak? Give e.g. 1h here or with --duration")
	}
	if !(q.MaxDegradation > 0) {
		return q, usagef("--max-degradation must be above 0, not %v", q.MaxDegradation)
	}
	r, err := fromResult(c)
	if err != nil || r == nil {
		return q, err
	}
	share := c.Float64("share")
	if !(share > 0 && share <= 1) {
		return q, usagef("--share must be above 0 and at most 1, not %v", share)
	}
	if q.Concurrency, err = sweep.SoakConcurrency(r, share); err != nil {
		return q, flags.UsageError{Err: err}
	}
	return q, nil
}
