// Capfind finds out how many concurrent requests an LLM deployment can take, how
// sure that is, what stops it there, and what production should be set to.
//
//	capfind sweep config.yaml
//
// drives the server up the guide's ladder of concurrencies, searches the exact
// limit between the last good and the first bad step, and writes a report.
// capfind help lists the other commands.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
)

func main() {
	os.Exit(execute(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// execute carries out one command line and returns the exit code.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, args: args, interrupt: listen()}
	defer a.interrupt.stop()
	c := a.program()
	ordered, err := flags.Reorder(c, args)
	if err == nil {
		err = c.RunContext(context.Background(), ordered)
	}
	return a.exitCode(err)
}

// program is the command line as the library knows it.
func (a *app) program() *cli.App {
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
		// Without a handler of ours the library would exit by itself.
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			return usagef("no command given; `capfind help` lists them")
		},
	}
	cli.VersionPrinter = func(*cli.Context) { fmt.Fprintln(a.stdout, version()) }
	for _, command := range c.Commands {
		command.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return flags.UsageError{Err: err} }
		command.HideHelpCommand = true
		command.UsageText = strings.TrimRight("capfind "+command.Name+" [flags] "+command.ArgsUsage, " ")
	}
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return flags.UsageError{Err: err} }
	return c
}

// commands lists the commands in the order of the help.
func (a *app) commands() []*cli.Command {
	return []*cli.Command{
		a.sweepCommand(),
		a.qpsCommand(),
		a.rateCommand(),
		a.runCommand(),
		a.replayCommand(),
		a.soakCommand(),
		a.workerCommand(),
		a.traceCommand(),
		a.planCommand(),
		a.reportCommand(),
		a.compareCommand(),
		a.historyCommand(),
		a.selftestCommand(),
		a.simulateCommand(),
		a.initCommand(),
		a.validateCommand(),
		a.completionCommand(),
		a.manCommand(),
		a.versionCommand(),
	}
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
