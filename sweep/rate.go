package sweep

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// RateConfig is the search for the highest arrival rate: an open loop, in which
// requests come whether or not earlier ones were answered.
type RateConfig struct {
	Rates       []float64 // tried one after the other, requests/s, rising; nil: 1 2 5 10 20 50 100 200 500 1000
	Burstiness  float64   // of the arrivals; 0 means 1: Poisson
	Concurrency int       // requests in flight at most; 0 means 4096: reaching it is waiting, and counts as such
	Requests    int       // least number per step; 0 means 200, fewer at low rates
	// Closed, where set, is a sweep's result: what it predicts is held against
	// what is measured.
	Closed *Result
	// Look begins with short closed loops, whose throughput says which rates are worth
	// trying; of no use beside Closed, which says so too.
	Look bool
}

// looks are the requests in flight of the closed loops that say where to begin: each
// sends twice as many, which takes about two response times.
var looks = []int{8, 32, 128, 512}

const (
	// lookGain is by how much a look must have more throughput than the one before for a
	// further one: else the server is about as busy as it can be.
	lookGain = 1.5
	// lookLongest is how long a further one may take if the throughput stays, seconds.
	lookLongest = 20
)

func (q RateConfig) withDefaults() RateConfig {
	if len(q.Rates) == 0 {
		q.Rates = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
	}
	if q.Concurrency == 0 {
		q.Concurrency = 4096
	}
	return q
}

// What a step of an arrival rate needs where the configuration does not say: a
// percentile near the limit takes 200 requests, but a rate of one a second is not
// worth minutes; 60 tell a p95 and half a minute tells a backlog.
const (
	rateRequests = 200
	rateFewest   = 60
	rateSpan     = 30 * time.Second
)

// requestsAt is the least number of requests of a step.
func (q RateConfig) requestsAt(rate float64) int {
	if q.Requests > 0 {
		return q.Requests
	}
	return min(rateRequests, max(rateFewest, int(math.Ceil(rate*rateSpan.Seconds()))))
}

// RateAnswer is the highest arrival rate that the server bears.
type RateAnswer struct {
	Rate      analysis.Number `json:"rate"`       // requests/s, the highest that held every requirement
	Low       analysis.Number `json:"low"`        // 95 %: Rate less what the luck of its arrivals may hide
	High      analysis.Number `json:"high"`       // 95 %: the lowest rate that broke one, plus likewise; null where none did
	BoundBy   string          `json:"bound_by"`   // the requirement that broke first
	AtLeast   analysis.Number `json:"at_least"`   // where every rate held
	InFlight  analysis.Number `json:"in_flight"`  // mean in flight at Rate
	Predicted analysis.Number `json:"predicted"`  // by the sweep given, null without one
	Sentence  string          `json:"prediction"` // how the prediction compares
}

// rateStep is the ratio of the interval's ends at which the search is done.
const rateStep = 1.06

const maxRateProbes = 8

// FindRate finds the highest rate of arrivals at which every requirement still
// holds, latencies counted from the moment the schedule wanted a request sent,
// and at which the number in flight does not drift upwards.
type FindRate struct {
	Arrivals RateConfig
	Rules    StopRules
	Exact    bool // search between the rates
	Repeat   bool // run a failing rate once more before stopping
}

// Next climbs the rates until one fails. Where a sweep foretells the answer, or a look at
// the server does, it begins below that, and goes down from there should the first one
// fail. Then it closes in between the last that held and the first that did not.
func (f FindRate) Next(h History) (*Order, Answer) {
	q := f.Arrivals.withDefaults()
	seen, steps := split(h.Steps)
	o := f.look(q, seen)
	if o == nil || len(steps) > 0 {
		o = f.next(q, seen, steps)
	}
	if o != nil && h.End == nil {
		return o, Answer{}
	}
	all := h.Steps
	h.Steps = steps
	a := f.answer(h, q)
	a.Steps = all
	return nil, a
}

// split tells looks from the steps that answer the question.
func split(all []analysis.Step) (seen, steps []analysis.Step) {
	for len(all) > len(seen) && all[len(seen)].Phase == analysis.PhaseLook {
		seen = all[:len(seen)+1]
	}
	return seen, all[len(seen):]
}

// look is the next closed loop that says where to begin; nil where enough is known. One
// that fails, or that this client could not make, says nothing.
func (f FindRate) look(q RateConfig, seen []analysis.Step) *Order {
	k := len(seen)
	if !q.Look || q.Closed != nil || k == len(looks) || looks[k] > q.Concurrency {
		return nil
	}
	if k > 0 {
		x := lookedAt(&seen[k-1])
		if x == 0 || 2*float64(looks[k])/x > lookLongest || k > 1 && x < lookGain*lookedAt(&seen[k-2]) {
			return nil
		}
	}
	rules := StopRules{MinSuccessRate: f.Rules.MinSuccessRate}
	o := &Order{Concurrency: looks[k], Requests: 2 * looks[k], Phase: analysis.PhaseLook, Rules: rules, Purpose: "rate", Why: "its throughput says at which rate to begin"}
	o.Abandon.Allowed = allowedFailures(rules, o.Requests)
	return o
}

