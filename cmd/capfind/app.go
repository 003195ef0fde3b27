package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// app is what every command needs: the streams, and how an interruption is
// heard. Results go to stdout, everything else to stderr.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	interrupt      *interrupt
	args           []string // the command line, for the record
}

// run executes one command line and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, args: args, interrupt: listen()}
	defer a.interrupt.stop()
	c := a.cli()
	ordered, err := reorder(c, args)
	if err == nil {
		err = c.RunContext(context.Background(), ordered)
	}
	return a.exitCode(err)
}

func (a *app) cli() *cli.App {
	c := &cli.App{
		Name:      "capfind",
		Usage:     "how many concurrent requests can your LLM deployment take?",
		UsageText: "capfind COMMAND [flags] [arguments]",
		Description: "capfind sweep config.yaml finds the limit and writes a report; capfind init > config.yaml\n" +
			"writes a configuration to start from; capfind simulate starts a server to try it on.\n" +
			"Results go to stdout, progress to stderr. Exit codes: 0 done, 1 failure, 2 usage or\n" +
			"configuration, 4 authentication refused, 5 inconclusive, 99 a stated requirement not met,\n" +
			"130 interrupted.",
		Version:                   version().String(),
		Reader:                    a.stdin,
		Writer:                    a.stdout,
		ErrWriter:                 a.stderr,
		Commands:                  a.commands(),
		DisableSliceFlagSeparator: true, // a header may hold commas
		HideHelpCommand:           false,
		HideVersion:               false,
		// Without a handler of ours the library would exit by itself.
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			return usagef("no command given; `capfind help` lists them")
		},
	}
	cli.VersionPrinter = func(*cli.Context) { fmt.Fprintln(a.stdout, version()) }
	for _, command := range c.Commands {
		command.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usageError{err} }
		command.HideHelpCommand = true
		command.UsageText = strings.TrimRight("capfind "+command.Name+" [flags] "+command.ArgsUsage, " ")
	}
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usageError{err} }
	return c
}

// commands lists the commands in the order of the help.
func (a *app) commands() []*cli.Command {
	return []*cli.Command{
		a.sweepCommand(),
		a.qpsCommand(),
		a.rateCommand(),
		a.runCommand(),
		a.soakCommand(),
		a.planCommand(),
		a.reportCommand(),
		a.compareCommand(),
		a.selftestCommand(),
		a.simulateCommand(),
		a.initCommand(),
		a.validateCommand(),
		a.completionCommand(),
		a.manCommand(),
		a.versionCommand(),
	}
}

// logf writes one line for the person who watches. A broken stderr must not
// end a measurement.
func (a *app) logf(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

// print writes a result to stdout; a reader that went away is an error.
func (a *app) print(text string) error {
	if _, err := io.WriteString(a.stdout, text); err != nil {
		return fmt.Errorf("the result could not be written to stdout: %w", err)
	}
	return nil
}

// arguments returns the positional arguments, which must be within bounds.
func arguments(c *cli.Context, least, most int, names string) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < least:
		return nil, usagef("%s needs %s; `capfind %s --help` shows how", c.Command.Name, names, c.Command.Name)
	case len(args) > most && most == 0:
		return nil, usagef("%s takes no arguments, but was given %s", c.Command.Name, strings.Join(args, " "))
	case len(args) > most:
		return nil, usagef("%s takes %s, but was given %d arguments: %s", c.Command.Name, names, len(args), strings.Join(args, " "))
	}
	return args, nil
}

// exitCode prints what went wrong and says which code stands for it.
func (a *app) exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if err.Error() != "" { // else it was told with the result
		for line := range strings.SplitSeq(err.Error(), "\n") {
			a.logf("capfind: %s", line)
		}
	}
	return codeOf(err)
}
