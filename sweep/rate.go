package sweep

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// RuleBacklog is the rule of an arrival rate: the number in flight must not
// drift upwards.
const RuleBacklog = "backlog"

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
}

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

// Rate finds the highest rate of arrivals at which every requirement still
// holds, latencies counted from the moment the schedule wanted a request sent,
// and at which the number in flight does not drift upwards.
func (c *Controller) Rate(ctx context.Context, q RateConfig) (*Result, error) {
	s := c.begin("rate")
	q = q.withDefaults()
	a := &RateAnswer{}
	s.r.Rate = a
	err := s.rateSearch(ctx, q)
	return s.close(err, func() { s.rateAnswer(q, a) })
}

func (s *session) rateSearch(ctx context.Context, q RateConfig) error {
	if err := s.rateLadder(ctx, q); err != nil {
		return err
	}
	if rateClientLimited(s.r.Steps) != nil {
		return nil
	}
	if !s.Config.Exact {
		return nil
	}
	for range maxRateProbes {
		good, bad := s.rateBracket()
		if good == 0 || math.IsInf(bad, 1) || bad <= rateStep*good {
			return nil
		}
		if _, err := s.rateStep(ctx, q, math.Sqrt(good*bad), analysis.PhaseProbe); err != nil {
			return err
		}
	}
	return nil
}

// rateLadder climbs the rates until one fails. Where a sweep foretells the answer
// it begins below that, and goes down from there should the first one fail.
func (s *session) rateLadder(ctx context.Context, q RateConfig) error {
	from := s.firstRate(q)
	for i := from; i < len(q.Rates); i++ {
		step, err := s.rateStep(ctx, q, q.Rates[i], analysis.PhaseLadder)
		if err != nil || step.ClientLimited() {
			return err
		}
		if step.Passed() {
			continue
		}
		if i > from {
			return nil
		}
		break
	}
	if good, _ := s.rateBracket(); good > 0 {
		return nil
	}
	for i := from - 1; i >= 0; i-- {
		step, err := s.rateStep(ctx, q, q.Rates[i], analysis.PhaseLadder)
		if err != nil || step.Passed() || step.ClientLimited() {
			return err
		}
	}
	return nil
}

