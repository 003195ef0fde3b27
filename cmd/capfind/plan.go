package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

func (a *app) planCommand() *cli.Command {
	d := analysis.DefaultSizing()
	return &cli.Command{
		Name:      "plan",
		Usage:     "how many replicas for a number of users or a request rate",
		ArgsUsage: "RESULT",
		Description: "RESULT is a result directory or its result.json. Give one or more demands, in any mix:\n" +
			"capfind plan results/sweep-... --users 500 --think-time 30s --qps 10,20,50 --price 2.5\n" +
			"Of a replay the recorded traffic is the demand: capfind plan results/replay-... --growth 3",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "users", Usage: "users at work at once, `N[,N...]`"},
			&cli.DurationFlag{Name: "think-time", Usage: "pause of a user between an answer and the next request"},
			&cli.StringFlag{Name: "qps", Usage: "requests per second, `N[,N...]`"},
			&cli.StringFlag{Name: "concurrency", Usage: "requests in flight, `N[,N...]`"},
			&cli.Float64Flag{Name: "growth", Value: d.Growth, Usage: "factor on the demand"},
			&cli.IntFlag{Name: "spare", Value: d.Spare, Usage: "replicas beyond those needed"},
			&cli.Float64Flag{Name: "price", Usage: "of one replica per hour; 0: no costs", DefaultText: "0"},
			&cli.StringFlag{Name: "currency", Usage: "printed with costs", Value: "$"},
			&cli.IntFlag{Name: "per-replica", Usage: "requests in flight on one replica; 0: as the result recommends", DefaultText: "0"},
		},
		Action: a.planAction,
	}
}

func (a *app) planAction(c *cli.Context) error {
	out := c.String("format")
	args, err := arguments(c, 1, 1, "one RESULT")
	if err != nil {
		return err
	}
	if c.Float64("growth") <= 0 || c.Int("spare") < 0 || c.Float64("price") < 0 || c.Int("per-replica") < 0 {
		return usagef("--growth must be above 0; --spare, --price and --per-replica must not be negative")
	}
	r, err := readResult(args[0])
	if err != nil {
		return err
	}
	if r.Headroom != nil {
		return a.planGrowth(c, args[0], r.Headroom, out)
	}
	demands, err := demandsOf(c)
	if err != nil {
		return err
	}
	if r.Recommendation == nil {
		why := r.Sentence
		if r.Command != "sweep" && r.Command != "import" {
			why = "it is of capfind " + r.Command + "; a plan rests on the result of a sweep"
		}
		return outcomeError{exitInconclusive, fmt.Sprintf("%s recommends nothing to plan with: %s", args[0], why)}
	}
	plan := analysis.PlanReplicas(r.Steps, *r.Recommendation, demands, analysis.Sizing{Curve: r.Curve,
		Growth: c.Float64("growth"), Spare: c.Int("spare"), PricePerHour: c.Float64("price"),
		Currency: c.String("currency"), Concurrency: c.Int("per-replica"),
	})
	if err := a.printPlan(plan, out); err != nil {
		return err
	}
	if len(plan.Refusals) > 0 {
		return outcomeError{exitInconclusive, "no plan: " + strings.Join(plan.Refusals, "; ")}
	}
	return nil
}

// growthPlan is how many of what was measured carry recorded traffic that has grown.
type growthPlan struct {
	Growth      float64         `json:"growth"` // times the recorded traffic
	Replicas    int             `json:"replicas"`
	Spare       int             `json:"spare"`      // of them
	SpeedEach   analysis.Number `json:"speed_each"` // times the recorded traffic, on each that works
	Headroom    analysis.Number `json:"headroom"`   // of one: the low end of its interval
	PerHour     analysis.Number `json:"cost_per_hour"`
	Assumptions []string        `json:"assumptions"`
}

