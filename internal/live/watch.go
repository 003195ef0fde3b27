// Package live shows a measurement in browsers while it runs. It hears the same
// events as the console; what it draws is drawn once for all who watch.
package live

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

const (
	renderEvery = 500 * time.Millisecond
	recent      = 5 * time.Second // what the figures of the last seconds cover
	maxEvents   = 200
)

// The kinds of events.
const (
	kindGood  = "good"  // a load held
	kindBad   = "bad"   // one did not
	kindAgain = "again" // a step is made once more
	kindNote  = "note"
	kindEnd   = "end"
)

// Event is something that happened, in the page's language.
type Event struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Load string    `json:"load"` // that it is about; empty: none
	Text string    `json:"text"`
}

// state is what the page shows of the moment; times in seconds, null: unknown.
type state struct {
	Now             string         `json:"now"`
	Next            string         `json:"next"`
	Ended           bool           `json:"ended"`
	Elapsed         float64        `json:"elapsed"`
	Share           loadgen.Number `json:"share"` // of the step's requests that are done
	Left            loadgen.Number `json:"left"`  // of the step
	InFlight        int64          `json:"in_flight"`
	OK              int64          `json:"ok"`
	Failed          int64          `json:"failed"`
	Requests        int64          `json:"requests"` // of all steps
	Most            loadgen.Number `json:"most"`     // that they can become, about
	MostLeft        loadgen.Number `json:"most_left"`
	TokensPerSecond loadgen.Number `json:"tokens_per_second"`
	TTFT            loadgen.Number `json:"ttft"`
	Waiting         loadgen.Number `json:"waiting"`
	KV              loadgen.Number `json:"kv"` // share of 1
	Bracket         *interval      `json:"bracket"`
	Workers         []worker       `json:"workers"`
}

// interval is where the limit lies: between the largest load on one side and the
// smallest on the other. Loads are requests in flight, requests/s or a speed.
type interval struct {
	Low   loadgen.Number `json:"low"`
	High  loadgen.Number `json:"high"`
	Tried []tried        `json:"tried"`
}

type tried struct {
	Load float64 `json:"load"`
	Held bool    `json:"held"`
}

type worker struct {
	Name     string `json:"name"`
	Share    int    `json:"share"`
	InFlight int64  `json:"in_flight"`
	Trouble  string `json:"trouble"`
}

// counted is what a step's counters said at a moment.
type counted struct {
	at                        time.Time
	tokens, ttfts, nanosTTFTs int64
}

// StepStarted implements control.Observer.
func (s *Server) StepStarted(p control.StepPlan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fold()
	s.plan, s.running, s.stepStart, s.counts = p, true, time.Now(), nil
	if len(p.Steps) == len(s.steps) && len(p.Steps) > 0 {
		s.steps, s.dirty = slices.Clone(p.Steps), true
	}
	load := s.loadOf(p.Concurrency, p.RequestRate, p.Speed)
	s.now = s.page.Say("measuring " + load + phaseOf(p.Phase))
	if p.Attempt > 1 {
		s.now = s.page.Say("repeating " + load)
		s.event(kindAgain, "", s.now)
	}
	switch {
	case p.IfHeld != nil && !s.enough():
		s.next = s.page.Say("next, if it holds: " + s.orderOf(p.IfHeld))
	case p.Phase == analysis.PhasePoint:
		s.next = s.page.Say("next: the answer")
	default:
		s.next = s.page.Say("next: what this load shows decides")
	}
}

// StepDone implements control.Observer.
func (s *Server) StepDone(step analysis.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan.Progress == nil { // of an earlier run that is gone on with
		s.requests += int64(step.Whole.Completed + step.Whole.Failed)
	}
	s.fold()
	s.running, s.now, s.next = false, s.page.Say("choosing the next load"), ""
	s.steps = append(s.steps, step)
	kind, outcome := kindGood, "every requirement held"
	switch {
	case step.ClientLimited():
		kind, outcome = kindNote, "this client, not the server, was the limit"
	case !step.Passed():
		kind, outcome = kindBad, step.Stop.Sentence
	}
	s.event(kind, s.page.Say(s.loadOf(step.Concurrency, step.RequestRate, step.Speed)), s.page.Say(outcome))
}

// fold counts the requests of a run that is over.
func (s *Server) fold() {
	if p := s.plan.Progress; p != nil {
		s.requests += p.Succeeded.Load() + p.Failed.Load()
	}
	s.plan = control.StepPlan{}
}

// Notice implements control.Observer.
func (s *Server) Notice(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event(kindNote, "", s.page.Say(text))
}

// Expect says how many requests all steps together can become.
func (s *Server) Expect(most analysis.Number) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = most
}

func (s *Server) event(kind, load, text string) {
	s.events = slices.Insert(s.events, 0, Event{time.Now(), kind, load, text})
	s.events = s.events[:min(len(s.events), maxEvents)]
	s.dirty = true
}

// enough reports whether the question is which concurrency is enough: the rate is the
// same at every step, and to hold it ends the search upwards.
func (s *Server) enough() bool { return s.command == "qps" }

// loadOf names a load in words that every page knows.
func (s *Server) loadOf(concurrency int, rate, speed analysis.Number) string {
	if v, ok := speed.Value(); ok {
		return strconv.FormatFloat(v, 'g', 4, 64) + " x the recorded traffic"
	}
	if v, ok := rate.Value(); ok && !s.enough() {
		return strconv.FormatFloat(v, 'g', 4, 64) + " requests/s"
	}
	if concurrency == 1 {
		return "1 request in flight"
	}
	return fmt.Sprintf("%d requests in flight", concurrency)
}

