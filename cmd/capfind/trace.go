package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/trace"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep/store"
)

// traceActions are what can be done with a file of recorded traffic.
var traceActions = []string{"describe", "from-log"}

func (a *app) traceCommand() *cli.Command {
	return &cli.Command{
		Name:      "trace",
		Usage:     "describe recorded traffic, or make a trace of a server's log",
		ArgsUsage: "describe|from-log FILE",
		Description: "capfind trace describe FILE: rate, burstiness, lengths, shared prefixes, peak minute. FILE is a\n" +
			"trace of Mooncake, Azure, BurstGPT or of capfind's own format; docs/traces.md tells of them.\n" +
			"capfind trace from-log FILE > trace.jsonl: from vLLM's log (--enable-log-requests) or a JSON\n" +
			"access log. Only times, lengths and numbers for equal stretches of text are kept.\n" +
			"Both read plain, gzip and zstd files; a line that is no request is counted, and never an error.",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "picture", Usage: "with describe: draw it into the PNG `FILE`"},
			&cli.StringFlag{Name: "output", Usage: "with from-log: write the trace to `FILE`", DefaultText: "standard output"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "nothing on stderr", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, 2, "describe or from-log, and one FILE")
			switch {
			case err != nil:
				return err
			case args[0] == "describe":
				return a.describeTrace(c, args[1])
			case args[0] == "from-log":
				return a.traceFromLog(c, args[1])
			}
			return usagef("no trace %s; there are %s", args[0], strings.Join(traceActions, " and "))
		},
	}
}

// traceFile refuses what is no file before it is read.
func traceFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usagef("%s: no such file", path)
	case err != nil:
		return err
	case info.IsDir():
		return usagef("%s is a directory, and no file", path)
	}
	return nil
}

func (a *app) describeTrace(c *cli.Context, path string) error {
	if err := traceFile(path); err != nil {
		return err
	}
	ctx, cancel := a.interrupt.cancelled(c.Context)
	defer cancel()
	d, err := trace.Describe(ctx, path)
	if a.interrupt.interrupted() {
		return outcomeError{exitInterrupted, "interrupted"}
	}
	if err != nil {
		return err
	}
	notes := d.Notes()
	if d.OutOfOrder > 0 {
		notes = append(notes, fmt.Sprintf("requests that came before the line above theirs: %d", d.OutOfOrder))
	}
	if d.Resolution >= 0.1 {
		notes = append(notes, fmt.Sprintf("its times are multiples of %s: below that, when requests came is not known", terminal.Short(time.Duration(d.Resolution*float64(time.Second)))))
	}
	if d.SharedCutting {
		notes = append(notes, "it has more distinct blocks than are followed: at least that share is shared")
	}
	if picture := c.String("picture"); picture != "" {
		var png bytes.Buffer
		if err := report.TracePicture(&png, d, filepath.Base(path), traceSubtitle(d)); err != nil {
			return err
		}
		if err := store.WriteFile(picture, png.Bytes()); err != nil {
			return err
		}
		if !c.Bool("quiet") {
			a.logf("drawn into %s", picture)
		}
	}
	rest := ""
	if len(notes) > 0 {
		rest = "\n" + bullets(notes)
	}
	return printRows(a, c.String("format"), d, traceRows(d), rest)
}

func traceSubtitle(d *trace.Description) string {
	return fmt.Sprintf("%s  ·  %d requests in %s", d.Format, d.Requests, longSpan(d.SpanSeconds))
}

// longSpan writes a time that may be days.
func longSpan(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	if d >= 48*time.Hour {
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
	return d.String()
}

// traceRows is a description as a table.
func traceRows(d *trace.Description) [][]string {
	rows := [][]string{{"", "value", ""}}
	add := func(name, value, remark string) { rows = append(rows, []string{name, value, remark}) }
	format := string(d.Format)
	if d.Compression != "" {
		format += ", " + d.Compression
	}
	add("format", format, "")
	add("requests", strconv.Itoa(d.Requests), "")
	add("time", longSpan(d.SpanSeconds), "from the first to the last")
	add("rate", d.RequestRate.Format(3)+" req/s", "over that time")
	if p := d.Peak; p != nil {
		add("peak minute", fmt.Sprintf("%.3f req/s", p.Rate), fmt.Sprintf("%.1f x the mean, at %s", p.Ratio, longSpan(p.AtSeconds)))
	}
	add("burstiness", d.Burstiness.Format(2), "of the gaps within minutes: 1 is random, less is burstier")
	for _, l := range []struct {
		name string
		of   trace.Lengths
		rate loadgen.Number
	}{{"prompt tokens", d.InputTokens, d.InputRate}, {"answer tokens", d.OutputTokens, d.OutputRate}} {
		add(l.name, "mean "+l.of.Mean.Format(0), fmt.Sprintf("p50 %s, p90 %s, p99 %s, max %s; %s tokens/s", l.of.P50.Format(0), l.of.P90.Format(0), l.of.P99.Format(0), l.of.Max.Format(0), l.rate.Format(0)))
	}
	add("shared prefixes", terminal.Percent(d.SharedPrefix, 1), "of the prompts' lengths came before, in the same order")
	if d.Sessions > 0 {
		add("sessions", strconv.Itoa(d.Sessions), fmt.Sprintf("with %d of the requests", d.InSessions))
	}
	return rows
}

func (a *app) traceFromLog(c *cli.Context, path string) error {
	if err := traceFile(path); err != nil {
		return err
	}
	ctx, cancel := a.interrupt.cancelled(c.Context)
	defer cancel()
	to := io.Writer(a.stdout)
	var kept bytes.Buffer
	output := c.String("output")
	if output != "" {
		to = &kept
	}
	r, err := trace.FromLog(ctx, path, to)
	switch {
	case a.interrupt.interrupted():
		return outcomeError{exitInterrupted, "interrupted"}
	case err != nil:
		return err
	case output != "":
		if err := store.WriteFile(output, kept.Bytes()); err != nil {
			return err
		}
	}
	if !c.Bool("quiet") {
		a.tellLog(r)
	}
	return nil
}

// tellLog says what became of a log's lines.
func (a *app) tellLog(r *trace.LogReading) {
	a.logf("%d requests; %d with numbers for what their prompts share, %d in sessions", r.Requests, r.WithBlocks, r.InSessions)
	if r.Estimated > 0 {
		a.logf("%d prompt lengths were estimated at four bytes a token, for the log does not count their tokens", r.Estimated)
	}
	if r.NoOutput > 0 {
		a.logf("%d answers have no length: replay asks for workload.output_len tokens in their place", r.NoOutput)
	}
	if r.Failed > 0 {
		a.logf("%d failed requests are left out", r.Failed)
	}
	var why []string
	for reason, n := range r.Reasons {
		why = append(why, fmt.Sprintf("%d %s", n, reason))
	}
	if slices.Sort(why); len(why) > 0 {
		a.logf("lines that tell of no request: %s", strings.Join(why, ", "))
	}
}
