package main

import (
	"context"
	"math"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

func (a *app) qpsCommand() *cli.Command {
	sections := append([]section{"sweep"}, loadSections...)
	return &cli.Command{
		Name:      "qps",
		Usage:     "the smallest concurrency that holds a request rate",
		ArgsUsage: "[CONFIG]",
		Description: "Tries 10 20 50 100 200 requests in flight (or --concurrency) at --request-rate until one\n" +
			"reaches 95 % of it, then finds the smallest that does. Exit code 99 where none does.",
		Flags: append([]cli.Flag{
			&cli.Float64Flag{Name: "share", Value: 0.95, Usage: "of the rate that must be reached"},
		}, benchFlags(sections...)...),
		Action: func(c *cli.Context) error {
			return a.measure(c, sections, func(f *config.File) (question, error) {
				q, err := qpsOf(f, c.Float64("share"))
				return question{
					ask: func(ctx context.Context, ctl *sweep.Controller) (*sweep.Result, error) {
						return ctl.QPS(ctx, q)
					},
					plan: func(ctl *sweep.Controller, response time.Duration) sweep.Plan {
						return ctl.PlanQPS(q, response)
					},
				}, err
			})
		},
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

func (a *app) rateCommand() *cli.Command {
	sections := append([]section{rates, "sweep.exact", "sweep.settle"}, loadSections...)
	return &cli.Command{
		Name:      "rate",
		Usage:     "the highest arrival rate that keeps the SLO",
		ArgsUsage: "[CONFIG]",
		Description: "Requests arrive at random, whether or not earlier ones were answered, at rising rates\n" +
			"(--rates), until a requirement of the stop section breaks or requests pile up.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "compare with what the sweep in `RESULT` predicts"},
		}, benchFlags(sections...)...),
		Action: func(c *cli.Context) error {
			return a.measure(c, sections, func(f *config.File) (question, error) {
				q := sweep.RateConfig{Rates: f.Load.Rates, Burstiness: f.Load.Burstiness}
				if f.Given("load.num_prompts") {
					q.Requests = f.Load.NumPrompts
				}
				if f.Given("load.max_concurrency") {
					q.Concurrency = f.Load.Concurrency()
				}
				closed, err := fromResult(c)
				q.Closed = closed
				return question{
					ask: func(ctx context.Context, ctl *sweep.Controller) (*sweep.Result, error) {
						return ctl.Rate(ctx, q)
					},
					plan: func(ctl *sweep.Controller, response time.Duration) sweep.Plan {
						return ctl.PlanRate(q, response)
					},
				}, err
			})
		},
	}
}

// fromResult loads the result that --from names, nil without one.
func fromResult(c *cli.Context) (*sweep.Result, error) {
	path := c.String("from")
	if path == "" {
		return nil, nil
	}
	return readResult(path)
}

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
		Action: func(c *cli.Context) error {
			return a.measure(c, loadSections, func(f *config.File) (question, error) {
				q, err := soakOf(c, f)
				return question{
					ask: func(ctx context.Context, ctl *sweep.Controller) (*sweep.Result, error) {
						return ctl.Soak(ctx, q)
					},
					plan: func(ctl *sweep.Controller, response time.Duration) sweep.Plan {
						return ctl.PlanPoint(q.LoadPoint, response)
					},
				}, err
			})
		},
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
		return q, usageError{err}
	}
	return q, nil
}
