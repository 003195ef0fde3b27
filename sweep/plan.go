package sweep

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Plan is what a command would ask of the server.
type Plan struct {
	Steps  []PlannedStep   `json:"steps"`  // as far as they may go
	Repeat PlannedStep     `json:"repeat"` // of the step that fails, at most; zero without the repeat
	Search PlannedStep     `json:"search"` // beyond the steps, at most about this; zero without the exact search
	Total  PlannedStep     `json:"total"`  // of everything: at most about this
	Cost   analysis.Number `json:"cost"`   // of the server for that long, at the price given; null without one, or where the time is unknown
	Notes  []string        `json:"notes"`
}

// PlannedStep is one step of a plan, or a sum of them.
type PlannedStep struct {
	Concurrency int             `json:"concurrency"`  // in flight at most
	RequestRate analysis.Number `json:"request_rate"` // requests/s; null where a freed slot is refilled at once
	Requests    analysis.Number `json:"requests"`     // null where a duration bounds them and no rate tells how many
	Tokens      analysis.Number `json:"tokens"`       // prompt and output; null where the workload's lengths are unknown
	Seconds     analysis.Number `json:"seconds"`      // null without a rate, a duration or a response time to go by
}

// Outlook is what a plan may go by.
type Outlook struct {
	Response time.Duration // of a single request; 0: unknown. Under load they take longer
	Workload Workload
	Settle   time.Duration // pause before each step
	Budget   Budget
	Price    float64 // of the server an hour; 0: unknown
}

// Planned is a strategy of which it can be told beforehand what it would send.
type Planned interface {
	Strategy
	// worst are the servers at which it would send most, and the notes that say so.
	worst() ([]forecast, []string)
}

// Foresee returns what a strategy would ask of the server at most, without sending
// anything: it is asked with steps as they would be on the servers that take most of
// it. A lower answer ends it earlier.
func Foresee(q Planned, o Outlook) Plan {
	servers, notes := q.worst()
	plan := Plan{Notes: notes}
	for _, f := range servers {
		p := o.play(q, f)
		if len(p.Steps) > len(plan.Steps) {
			plan.Steps = p.Steps
		}
		if p.Repeat.Requests.Or(0) > plan.Repeat.Requests.Or(0) {
			plan.Repeat = p.Repeat
		}
		if p.Search.Requests.Or(0) > plan.Search.Requests.Or(0) {
			plan.Search = p.Search
		}
	}
	for _, s := range append(append([]PlannedStep{}, plan.Steps...), plan.Repeat, plan.Search) {
		plan.Total.add(s)
	}
	if t, ok := plan.Total.Seconds.Value(); ok && o.Price > 0 {
		plan.Cost = loadgen.Known(t / 3600 * o.Price)
	}
	plan.Notes = append(plan.Notes, budgetNotes(o.Budget, plan.Total)...)
	return plan
}

// mostForeseen bounds a play; no strategy takes as many steps.
const mostForeseen = 500

// play asks a strategy with the steps of a server that is made up.
func (o Outlook) play(q Strategy, f forecast) Plan {
	var plan Plan
	var h History
	for range mostForeseen {
		order, _ := q.Next(h)
		if order == nil {
			break
		}
		step := f.step(order)
		planned := o.step(order)
		switch {
		case order.Phase == analysis.PhaseLadder || order.Phase == analysis.PhasePoint:
			plan.Steps = append(plan.Steps, planned)
		default:
			plan.Search.add(planned)
		}
		if again, _ := order.Again(Runs{Step: &step, Made: 1}); again != nil {
			repeat := o.step(order)
			if order.Phase == analysis.PhaseLadder {
				plan.Repeat.add(repeat)
			} else {
				plan.Search.add(repeat)
			}
		}
		h.Steps = append(h.Steps, step)
	}
	return plan
}

// step is one load. Its time is that of its waves, that of its arrivals or its
// duration, whichever binds.
func (o Outlook) step(order *Order) PlannedStep {
	s := PlannedStep{Concurrency: order.Concurrency}
	requests, rate, duration := float64(order.Requests), order.Rate, order.Duration.Seconds()
	turns := float64(o.Workload.Requests(1))
	if rate > 0 {
		s.RequestRate = loadgen.Known(rate)
	}
	waves := loadgen.Number{}
	if o.Response > 0 && requests > 0 {
		waves = loadgen.Known(math.Ceil(requests/float64(order.Concurrency)) * turns * o.Response.Seconds())
	}
	switch {
	case requests > 0:
		s.Requests, s.Seconds = loadgen.Known(turns*requests), waves
		if rate > 0 {
			s.Seconds = loadgen.Known(max(waves.Or(0), requests/rate+turns*o.Response.Seconds()))
		}
	case rate > 0:
		s.Requests = loadgen.Known(math.Round(turns * rate * duration))
	case o.Response > 0:
		s.Requests = loadgen.Known(math.Round(float64(order.Concurrency) * duration / o.Response.Seconds()))
	}
	if duration > 0 {
		s.Seconds = loadgen.Known(min(duration, s.Seconds.Or(duration)))
	}
	if v, ok := s.Seconds.Value(); ok && order.Phase != analysis.PhasePoint {
		s.Seconds = loadgen.Known(v + o.Settle.Seconds())
	}
	if each := o.Workload.PromptTokens + o.Workload.OutputTokens; s.Requests.IsKnown() && each > 0 {
		s.Tokens = loadgen.Known(math.Round(s.Requests.Or(0) * each))
	}
	return s
}