func (s *Server) orderOf(o *sweep.Order) string {
	var rate, speed analysis.Number
	if o.Traffic != nil {
		speed = loadgen.Known(o.Speed)
	} else if o.Rate > 0 {
		rate = loadgen.Known(o.Rate)
	}
	return s.loadOf(o.Concurrency, rate, speed)
}

func phaseOf(p analysis.Phase) string {
	switch p {
	case analysis.PhaseLook:
		return ", to see where to begin"
	case analysis.PhaseProbe:
		return ", to narrow down the limit"
	case analysis.PhaseConfirm:
		return ", to confirm it"
	}
	return ""
}

// bracket is where the limit lies by the steps so far. What holds lies below it, but
// for the concurrency that a rate needs (enough): there it lies above.
func bracket(steps []analysis.Step, enough bool) *interval {
	b := &interval{Tried: []tried{}}
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Phase == analysis.PhasePoint:
			return nil
		case s.Phase == analysis.PhaseLook, s.ClientLimited():
			continue
		}
		load := s.Speed.Or(float64(s.Concurrency))
		if !enough {
			load = s.Speed.Or(s.RequestRate.Or(load))
		}
		b.Tried = append(b.Tried, tried{load, s.Passed()})
	}
	// The nearest failure bounds it; what held beyond was measured before or by chance.
	for _, t := range b.Tried {
		if t.Held == enough && (!b.High.IsKnown() || t.Load < b.High.Or(0)) {
			b.High = loadgen.Known(t.Load)
		}
	}
	for _, t := range b.Tried {
		if t.Held != enough && t.Load < b.High.Or(math.Inf(1)) && t.Load > b.Low.Or(0) {
			b.Low = loadgen.Known(t.Load)
		}
	}
	return b
}

// render draws the moment, and the steps where any are new.
func (s *Server) render() error {
	seen, ok := s.telemetry(time.Now())
	workers := s.workers()
	s.mu.Lock()
	st := s.moment(time.Now())
	st.Workers = workers
	if ok {
		st.Waiting, st.KV = seen.WaitingMean, seen.KVCacheMean
	}
	var steps []analysis.Step
	var events []Event
	dirty := s.dirty
	if dirty {
		steps, events = slices.Clone(s.steps), slices.Clone(s.events)
		s.dirty = false
	}
	s.mu.Unlock()
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	s.board.post(raw, nil)
	if !dirty {
		return nil
	}
	charts, err := s.page.Charts(&sweep.Result{Command: s.command, Answer: sweep.Answer{Steps: steps}})
	if err != nil {
		return err
	}
	raw, err = json.Marshal(map[string]any{"charts": charts, "events": events})
	if err != nil {
		return err
	}
	s.board.post(nil, raw)
	return nil
}

// workers are asked without the lock: who answers may have something to say, too.
func (s *Server) workers() []worker {
	s.mu.Lock()
	ask := s.plan.Workers
	s.mu.Unlock()
	all := []worker{}
	if ask != nil {
		for _, w := range ask() {
			all = append(all, worker{w.Name, w.Share, w.InFlight, s.page.Say(w.Trouble)})
		}
	}
	return all
}

// moment is the state at a moment, under the lock.
func (s *Server) moment(at time.Time) state {
	st := state{Now: s.now, Next: s.next, Ended: s.ended, Elapsed: at.Sub(s.started).Seconds(), Requests: s.requests, Most: s.most}
	if s.command != "run" && s.command != "soak" {
		st.Bracket = bracket(s.steps, s.enough())
	}
	p := s.plan.Progress
	if !s.running || p == nil {
		return s.remaining(st)
	}
	st.InFlight, st.OK, st.Failed = p.InFlight.Load(), p.Succeeded.Load(), p.Failed.Load()
	st.Requests += st.OK + st.Failed
	s.lately(&st, counted{at, p.OutputTokens.Load(), p.TTFTs.Load(), p.TTFTNanos.Load()})
	elapsed, done := at.Sub(s.stepStart).Seconds(), float64(st.OK+st.Failed)
	if n := float64(s.plan.NumPrompts); n > 0 {
		st.Share = loadgen.Known(min(done/n, 1))
		if done > 0 {
			st.Left = loadgen.Known(max(n-done, 0) * elapsed / done)
		}
	} else if d := s.plan.Duration.Seconds(); d > 0 {
		st.Share, st.Left = loadgen.Known(min(elapsed/d, 1)), loadgen.Known(max(d-elapsed, 0))
	}
	return s.remaining(st)
}

// lately fills in the figures of the last seconds.
func (s *Server) lately(st *state, c counted) {
	s.counts = append(s.counts, c)
	for len(s.counts) > 1 && c.at.Sub(s.counts[0].at) > recent {
		s.counts = s.counts[1:]
	}
	first := s.counts[0]
	if passed := c.at.Sub(first.at).Seconds(); passed > 0 {
		st.TokensPerSecond = loadgen.Known(float64(c.tokens-first.tokens) / passed)
	}
	if n := c.ttfts - first.ttfts; n > 0 {
		st.TTFT = loadgen.Known(float64(c.nanosTTFTs-first.nanosTTFTs) / float64(n) / 1e9)
	}
}

// remaining adds how long all steps may take yet: the requests that may follow, at the
// throughput of the last step.
func (s *Server) remaining(st state) state {
	most, ok := st.Most.Value()
	if ok && float64(st.Requests) > most { // more than was foreseen: the figure says nothing now
		st.Most = loadgen.Number{}
		return st
	}
	if n := len(s.steps); ok && n > 0 {
		if x := s.steps[n-1].Whole.RequestThroughput.Or(0); x > 0 {
			st.MostLeft = loadgen.Known((most - float64(st.Requests)) / x)
		}
	}
	return st
}
