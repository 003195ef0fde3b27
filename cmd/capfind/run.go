package main

import (
	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/sweep"
)

func (a *app) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "one load point: quick check, realistic traffic, capacity planning",
		ArgsUsage: "[CONFIG]",
		Description: "capfind run --base-url http://127.0.0.1:8000/v1 --concurrency 10 --num-prompts 50\n" +
			"needs no file. Prints vLLM's console block. A requirement of the stop section that does\n" +
			"not hold ends with exit code 99; --slo adds one, e.g. --slo p99_ttft:2s.",
		Flags: benchFlags(loadSections...),
		Action: a.asking(loadSections, func(_ *cli.Context, f *config.File) (sweep.Planned, error) {
			return sweep.SinglePoint{Load: point(f), Rules: f.Stop}, nil
		}),
	}
}
