package main

import (
	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
)

// allSections are the parts of the configuration, in its order.
var allSections = []flags.Section{"preset", "target", "workload", "load", flags.Rates, "replay", "sweep", "stop", "recommend", "telemetry", "output", "report", "web"}

func (a *app) validateCommand() *cli.Command {
	return &cli.Command{
		Name:      "validate",
		Usage:     "check a configuration and say everything that is wrong with it",
		ArgsUsage: "CONFIG",
		Description: "CONFIG is a file, or - for standard input. Nothing is sent to any server.\n" +
			"With --resolved the configuration is printed as it would be used.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "resolved", Usage: "print the configuration with all defaults, secrets hidden", DisableDefaultText: true},
		}, flags.Config(allSections...)...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1, "one CONFIG")
			if err != nil {
				return err
			}
			f, err := a.readConfig(c, args[0], nil, allSections...)
			if err != nil {
				return err
			}
			if c.Bool("resolved") {
				return a.print(string(f.YAML()))
			}
			if args[0] == "-" {
				args[0] = "stdin"
			}
			return a.print(args[0] + " is valid\n")
		},
	}
}
