package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/loadgen/trace"
	"github.com/capfind/capfind/sweep"
)

// app is what every command needs: the streams, and how an interruption is
// heard. Results go to stdout, everything else to stderr.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	interrupt      *interrupt
	args           []string       // the command line, for the record
	traffic        *trace.Trace   // recorded, to be sent again; nil: none
	recorded       *sweep.Traffic // the same as a load; nil: none
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
