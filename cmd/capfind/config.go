package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
)

// configFor reads the configuration of a command that loads a server: from the
// file given, from the directory to resume, or from flags alone.
func (a *app) configFor(c *cli.Context, sections ...flags.Section) (*config.File, error) {
	args, err := arguments(c, 0, 1, "one CONFIG at most")
	if err != nil {
		return nil, err
	}
	path := ""
	if len(args) == 1 {
		path = args[0]
	} else if dir := c.String("resume"); dir != "" {
		if !isResult(dir) {
			return nil, usagef("--resume: %s is no result directory; it is what an interrupted run named, such as results/%s-20260131T120000Z", dir, c.Command.Name)
		}
		path = filepath.Join(dir, "config.yaml")
	}
	return a.readConfig(c, path, nil, sections...)
}

// readConfig reads the file, if any, under the environment, what the command itself
// sets, and the flags.
func (a *app) readConfig(c *cli.Context, path string, own []config.Override, sections ...flags.Section) (*config.File, error) {
	given, err := flags.Overrides(c, a.args, os.Getenv, append(slices.Clone(sections), "fleet")...)
	if err != nil {
		return nil, err
	}
	given = append(own, given...)
	f, err := config.Read(config.Input{Path: path, Stdin: a.stdin, Overrides: given})
	if err == nil && f.Stop.MinGoodput > 0 && !slices.Contains([]string{"run", "replay", "validate"}, c.Command.Name) {
		return nil, usagef("stop.min_goodput is a requirement of run and replay; %s knows stop.slo", c.Command.Name)
	}
	return f, asUsage(err)
}

// asUsage makes a configuration that cannot be read a matter of usage.
func asUsage(err error) error {
	var problems config.Problems
	if err == nil || errors.As(err, &problems) {
		return err
	}
	return flags.UsageError{Err: err}
}
