package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

// dryRun prints what a command would ask of the server, and asks nothing.
func (a *app) dryRun(c *cli.Context, f *config.File, format string) error {
	ctl := controllerFor(f)
	if c.Command.Name != "sweep" {
		return a.dryPoint(ctl, f, format)
	}
	plan := ctl.Plan(c.Duration("response-time"))
	if format == "json" {
		text, err := json.MarshalIndent(plan, "", "  ")
		if err != nil {
			return err
		}
		return a.print(string(text) + "\n")
	}
	rows := [][]string{{"step", "requests", "tokens", "time", ""}}
	add := func(name string, s sweep.PlannedStep, remark string) {
		rows = append(rows, []string{name, strconv.Itoa(s.Requests), s.Tokens.Format(0), estimated(s.Seconds), remark})
	}
	for _, s := range plan.Steps {
		add(strconv.Itoa(s.Concurrency)+" in flight", s, "")
	}
	if plan.Search.Requests > 0 {
		add("exact search", plan.Search, "at most about this")
	}
	add("in all", plan.Total, "with every step passed")
	switch format {
	case "csv":
		return a.print(csvText(rows))
	case "markdown":
		return a.print(markdownTable(rows) + "\n" + bullets(plan.Notes))
	}
	return a.print(table(rows) + "\n" + bullets(plan.Notes))
}

// dryPoint is the plan of a command with one load.
func (a *app) dryPoint(ctl *sweep.Controller, f *config.File, format string) error {
	p := point(f)
	tokens := "n/a"
	if each := ctl.Workload.PromptTokens + ctl.Workload.OutputTokens; each > 0 && p.Requests > 0 {
		tokens = strconv.FormatFloat(each*float64(p.Requests), 'f', 0, 64)
	}
	requests := "as many as fit"
	if p.Requests > 0 {
		requests = strconv.Itoa(p.Requests)
	}
	duration := "until done"
	if p.Duration > 0 {
		duration = p.Duration.String()
	}
	rows := [][]string{
		{"in flight", "request rate", "requests", "tokens", "time"},
		{fmt.Sprintf("at most %d", p.Concurrency), config.FormatRate(p.Rate), requests, tokens, duration},
	}
	switch format {
	case "csv":
		return a.print(csvText(rows))
	case "markdown":
		return a.print(markdownTable(rows))
	case "json":
		record := map[string]string{}
		for i, name := range rows[0] {
			record[name] = rows[1][i]
		}
		text, err := json.MarshalIndent(record, "", "  ")
		if err != nil {
			return err
		}
		return a.print(string(text) + "\n")
	}
	return a.print(table(rows))
}

func estimated(s analysis.Number) string {
	v, ok := s.Value()
	if !ok {
		return "n/a"
	}
	return short(time.Duration(v * float64(time.Second)))
}
