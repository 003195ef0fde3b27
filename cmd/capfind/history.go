package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep/store"
)

func (a *app) historyCommand() *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "the limits of all results in a directory over time",
		ArgsUsage: "DIR",
		Description: "One line for each model, workload and set of rules, with what changed between a result and\n" +
			"the one before it; written to DIR as history.html and history.md. With --fail-if-worse 5% it\n" +
			"ends with exit code 99 where a figure of a line's newest result is worse by more.",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "fail-if-worse", Usage: "`SHARE` by which a figure may be worse, e.g. 5%"},
			&cli.StringFlag{Name: "language", Value: "en", Usage: "of the page: en or zh"},
			&cli.StringFlag{Name: "output-dir", Usage: "where the page goes", DefaultText: "DIR"},
		},
		Action: a.historyAction,
	}
}

func (a *app) historyAction(c *cli.Context) error {
	args, err := arguments(c, 1, 1, "a directory with results")
	if err != nil {
		return err
	}
	o := report.CompareOptions{Language: report.Language(c.String("language"))}
	if c.IsSet("fail-if-worse") {
		gate, err := share(c.String("fail-if-worse"))
		if err != nil {
			return err
		}
		o.FailIfWorse = loadgen.Known(gate)
	}
	to := c.String("output-dir")
	if to == "" {
		to = args[0]
	}
	subjects, damaged, err := resultsUnder(args[0], to)
	if err != nil {
		return err
	}
	h, err := report.NewHistory(subjects, o)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	h.Notes = append(h.Notes, damaged...)
	page := filepath.Join(to, "history.html")
	if err := writePages(page, h); err != nil {
		return err
	}
	if err := a.printHistory(h, c.String("format"), page); err != nil {
		return err
	}
	return worse(h.Regressions)
}

// resultsUnder loads every result in a directory and those below it, with links
// from a page in the directory to. What cannot be read is told, not fatal: one
// damaged result must not hide the others.
func resultsUnder(dir, to string) (found []report.Subject, damaged []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == dir:
			return usagef("%s: no such file or directory", dir)
		case err != nil:
			damaged = append(damaged, err.Error())
			return fs.SkipDir
		case d.IsDir() || d.Name() != store.ResultFile:
			return nil
		}
		r, err := store.Load(path)
		if err != nil {
			damaged = append(damaged, err.Error())
			return nil
		}
		for i := range r.Steps { // the bulk of a result, of which a history shows nothing
			r.Steps[i].Series, r.Steps[i].TTFTBins = nil, nil
		}
		found = append(found, report.Subject{Name: nameOf(path), Result: r, Link: linkToReport(path, to)})
		return fs.SkipDir // the rest of the result's directory is made from it
	})
	if err == nil && len(found)+len(damaged) == 0 {
		err = usagef("%s holds no result: no %s in it or below; capfind sweep writes one", dir, store.ResultFile)
	}
	return found, damaged, err
}

// linkToReport is the way from a page in a directory to a result's report, empty
// where there is none.
func linkToReport(result, from string) string {
	page := filepath.Join(filepath.Dir(result), "report.html")
	if _, err := os.Stat(page); err != nil {
		return ""
	}
	from, err := filepath.Abs(from)
	if err != nil {
		return ""
	}
	if page, err = filepath.Abs(page); err != nil {
		return ""
	}
	rel, err := filepath.Rel(from, page)
	if err != nil {
		return ""
	}
	return filepath.ToSlash(rel)
}

func (a *app) printHistory(h *report.History, format, page string) error {
	if format == "markdown" {
		var b strings.Builder
		if err := h.Markdown(&b); err != nil {
			return err
		}
		return a.print(b.String())
	}
	rest := ""
	if changes := h.Changes(); len(changes) > 0 {
		rest = "\nWhat changed\n" + bullets(changes)
	}
	if len(h.Notes) > 0 {
		rest += "\n" + bullets(h.Notes)
	}
	rows := h.Rows()
	if format == "table" {
		rows = h.Short()
	}
	return printRows(a, format, h, rows, rest+"\nPage: "+page+"\n")
}
