package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep/store"
)

func (a *app) compareCommand() *cli.Command {
	return &cli.Command{
		Name:      "compare",
		Usage:     "two or more results side by side",
		ArgsUsage: "A B [C...]",
		Description: "The first is what the others are held against: hardware, quantisation, flags, yesterday's\n" +
			"build. With --fail-if-worse 5% it ends with exit code 99 where a figure is worse by more.",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "names", Usage: "what to call the results, `NAME[,NAME...]`"},
			&cli.StringFlag{Name: "price", Usage: "of one replica per hour, one for each result, `PRICE[,PRICE...]`"},
			&cli.StringFlag{Name: "currency", Value: "USD", Usage: "of the prices"},
			&cli.StringFlag{Name: "fail-if-worse", Usage: "`SHARE` by which a figure may be worse, e.g. 5%"},
			&cli.StringFlag{Name: "language", Value: "en", Usage: "of the page: en or zh"},
			&cli.StringFlag{Name: "output-dir", Value: "results", Usage: "where the page goes"},
		},
		Action: a.compareAction,
	}
}

func (a *app) compareAction(c *cli.Context) error {
	out := c.String("format")
	args, err := arguments(c, 2, 20, "at least two results")
	if err != nil {
		return err
	}
	subjects, err := subjectsOf(c, args)
	if err != nil {
		return err
	}
	gate, err := share(c.String("fail-if-worse"))
	if err != nil {
		return err
	}
	o := report.CompareOptions{Language: report.Language(c.String("language")), Currency: c.String("currency")}
	if c.IsSet("fail-if-worse") {
		o.FailIfWorse = loadgen.Known(gate)
	}
	comparison, err := report.Compare(subjects, o)
	if err != nil {
		return err
	}
	page, err := a.writeComparison(comparison, c.String("output-dir"))
	if err != nil {
		return err
	}
	if err := a.printComparison(comparison, out, page); err != nil {
		return err
	}
	return worse(comparison.Regressions)
}

// subjectsOf loads what is compared, with its names and prices.
func subjectsOf(c *cli.Context, paths []string) ([]report.Subject, error) {
	names, prices := list(c.String("names")), list(c.String("price"))
	if len(names) > 0 && len(names) != len(paths) {
		return nil, usagef("--names has %d names for %d results", len(names), len(paths))
	}
	if len(prices) > 0 && len(prices) != len(paths) {
		return nil, usagef("--price has %d prices for %d results", len(prices), len(paths))
	}
	var out []report.Subject
	for i, path := range paths {
		r, err := loadResult(path)
		if err != nil {
			return nil, err
		}
		s := report.Subject{Name: nameOf(path), Result: r}
		if len(names) > 0 {
			s.Name = names[i]
		}
		if len(prices) > 0 {
			price, err := strconv.ParseFloat(prices[i], 64)
			if err != nil || price < 0 {
				return nil, usagef("--price needs numbers, not %q", prices[i])
			}
			s.PricePerHour = loadgen.Known(price)
		}
		out = append(out, s)
	}
	return out, nil
}

// list cuts a flag's value at its commas.
func list(text string) []string {
	if text == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// share reads 5% or 0.05; empty is 0.
func share(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, isPercent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if isPercent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v < 1) {
		return 0, usagef("--fail-if-worse needs a share such as 5%% or 0.05, not %q", text)
	}
	return v, nil
}

// writeComparison writes the page and its Markdown into a directory of its own.
func (a *app) writeComparison(c *report.Comparison, parent string) (page string, err error) {
	dir, err := freshDirectory(parent, "compare")
	if err != nil {
		return "", err
	}
	page = filepath.Join(dir, "comparison.html")
	return page, writePages(page, c)
}

// pages is what is written as a page and as Markdown.
type pages interface {
	HTML(io.Writer) error
	Markdown(io.Writer) error
}

// writePages writes a page and, beside it, the same as Markdown.
func writePages(page string, p pages) error {
	var html, markdown bytes.Buffer
	if err := errors.Join(p.HTML(&html), p.Markdown(&markdown)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
		return fmt.Errorf("no directory for the page can be made: %w; choose another place with --output-dir", err)
	}
	err := store.WriteFile(page, html.Bytes())
	if err == nil {
		err = store.WriteFile(strings.TrimSuffix(page, ".html")+".md", markdown.Bytes())
	}
	if err != nil {
		return fmt.Errorf("%w; choose another place with --output-dir", err)
	}
	return nil
}

// worse ends a command with the exit code of a requirement that was not met.
func worse(regressions []string) error {
	if len(regressions) == 0 {
		return nil
	}
	return outcomeError{exitRequirement, "worse than allowed:\n" + strings.Join(regressions, "\n")}
}

func (a *app) printComparison(c *report.Comparison, format, page string) error {
	if format == "markdown" {
		var b strings.Builder
		if err := c.Markdown(&b); err != nil {
			return err
		}
		return a.print(b.String())
	}
	rest := ""
	if len(c.Differences) > 0 {
		rest = "\nDifferent settings\n"
		for _, d := range c.Differences {
			rest += "- " + d.Key + ": " + strings.Join(d.Values, " | ") + "\n"
		}
	}
	if len(c.Notes) > 0 {
		rest += "\n" + bullets(c.Notes)
	}
	return printRows(a, format, c, comparisonRows(c), rest+"\nPage: "+page+"\n")
}

// comparisonRows is the comparison as a table: every figure with its change
// against the first result, marked where it is more than chance.
func comparisonRows(c *report.Comparison) [][]string {
	header := []string{""}
	for i, name := range c.Names {
		header = append(header, name)
		if i > 0 {
			header = append(header, "change")
		}
	}
	rows := [][]string{append(header, "")}
	for _, figure := range c.Rows {
		row := []string{figure.Name}
		for i, shown := range figure.Shown {
			row = append(row, shown)
			if i > 0 {
				row = append(row, changeWords(figure.Changes[i]))
			}
		}
		rows = append(rows, append(row, ""))
	}
	return rows
}

func changeWords(ch report.Change) string {
	v, ok := ch.Relative.Value()
	if !ok {
		return "n/a"
	}
	text := fmt.Sprintf("%+.1f %%", v*100)
	if ch.Significant != nil && *ch.Significant {
		text += " *"
	}
	return text
}
