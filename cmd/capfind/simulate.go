package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/internal/simserver/simhttp"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/prompt"
	"github.com/capfind/capfind/sweep"
)

func (a *app) simulateCommand() *cli.Command {
	return &cli.Command{
		Name:      "simulate",
		Usage:     "start a simulated server whose true limits are known",
		ArgsUsage: "[CONFIG]",
		Description: "Serves until Ctrl-C. CONFIG is a configuration whose target.simulator section is used;\n" +
			"every key of it is also a flag. The address is printed on stdout.",
		Flags: flags.Config(flags.Simulator),
		Action: func(c *cli.Context) error {
			cfg, err := a.simulatorConfig(c)
			if err != nil {
				return err
			}
			s, err := simhttp.Start(cfg)
			if err != nil {
				return err
			}
			defer s.Close()
			where, try := s.URL(), "--base-url "+s.URL()
			if path := s.Socket(); path != "" {
				where, try = "unix:"+path, "--unix-socket "+path
			}
			if err := a.print(where + "\n"); err != nil {
				return err
			}
			a.logf("simulated %s server, model %s; Ctrl-C stops it", cfg.Server, cfg.Model)
			a.logf("%s", truth(cfg))
			a.logf("try it with: capfind sweep %s", try)
			<-a.interrupt.requested()
			a.logf("%s", lateness(s))
			return nil
		},
	}
}

// simulatorConfig is the simulator's section, from a file if one is given.
func (a *app) simulatorConfig(c *cli.Context) (simserver.Config, error) {
	args, err := arguments(c, 0, 1, "one CONFIG at most")
	if err != nil {
		return simserver.Config{}, err
	}
	path := ""
	if len(args) == 1 {
		path = args[0]
	}
	given, err := flags.Overrides(c, a.args, func(string) string { return "" }, flags.Simulator)
	if err != nil {
		return simserver.Config{}, err
	}
	// The section must be there even where every key has its default.
	given = append([]config.Override{{Source: "simulate", Key: flags.Simulator, Value: "{}"}}, given...)
	f, err := config.Read(config.Input{Path: path, Stdin: a.stdin, Overrides: given})
	if err != nil {
		return simserver.Config{}, asUsage(err)
	}
	return *f.Target.Simulator, nil
}

// truth says what a sweep with the default rules and workload has to find.
func truth(cfg simserver.Config) string {
	w, rules := prompt.Default(), sweep.DefaultStopRules()
	t := simserver.TruthOf(cfg, simserver.Rules{
		MinSuccess: rules.MinSuccessRate, MaxTTFT: rules.MaxTTFT, MinGain: rules.MinThroughputGain, ErrorHold: sweep.Default().ErrorHold,
		Workload: simserver.Workload{InputLen: w.InputLen, OutputLen: w.OutputLen},
	})
	text := fmt.Sprintf("its true limit for prompts of %d and answers of %d tokens: ", w.InputLen, w.OutputLen)
	switch l := t.Limit; {
	case !l.Reached:
		text += "none"
	case l.Low < l.High:
		text += fmt.Sprintf("%d requests in flight, or any from %d to %d, which no measurement can tell from it, by %s", l.N, l.Low, l.High, sweep.RuleTitle(t.BoundBy))
	default:
		text += fmt.Sprintf("%d requests in flight, by %s", l.N, sweep.RuleTitle(t.BoundBy))
	}
	if t.When != "" {
		text += ", " + t.When
	}
	if len(t.OutOfModel) > 0 {
		text += " (without its " + strings.Join(t.OutOfModel, ", ") + ", which no formula covers)"
	}
	return text
}

// lateness says how honest the simulation was: events sent later than planned
// are the simulator's own delay and not the client's.
func lateness(s *simhttp.Server) string {
	l := s.Lateness()
	if l.Events == 0 {
		return "no event was sent"
	}
	return fmt.Sprintf("%d events sent, %s late on average, p99 %s", l.Events, terminal.Seconds(loadgen.Known(l.Mean.Seconds())), terminal.Seconds(loadgen.Known(l.P99.Seconds())))
}
