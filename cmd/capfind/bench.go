package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/fleet"
	"github.com/capfind/capfind/internal/live"
	"github.com/capfind/capfind/internal/machine"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/internal/telemetry"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/probe"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
	"github.com/capfind/capfind/sweep/store"
)

// readyWait is how long a server that is still loading its model is waited for.
const readyWait = 5 * time.Minute

// bench is everything that a measurement needs, put together from the
// configuration in the order in which it is needed: the simulated server if any,
// the probe, the prompts, the client, the result directory, the telemetry.
type bench struct {
	*app
	file    *config.File
	target  loadgen.Target // with the simulator's address
	key     loadgen.Secret
	sim     *simhttp.Server
	found   *probe.Found
	source  prompt.Source
	engine  *loadgen.Engine
	fleet   *fleet.Hub // nil: this machine alone sends the load
	scraper *telemetry.Scraper
	console *terminal.Console
	web     *live.Server // nil: not asked for
	store   *store.Store
	result  *sweep.Result
	closers []func()
}

// close undoes what was started, last first.
func (b *bench) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
	b.closers = nil
}

func (b *bench) onClose(f func()) { b.closers = append(b.closers, f) }

// newBench puts a measurement together. Nothing is stored before the server has
// answered.
func (a *app) newBench(ctx context.Context, c *cli.Context, f *config.File) (*bench, error) {
	b := &bench{app: a, file: f, target: f.Target.Target, console: terminal.New(a.stderr, c.Bool("quiet"), c.Command.Name)}
	if err := b.setUp(ctx, c); err != nil {
		b.handOver(err, false)
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) setUp(ctx context.Context, c *cli.Context) (err error) {
	ctx, cancel := b.interrupt.cancelled(ctx)
	defer cancel()
	if b.key, _, err = b.file.APIKey(os.LookupEnv); err != nil {
		return err
	}
	if err := b.startSimulator(); err != nil {
		return err
	}
	if err := b.confirm(ctx, b.target.BaseURL, c.Bool("yes") || b.target.UnixSocket != ""); err != nil {
		return err
	}
	if err := b.openResult(c.Command.Name, c.String("resume")); err != nil {
		return err
	}
	if b.recorded != nil {
		b.recorded.Seed = b.file.Workload.Seed // known only now: a resumed run draws the same sessions
	}
	if err := b.startWeb(c); err != nil {
		return err
	}
	if err := b.probe(ctx); err != nil {
		return b.setupError(err)
	}
	if err := b.prepareClient(ctx); err != nil {
		return b.setupError(err)
	}
	if err := b.makeDirectory(); err != nil {
		return err
	}
	b.announceInterrupt()
	if err := b.gatherFleet(ctx); err != nil {
		return b.setupError(err)
	}
	return b.startTelemetry()
}

// announceInterrupt says, when the first Ctrl-C comes, what happens now.
func (b *bench) announceInterrupt() {
	stop := context.AfterFunc(b.interrupt.asked, func() {
		b.notice("stopping: nothing more is sent, what is in flight may finish; once more ends at once")
	})
	b.onClose(func() { stop() })
}

// setupError tells an interruption from a failure.
func (b *bench) setupError(err error) error {
	if b.interrupt.interrupted() {
		return outcomeError{exitInterrupted, "interrupted before anything was measured"}
	}
	var p *probe.Error
	if !errors.As(err, &p) {
		return err
	}
	key := blamedKey(p)
	if api := b.file.Target.API; errors.Is(p, probe.ErrAPI) && api != "auto" {
		key = "target.api"
	}
	if key != "" {
		if at := b.file.Where(key); at != "" {
			return fmt.Errorf("%s: %s: %w", at, key, err)
		}
	}
	return err
}

// blamedKey is the key of the configuration that a failed probe points to.
func blamedKey(p *probe.Error) string {
	switch {
	case errors.Is(p, probe.ErrModel):
		return "target.model"
	case errors.Is(p, probe.ErrUnreachable), errors.Is(p, probe.ErrAPI):
		return "target.base_url"
	case errors.Is(p, probe.ErrContext):
		return "workload.input_len"
	}
	return ""
}

// startSimulator starts the simulated server where the configuration has one.
func (b *bench) startSimulator() error {
	cfg := b.file.Target.Simulator
	if cfg == nil {
		return nil
	}
	sim, err := simhttp.Start(*cfg)
	if err != nil {
		return fmt.Errorf("the simulated server could not be started: %w", err)
	}
	b.sim, b.target.BaseURL, b.target.UnixSocket, b.key = sim, sim.URL(), sim.Socket(), cfg.APIKey
	b.onClose(func() { sim.Close() })
	return nil
}

// openResult starts a new result, or opens the one to go on with.
func (b *bench) openResult(command, resume string) error {
	if resume == "" {
		if b.file.Workload.Seed == 0 {
			// Below 2^53, so that every reader of the result sees the same number.
			b.file.Workload.Seed = 1 + rand.Uint64N(1<<53-1)
		}
		b.result = &sweep.Result{Command: command}
		return checkPlace(b.file.Output.Dir)
	}
	kept, result, err := store.Open(resume)
	if err != nil {
		return err
	}
	b.store, b.result = kept, result
	b.onClose(func() { kept.Close() })
	if b.file.Workload.Seed == 0 {
		b.file.Workload.Seed = result.Seed
	}
	return b.sameAsBefore(command)
}

// notComparable are the keys that may differ between a run and its resumption.
var notComparable = []string{"output", "report", "recommend", "telemetry", "fleet", "web", "sweep.budget", "target.timeouts.connect"}

// sameAsBefore refuses to go on with a run under another configuration, and
// says key by key what differs.
func (b *bench) sameAsBefore(command string) error {
	if b.result.Command != command {
		return usagef("%s holds a run of capfind %s, not of capfind %s", b.store.Dir(), b.result.Command, command)
	}
	if b.result.Complete {
		return usagef("the run in %s is complete; `capfind report %s` shows it again", b.store.Dir(), b.store.Dir())
	}
	differences := sweep.Differences(b.result.Config, b.file.Resolved(), notComparable...)
	if len(differences) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s was begun with another configuration, so its steps cannot be compared with new ones:", b.store.Dir())
	for _, d := range differences {
		text += "\n  " + d.String()
	}
	return flags.UsageError{Err: errors.New(text)}
}

// probe finds out what the server is and whether it is ready.
func (b *bench) probe(ctx context.Context) error {
	from := ""
	if at := b.file.Where("target.base_url"); at != "" && b.sim == nil {
		from = " (from " + at + ")"
	}
	b.notice("probing %s%s", config.WithoutCredentials(b.target.BaseURL), from)
	found, err := probe.Discover(ctx, b.target, b.key, probe.Options{
		Workload: b.file.Workload,
		Wait:     readyWait,
		Progress: func(text string) { b.notice("%s", text) },
	})
	if err != nil {
		return err
	}
	b.found = found
	b.notice("%s", found.Describe())
	for _, note := range found.Notes {
		b.notice("%s", note)
	}
	for _, warning := range found.Warnings {
		b.notice("warning: %s", warning)
	}
	return nil
}

func (b *bench) notice(format string, args ...any) { b.observer().Notice(fmt.Sprintf(format, args...)) }

// prepareClient makes the prompts and the client that sends them.
func (b *bench) prepareClient(ctx context.Context) error {
	source, err := b.prompts(ctx)
	if err != nil {
		return err
	}
	b.source = source
	if err := b.dropTooLong(ctx); err != nil {
		return err
	}
	client, err := loadgen.NewClient(loadgen.ClientConfig{
		Target: b.found.Target, APIKey: b.key, Protocol: b.found.Protocol, Options: b.found.Options, Source: source,
	})
	if err != nil {
		return err
	}
	b.onClose(client.Close)
	b.engine = loadgen.NewEngine(client)
	return nil
}

// dropTooLong leaves out the prompts that the server's tokenizer says are longer
// than the model's context; those that slip through are refused, and dropped then.
func (b *bench) dropTooLong(ctx context.Context) error {
	d, ok := b.source.(droppable)
	if !ok || b.found.CountTokens == nil {
		return nil
	}
	b.notice("counting the tokens of long prompts by the server's /tokenize")
	limit := b.found.ContextLength
	err := d.DropLonger(ctx, limit, b.found.CountTokens, fmt.Sprintf("longer than the model's context length (%d tokens)", limit))
	if err != nil && ctx.Err() == nil {
		b.notice("warning: %v; prompts that are too long are dropped as they are refused", err)
		return nil
	}
	return err
}

// prompts is where the prompts come from.
func (b *bench) prompts(ctx context.Context) (prompt.Source, error) {
	w := b.file.Workload
	if b.traffic != nil {
		if n := b.traffic.Longer(b.found.ContextLength, w.OutputLen); n > 0 {
			b.notice("warning: %d of the %d recorded requests are longer than the server's context of %d tokens: it will refuse them", n, b.traffic.Len(), b.found.ContextLength)
		}
		return b.traffic.Source(w.Seed, b.found.Sizer, w.OutputLen), nil
	}
	source, notes, err := prompt.NewWatched(ctx, w, b.found.Sizer, b.console.Reading(filepath.Base(w.Path)))
	b.console.Clear()
	if err != nil {
		return nil, err
	}
	if closer, ok := source.(io.Closer); ok {
		b.onClose(func() { closer.Close() })
	}
	for _, note := range notes {
		b.notice("%s", note)
	}
	return source, nil
}

// makeDirectory makes the result directory, if the run is new, and writes what
// is known before the first request.
func (b *bench) makeDirectory() error {
	b.describe()
	if b.store == nil {
		dir, err := freshDirectory(b.file.Output.Dir, b.result.Name)
		if err != nil {
			return err
		}
		if b.store, err = store.Create(dir); err != nil {
			return err
		}
		b.onClose(func() { b.store.Close() })
	}
	return store.WriteFile(filepath.Join(b.store.Dir(), "config.yaml"), b.file.YAML())
}

// describe writes into the result what is known before the first request.
func (b *bench) describe() {
	r := b.result
	r.CapfindVersion = version().version
	r.Name = b.file.Output.Name
	if r.Name == "" {
		r.Name = r.Command
	}
	r.Config = b.file.Resolved()
	r.Seed = b.file.Workload.Seed
	r.Environment = machine.Describe(b.args, b.sim != nil)
	r.Target = sweep.TargetInfo{
		BaseURL: b.found.BaseURL, API: b.found.Protocol.Name(), Model: b.found.Model, Server: b.found.Server,
		ContextLength: b.found.ContextLength, MetricsURL: config.WithoutCredentials(b.found.MetricsURL),
		Notes: append(b.found.Notes, b.found.Warnings...),
	}
}

// startTelemetry watches the server's own metrics for as long as the bench
// stands.
func (b *bench) startTelemetry() error {
	points, err := os.OpenFile(filepath.Join(b.store.Dir(), metricsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("storing the server's metrics: %w", err)
	}
	// The metrics lie beside the API: behind the same socket, the same certificate.
	transport, err := loadgen.NewTransport(b.target)
	if err != nil {
		points.Close()
		return err
	}
	b.onClose(transport.CloseIdleConnections)
	header := http.Header{}
	for name, value := range b.target.Headers {
		header.Set(name, value.Reveal())
	}
	if b.key != "" && header.Get("Authorization") == "" {
		header.Set("Authorization", "Bearer "+b.key.Reveal())
	}
	b.scraper, err = telemetry.New(telemetry.Config{
		ServerURL: b.found.MetricsURL, GPUURL: b.target.GPUMetricsURL, NodeURL: b.target.NodeMetricsURL,
		Interval: b.file.Telemetry.Interval,
		Header:   header, Transport: transport, BaseURL: b.target.BaseURL, Points: points,
		Notice: func(text string) { b.notice("%s", text) },
	})
	if err != nil {
		points.Close()
		return err
	}
	if b.web != nil {
		b.web.Watch(b.scraper.Seen)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.scraper.Run(ctx) })
	b.onClose(func() {
		cancel()
		running.Wait()
		points.Close()
	})
	return nil
}

// controller is the one who measures.
func (b *bench) controller() *control.Controller {
	f := b.file
	var generator control.Generator = b.engine
	if b.fleet != nil {
		generator = crew{b.fleet}
	}
	return &control.Controller{
		Generator: generator, Config: f.Sweep, Workload: workload(f), Seed: f.Workload.Seed,
		Observer: b.observer(), Journal: b.store, Telemetry: b.scraper, Health: b.found,
		Drain: b.interrupt.requested(), Result: b.result, Response: b.found.Decoding,
	}
}
