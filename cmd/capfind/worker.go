package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/fleet"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/probe"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/loadgen/selftest"
)

// workerKeys are the keys of the target that a worker has of its own: secrets and files
// are those of its machine.
var workerKeys = []flags.Section{"target.headers", "target.api_key_env", "target.api_key_file", "target.ca_file", "target.client_cert", "target.client_key", "target.unix_socket", "workload.path"}

func (a *app) workerCommand() *cli.Command {
	return &cli.Command{
		Name:  "worker",
		Usage: "a load machine of a fleet",
		Description: "Joins the process that decides (capfind sweep --workers N, and all others that send load),\n" +
			"which prints the line to type here, and sends what it orders, until Ctrl-C. The token comes\n" +
			"from " + tokenVariable + ". A target outside private networks must be allowed by --allow-target.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "join", Usage: "`URL` that the deciding process printed, or that of a NATS cluster"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of this worker in results", DefaultText: "the machine's name and the process"},
			&cli.StringFlag{Name: "fleet", Usage: "`NAME` of the fleet, as the deciding process has it", Value: config.Default().Fleet.Name},
			&cli.IntFlag{Name: "max-streams", Usage: "send at most `N` requests at once", DefaultText: "no bound"},
			&cli.StringSliceFlag{Name: "allow-target", Usage: "load `HOST` and no other; may be repeated", DefaultText: "any in private networks"},
			&cli.DurationFlag{Name: "wait", Usage: "how long to stay without a deciding process", DefaultText: "for good"},
			&cli.BoolFlag{Name: "leashed", Hidden: true, Usage: "end when standard input does, and not by Ctrl-C"},
		}, flags.Config(workerKeys...)...),
		Action: a.workerAction,
	}
}

