package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/sweep"
)

// loadSections are the parts of the configuration that a single load uses, and
// pacingKeys those of the ladder's section that apply to it, too.
var loadSections = []flags.Section{"preset", "target", "workload", "load", "stop", "telemetry", "output", "report", "web",
	"sweep.start", "sweep.error_hold", "sweep.budget"}

// measure runs a command that loads a server: read, set up, ask, conclude. The result
// is nil where nothing was measured.
func (a *app) measure(c *cli.Context, sections []flags.Section, prepare func(*config.File) (sweep.Planned, error)) (*sweep.Result, error) {
	f, err := a.configFor(c, sections...)
	if err != nil {
		return nil, err
	}
	question, err := prepare(f)
	if err != nil {
		return nil, err
	}
	return a.answer(c, f, question)
}

// answer measures what a question wants to know, and concludes.
func (a *app) answer(c *cli.Context, f *config.File, question sweep.Planned) (*sweep.Result, error) {
	out := c.String("format")
	if c.Float64("price") < 0 {
		return nil, usagef("--price must not be negative")
	}
	if c.Bool("dry-run") {
		return nil, a.dryRun(c, sweep.Foresee(question, outlook(f, c)), out)
	}
	b, err := a.newBench(c.Context, c, f)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if b.web != nil {
		b.web.Expect(sweep.Foresee(question, outlook(f, c)).Total.Requests)
	}
	r, err := b.controller().Answer(c.Context, c.Command.Name, question)
	b.console.Close()
	return r, b.conclude(r, err, out)
}

// asking is measure as the action of a command.
func (a *app) asking(sections []flags.Section, prepare func(*cli.Context, *config.File) (sweep.Planned, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		_, err := a.measure(c, sections, func(f *config.File) (sweep.Planned, error) { return prepare(c, f) })
		return err
	}
}

// outlook is what a dry run goes by.
func outlook(f *config.File, c *cli.Context) sweep.Outlook {
	return sweep.Outlook{Response: c.Duration("response-time"), Price: c.Float64("price"), Workload: workload(f), Settle: f.Sweep.Settle, Budget: f.Sweep.Budget}
}

// workload is what a controller must know of the requests.
func workload(f *config.File) sweep.Workload {
	w := f.Workload
	shares := []string{prompt.SharedPrefix, prompt.Conversation, prompt.Trace}
	load := sweep.Workload{SharedPrefix: slices.Contains(shares, w.Dataset) || !w.Unique}
	if w.Path == "" || w.Dataset == prompt.Trace { // a data set has lengths of its own
		load.PromptTokens, load.OutputTokens = float64(w.InputLen+w.PrefixLen), float64(w.OutputLen)
	}
	if w.Turns > 1 { // each carries those before it
		load.Turns = w.Turns
		load.PromptTokens += (load.PromptTokens + load.OutputTokens) * float64(w.Turns-1) / 2
	}
	return load
}

// point is the load that the configuration's load section describes.
func point(f *config.File) sweep.LoadPoint {
	l := f.Load
	return sweep.LoadPoint{
		Concurrency: l.Concurrency(), Rate: l.Rate(), Burstiness: l.Burstiness,
		Requests: l.NumPrompts, Duration: l.Duration, Goodput: l.Goodput.Asked(),
	}
}

// benchFlags are the flags of every command that loads a server.
func benchFlags(sections ...flags.Section) []cli.Flag {
	return slices.Concat([]cli.Flag{
		formatFlag(),
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress on stderr", DisableDefaultText: true},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "load a target outside private networks without asking", DisableDefaultText: true},
		&cli.StringFlag{Name: "resume", Usage: "go on with the interrupted run in `DIR`"},
		&cli.BoolFlag{Name: "dry-run", Usage: "print what would be sent, and send nothing", DisableDefaultText: true},
		&cli.DurationFlag{Name: "response-time", Usage: "with --dry-run: that of a single request, to estimate how long all takes", DefaultText: "unknown"},
		&cli.Float64Flag{Name: "price", Usage: "with --dry-run and --response-time: of the server an hour, to say what that costs", DefaultText: "unknown"},
	}, webFlags(), flags.Config(append(slices.Clone(sections), "fleet")...))
}
