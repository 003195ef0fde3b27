package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
)

// formats are the forms that a result can be printed in.
var formats = []string{"table", "json", "markdown", "csv"}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Aliases: []string{"o"}, Value: "table", Usage: "how the result is printed: " + strings.Join(formats, ", ")}
}

// format returns the form that was asked for.
func format(c *cli.Context) (string, error) {
	f := c.String("format")
	if slices.Contains(formats, f) {
		return f, nil
	}
	if near := config.Closest(f, formats); near != "" {
		return "", usagef("-o %s is not known; did you mean %s?", f, near)
	}
	return "", usagef("-o %s is not known; it can be %s", f, strings.Join(formats, ", "))
}
