package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
)

// allSections are the parts of the configuration, in its order.
var allSections = []section{"preset", "target", "workload", "load", rates, "sweep", "stop", "recommend", "telemetry", "output", "report"}

func (a *app) validateCommand() *cli.Command {
	return &cli.Command{
		Name:      "validate",
		Usage:     "check a configuration and say everything that is wrong with it",
		ArgsUsage: "CONFIG",
		Description: "CONFIG is a file, or - for standard input. Nothing is sent to any server.\n" +
			"With --resolved the configuration is printed as it would be used.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "resolved", Usage: "print the configuration with all defaults, secrets hidden", DisableDefaultText: true},
		}, configFlags(allSections...)...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1, "one CONFIG")
			if err != nil {
				return err
			}
			f, err := a.readConfig(c, args[0], allSections...)
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

// readConfig reads the file, if any, under the environment and the flags.
func (a *app) readConfig(c *cli.Context, path string, sections ...section) (*config.File, error) {
	given, err := overrides(c, a.args, os.Environ(), sections...)
	if err != nil {
		return nil, err
	}
	f, err := config.Read(config.Input{Path: path, Stdin: a.stdin, Overrides: given})
	return f, asUsage(err)
}

// asUsage makes a configuration that cannot be read a matter of usage.
func asUsage(err error) error {
	var problems config.Problems
	if err == nil || errors.As(err, &problems) {
		return err
	}
	return usageError{err}
}
