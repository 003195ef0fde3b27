package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/terminal"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

// metricsFile holds the server's own metrics over time, one scrape a line.
const metricsFile = "server_metrics.jsonl"

// renderInto renders a result into the directory that holds it.
func renderInto(dir string, r *sweep.Result, o report.Options) error {
	points, err := readTelemetry(filepath.Join(dir, metricsFile))
	if err != nil {
		return err
	}
	o.Telemetry = points
	return report.WriteAll(dir, r, o)
}

// typeface is the font of the pictures of a report in Chinese. Without one they are
// in English, which is said.
func (a *app) typeface(language report.Language, path string) *report.Typeface {
	if language != report.Chinese {
		return nil
	}
	face, err := report.ChineseTypeface(path)
	if err != nil {
		a.logf("the PNG pictures are in English: %v; install one, such as fonts-noto-cjk, or name its file with report.font (--font)", err)
	}
	return face
}

// readTelemetry reads the stored scrapes; a missing file holds none, and a line
// that was torn when a run was killed is left out.
func readTelemetry(path string) ([]analysis.TelemetryPoint, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var points []analysis.TelemetryPoint
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		var p analysis.TelemetryPoint
		if json.Unmarshal(line, &p) == nil {
			points = append(points, p)
		}
		if err != nil {
			return points, nil
		}
	}
}

// printResult prints a result in the form that was asked for; seen says that
// its steps are on the same screen already.
func (a *app) printResult(dir string, r *sweep.Result, format string, seen bool) error {
	switch format {
	case "json":
		if r.Command == "run" && len(r.Steps) > 0 {
			return a.printPoint(r)
		}
		return a.printFile(filepath.Join(dir, store.ResultFile))
	case "markdown":
		return a.printFile(filepath.Join(dir, "report.md"))
	case "csv":
		return a.printFile(filepath.Join(dir, "steps.csv"))
	}
	return a.print(a.tableFor(r, seen) + terminal.Answer(a.stdout, r, dir))
}

// tableFor is what stands above the answer: vLLM's console block of a single
// load point, else the step table.
func (a *app) tableFor(r *sweep.Result, seen bool) string {
	if r.Command == "run" && len(r.Steps) > 0 {
		var block strings.Builder
		if err := report.VLLMLog(&block, &r.Steps[len(r.Steps)-1], r); err == nil {
			return block.String() + "\n"
		}
	}
	switch {
	case seen:
		return "\n"
	case len(r.Steps) == 0:
		return ""
	}
	return terminal.Steps(a.stdout, r.Command, r.Steps) + "\n"
}

// printPoint prints a single load point as JSON: vLLM's keys and those of
// result.json side by side.
func (a *app) printPoint(r *sweep.Result) error {
	both := map[string]json.RawMessage{}
	theirs, err := report.VLLMStep(&r.Steps[len(r.Steps)-1], r)
	if err == nil {
		err = json.Unmarshal(theirs, &both)
	}
	var ours []byte
	if err == nil {
		ours, err = json.Marshal(r)
	}
	if err == nil {
		err = json.Unmarshal(ours, &both)
	}
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	return printJSON(a, both)
}

func (a *app) printFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the result was written, but cannot be read back: %w", err)
	}
	return a.print(string(text))
}
