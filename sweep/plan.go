package sweep

import (
	"fmt"
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Plan is what a command would ask of the server.
type Plan struct {
	Steps  []PlannedStep `json:"steps"`  // as far as they may go
	Repeat PlannedStep   `json:"repeat"` // of the step that fails, at most; zero without the repeat
	Search PlannedStep   `json:"search"` // beyond the steps, at most about this; zero without the exact search
	Total  PlannedStep   `json:"total"`  // of everything: at most about this
	Notes  []string      `json:"notes"`
}

// PlannedStep is one step of a plan, or a sum of them.
type PlannedStep struct {
	Concurrency int             `json:"concurrency"`  // in flight at most
	RequestRate analysis.Number `json:"request_rate"` // requests/s; null where a freed slot is refilled at once
	Requests    analysis.Number `json:"requests"`     // null where a duration bounds them and no rate tells how many
	Tokens      analysis.Number `json:"tokens"`       // prompt and output; null where the workload's lengths are unknown
	Seconds     analysis.Number `json:"seconds"`      // null without a rate, a duration or a response time to go by
}

// searchWaves is what the exact search takes beyond the ladder, in requests per
// request in flight at the limit: three probes of about five waves each and a
// smaller step repeated. searchProbes of the least size are what it takes where
// the limit is low.
const (
	searchWaves  = 16
	searchProbes = 5
)

// planner adds up what a server would be asked.
type planner struct {
	*Controller
	response   time.Duration // of a single request; 0: unknown
	perRequest float64       // tokens; 0: unknown
	plan       Plan
}

// planner begins a plan; response is how long a single request takes, as far as
// it is known. Response times grow with the load, so that the real time is
// longer.
func (c *Controller) planner(response time.Duration) *planner {
	return &planner{Controller: c, response: response, perRequest: c.Workload.PromptTokens + c.Workload.OutputTokens}
}

// step is one load. Its time is that of its waves, that of its arrivals or its
// duration, whichever binds.
func (p *planner) step(n int, rate float64, requests int, duration time.Duration) PlannedStep {
	s := PlannedStep{Concurrency: n}
	paced := rate > 0 && !math.IsInf(rate, 1)
	if paced {
		s.RequestRate = loadgen.Known(rate)
	}
	waves := loadgen.Number{}
	if p.response > 0 && requests > 0 {
		waves = loadgen.Known(math.Ceil(float64(requests)/float64(n)) * p.response.Seconds())
	}
	switch {
	case requests > 0:
		s.Requests, s.Seconds = loadgen.Known(float64(requests)), waves
		if paced {
			s.Seconds = loadgen.Known(max(waves.Or(0), float64(requests)/rate+p.response.Seconds()))
		}
	case paced:
		s.Requests = loadgen.Known(math.Round(rate * duration.Seconds()))
	case p.response > 0:
		s.Requests = loadgen.Known(math.Round(float64(n) * duration.Seconds() / p.response.Seconds()))
	}
	if duration > 0 {
		s.Seconds = loadgen.Known(min(duration.Seconds(), s.Seconds.Or(duration.Seconds())))
	}
	if count, ok := s.Requests.Value(); ok && p.perRequest > 0 {
		s.Tokens = loadgen.Known(math.Round(count * p.perRequest))
	}
	return s
}

func (p *planner) add(s PlannedStep) {
	if v, ok := s.Seconds.Value(); ok {
		s.Seconds = loadgen.Known(v + p.Config.Settle.Seconds())
	}
	p.plan.Steps = append(p.plan.Steps, s)
}

// done sums up.
func (p *planner) done() Plan {
	all := append([]PlannedStep{}, p.plan.Steps...)
	for _, extra := range []PlannedStep{p.plan.Repeat, p.plan.Search} {
		if extra.Requests.IsKnown() {
			all = append(all, extra)
		}
	}
	for i, s := range all {
		if i == 0 {
			p.plan.Total = PlannedStep{Concurrency: s.Concurrency, Requests: s.Requests, Tokens: s.Tokens, Seconds: s.Seconds}
			continue
		}
		p.plan.Total.add(s)
	}
	p.plan.Notes = append(p.plan.Notes, budgetNotes(p.Config.Budget, p.plan.Total)...)
	return p.plan
}

// add sums what is known of both: one unknown part makes the sum unknown.
func (s *PlannedStep) add(q PlannedStep) {
	sum := func(a, b analysis.Number) analysis.Number {
		v, okA := a.Value()
		w, okB := b.Value()
		if !okA || !okB {
			return loadgen.Number{}
		}
		return loadgen.Known(v + w)
	}
	s.Concurrency = max(s.Concurrency, q.Concurrency)
	s.Requests, s.Tokens, s.Seconds = sum(s.Requests, q.Requests), sum(s.Tokens, q.Tokens), sum(s.Seconds, q.Seconds)
}

// Plan returns what a sweep would ask of the server at most, without sending
// anything: a lower limit ends the ladder earlier, and its search is smaller.
func (c *Controller) Plan(response time.Duration) Plan {
	p := c.planner(response)
	s := &session{Controller: c, r: &Result{}}
	for _, n := range c.Config.Concurrency {
		p.add(p.step(n, 0, s.promptsAt(n), 0))
	}
	steps := c.Config.Concurrency
	if len(steps) == 0 {
		return p.plan
	}
	last := steps[len(steps)-1]
	if c.Config.Repeat {
		p.plan.Repeat = p.plan.Steps[len(p.plan.Steps)-1]
	}
	if c.Config.Exact {
		p.plan.Search = p.step(last, 0, max(searchWaves*last, searchProbes*leastProbe), 0)
	}
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("counted as if only the last step, %d, failed; a lower limit ends all of it earlier", last))
	return p.done()
}

