package main

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/loadgen/trace"
	"github.com/capfind/capfind/sweep"
)

var replaySections = append([]flags.Section{"replay"}, loadSections...)

func (a *app) replayCommand() *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "how many times recorded traffic the deployment carries",
		ArgsUsage: "TRACE [CONFIG]",
		Description: "capfind replay traffic.jsonl.gz --base-url URL --slo p95_ttft:2s\n" +
			"sends the recorded requests with their lengths at rising speeds, and finds the largest at\n" +
			"which the requirements hold; of a long trace it sends the busiest piece (--piece). With\n" +
			"--speed it sends them once, at that speed. --from and --for cut a piece out. Latencies count\n" +
			"from when a request was due. Requests of a session wait for the answer before. docs/traces.md\n" +
			"tells of the formats; capfind trace describe says what a trace is like.",
		Flags:  benchFlags(replaySections...),
		Action: a.replayAction,
	}
}

func (a *app) replayAction(c *cli.Context) error {
	f, err := a.replayConfig(c)
	if err != nil {
		return err
	}
	if a.traffic, err = a.loadTrace(c, f); err != nil {
		return err
	}
	defer a.traffic.Close()
	if most := sweep.MostSpeed(f.Replay.Speedup, a.traffic.Len()); f.Replay.Speed > most {
		return usagef("replay.speed: %g times the sessions of %d requests are more than can be sent from here: at most %.3g; cut the trace with --from and --for", f.Replay.Speed, a.traffic.Len(), most)
	}
	_, err = a.answer(c, f, a.replayQuestion(f))
	return err
}

// replayQuestion is one load where a speed is given, else which speed is the largest.
// For that the busiest piece of a long trace is sent, over and over.
func (a *app) replayQuestion(f *config.File) sweep.Planned {
	if f.Replay.Speed > 0 {
		return sweep.SinglePoint{Load: a.recordedLoad(f), Rules: f.Stop}
	}
	t := a.traffic
	piece := sweep.Piece{Of: t.Len(), OfSeconds: t.Span().Seconds()}
	whole := recordedTraffic(t)
	if length := f.Replay.Piece; length > 0 && t.Span() > length {
		from := t.Busiest(length)
		t.Narrow(from, length)
		piece.FromSeconds = from.Seconds()
	}
	piece.Requests, piece.Seconds = t.Len(), t.Span().Seconds()
	load := a.recordedLoad(f)
	load.Traffic.Whole = whole
	return sweep.FindHeadroom{Traffic: load.Traffic, Speedup: load.Speedup, Piece: piece, Concurrency: load.Concurrency, Rules: f.Stop, Goodput: load.Goodput}
}

// replayConfig reads the configuration. The trace is its data set, so that a run that
// was interrupted finds it again.
func (a *app) replayConfig(c *cli.Context) (*config.File, error) {
	resume := c.String("resume")
	least := 1
	if resume != "" {
		least = 0
		if !isResult(resume) {
			return nil, usagef("--resume: %s is no result directory", resume)
		}
	}
	args, err := arguments(c, least, 2, "one TRACE, and one CONFIG at most")
	if err != nil {
		return nil, err
	}
	var own []config.Override
	path := ""
	if len(args) > 0 {
		if err := traceFile(args[0]); err != nil {
			return nil, err
		}
		file, err := filepath.Abs(args[0])
		if err != nil {
			return nil, err
		}
		own = []config.Override{
			{Source: "replay", Key: "workload.dataset", Value: prompt.Trace},
			{Source: "replay", Key: "workload.path", Value: file},
		}
	}
	switch {
	case len(args) > 1:
		path = args[1]
	case resume != "":
		path = filepath.Join(resume, "config.yaml")
	}
	f, err := a.readConfig(c, path, own, replaySections...)
	if err == nil && !f.Given("load.max_concurrency") {
		f.Load.MaxConcurrency = recordedCap
	}
	return f, err
}

// loadTrace is openTrace with progress, and with what was noticed.
func (a *app) loadTrace(c *cli.Context, f *config.File) (*trace.Trace, error) {
	ctx, cancel := a.interrupt.cancelled(c.Context)
	defer cancel()
	console := terminal.New(a.stderr, c.Bool("quiet"), c.Command.Name)
	t, err := openTrace(ctx, f, console.Reading(filepath.Base(f.Workload.Path)))
	console.Clear()
	console.Close()
	if a.interrupt.interrupted() {
		return nil, outcomeError{exitInterrupted, "interrupted before anything was measured"}
	}
	if err != nil {
		return nil, err
	}
	if !c.Bool("quiet") {
		for _, note := range t.Reading.Notes() {
			a.logf("  %s: %s", filepath.Base(f.Workload.Path), note)
		}
	}
	return t, nil
}

// openTrace reads the part of the trace that is to be sent, and says of the workload how
// long its requests are on average.
func openTrace(ctx context.Context, f *config.File, watch func(read, total int64)) (*trace.Trace, error) {
	t, err := trace.Load(ctx, f.Workload.Path, trace.Cut{From: f.Replay.From, For: f.Replay.For}, watch)
	if err != nil {
		return nil, err
	}
	input, output := t.Means()
	if input > 0 {
		f.Workload.InputLen = int(input)
	}
	if output > 0 {
		f.Workload.OutputLen = int(output)
	}
	return t, nil
}

// recordedCap is how many requests may be in flight where the configuration does not
// say: reaching it is waiting, and counts as such.
const recordedCap = 4096

// recordedLoad is the traffic as a load.
func (a *app) recordedLoad(f *config.File) sweep.LoadPoint {
	a.recorded = recordedTraffic(a.traffic)
	p := sweep.LoadPoint{Concurrency: f.Load.Concurrency(), Traffic: a.recorded, Speed: f.Replay.Speed, Speedup: f.Replay.Speedup, Goodput: f.Load.Goodput.Asked()}
	return p
}

// recordedTraffic is a trace as far as decisions depend on it.
func recordedTraffic(t *trace.Trace) *sweep.Traffic {
	out := &sweep.Traffic{At: t.At}
	out.Prompts, out.Answers = t.Shares()
	if slices.ContainsFunc(t.Before, func(k int32) bool { return k >= 0 }) {
		out.Before = t.Before
	}
	return out
}