func (a *app) workerAction(c *cli.Context) error {
	if _, err := arguments(c, 0, 0, ""); err != nil {
		return err
	}
	if c.String("join") == "" {
		return usagef("worker needs --join URL: the process that decides prints it, e.g. capfind sweep CONFIG --workers 2")
	}
	own, err := flags.Overrides(c, a.args, os.Getenv, workerKeys...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	if c.Bool("leashed") {
		go func() {
			_, _ = io.Copy(io.Discard, a.stdin) // whatever ends it
			cancel()
		}()
	} else {
		defer context.AfterFunc(a.interrupt.asked, cancel)()
	}
	w := &workplace{app: a, own: own, trusting: c.Bool("leashed"), allowed: c.StringSlice("allow-target")}
	defer w.leave()
	err = fleet.Work(ctx, fleet.WorkerConfig{
		Name: workerName(c.String("name")), Fleet: c.String("fleet"), URL: c.String("join"), Token: loadgen.Secret(os.Getenv(tokenVariable)),
		MaxStreams: c.Int("max-streams"), Wait: c.Duration("wait"), Version: version().version,
		Notice: func(text string) { a.logf("%s %s", time.Now().Format(time.TimeOnly), text) }, Prepare: w.prepare,
	})
	switch {
	case errors.Is(err, fleet.ErrName):
		return flags.UsageError{Err: err}
	case errors.Is(err, fleet.ErrNoHub) && w.bench != nil: // it has done its work
		a.logf("%v: done", err)
		return nil
	}
	return err
}

// workerName is the name given, or one made of the machine's and the process's.
func workerName(given string) string {
	if given != "" {
		return given
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	host = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, host)
	return fmt.Sprintf("%.50s-%d", host, os.Getpid())
}

// workplace makes a worker ready for one deciding process after the other.
type workplace struct {
	*app
	own      []config.Override
	allowed  []string
	trusting bool   // the deciding process is the one that started this one
	bench    *bench // as made ready last; nil: not yet
}

func (w *workplace) leave() {
	if w.bench != nil {
		w.bench.close()
		w.bench = nil
	}
}

// prepare makes the client that sends what the deciding process would. It asks the target
// itself whether it can be reached from here, with the key that is known here: a machine
// that cannot must not count as a server that fails.
func (w *workplace) prepare(ctx context.Context, setup []byte) (g fleet.Generator, speed float64, err error) {
	w.leave()
	var s fleetSetup
	if err := json.Unmarshal(setup, &s); err != nil {
		return nil, 0, fmt.Errorf("what the deciding process sent cannot be read: %w", err)
	}
	f, err := w.read(s.Config)
	if err != nil {
		return nil, 0, err
	}
	if g, err = w.client(ctx, f, &s); err == nil && f.Fleet.Shares == config.MeasuredShares {
		speed, err = selftest.Speed(ctx)
	}
	return g, speed, err
}

// read reads the deciding process's configuration. It refuses one that names variables or
// files of this machine which its owner has not named: who holds the fleet's token may
// order loads, and must not be able to have sent to him what this machine keeps.
func (w *workplace) read(text string) (*config.File, error) {
	refused := ""
	lookup := func(name string) (string, bool) {
		if w.trusting || slices.ContainsFunc(w.own, func(o config.Override) bool {
			return o.Key == "target.api_key_env" && o.Value == name || strings.Contains(o.Value, "${"+name+"}")
		}) {
			return os.LookupEnv(name)
		}
		refused = name
		return "", false
	}
	f, err := config.Read(config.Input{Path: "-", Stdin: strings.NewReader(text), Overrides: w.own, LookupEnv: lookup})
	if refused != "" {
		return nil, fmt.Errorf("the deciding process wants the variable %s of this machine: allow it by starting this worker with --api-key-env %s, or with a --header that has it", refused, refused)
	}
	if err != nil || w.trusting {
		return f, err
	}
	for _, o := range ownedBy(f) {
		if !slices.ContainsFunc(w.own, func(own config.Override) bool { return own.Key == o.key }) {
			return nil, fmt.Errorf("%s is %s where the deciding process runs, and that would be read here: allow it by starting this worker with --%s %s, or another of its own",
				o.key, o.value, o.flag, shellQuoted(o.value))
		}
	}
	return f, nil
}

// client makes the client that a configuration asks for.
func (w *workplace) client(ctx context.Context, f *config.File, s *fleetSetup) (_ fleet.Generator, err error) {
	f.Target.Simulator, f.Target.BaseURL, f.Target.API = nil, s.BaseURL, s.API
	if err := w.allow(ctx, s.BaseURL); err != nil {
		return nil, err
	}
	b := &bench{app: &app{stdin: w.stdin, stdout: w.stdout, stderr: w.stderr, interrupt: w.interrupt, args: w.args}, file: f, target: f.Target.Target,
		console: terminal.New(w.stderr, true, "worker")}
	for name, value := range b.target.Headers {
		if value == loadgen.Secret(value.String()) && value != "" {
			return nil, fmt.Errorf("the header %s is a secret that does not travel: give it to this worker by --header %q", name, name+":${VARIABLE}")
		}
	}
	if b.key, _, err = f.APIKey(os.LookupEnv); err != nil {
		return nil, err
	}
	if err := b.readTraffic(ctx); err != nil {
		return nil, err
	}
	if b.found, err = probe.Discover(ctx, b.target, b.key, probe.Options{Workload: f.Workload, Wait: readyWait, SkipCalibration: true}); err != nil {
		return nil, fmt.Errorf("from this machine: %w", err)
	}
	if b.found.Protocol, err = api.ByName(s.API); err != nil {
		return nil, err
	}
	b.found.Options, b.found.Sizer = s.Options, s.Sizer
	if err := b.prepareClient(ctx); err != nil {
		b.close()
		return nil, err
	}
	w.bench = b
	return b.engine, nil
}

// readTraffic reads the recorded traffic that is to be sent, and cuts the same piece out
// of it as the deciding process.
func (b *bench) readTraffic(ctx context.Context) (err error) {
	f := b.file
	if f.Workload.Dataset != prompt.Trace {
		return nil
	}
	if b.traffic, err = openTrace(ctx, f, nil); err != nil {
		return err
	}
	b.onClose(func() { b.traffic.Close() })
	b.replayQuestion(f)
	return nil
}

// allow refuses a target that this worker was not started for.
func (w *workplace) allow(ctx context.Context, baseURL string) error {
	u, err := url.Parse(baseURL)
	if err != nil {
		return err
	}
	host := u.Hostname()
	switch {
	case len(w.allowed) > 0 && !slices.Contains(w.allowed, host):
		return fmt.Errorf("this worker may load %s (its --allow-target), and not %s", strings.Join(w.allowed, ", "), host)
	case len(w.allowed) == 0 && !private(ctx, baseURL):
		return fmt.Errorf("%s is neither this machine nor in a private network: start the worker with --allow-target %s if it is yours to load", host, host)
	}
	return nil
}
