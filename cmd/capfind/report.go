package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

func (a *app) reportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "render a result again; also from vLLM's result files",
		ArgsUsage: "DIR|FILES...",
		Description: "A result directory is rendered again in its place. Files of `vllm bench serve --save-result`,\n" +
			"or a directory of concurrency_N.json as the guide's script leaves it, become a new result.",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "language", Usage: "en or zh; else as the result's configuration says"},
			&cli.StringFlag{Name: "font", Usage: "`FILE` of a font with Chinese characters, for the pictures of a report in Chinese", DefaultText: "one that the system has"},
			&cli.StringFlag{Name: "title", Usage: "headline of the report"},
			&cli.Float64Flag{Name: "price", Usage: "of one replica per hour; adds the cost per million tokens", DefaultText: "none"},
			&cli.StringFlag{Name: "currency", Value: "USD", Usage: "of the price"},
			&cli.StringFlag{Name: "output-dir", Value: "results", Usage: "where a result made from vLLM's files goes"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "nothing on stderr", DisableDefaultText: true},
		},
		Action: a.reportAction,
	}
}

func (a *app) reportAction(c *cli.Context) error {
	out := c.String("format")
	args, err := arguments(c, 1, 10_000, "a result directory, or files of vLLM's benchmark")
	if err != nil {
		return err
	}
	if l := c.String("language"); l != "" && !slices.Contains(config.Choices("report.language"), l) {
		return usagef("--language %s is not known; it can be %s", l, strings.Join(config.Choices("report.language"), " or "))
	}
	var foreign []string
	for _, path := range args {
		if !isResult(path) {
			files, err := vllmFiles(path)
			if err != nil {
				return err
			}
			foreign = append(foreign, files...)
			continue
		}
		r, err := readResult(path)
		if err != nil {
			return err
		}
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			path = filepath.Dir(path)
		}
		if err := a.renderAgain(c, path, r, out); err != nil {
			return err
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	return a.importFiles(c, foreign, out)
}

// importFiles makes a result directory of vLLM's files.
func (a *app) importFiles(c *cli.Context, files []string, out string) error {
	var r *sweep.Result
	progress := terminal.New(a.stderr, c.Bool("quiet"), "import")
	if err := progress.During(fmt.Sprintf("reading %d files", len(files)), func() (err error) {
		r, err = report.FromVLLM(files)
		return err
	}); err != nil {
		return err
	}
	r.CapfindVersion = version().version
	dir, err := freshDirectory(c.String("output-dir"), "import")
	if err != nil {
		return err
	}
	store, err := store.Create(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(store.Save(r), store.Close()); err != nil {
		return err
	}
	return a.renderAgain(c, dir, r, out)
}

// renderAgain renders a stored result and prints it.
func (a *app) renderAgain(c *cli.Context, dir string, r *sweep.Result, out string) error {
	o := report.Options{Title: c.String("title"), Language: languageOf(r), Currency: c.String("currency")}
	if l := c.String("language"); l != "" {
		o.Language = report.Language(l)
	}
	o.Typeface = a.typeface(o.Language, c.String("font"))
	if c.IsSet("price") {
		o.PricePerHour = loadgen.Known(c.Float64("price"))
	}
	progress := terminal.New(a.stderr, c.Bool("quiet"), r.Command)
	if err := progress.During("rendering "+dir, func() error { return renderInto(dir, r, o) }); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w; a report is rendered where its result is: make that writable, or copy it and render the copy", err)
		}
		return err
	}
	if !c.Bool("quiet") {
		a.logf("rendered %s", filepath.Join(dir, "report.html"))
	}
	return a.printResult(dir, r, out, false)
}

// languageOf is the language that a result's configuration asks for.
func languageOf(r *sweep.Result) report.Language {
	section, _ := r.Config["report"].(map[string]any)
	language, _ := section["language"].(string)
	return report.Language(language)
}
