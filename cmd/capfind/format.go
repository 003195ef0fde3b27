package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen"
)

// formats are the forms that a result can be printed in.
var formats = []string{"table", "json", "markdown", "csv"}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Aliases: []string{"o"}, Value: "table", Usage: "how the result is printed: " + strings.Join(formats, ", "),
		Action: func(_ *cli.Context, f string) error {
			if slices.Contains(formats, f) {
				return nil
			}
			if near := config.Closest(f, formats); near != "" {
				return usagef("-o %s is not known; did you mean %s?", f, near)
			}
			return usagef("-o %s is not known; it can be %s", f, strings.Join(formats, ", "))
		}}
}

// csvText writes rows as comma-separated values.
func csvText(rows [][]string) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.WriteAll(rows) // a strings.Builder does not fail
	return b.String()
}

// markdownTable writes rows as a table, the first as its head.
func markdownTable(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for j, cell := range row {
			row[j] = strings.ReplaceAll(cell, "|", `\|`)
		}
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}

// bullets writes one line a point.
func bullets(points []string) string {
	var b strings.Builder
	for _, p := range points {
		b.WriteString("- " + p + "\n")
	}
	return b.String()
}

// printRows prints a value as JSON, or its rows as a table with what follows it.
func printRows[T any](a *app, format string, v T, rows [][]string, rest string) error {
	switch format {
	case "json":
		return printJSON(a, v)
	case "csv":
		return a.print(csvText(rows))
	case "markdown":
		return a.print(markdownTable(rows) + rest)
	}
	return a.print(terminal.Table(rows) + rest)
}

// printJSON prints a value as JSON, its lists never null.
func printJSON[T any](a *app, v T) error {
	text, err := json.MarshalIndent(loadgen.WithLists(v), "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	return a.print(string(text) + "\n")
}
