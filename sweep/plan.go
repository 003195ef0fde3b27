package sweep

import (
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Plan is what a sweep would ask of the server.
type Plan struct {
	Steps  []PlannedStep // of the ladder, as far as it may go
	Search PlannedStep   // beyond the ladder, at most about this; zero without the exact search
	Total  PlannedStep   // with every step of the ladder passed and no repeat
	Notes  []string
}

// PlannedStep is one step of a plan, or a sum of them.
type PlannedStep struct {
	Concurrency int
	Requests    int
	Tokens      analysis.Number // prompt and output; unknown where the workload's lengths are
	Seconds     analysis.Number // unknown without a response time to go by
}

// searchWaves is what the exact search takes beyond the ladder, in requests per
// request in flight at the limit: three probes of about five waves each and a
// smaller step repeated.
const searchWaves = 16

// Plan returns what a sweep would ask of the server, without sending anything.
// responseTime is that of a single request, as far as it is known; response
// times grow with the load, so that the real time is longer.
func (c *Controller) Plan(responseTime time.Duration) Plan {
	s := &session{Controller: c, r: &Result{}}
	perRequest := c.Workload.PromptTokens + c.Workload.OutputTokens
	step := func(n, requests int) PlannedStep {
		p := PlannedStep{Concurrency: n, Requests: requests}
		if perRequest > 0 {
			p.Tokens = loadgen.Known(math.Round(float64(requests) * perRequest))
		}
		if responseTime > 0 {
			waves := math.Ceil(float64(requests) / float64(n))
			p.Seconds = loadgen.Known(waves*responseTime.Seconds() + c.Config.Settle.Seconds())
		}
		return p
	}
	var plan Plan
	for _, n := range c.Config.Concurrency {
		p := step(n, s.promptsAt(n))
		plan.Steps = append(plan.Steps, p)
		plan.Total.add(p)
	}
	if n := len(c.Config.Concurrency); c.Config.Exact && n > 0 {
		last := c.Config.Concurrency[n-1]
		plan.Search = step(last, searchWaves*last)
		plan.Total.add(plan.Search)
		plan.Notes = append(plan.Notes, "the search is counted as if the limit were at the last step; at a lower limit both end earlier")
	}
	plan.Notes = append(plan.Notes, budgetNotes(c.Config.Budget, plan.Total)...)
	return plan
}

func (p *PlannedStep) add(q PlannedStep) {
	sum := func(a, b analysis.Number) analysis.Number {
		v, ok := b.Value()
		if !ok {
			return a
		}
		return loadgen.Known(a.Or(0) + v)
	}
	p.Concurrency = max(p.Concurrency, q.Concurrency)
	p.Requests += q.Requests
	p.Tokens, p.Seconds = sum(p.Tokens, q.Tokens), sum(p.Seconds, q.Seconds)
}

func budgetNotes(b Budget, total PlannedStep) []string {
	var notes []string
	if b.MaxRequests > 0 && total.Requests > b.MaxRequests {
		notes = append(notes, "the budget of requests may end the sweep before its last step")
	}
	if b.MaxTokens > 0 && total.Tokens.Or(0) > float64(b.MaxTokens) {
		notes = append(notes, "the budget of tokens may end the sweep before its last step")
	}
	if b.MaxDuration > 0 && total.Seconds.Or(0) > b.MaxDuration.Seconds() {
		notes = append(notes, "the budget of time may end the sweep before its last step")
	}
	return notes
}