// lookedAt is the throughput that a look showed; 0 where it showed none.
func lookedAt(s *analysis.Step) float64 {
	if !s.Passed() || s.ClientLimited() {
		return 0
	}
	return s.Whole.RequestThroughput.Or(0)
}

func (f FindRate) next(q RateConfig, seen, steps []analysis.Step) *Order {
	if rateClientLimited(steps) != nil {
		return nil
	}
	made := map[float64]*analysis.Step{}
	for i := range steps {
		if steps[i].Phase == analysis.PhaseLadder {
			made[steps[i].RequestRate.Or(0)] = &steps[i]
		}
	}
	from := q.first(seen)
	for i := from; i < len(q.Rates); i++ {
		step := made[q.Rates[i]]
		if step == nil {
			return f.order(q, seen, steps, q.Rates[i], analysis.PhaseLadder)
		}
		if !step.Passed() {
			break
		}
	}
	if good, _ := rateBracket(steps); good == 0 {
		for i := from - 1; i >= 0; i-- {
			step := made[q.Rates[i]]
			if step == nil {
				return f.order(q, seen, steps, q.Rates[i], analysis.PhaseLadder)
			}
			if step.Passed() {
				break
			}
		}
	}
	good, bad := rateBracket(steps)
	if !f.Exact || len(steps)-len(made) >= maxRateProbes || good == 0 || math.IsInf(bad, 1) || bad <= rateStep*good {
		return nil
	}
	return f.order(q, seen, steps, math.Sqrt(good*bad), analysis.PhaseProbe)
}

// first is the index of the rate to begin with: the highest that is at most
// half of what the sweep given foretells, or of the highest throughput that a look at the
// server showed; 0 without either.
func (q RateConfig) first(seen []analysis.Step) int {
	expected := 0.0
	for i := range seen {
		expected = max(expected, lookedAt(&seen[i]))
	}
	if q.Closed != nil {
		var a RateAnswer
		a.predict(q.Closed)
		expected = a.Predicted.Or(0)
	}
	first := 0
	for i, rate := range q.Rates {
		if rate <= expected/2 {
			first = i
		}
	}
	return first
}

// rateClientLimited is the step at which the client was the limit, or nil.
func rateClientLimited(steps []analysis.Step) *analysis.Step {
	for i := range steps {
		if steps[i].ClientLimited() {
			return &steps[i]
		}
	}
	return nil
}

// order is one arrival rate: for at least twenty response times, since a queue near
// its limit takes its time to show.
func (f FindRate) order(q RateConfig, seen, steps []analysis.Step, rate float64, phase analysis.Phase) *Order {
	requests := max(q.requestsAt(rate), int(math.Ceil(20*rate*responseTime(q.closedLoops(seen), steps, rate))))
	o := &Order{Concurrency: q.Concurrency, Rate: rate, Burstiness: q.Burstiness, Phase: phase, Rules: f.Rules, Intended: true}
	o.Repeat = f.Repeat && phase == analysis.PhaseLadder
	if phase == analysis.PhaseProbe {
		requests *= 2 // nearer to the limit the luck of the arrivals counts for more
		o.Purpose, o.Why = "rate", "between the rates that held and that did not"
	}
	o.Requests, o.Settle = requests, f.Exact
	o.Abandon.Allowed = allowedFailures(f.Rules, requests)
	return o
}

// responseTime is about the response time at a rate in seconds, 0 where nothing tells:
// that of the last step that held, for beyond the limit responses take as long as the
// queue happened to grow, or that of the smallest closed loop with so much throughput.
func responseTime(closed, steps []analysis.Step, rate float64) (e2e float64) {
	for _, s := range slices.Backward(steps) {
		if s.Passed() {
			return s.Verdict().E2E.Mean.Or(0)
		}
	}
	for i := range closed {
		x := lookedAt(&closed[i])
		if x == 0 {
			continue
		}
		e2e = closed[i].Verdict().E2E.Mean.Or(e2e)
		if x >= rate {
			break
		}
	}
	return e2e
}