// PlanPoint is Plan for a single load: run and soak.
func (c *Controller) PlanPoint(l LoadPoint, response time.Duration) Plan {
	p := c.planner(response)
	p.plan.Steps = []PlannedStep{p.step(l.Concurrency, l.Rate, l.Requests, l.Duration)}
	return p.done()
}

// PlanQPS is Plan for the smallest concurrency that holds a rate.
func (c *Controller) PlanQPS(q QPSConfig, response time.Duration) Plan {
	p := c.planner(response)
	q = q.withDefaults()
	for _, n := range q.Concurrency {
		p.add(p.step(n, q.Rate, q.Requests, 0))
	}
	last := q.Concurrency[len(q.Concurrency)-1]
	if c.Config.Exact {
		p.plan.Search = p.step(last, 0, maxQPSProbes*max(8*last, 4*leastProbe), 0)
	}
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("counted as if only the last step, %d in flight, held the rate", last))
	return p.done()
}

// PlanRate is Plan for the highest arrival rate. Its steps are those that decide
// soon; one that the luck of its arrivals leaves in doubt is made longer.
func (c *Controller) PlanRate(q RateConfig, response time.Duration) Plan {
	p := c.planner(response)
	q = q.withDefaults()
	for _, rate := range q.Rates {
		p.add(p.step(q.Concurrency, rate, q.requestsAt(rate), 0))
	}
	last := q.Rates[len(q.Rates)-1]
	if c.Config.Exact {
		p.plan.Search = p.step(q.Concurrency, last, 2*maxRateProbes*q.requestsAt(last), 0)
	}
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("counted as if only the last rate, %g requests/s, failed; a lower answer ends it earlier", last),
		"a step whose outcome is in doubt sends more than the least that is counted here")
	return p.done()
}

func budgetNotes(b Budget, total PlannedStep) []string {
	var notes []string
	over := func(n analysis.Number, most float64, what string) {
		if v, ok := n.Value(); ok && most > 0 && v > most {
			notes = append(notes, "the budget of "+what+" may end it before its last step")
		}
	}
	over(total.Requests, float64(b.MaxRequests), "requests")
	over(total.Tokens, float64(b.MaxTokens), "tokens")
	over(total.Seconds, b.MaxDuration.Seconds(), "time")
	return notes
}
