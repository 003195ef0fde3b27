package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interrupt hears Ctrl-C and its kin. The first one asks for an orderly end:
// stop issuing, let what is in flight finish, write what there is. The second
// one ends the process at once.
type interrupt struct {
	asked context.Context // done from the first one on
	stop  func()          // ends the hearing
}

// listen starts to hear signals. A closed terminal counts as Ctrl-C; a broken
// pipe is an error of the write that met it, never the end of a measurement.
func listen() *interrupt {
	asked, ask := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		for range signals {
			if asked.Err() != nil {
				os.Exit(exitInterrupted)
			}
			ask()
		}
	}()
	return &interrupt{asked: asked, stop: func() {
		signal.Stop(signals)
		close(signals)
	}}
}

// requested is closed by the first interruption.
func (i *interrupt) requested() <-chan struct{} { return i.asked.Done() }

// interrupted reports whether the first interruption has come.
func (i *interrupt) interrupted() bool { return i.asked.Err() != nil }

// cancelled returns a context for what may be broken off at the first
// interruption without loss; a measurement is drained instead.
func (i *interrupt) cancelled(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	context.AfterFunc(i.asked, cancel)
	return ctx, cancel
}
