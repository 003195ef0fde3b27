package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/simserver"
)

func (a *app) simulateCommand() *cli.Command {
	return &cli.Command{
		Name:      "simulate",
		Usage:     "start a simulated server whose true limits are known",
		ArgsUsage: "[CONFIG]",
		Description: "Serves until Ctrl-C. CONFIG is a configuration whose target.simulator section is used;\n" +
			"every key of it is also a flag. The address is printed on stdout.",
		Flags: configFlags(simulator),
		Action: func(c *cli.Context) error {
			cfg, err := a.simulatorConfig(c)
			if err != nil {
				return err
			}
			s, err := simserver.Start(cfg)
			if err != nil {
				return err
			}
			defer s.Close()
			if err := a.print(s.URL() + "\n"); err != nil {
				return err
			}
			a.logf("simulated %s server at %s/v1, model %s; Ctrl-C stops it", cfg.Server, s.URL(), cfg.Model)
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
	given, err := overrides(c, nil, simulator)
	if err != nil {
		return simserver.Config{}, err
	}
	// The section must be there even where every key has its default.
	given = append([]config.Override{{Source: "simulate", Key: simulator, Value: "{}"}}, given...)
	f, err := config.Read(config.Input{Path: path, Stdin: a.stdin, Overrides: given})
	if err != nil {
		return simserver.Config{}, asUsage(err)
	}
	return *f.Target.Simulator, nil
}

// lateness says how honest the simulation was: events sent later than planned
// are the simulator's own delay and not the client's.
func lateness(s *simserver.Server) string {
	l := s.Lateness()
	if l.Events == 0 {
		return "no event was sent"
	}
	return fmt.Sprintf("%d events sent, mean %v late, p99 %v late", l.Events, l.Mean, l.P99)
}
