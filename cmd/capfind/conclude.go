package main

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// conclude writes the report, prints the result and says how it ended. The
// error of the measurement comes last: what was found is worth having whatever
// happened.
func (b *bench) conclude(r *sweep.Result, measured error, format string) error {
	if r == nil {
		b.handOver(measured, false)
		return measured
	}
	var lost *control.StoreError
	if errors.As(measured, &lost) {
		// No report: it would have no more room than the result.
		b.handOver(measured, false)
		return fmt.Errorf("%w\n%s; then go on with: capfind %s --resume %s", measured, remedy(measured), r.Command, b.store.Dir())
	}
	written := b.console.During("writing the report", func() error { return b.writeReport(r) })
	b.handOver(errors.Join(measured, written), written == nil)
	if measured != nil {
		b.logf("what was measured until then is in %s", b.store.Dir())
		return errors.Join(measured, written)
	}
	if written != nil {
		return fmt.Errorf("%w\nthe measurement itself is complete and stored; %s; then write the report with: capfind report %s",
			written, remedy(written), b.store.Dir())
	}
	if err := b.printResult(b.store.Dir(), r, format, b.console.On(b.stdout)); err != nil {
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
	for _, class := range s.FailureClasses() {
		if message := s.FailureExamples[class]; message != "" {
			return fmt.Sprintf("%s: %s", class, message)
		}
	}
	return "the report says more"
}

// writeReport writes everything that is derived from a result into its
// directory.
func (b *bench) writeReport(r *sweep.Result) error {
	changed := b.remark(r)
	if b.sim != nil {
		if l := b.sim.Lateness(); l.Events > 0 {
			r.Environment.SimulatorLate = loadgen.Known(l.P99.Seconds())
			changed = true
		}
	}
	if changed {
		if err := b.store.Save(r); err != nil {
			return err
		}
	}
	cfg := b.file.Report
	language := report.Language(cfg.Language)
	return renderInto(b.store.Dir(), r, report.Options{Language: language, Title: cfg.Title, Typeface: b.typeface(language, cfg.Font)})
}