// firstRate is the index of the rate to begin with: the highest that is at most
// half of what the sweep given foretells, 0 without one.
func (s *session) firstRate(q RateConfig) int {
	if q.Closed == nil {
		return 0
	}
	var a RateAnswer
	a.predict(q.Closed)
	first := 0
	for i, rate := range q.Rates {
		if rate <= a.Predicted.Or(0)/2 {
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

// rateStep measures one arrival rate: for at least twenty response times, since a
// queue near its limit takes its time to show.
func (s *session) rateStep(ctx context.Context, q RateConfig, rate float64, phase analysis.Phase) (analysis.Step, error) {
	requests := q.requestsAt(rate)
	for i := len(s.r.Steps) - 1; i >= 0; i-- {
		// Of a step that held: beyond the limit responses take as long as the
		// queue happened to grow.
		if st := &s.r.Steps[i]; st.Passed() {
			requests = max(requests, int(math.Ceil(20*rate*st.Verdict().E2E.Mean.Or(0))))
			break
		}
	}
	if phase == analysis.PhaseProbe {
		requests *= 2 // nearer to the limit the luck of the arrivals counts for more
	}
	return s.measure(ctx, order{
		concurrency: q.Concurrency, requests: requests, rate: rate, burstiness: q.Burstiness, phase: phase,
		repeat: s.Config.Repeat && phase == analysis.PhaseLadder, verdict: s.judgeRate,
	})
}

// rateBracket is the highest rate that held below the lowest that did not.
func (s *session) rateBracket() (good, bad float64) {
	bad = math.Inf(1)
	for i := range s.r.Steps {
		if st := &s.r.Steps[i]; !st.Passed() {
			bad = min(bad, st.RequestRate.Or(bad))
		}
	}
	for i := range s.r.Steps {
		if st := &s.r.Steps[i]; st.Passed() && st.RequestRate.Or(0) < bad {
			good = max(good, st.RequestRate.Or(0))
		}
	}
	return good, bad
}

// judgeRate holds a step of an open loop against the rules: latencies from the
// intended start, and the backlog. A throughput gain has no meaning here.
func (s *session) judgeRate(step *analysis.Step, runs []loadgen.Run) []analysis.Stop {
	seen := *step
	whole := step.Whole
	whole.TTFT, whole.E2E = fromIntended(whole.TTFTIntended, whole.TTFT), fromIntended(whole.E2EIntended, whole.E2E)
	seen.Whole = whole
	if step.Steady != nil {
		steady := *step.Steady
		steady.TTFT, steady.E2E = fromIntended(steady.TTFTIntended, steady.TTFT), fromIntended(steady.E2EIntended, steady.E2E)
		seen.Steady = &steady
	}
	stops := Judge(nil, &seen, s.Stop)
	if stop := judgeBacklog(step, runs); stop != nil {
		stops = append(stops, *stop)
	}
	return stops
}

func fromIntended(intended, sent analysis.Dist) analysis.Dist {
	if intended.N > 0 {
		return intended
	}
	return sent
}

// backlogGate is the share of the arrivals that may pile up.
const backlogGate = 0.05

// judgeBacklog compares the mean number in the system, waiting for a slot
// included, in the second half of the arrivals with that in the first: what a
// server cannot keep up with piles up at the rate that it falls behind. The last
// run alone is looked at.
func judgeBacklog(step *analysis.Step, runs []loadgen.Run) *analysis.Stop {
	run := &runs[len(runs)-1]
	first, last := time.Duration(math.MaxInt64), time.Duration(0)
	for i := range run.Samples {
		first, last = min(first, run.Samples[i].Intended), max(last, run.Samples[i].Intended)
	}
	if last <= first || run.Load.Rate <= 0 {
		return nil
	}
	half := (first + last) / 2
	early, late := meanInside(run, first, half), meanInside(run, half, last)
	growth := (late - early) / (half - first).Seconds() / run.Load.Rate
	// Between the middles of the halves chance moves a number in flight by about
	// its root, some of it more than once.
	if growth <= backlogGate || late-early <= 4*math.Sqrt(max(early, 1)) {
		return nil
	}
	return &analysis.Stop{
		Rule: RuleBacklog, Metric: "share of arrivals piling up", Unit: "share", Value: loadgen.Known(growth), Threshold: loadgen.Known(backlogGate),
		Sentence: fmt.Sprintf("the number in flight drifts upwards at %s req/s: %.1f in the first half, %.1f in the second", figure(run.Load.Rate), early, late),
	}
}

// meanInside is the time average of the requests between intended start and end.
func meanInside(run *loadgen.Run, from, to time.Duration) float64 {
	var sum time.Duration
	for i := range run.Samples {
		a, b := max(run.Samples[i].Intended, from), min(run.Samples[i].End, to)
		if b > a {
			sum += b - a
		}
	}
	return sum.Seconds() / (to - from).Seconds()
}

func (s *session) rateAnswer(q RateConfig, a *RateAnswer) {
	r := s.r
	good, bad := s.rateBracket()
	var broke, best *analysis.Step
	for i := range r.Steps {
		st := &r.Steps[i]
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
	limited := rateClientLimited(r.Steps)
	switch {
	case !r.Complete:
		r.Verdict, r.Sentence = Interrupted, "interrupted before the highest rate was found"
	case limited != nil:
		r.Verdict, r.Sentence = ClientLimited, fmt.Sprintf("this client, not the server, was the limit at %s req/s: %s", limited.RequestRate, limited.Client.Limits[0])
	case broke == nil && best != nil:
		a.AtLeast = a.Rate
		r.Verdict, r.Sentence = NotReached, fmt.Sprintf("every requirement held up to %s req/s, the highest rate tried", figure(good))
	case broke == nil:
		r.Verdict, r.Sentence = NotReached, "no rate was tried"
	case best == nil:
		a.BoundBy = broke.Stop.Rule
		r.Verdict, r.Sentence = FailedAtFirstStep, "the first rate failed already: "+broke.Stop.Sentence
	default:
		a.BoundBy = broke.Stop.Rule
		r.Verdict = LimitFound
		r.Sentence = fmt.Sprintf("%s req/s of random arrivals held, %s did not (95 %% CI of the limit %s-%s), bound by %s: %s", figure(good), figure(bad),
			figure(a.Low.Or(0)), figure(a.High.Or(0)), RuleTitle(a.BoundBy), broke.Stop.Sentence)
	}
	if a.Sentence != "" {
		r.Sentence += "; " + a.Sentence
	}
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
