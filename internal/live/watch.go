// Package live shows a measurement in browsers while it runs. It hears the same
// events as the console; what it draws is drawn once for all who watch.
package live

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

const (
	renderEvery = 500 * time.Millisecond
	recent      = 5 * time.Second // what the figures of the last seconds cover
	maxEvents   = 200
)

// Event is something that happened.
type Event struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// state is what the page shows of the moment; times in seconds, null: unknown.
type state struct {
	Now             string         `json:"now"`
	Elapsed         float64        `json:"elapsed"`
	Share           loadgen.Number `json:"share"` // of the step's requests that are done
	Left            loadgen.Number `json:"left"`
	InFlight        int64          `json:"in_flight"`
	OK              int64          `json:"ok"`
	Failed          int64          `json:"failed"`
	TokensPerSecond loadgen.Number `json:"tokens_per_second"`
	TTFT            loadgen.Number `json:"ttft"`
	Waiting         loadgen.Number `json:"waiting"`
	KV              loadgen.Number `json:"kv"` // share of 1
	Low             loadgen.Number `json:"low"`
	High            loadgen.Number `json:"high"`
	Top             int            `json:"top"` // the highest concurrency so far
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
	s.plan, s.running, s.stepStart, s.counts = p, true, time.Now(), nil
	load := loadOf(p.Concurrency, p.RequestRate, p.Speed)
	text := "measuring " + load + phaseOf(p.Phase)
	if p.Attempt > 1 {
		text = "repeating " + load
		s.event(text)
	}
	s.now = text
}

// StepDone implements control.Observer.
func (s *Server) StepDone(step analysis.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.now = false, "choosing the next step"
	s.steps = append(s.steps, step)
	outcome := " held"
	switch {
	case step.ClientLimited():
		outcome = ": limited by this client"
	case !step.Passed():
		outcome = ": " + step.Stop.Sentence
	}
	s.event(loadOf(step.Concurrency, step.RequestRate, step.Speed) + outcome)
}

// Notice implements control.Observer.
func (s *Server) Notice(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event(text)
}

func (s *Server) event(text string) {
	s.events = slices.Insert(s.events, 0, Event{time.Now(), text})
	s.events = s.events[:min(len(s.events), maxEvents)]
	s.dirty = true
}

func loadOf(concurrency int, rate, speed analysis.Number) string {
	if v, ok := speed.Value(); ok {
		return strconv.FormatFloat(v, 'g', 4, 64) + " times the recorded speed"
	}
	if v, ok := rate.Value(); ok {
		return strconv.FormatFloat(v, 'g', 4, 64) + " requests/s"
	}
	return fmt.Sprintf("%d in flight", concurrency)
}

func phaseOf(p analysis.Phase) string {
	switch p {
	case analysis.PhaseProbe:
		return " (search between a good and a bad load)"
	case analysis.PhaseConfirm:
		return " (confirmation)"
	}
	return ""
}

// bracket is the largest load that held below the smallest that did not. It is known
// only of loads that are told apart by their concurrency.
func bracket(steps []analysis.Step) (low, high analysis.Number, top int) {
	good, bad := 0, 0
	for i := range steps {
		s := &steps[i]
		if s.RequestRate.IsKnown() || s.Speed.IsKnown() {
			return analysis.Number{}, analysis.Number{}, 0
		}
		top = max(top, s.Concurrency)
		if !s.Passed() && !s.ClientLimited() && (bad == 0 || s.Concurrency < bad) {
			bad = s.Concurrency
		}
	}
	for i := range steps {
		if s := &steps[i]; s.Passed() && (bad == 0 || s.Concurrency < bad) {
			good = max(good, s.Concurrency)
		}
	}
	if good > 0 {
		low = loadgen.Known(float64(good))
	}
	if bad > 0 {
		high = loadgen.Known(float64(bad))
	}
	return low, high, top
}

// render draws the moment, and the steps where any are new.
func (s *Server) render() error {
	seen, ok := s.telemetry(time.Now())
	s.mu.Lock()
	st := s.moment(time.Now())
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
	charts, err := report.LiveCharts(&sweep.Result{Command: s.command, Answer: sweep.Answer{Steps: steps}})
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

// moment is the state at a moment, under the lock.
func (s *Server) moment(at time.Time) state {
	st := state{Now: s.now, Elapsed: at.Sub(s.started).Seconds()}
	st.Low, st.High, st.Top = bracket(s.steps)
	p := s.plan.Progress
	if !s.running || p == nil {
		return st
	}
	st.InFlight, st.OK, st.Failed = p.InFlight.Load(), p.Succeeded.Load(), p.Failed.Load()
	c := counted{at, p.OutputTokens.Load(), p.TTFTs.Load(), p.TTFTNanos.Load()}
	s.counts = append(s.counts, c)
	for len(s.counts) > 1 && at.Sub(s.counts[0].at) > recent {
		s.counts = s.counts[1:]
	}
	first := s.counts[0]
	if passed := at.Sub(first.at).Seconds(); passed > 0 {
		st.TokensPerSecond = loadgen.Known(float64(c.tokens-first.tokens) / passed)
	}
	if n := c.ttfts - first.ttfts; n > 0 {
		st.TTFT = loadgen.Known(float64(c.nanosTTFTs-first.nanosTTFTs) / float64(n) / 1e9)
	}
	elapsed, done := at.Sub(s.stepStart).Seconds(), float64(st.OK+st.Failed)
	if n := float64(s.plan.NumPrompts); n > 0 {
		st.Share = loadgen.Known(min(done/n, 1))
		if done > 0 {
			st.Left = loadgen.Known(max(n-done, 0) * elapsed / done)
		}
	} else if d := s.plan.Duration.Seconds(); d > 0 {
		st.Share, st.Left = loadgen.Known(min(elapsed/d, 1)), loadgen.Known(max(d-elapsed, 0))
	}
	return st
}
