package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
)

func (a *app) initCommand() *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "print a commented configuration to start from",
		Description: "capfind init > config.yaml, then set target.base_url. The presets are the guide's two tables:\n" +
			strings.Join(config.Presets, ", "),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "preset", Value: "find_limit", Usage: "which of the guide's settings"},
			&cli.StringFlag{Name: "base-url", Value: "http://127.0.0.1:8000/v1", Usage: "URL of the server to test"},
		},
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return usagef("init prints to standard output: capfind init > %s", name)
			}
			text, err := config.Starter(c.String("preset"), c.String("base-url"))
			if err != nil {
				return usagef("--preset: %w", err)
			}
			return a.print(text)
		},
	}
}
