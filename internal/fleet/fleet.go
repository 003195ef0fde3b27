// Package fleet sends a load from many machines as one would: a hub cuts each load into
// shares, workers send them at a common moment, and their samples come back, each counted
// once. What lies between is NATS with JetStream: a server that the hub embeds, or a
// cluster that is there already.
//
// Subjects, all below "capfind.<fleet>.":
//
//	up.hello, up.beat.<worker>, up.samples.<worker>   from a worker
//	down.here, down.stop                              to all of them
//	down.order.<worker>, down.clock.<worker>          to one
//
// Orders and samples are kept in streams until they are acknowledged; the rest is of the
// moment.
package fleet

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capfind/capfind/loadgen"
)

// Generator sends a load; loadgen's engine is one, and so is a Hub.
type Generator interface {
	Run(ctx context.Context, load loadgen.Load) (loadgen.Run, error)
}

// The rhythm of a fleet.
const (
	beatEvery  = time.Second
	batchEvery = 100 * time.Millisecond
	batchSize  = 500 // samples
	lostAfter  = 5 * time.Second
)

// Bounds on what is kept on disk until it is acknowledged.
const (
	mostOrders  = 64 << 20
	mostSamples = 1 << 30
	mostPayload = 16 << 20
)

// hello is what a worker says of itself.
type hello struct {
	Name, Version, Host string
	MaxStreams          int // requests in flight that it takes; 0: any number
}

// welcome is the answer to it.
type welcome struct {
	Refused string // why it may not join; empty where it may
	Setup   []byte // what it needs to send requests, as the hub's owner wrote it
}

// here is what the hub says of itself, again and again: whoever hears a new one says
// hello to it.
type here struct{ Hub string }

// beat says that a worker is alive, and how far it has got.
type beat struct {
	Ready          string  // the hub whose setup it has made itself ready for
	Failed         string  // why it could not
	Speed          float64 // events per second that it could drive; 0: not measured
	Order          string  // in hand; empty for none
	Sent, InFlight int64
}

// order is a share to be sent.
type order struct {
	ID    string
	Share int
	Begin int64 // nanoseconds since 1970 by the worker's own clock
	Load  wireLoad
}

// stop ends an order: at once, or once what is in flight has ended.
type stop struct {
	Order string
	Drain bool
}

// batch is a part of what an order gave. The last one holds the rest of the run.
type batch struct {
	Order   string
	Share   int
	Number  int
	Samples []loadgen.Sample
	Last    bool
	Run     []byte // of the last one: a wireRun
	Refused string // the order was not carried out, and why
}

// wireLoad are a load's fields that travel.
type wireLoad struct {
	Concurrency, Requests, FirstPrompt        int
	Duration, StaggerOver, ErrorHold, MaxHold time.Duration
	Rate, Burstiness                          float64
	Seed                                      uint64
	Start                                     loadgen.StartMode
	CutTail                                   bool
	Share                                     loadgen.Share
	Recorded                                  bool
	Arrivals                                  loadgen.Arrivals
}

func toWire(l *loadgen.Load) wireLoad {
	w := wireLoad{
		Concurrency: l.Concurrency, Requests: l.Requests, FirstPrompt: l.FirstPrompt, Duration: l.Duration, StaggerOver: l.StaggerOver,
		ErrorHold: l.ErrorHold, MaxHold: l.MaxHold, Rate: l.Rate, Burstiness: l.Burstiness, Seed: l.Seed, Start: l.Start, CutTail: l.CutTail, Share: l.Share,
	}
	if l.Arrivals != nil {
		w.Recorded, w.Arrivals = true, *l.Arrivals
	}
	return w
}

func (w *wireLoad) load() loadgen.Load {
	l := loadgen.Load{
		Concurrency: w.Concurrency, Requests: w.Requests, FirstPrompt: w.FirstPrompt, Duration: w.Duration, StaggerOver: w.StaggerOver,
		ErrorHold: w.ErrorHold, MaxHold: w.MaxHold, Rate: w.Rate, Burstiness: w.Burstiness, Seed: w.Seed, Start: w.Start, CutTail: w.CutTail, Share: w.Share,
	}
	if w.Recorded {
		l.Arrivals = &w.Arrivals
	}
	return l
}

// wireRun is what a worker says of its run beside the samples.
type wireRun struct {
	Late, Elapsed int64 // nanoseconds; Late: after the moment at which all were to begin
	End           loadgen.EndReason
	Health        loadgen.Health
	Stalls        []loadgen.Stall
	Batches       int
	Failed        string // why nothing could be measured
}

func pack(v any) []byte {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		panic(err) // a type of ours that gob cannot take: seen by the first test
	}
	return b.Bytes()
}

func unpack[T any](data []byte) (T, error) {
	var v T
	err := gob.NewDecoder(bytes.NewReader(data)).Decode(&v)
	return v, err
}

// names are what fleets and workers may be called: they are parts of subjects.
var names = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ErrName says that a fleet or a worker cannot be called so.
var ErrName = errors.New("letters, digits, - and _ make a name, 64 at most")

// subjects are those of one fleet.
type subjects string

func (s subjects) of(parts ...string) string {
	out := "capfind." + string(s)
	for _, p := range parts {
		out += "." + p
	}
	return out
}

func (s subjects) orders() string  { return "CAPFIND_" + string(s) + "_ORDERS" }
func (s subjects) samples() string { return "CAPFIND_" + string(s) + "_SAMPLES" }

// publish keeps a message in a stream. The identifier makes the stream count it once,
// however often it is sent.
func publish(ctx context.Context, js jetstream.JetStream, subject, id string, v any) error {
	data := pack(v)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := js.PublishMsg(attempt, &nats.Msg{Subject: subject, Data: data}, jetstream.WithMsgID(id))
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("publishing to %s: %w", subject, err)
		}
	}
}
