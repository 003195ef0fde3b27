package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/sweep"
)

// dryRun prints what a command would ask of the server, and asks nothing.
func (a *app) dryRun(c *cli.Context, plan sweep.Plan, format string) error {
	notes := plan.Notes
	if !plan.Total.Seconds.IsKnown() {
		notes = append(notes, "for the time give --response-time, that of a single request, e.g. --response-time 3s")
	} else if c.IsSet("response-time") {
		notes = append(notes, "response times grow with the load, so that the real time is longer")
	}
	if cost, ok := plan.Cost.Value(); ok {
		notes = append(notes, fmt.Sprintf("at %g an hour the server costs %.2f for that long", c.Float64("price"), cost))
	} else if c.IsSet("price") {
		notes = append(notes, "what it costs follows from the time: give --response-time too")
	}
	rest := ""
	if len(notes) > 0 {
		rest = "\n" + bullets(notes)
	}
	return printRows(a, format, plan, planned(plan), rest)
}

// planned is a plan as a table.
func planned(plan sweep.Plan) [][]string {
	rows := [][]string{{"step", "requests", "tokens", "time", ""}}
	add := func(name string, s sweep.PlannedStep, remark string) {
		rows = append(rows, []string{name, s.Requests.Format(0), s.Tokens.Format(0), estimated(s.Seconds), remark})
	}
	for _, s := range plan.Steps {
		add(plannedName(s), s, "")
	}
	if plan.Repeat.Requests.IsKnown() {
		add("a failing step again", plan.Repeat, "at most")
	}
	if plan.Search.Requests.IsKnown() {
		add("exact search", plan.Search, "at most about this")
	}
	if len(rows) > 2 {
		add("in all", plan.Total, "at most about this")
	}
	return rows
}

// plannedName is what is kept up in a step.
func plannedName(s sweep.PlannedStep) string {
	rate, ok := s.RequestRate.Value()
	if !ok {
		return strconv.Itoa(s.Concurrency) + " in flight"
	}
	return fmt.Sprintf("%.4g req/s, at most %d in flight", rate, s.Concurrency)
}

func estimated(s analysis.Number) string {
	v, ok := s.Value()
	if !ok {
		return "n/a"
	}
	return terminal.Short(time.Duration(v * float64(time.Second)))
}