// add sums what is known of both: one unknown part makes the sum unknown. To nothing
// it adds itself.
func (s *PlannedStep) add(q PlannedStep) {
	switch {
	case q == PlannedStep{}:
		return
	case *s == PlannedStep{}:
		*s = q
		s.RequestRate = loadgen.Number{}
		return
	}
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

// forecast is a server that is made up: its steady state under a load.
type forecast struct {
	residence func(n float64) float64 // mean time in system, seconds
	ttft      func(n float64) float64 // of it until the first token; nil: a tenth
	success   func(n float64) float64 // share of requests; nil: all
	speed     float64                 // of recorded traffic, from which it does not hold; 0: none
	most      float64                 // rate of arrivals, requests/s, from which they pile up; 0: none
}

// step is what an order would give there.
func (f forecast) step(o *Order) analysis.Step {
	n := float64(o.Concurrency)
	if o.Rate > 0 {
		n = min(n, o.Rate*f.residence(n))
	}
	state := LoadState{Residence: f.residence(n), TTFT: f.residence(n) / 10, Tokens: 100}
	if f.ttft != nil {
		state.TTFT = f.ttft(n)
	}
	requests, failed := max(o.Requests, 1), 0
	if f.success != nil {
		failed = requests - int(math.Round(f.success(n)*float64(requests)))
	}
	s := state.Step(o, requests-failed, failed)
	if o.Traffic != nil {
		s.Speed = loadgen.Known(o.Speed)
		if f.speed > 0 && o.Speed >= f.speed {
			s.Stop = &analysis.Stop{Rule: RuleTTFT}
		}
	}
	if f.most > 0 && o.Rate >= f.most {
		s.Backlog = &analysis.Backlog{Early: 10, Late: 1000, Growth: 0.5}
		o.Hold(&s)
	}
	return s
}

// IfHeld is the rung that a strategy orders after a rung of a ladder, if that holds as
// easily as the last one; nil where there is none.
func IfHeld(q Strategy, h History, o *Order) *Order {
	if o.Phase != analysis.PhaseLadder {
		return nil
	}
	state := LoadState{Residence: 1, TTFT: 0.001, Tokens: 100}
	if n := len(h.Steps); n > 0 {
		last := h.Steps[n-1].Verdict()
		state.Residence, state.TTFT = last.E2E.Mean.Or(state.Residence), last.TTFT.Mean.Or(state.TTFT)
	}
	step := state.Step(o, max(o.Requests, 1), 0)
	if o.Traffic != nil {
		step.Speed = loadgen.Known(o.Speed)
	}
	step.Stop, step.Breaches = nil, nil
	h.Steps = append(slices.Clip(h.Steps), step)
	next, _ := q.Next(h)
	if next == nil || next.Phase != analysis.PhaseLadder {
		return nil
	}
	return next
}

// LoadState is the steady state of a load, of which a step can be made without
// measuring one: for a plan, or to try a strategy on servers whose answer is known.
type LoadState struct {
	Residence, TTFT float64 // means, seconds
	Served          float64 // requests in flight that are served, where others are turned away; 0: all
	Tokens          float64 // of an answer
	PerToken        float64 // by how much a longer answer takes longer, seconds
	Spread          float64 // coefficient of variation of the requests' times in system

	// Vary says how a batch of requests turns out, given one like the mean; nil: like it.
	Vary func(mean analysis.LevelBatch) analysis.LevelBatch
}

// Step is the step that so many successes and failures of the load would give,
// judged by its order.
func (l LoadState) Step(o *Order, completed, failed int) analysis.Step {
	s := analysis.Step{
		Concurrency: o.Concurrency, Phase: o.Phase, Purpose: o.Purpose, Why: o.Why, Runs: 1, NumPrompts: max(o.Requests, completed+failed),
		VerdictBasis: analysis.BasisWhole, Level: l.level(o, completed), Failures: map[loadgen.Class]int{},
	}
	if failed > 0 {
		s.Failures[loadgen.HTTP5xx] = failed
	}
	m := analysis.LevelBatch{Residence: l.Residence, TTFT: l.TTFT, OutputTokens: l.Tokens}
	if s.Level != nil {
		m = s.Level.Mean()
	}
	rate := float64(completed) / float64(max(completed+failed, 1))
	x := float64(o.Concurrency) / m.Residence * rate
	if l.Served > 0 {
		x = l.Served / m.Residence
	}
	if o.Rate > 0 {
		s.RequestRate = loadgen.Known(o.Rate)
		x = min(x, o.Rate)
	}
	known := loadgen.Known
	s.Whole = analysis.Summary{
		Completed: completed, Failed: failed, SuccessRate: known(rate), RequestThroughput: known(x), MeanInFlight: known(x * m.Residence),
		MeanResidenceSeconds: known(m.Residence), DurationSeconds: known(float64(completed+failed) / max(x, 1e-9)), OutputTokens: int(float64(completed) * m.OutputTokens),
	}
	if completed > 0 {
		s.Whole.TTFT, s.Whole.E2E = l.dist(m.TTFT, completed), l.dist(m.Residence, completed)
		s.Whole.TPOT = l.dist((m.Residence-m.TTFT)/max(1, m.OutputTokens-1), completed)
	}
	o.Hold(&s)
	return s
}

func (l LoadState) dist(mean float64, n int) analysis.Dist {
	k := loadgen.Known(mean)
	return analysis.Dist{Mean: k, P50: k, P90: k, P95: k, P99: k, Std: loadgen.Known(l.Spread * mean), N: n}
}

// level is what is left of the load's successes without those that warm it up and
// those that see it drain, about one per request in flight of either.
func (l LoadState) level(o *Order, completed int) *analysis.Level {
	cohort := max(completed-2*o.Concurrency, completed/4)
	count := analysis.LevelBatches(cohort, o.Concurrency)
	if completed < 2*count {
		return nil
	}
	level := &analysis.Level{PerToken: l.PerToken}
	for k := range count {
		b := analysis.LevelBatch{Requests: (k+1)*cohort/count - k*cohort/count, Residence: l.Residence, TTFT: l.TTFT, Decode: l.Residence - l.TTFT, OutputTokens: l.Tokens}
		if b.Requests == 0 {
			continue
		}
		if l.Vary != nil {
			b = l.Vary(b)
		}
		level.Requests += b.Requests
		level.Batches = append(level.Batches, b)
	}
	return level
}

// worst: only the last step fails, for want of throughput, for its TTFT, or for
// requests that fail, all at once or ever more often.
func (q FindLimit) worst() ([]forecast, []string) {
	steps := q.Config.rungs()
	if len(steps) == 0 {
		return nil, nil
	}
	last, before := float64(steps[len(steps)-1]), 1.0
	if len(steps) > 1 {
		before = float64(steps[len(steps)-2])
	}
	one := func(float64) float64 { return 1 }
	slots := min(1.1*before, 0.9*last)
	longest := max(q.Rules.MaxTTFT.Seconds(), 1e-3)
	servers := []forecast{
		{residence: func(n float64) float64 { return max(1, n/slots) }, ttft: func(float64) float64 { return longest / 2 }},
		{residence: func(n float64) float64 { return 2 * longest }, ttft: func(n float64) float64 { return longest * n / (0.9 * last) }},
		{residence: one, ttft: func(float64) float64 { return longest / 2 }, success: func(n float64) float64 { return map[bool]float64{true: 1, false: 0.5}[n < 0.9*last] }},
		{residence: one, ttft: func(float64) float64 { return longest / 2 }, success: func(n float64) float64 { return 1 - min(1, 0.06*math.Pow(n/last, 1.5)) }},
	}
	return servers, []string{fmt.Sprintf("counted as if only the last step, %.0f, failed, in the way that takes most to search; a lower limit ends all of it earlier", last)}
}

func (p SinglePoint) worst() ([]forecast, []string) { return anyServer, nil }

func (l LongRun) worst() ([]forecast, []string) { return anyServer, nil }

var anyServer = []forecast{{residence: func(float64) float64 { return 1 }}}

// worst: only the last step holds the rate.
func (f FindConcurrency) worst() ([]forecast, []string) {
	q := f.Target.withDefaults()
	last := float64(q.Concurrency[len(q.Concurrency)-1])
	// A closed loop is slower by just so much that the search does not end at once.
	slow := func(n float64) float64 { return last / q.Rate * (1 + 0.3*n/last) / 1.3 }
	return []forecast{{residence: slow}}, []string{fmt.Sprintf("counted as if only the last step, %.0f in flight, held the rate", last)}
}

// worst: only the last rate fails.
func (f FindRate) worst() ([]forecast, []string) {
	q := f.Arrivals.withDefaults()
	last := q.Rates[len(q.Rates)-1]
	return []forecast{{residence: func(float64) float64 { return 0.1 }, most: last}},
		[]string{fmt.Sprintf("counted as if only the last rate, %g requests/s, failed; a lower answer ends it earlier", last),
			"a step whose outcome is in doubt sends more than the least that is counted here"}
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