// planGrowth plans by how many times recorded traffic fits. The low end of the interval
// is what is sure.
func (a *app) planGrowth(c *cli.Context, path string, h *sweep.HeadroomAnswer, out string) error {
	low, ok := h.Low.Value()
	if !ok || low <= 0 {
		return outcomeError{exitInconclusive, path + " found no speed at which the requirements hold: there is nothing to plan with"}
	}
	p := growthPlan{Growth: c.Float64("growth"), Spare: c.Int("spare"), Headroom: h.Low}
	working := int(math.Ceil(p.Growth/low - 1e-9))
	p.Replicas = working + p.Spare
	p.SpeedEach = loadgen.Known(p.Growth / float64(working))
	if price := c.Float64("price"); price > 0 {
		p.PerHour = loadgen.Known(price * float64(p.Replicas))
	}
	p.Assumptions = []string{
		fmt.Sprintf("one of what was measured carries %.3g x the recorded traffic, the low end of its interval", low),
		"traffic splits evenly, and each replica keeps what its prompts share in its own cache",
	}
	rows := [][]string{{"growth", "replicas", "of them spare", "times the traffic each", "at most each"},
		{fmt.Sprintf("%g x", p.Growth), strconv.Itoa(p.Replicas), strconv.Itoa(p.Spare), p.SpeedEach.Format(2), fmt.Sprintf("%.3g", low)}}
	if p.PerHour.IsKnown() {
		rows[0], rows[1] = append(rows[0], c.String("currency")+"/hour"), append(rows[1], p.PerHour.Format(2))
	}
	return printRows(a, out, p, rows, "\nAssuming\n"+bullets(p.Assumptions))
}

// demandsOf reads the demands from the flags, users first.
func demandsOf(c *cli.Context) ([]analysis.Demand, error) {
	var out []analysis.Demand
	think := c.Duration("think-time")
	if think < 0 {
		return nil, usagef("--think-time must not be negative")
	}
	for _, kind := range []struct {
		flag string
		make func(float64) analysis.Demand
	}{
		{"users", func(n float64) analysis.Demand { return analysis.Demand{Users: n, ThinkSeconds: think.Seconds()} }},
		{"qps", func(n float64) analysis.Demand { return analysis.Demand{QPS: n} }},
		{"concurrency", func(n float64) analysis.Demand { return analysis.Demand{Concurrency: n} }},
	} {
		if !c.IsSet(kind.flag) {
			continue
		}
		for text := range strings.SplitSeq(c.String(kind.flag), ",") {
			n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil || n <= 0 || n > 1e12 {
				return nil, usagef("--%s needs numbers above 0, such as 10 or 10,20,50, not %q", kind.flag, text)
			}
			out = append(out, kind.make(n))
		}
	}
	if len(out) == 0 {
		return nil, usagef("plan for what? Give --users, --qps or --concurrency")
	}
	return out, nil
}

func (a *app) printPlan(p analysis.Plan, format string) error {
	if format == "markdown" {
		return a.print(markdownTable(planRows(p)) + "\n" + bullets(p.Assumptions))
	}
	rest := ""
	for _, row := range p.Rows {
		if row.Refusal != "" {
			rest += "\n" + demandWords(row.Demand) + ": " + row.Refusal + "\n"
		}
	}
	if len(p.Assumptions) > 0 {
		rest += "\nAssuming\n" + bullets(p.Assumptions)
	}
	return printRows(a, format, p, planRows(p), rest)
}

// planRows is the plan as a table; columns of costs only where there is a price.
func planRows(p analysis.Plan) [][]string {
	header := []string{"demand", "req/s", "in flight", "replicas", "req/s each", "in flight each", "bursts"}
	costs := p.CostPerMillion.IsKnown()
	if costs {
		header = append(header, p.Currency+"/hour", p.Currency+"/month", p.Currency+"/1M tokens")
	}
	rows := [][]string{header}
	for _, r := range p.Rows {
		bursts := "safe"
		switch {
		case r.Refusal != "":
			bursts = "n/a"
		case !r.BurstSafe:
			bursts = "not safe"
		}
		row := []string{demandWords(r.Demand), r.QPS.Format(2), r.InFlight.Format(1), r.Replicas.Format(0),
			r.LoadPerReplica.Format(2), r.InFlightPerReplica.Format(1), bursts}
		if costs {
			row = append(row, r.CostPerHour.Format(2), r.CostPerMonth.Format(0), r.CostPerMillion.Format(2))
		}
		rows = append(rows, row)
	}
	return rows
}

func demandWords(d analysis.Demand) string {
	switch {
	case d.Users > 0 && d.ThinkSeconds > 0:
		return fmt.Sprintf("%g users, %g s think time", d.Users, d.ThinkSeconds)
	case d.Users > 0:
		return fmt.Sprintf("%g users", d.Users)
	case d.QPS > 0:
		return fmt.Sprintf("%g req/s", d.QPS)
	}
	return fmt.Sprintf("%g in flight", d.Concurrency)
}