// closedLoops are those that were measured before, by concurrency: of the sweep given, or
// the looks at the server.
func (q RateConfig) closedLoops(seen []analysis.Step) []analysis.Step {
	if q.Closed == nil {
		return seen
	}
	return slices.SortedStableFunc(slices.Values(q.Closed.Steps), func(a, b analysis.Step) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
}

// rateBracket is the highest rate that held below the lowest that did not.
func rateBracket(steps []analysis.Step) (good, bad float64) {
	bad = math.Inf(1)
	for i := range steps {
		if st := &steps[i]; !st.Passed() {
			bad = min(bad, st.RequestRate.Or(bad))
		}
	}
	for i := range steps {
		if st := &steps[i]; st.Passed() && st.RequestRate.Or(0) < bad {
			good = max(good, st.RequestRate.Or(0))
		}
	}
	return good, bad
}

func (f FindRate) answer(h History, q RateConfig) Answer {
	a := &RateAnswer{}
	out := Answer{Steps: h.Steps, Rate: a, Warnings: remarks(h.Steps, h.Crashes, f.Rules)}
	good, bad := rateBracket(h.Steps)
	var broke, best *analysis.Step
	for i := range h.Steps {
		st := &h.Steps[i]
		switch rate := st.RequestRate.Or(0); {
		case rate == bad && !st.Passed():
			broke = st
		case rate == good && st.Passed():
			best = st
		}
	}
	if best != nil {
		a.Rate, a.InFlight = loadgen.Known(good), best.Verdict().MeanInFlight
		a.Low = loadgen.Known(good * (1 - arrivalLuck(best)))
	}
	if broke != nil {
		a.High = loadgen.Known(bad * (1 + arrivalLuck(broke)))
	}
	if q.Closed != nil {
		a.predict(q.Closed)
	}
	limited := rateClientLimited(h.Steps)
	switch {
	case !h.complete():
		out.Verdict, out.Sentence = Interrupted, "interrupted before the highest rate was found"
	case limited != nil:
		out.Verdict, out.Sentence = ClientLimited, fmt.Sprintf("this client, not the server, was the limit at %s req/s: %s", limited.RequestRate, limited.Client.Limits[0])
	case broke == nil && best != nil:
		a.AtLeast = a.Rate
		out.Verdict, out.Sentence = NotReached, fmt.Sprintf("every requirement held up to %s req/s, the highest rate tried", figure(good))
	case broke == nil:
		out.Verdict, out.Sentence = NotReached, "no rate was tried"
	case best == nil:
		a.BoundBy = broke.Stop.Rule
		out.Verdict, out.Sentence = FailedAtFirstStep, "the first rate failed already: "+broke.Stop.Sentence
	default:
		a.BoundBy = broke.Stop.Rule
		out.Verdict = LimitFound
		out.Sentence = fmt.Sprintf("%s req/s of random arrivals held, %s did not (95 %% CI of the limit %s-%s), bound by %s", figure(good), figure(bad),
			figure(a.Low.Or(0)), figure(a.High.Or(0)), boundBy(broke.Stop))
	}
	if a.Sentence != "" {
		out.Sentence += "; " + a.Sentence
	}
	return out
}

// arrivalLuck is the 95 % bound of how far the rate at which n random arrivals
// really came strays from the one asked for: 1.96 / sqrt(n), as a Poisson count.
func arrivalLuck(step *analysis.Step) float64 {
	n := float64(step.Whole.Completed + step.Whole.Failed)
	return min(0.5, 1.96/math.Sqrt(max(n, 1)))
}

// predict says what the closed loop of a sweep would have foretold: with
// throughput X(n) as the rate at which n in flight become n-1, random arrivals
// make the number in flight a birth-death process, p(n) ~ product of rate/X(k),
// and the rate is bearable while the sweep's limit is passed at most 5 % of the
// time.
func (a *RateAnswer) predict(closed *Result) {
	if closed.Curve == nil || closed.Limit == nil {
		a.Sentence = "the sweep given has no fitted curve or no limit, so that it predicts nothing"
		return
	}
	limit := int(closed.Limit.Concurrency.Or(0))
	x := throughputOf(closed.Curve)
	if limit < 1 || x == nil {
		a.Sentence = "the sweep given has no fitted curve or no limit, so that it predicts nothing"
		return
	}
	low, high := 0.0, 0.0
	for n := 1; n <= limit; n++ {
		high = max(high, x(float64(n)))
	}
	for range 40 {
		mid := (low + high) / 2
		if aboveShare(mid, limit, x) <= 0.05 {
			low = mid
		} else {
			high = mid
		}
	}
	a.Predicted = loadgen.Known(low)
	a.Sentence = fmt.Sprintf("the sweep's curve foretold %s req/s, the rate at which bursts pass its limit of %d in flight 5 %% of the time", figure(low), limit)
}

// throughputOf is the curve as a function, held at its ends outside the tested
// range; nil where no model was trusted.
func throughputOf(c *analysis.Curve) func(float64) float64 {
	if c.Model == "" {
		return nil
	}
	return func(n float64) float64 {
		inside := min(max(n, c.FromConcurrency), c.ToConcurrency)
		v := c.Throughput(inside).Or(0)
		if n < c.FromConcurrency {
			v *= n / c.FromConcurrency
		}
		return v
	}
}

// aboveShare is the share of time that a birth-death process with the given
// arrival rate spends above limit; 1 where it has no equilibrium.
func aboveShare(rate float64, limit int, x func(float64) float64) float64 {
	p, below, above := 1.0, 1.0, 0.0
	for n := 1; n < 100*limit+1000; n++ {
		death := x(float64(n))
		if death <= 0 {
			return 1
		}
		p *= rate / death
		if n <= limit {
			below += p
		} else {
			above += p
			if rate < death && p/(1-rate/death) < 1e-6*(below+above) {
				return above / (below + above)
			}
		}
		if p > 1e12 {
			p, below, above = p/1e12, below/1e12, above/1e12
		}
	}
	return 1
}
