package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
)

// configFor reads the configuration of a command that loads a server: from the
// file given, from the directory to resume, or from flags alone.
func (a *app) configFor(c *cli.Context, sections ...section) (*config.File, error) {
	args, err := arguments(c, 0, 1, "one CONFIG at most")
	if err != nil {
		return nil, err
	}
	path := ""
	if len(args) == 1 {
		path = args[0]
	} else if dir := c.String("resume"); dir != "" {
		if !isResult(dir) {
			return nil, usagef("--resume: %s is no result directory; it is what an interrupted run named, such as results/%s-20260131T120000Z", dir, c.Command.Name)
		}
		path = filepath.Join(dir, "config.yaml")
	}
	return a.readConfig(c, path, sections...)
}

// conclude writes the report, prints the result and says how it ended. The
// error of the measurement comes last: what was found is worth having whatever
// happened.
func (b *bench) conclude(r *sweep.Result, measured error, format string) error {
	if r == nil {
		return measured
	}
	var lost *sweep.StoreError
	if errors.As(measured, &lost) {
		// No report: it would have no more room than the result.
		return fmt.Errorf("%w\n%s; then go on with: capfind %s --resume %s", measured, remedy(measured), r.Command, b.store.Dir())
	}
	written := b.console.during("writing the report", func() error { return b.writeReport(r) })
	if measured != nil {
		b.logf("what was measured until then is in %s", b.store.Dir())
		return errors.Join(measured, written)
	}
	if written != nil {
		return fmt.Errorf("%w\nthe measurement itself is complete and stored; %s; then write the report with: capfind report %s",
			written, remedy(written), b.store.Dir())
	}
	seen := !b.console.quiet && isTerminal(b.stdout) && isTerminal(b.stderr)
	if err := b.printResult(b.store.Dir(), r, format, seen); err != nil {
		return err
	}
	return outcome(r)
}

// remedy says what to do about a file that could not be written.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full: make room on it"
	case errors.Is(err, syscall.EDQUOT):
		return "the disk quota is used up: make room"
	case errors.Is(err, syscall.EFBIG):
		return "files may not grow that large here: raise the limit (ulimit -f)"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only: make it writable"
	}
	return "see to it that the file can be written"
}

// printResult prints a result in the form that was asked for; seen says that
// its steps are on the same screen already.
func (a *app) printResult(dir string, r *sweep.Result, format string, seen bool) error {
	switch format {
	case "json":
		if r.Command == "run" && len(r.Steps) > 0 {
			return a.printPoint(r)
		}
		return a.printFile(filepath.Join(dir, sweep.ResultFile))
	case "markdown":
		return a.printFile(filepath.Join(dir, "report.md"))
	case "csv":
		return a.printFile(filepath.Join(dir, "steps.csv"))
	}
	columns := unlimited
	if isTerminal(a.stdout) {
		columns = width(a.stdout)
	}
	return a.print(tableFor(r, seen, columns) + answerText(r, styleFor(a.stdout), width(a.stdout), dir))
}

// tableFor is what stands above the answer: vLLM's console block of a single
// load point, else the step table.
func tableFor(r *sweep.Result, seen bool, columns int) string {
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
	return namingOf(r.Command).stepTable(r.Steps, columns) + "\n"
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
	if err == nil {
		ours, err = json.MarshalIndent(both, "", "  ")
	}
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	return a.print(string(ours) + "\n")
}

func (a *app) printFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the result was written, but cannot be read back: %w", err)
	}
	return a.print(string(text))
}

// outcome is how a finished measurement ends: nil, or the exit code for an
// answer that is none.
func outcome(r *sweep.Result) error {
	if r.Verdict == sweep.Interrupted {
		return outcomeError{code: exitInterrupted}
	}
	if nothingFits(r) {
		return outcomeError{exitUsage, "not one request succeeded: " + firstFailure(r)}
	}
	switch r.Verdict {
	case sweep.ClientLimited, sweep.Unstable:
		return outcomeError{code: exitInconclusive}
	case sweep.NotMet:
		return outcomeError{code: exitRequirement}
	case sweep.FailedAtFirstStep:
		if len(r.Steps) > 0 && r.Steps[0].Whole.Completed == 0 {
			return outcomeError{exitFailure, "not one request succeeded: " + firstFailure(r)}
		}
	}
	return nil
}

// firstFailure is the message of what went wrong most often at the first step.
func firstFailure(r *sweep.Result) string {
	s := &r.Steps[0]
	for _, class := range byCount(s) {
		if message := s.FailureExamples[class]; message != "" {
			return fmt.Sprintf("%s: %s", class, message)
		}
	}
	return "the report says more"
}

// byCount lists the classes of a step's failures, the most frequent first.
func byCount(s *analysis.Step) []loadgen.Class {
	return slices.SortedFunc(maps.Keys(s.Failures), func(a, b loadgen.Class) int {
		return cmp.Or(cmp.Compare(s.Failures[b], s.Failures[a]), cmp.Compare(a, b))
	})
}
