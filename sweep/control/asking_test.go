package control_test

import (
	"context"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// asking is a controller and what the questions that it is asked go by.
type asking struct {
	control.Controller
	Stop sweep.StopRules
	Band analysis.Band
}

func (a *asking) Sweep(ctx context.Context) (*sweep.Result, error) {
	return a.Answer(ctx, "sweep", sweep.FindLimit{Config: a.Config, Rules: a.Stop, Band: a.Band})
}

func (a *asking) QPS(ctx context.Context, q sweep.QPSConfig) (*sweep.Result, error) {
	return a.Answer(ctx, "qps", sweep.FindConcurrency{Target: q, Rules: a.Stop, Exact: a.Config.Exact})
}

func (a *asking) Rate(ctx context.Context, q sweep.RateConfig) (*sweep.Result, error) {
	return a.Answer(ctx, "rate", sweep.FindRate{Arrivals: q, Rules: a.Stop, Exact: a.Config.Exact, Repeat: a.Config.Repeat})
}

func (a *asking) Soak(ctx context.Context, q sweep.SoakConfig) (*sweep.Result, error) {
	return a.Answer(ctx, "soak", sweep.LongRun{Soak: q, Rules: a.Stop})
}

func (a *asking) Point(ctx context.Context, p sweep.LoadPoint) (*sweep.Result, error) {
	return a.Answer(ctx, "run", sweep.SinglePoint{Load: p, Rules: a.Stop})
}
