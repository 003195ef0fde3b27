package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen/selftest"
)

func (a *app) selftestCommand() *cli.Command {
	return &cli.Command{
		Name:  "selftest",
		Usage: "how much load can this machine drive, and how exactly does it measure",
		Description: "Drives a server in this process that streams tokens on time and says when it sent them,\n" +
			"at rising loads, and compares what was measured with that truth. Nothing leaves the machine.",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.DurationFlag{Name: "duration", Value: 3 * time.Second, Usage: "of each load"},
			&cli.IntFlag{Name: "streams", Usage: "try only this many streams", DefaultText: "rising numbers"},
			&cli.Float64Flag{Name: "rate", Value: 50, Usage: "tokens per second of each stream, with --streams"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress on stderr", DisableDefaultText: true},
		},
		Action: a.selftestAction,
	}
}

func (a *app) selftestAction(c *cli.Context) error {
	out := c.String("format")
	if _, err := arguments(c, 0, 0, "no arguments"); err != nil {
		return err
	}
	o := selftest.Options{Duration: c.Duration("duration")}
	if c.IsSet("streams") {
		o.Points = []selftest.Point{{Streams: c.Int("streams"), Rate: c.Float64("rate")}}
	}
	if o.Duration <= 0 || len(o.Points) == 1 && (o.Points[0].Streams < 1 || o.Points[0].Rate <= 0) {
		return usagef("--duration, --streams and --rate must be above 0")
	}
	if !c.Bool("quiet") {
		o.OnRow = func(r selftest.Row) {
			a.logf("%6d streams x %g tok/s: %s events/s, TTFT error %s mean, %s p99", r.Streams, r.TokensPerSecond,
				r.EventsPerSecond.Format(0), terminal.Seconds(r.ErrorMean), terminal.Seconds(r.ErrorP99))
		}
	}
	ctx, cancel := a.interrupt.cancelled(c.Context)
	defer cancel()
	result, err := selftest.Run(ctx, o)
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if err := a.printSelftest(result, out); err != nil {
		return err
	}
	switch {
	case a.interrupt.interrupted():
		return outcomeError{code: exitInterrupted}
	case result.Largest == nil:
		return outcomeError{exitInconclusive, "not even the smallest load was measured honestly: this machine is too busy or too small"}
	}
	return nil
}

func (a *app) printSelftest(r selftest.Result, format string) error {
	rest := ""
	if l := r.Largest; l != nil && format == "table" {
		rest = fmt.Sprintf("\nHonest up to %d streams of %g tokens/s (%s events/s). A real server elsewhere leaves the client more room,\n"+
			"for here the server shares its machine.\n", l.Streams, l.TokensPerSecond, l.EventsPerSecond.Format(0))
	}
	return printRows(a, format, r, selftestRows(r.Rows), rest)
}

func selftestRows(rows []selftest.Row) [][]string {
	out := [][]string{{"streams", "tok/s each", "events/s", "TTFT error mean", "p99", "CPU/event", "memory/stream", "CPU", "stamps", "honest"}}
	for _, r := range rows {
		verdict := "yes"
		if !r.Honest {
			verdict = "no: " + r.Why
		}
		out = append(out, []string{
			strconv.Itoa(r.Streams), strconv.FormatFloat(r.TokensPerSecond, 'g', -1, 64), r.EventsPerSecond.Format(0),
			terminal.Seconds(r.ErrorMean), terminal.Seconds(r.ErrorP99), terminal.Scaled(r.CPUPerEvent, 1e6, 1, " us"), terminal.Scaled(r.MemoryPerStream, 1e-3, 1, " kB"),
			terminal.Percent(r.CPUShare, 0), r.StampSource, verdict,
		})
	}
	return out
}
