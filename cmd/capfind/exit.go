package main

import (
	"errors"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/loadgen/probe"
	"github.com/capfind/capfind/loadgen/prompt"
)

// The exit codes. They are part of the interface: scripts rely on them.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2 // usage or configuration
	exitAuth         = 4 // authentication refused
	exitInconclusive = 5 // client limited, unstable, too few samples
	exitRequirement  = 99
	exitInterrupted  = 130
)

func usagef(format string, args ...any) error { return flags.Usagef(format, args...) }

// outcomeError ends a command whose result has been told, with a code that
// says how it ended.
type outcomeError struct {
	code int
	text string
}

func (e outcomeError) Error() string { return e.text }

// codeOf maps an error to its exit code.
func codeOf(err error) int {
	var outcome outcomeError
	var usage flags.UsageError
	var problems config.Problems
	switch {
	case errors.As(err, &outcome):
		return outcome.code
	case errors.Is(err, probe.ErrAuth):
		return exitAuth
	case errors.As(err, &usage), errors.As(err, &problems),
		errors.Is(err, probe.ErrModel), errors.Is(err, probe.ErrContext), errors.Is(err, prompt.ErrNoneFits):
		return exitUsage
	}
	return exitFailure
}
