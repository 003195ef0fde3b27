package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interrupt hears Ctrl-C and its kin. The first one asks for an orderly end:
// stop issuing, let what is in flight finish, write what there is. The second
// one ends the process at once.
type interrupt struct {
	signals chan os.Signal
	asked   chan struct{}
	done    chan struct{}
	once    sync.Once
}

// listen starts to hear signals. A closed terminal counts as Ctrl-C; a broken
// pipe is an error of the write that met it, never the end of a measurement.
func listen() *interrupt {
	i := &interrupt{signals: make(chan os.Signal, 2), asked: make(chan struct{}), done: make(chan struct{})}
	signal.Notify(i.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-i.done:
				return
			case <-i.signals:
				if n > 0 {
					os.Exit(exitInterrupted)
				}
				close(i.asked)
			}
		}
	}()
	return i
}

func (i *interrupt) stop() {
	i.once.Do(func() {
		signal.Stop(i.signals)
		close(i.done)
	})
}

// requested is closed by the first interruption.
func (i *interrupt) requested() <-chan struct{} { return i.asked }

// interrupted reports whether the first interruption has come.
func (i *interrupt) interrupted() bool {
	select {
	case <-i.asked:
		return true
	default:
		return false
	}
}

// cancelled returns a context for what may be broken off at the first
// interruption without loss; a measurement is drained instead.
func (i *interrupt) cancelled(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		select {
		case <-i.asked:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
