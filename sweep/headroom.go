package sweep

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// HeadroomAnswer is how many times recorded traffic fits.
type HeadroomAnswer struct {
	Speed      analysis.Number `json:"speed"`  // the largest at which every requirement holds; null where none was found
	Low        analysis.Number `json:"low"`    // of its interval; where every speed held, the largest that was tried
	High       analysis.Number `json:"high"`   // null where every speed held
	Again      *Ends           `json:"again"`  // of it, what the runs leave open: where the same requests, sent again, would come to; null where the interval is that
	Longer     analysis.Number `json:"longer"` // the speed of ten times as much traffic of the same kind, simulated; null where what was sent was long enough
	Confidence analysis.Number `json:"confidence"`
	SLO        string          `json:"slo"`     // the requirement that breaks first
	Speedup    Speedup         `json:"speedup"` // how the traffic became more
	Rate       analysis.Number `json:"rate"`    // requests/s on average at Speed
	Piece      Piece           `json:"piece"`
	Queue      []Simulated     `json:"queue"`    // how many would be in the server; simulated, not measured
	Arrivals   []Arrived       `json:"arrivals"` // all that was recorded, over time
}

// Ends are those of an interval.
type Ends struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Piece is what was sent of a trace.
type Piece struct {
	FromSeconds float64 `json:"from_seconds"` // after its first request
	Seconds     float64 `json:"seconds"`
	Requests    int     `json:"requests"`
	Of          int     `json:"of_requests"`
	OfSeconds   float64 `json:"of_seconds"`
}

// spanOf writes a number of seconds for people.
func spanOf(s float64) string { return span(time.Duration(s * float64(time.Second))) }

// sentence says what a piece leaves out; empty where it is all.
func (p Piece) sentence() string {
	if p.Of <= p.Requests || p.Seconds <= 0 {
		return ""
	}
	return fmt.Sprintf("of %d recorded requests in %s the busiest %s were sent, %d requests from %s on: their peak is in it, what builds up over longer (caches, memory, drift) is not",
		p.Of, spanOf(p.OfSeconds), spanOf(p.Seconds), p.Requests, spanOf(p.FromSeconds))
}

// FindHeadroom finds the largest speed of recorded traffic at which every requirement
// holds. A run at a speed holds them or it does not, and near the limit the same speed
// does both: chance of holding falls from 1 to 0 as the speed grows, and what is
// looked for is where it passes one half.
type FindHeadroom struct {
	Traffic     *Traffic
	Speedup     Speedup
	Piece       Piece
	Concurrency int // in flight at most: reaching it is waiting, and counts as such
	Rules       StopRules
	Goodput     *analysis.Goodput
}

const (
	headroomRatio = 1.10 // of the interval's ends, at which the search is done
	headroomRuns  = 12   // at most, beyond the climb
	fastest       = 64.0 // speeds that are tried at most, and at least
	slowest       = 1.0 / 64
)

// Next doubles the speed until it fails, or halves it until it holds. Then it runs the
// speed at which holding and failing are as likely, until its place is known well
// enough.
func (f FindHeadroom) Next(h History) (*Order, Answer) {
	if h.End == nil {
		if o := f.next(h.Steps); o != nil {
			return o, Answer{}
		}
	}
	return nil, f.answer(h)
}

func (f FindHeadroom) next(steps []analysis.Step) *Order {
	if rateClientLimited(steps) != nil {
		return nil
	}
	good, bad := speedBounds(steps)
	switch {
	case len(steps) == 0:
		return f.order(1, analysis.PhaseLadder)
	case math.IsInf(bad, 1) && good < f.fastest():
		return f.order(2*good, analysis.PhaseLadder)
	case math.IsInf(bad, 1):
		return nil
	case good == 0 && bad > slowest:
		return f.order(bad/2, analysis.PhaseLadder)
	case good == 0:
		return nil
	}
	probes := 0
	for i := range steps {
		if steps[i].Phase == analysis.PhaseProbe {
			probes++
		}
	}
	p := f.placeOf(steps)
	if probes >= headroomRuns || p.high <= headroomRatio*p.low {
		return nil
	}
	// At the middle alone nothing is learnt of how wide the fall is.
	return f.order([]float64{p.middle, p.lower, p.upper}[probes%3], analysis.PhaseProbe)
}

// fastest is the highest speed that is tried.
func (f FindHeadroom) fastest() float64 {
	return min(fastest, MostSpeed(f.Speedup, len(f.Traffic.At))/2)
}

func (f FindHeadroom) order(speed float64, phase analysis.Phase) *Order {
	// With three digits a person can ask for the same speed again.
	speed, _ = strconv.ParseFloat(strconv.FormatFloat(speed, 'g', 3, 64), 64)
	o := &Order{Concurrency: f.Concurrency, Phase: phase, Rules: f.Rules, Goodput: f.Goodput}
	o.follow(f.Traffic, speed, f.Speedup)
	o.Abandon.Allowed = allowedFailures(f.Rules, o.Requests)
	if phase == analysis.PhaseProbe {
		o.Purpose, o.Why = "speed", "where the requirements hold as often as not"
	}
	return o
}

// speedBounds are the largest speed that held and the smallest that did not; 0 and
// +Inf where there is none.
func speedBounds(steps []analysis.Step) (good, bad float64) {
	bad = math.Inf(1)
	for i := range steps {
		if speed := steps[i].Speed.Or(0); steps[i].Passed() {
			good = max(good, speed)
		} else {
			bad = min(bad, speed)
		}
	}
	return good, bad
}

// place is where the chance of holding passes one half.
type place struct{ low, lower, middle, upper, high float64 } // quantiles of what the runs leave open

// trial is what a run says of the place.
type trial struct {
	x      float64 // logarithm of its speed
	holds  bool
	margin float64 // logarithm of the figure that is nearest to its limit, over that limit
	near   bool    // it is near enough to say more than whether it held
}

// nearby is how far a figure may be from its limit, as a logarithm, to be taken as
// linear in the logarithm of the speed.
const nearby = 0.5

func (f FindHeadroom) trials(steps []analysis.Step) []trial {
	out := make([]trial, len(steps))
	for i := range steps {
		st := &steps[i]
		out[i] = trial{x: math.Log(st.Speed.Or(0)), holds: st.Passed()}
		if m, ok := f.margin(st); ok && math.Abs(m) <= nearby && (m <= 0) == st.Passed() {
			out[i].margin, out[i].near = m, true
		}
	}
	return out
}

// margin is by how much the latency, token rate or share of bad requests that is nearest to its limit keeps it
// (below 0) or breaks it; false where something else decides, or nothing is known.
func (f FindHeadroom) margin(step *analysis.Step) (float64, bool) {
	seen, worst := *step, math.Inf(-1)
	seen.Whole = sinceIntended(step.Whole)
	if step.Abandoned != "" || breaks(step, RuleSuccess) || breaks(step, RuleResources) {
		return 0, false
	}
	if f.Rules.MaxTTFT > 0 {
		dist := seen.Whole.TTFT
		if NotStreamed(&seen) {
			dist = seen.Whole.E2E
		}
		if v, ok := statistic(dist, f.Rules.TTFTStatistic); ok {
			worst = max(worst, math.Log(v/f.Rules.MaxTTFT.Seconds()))
		}
	}
	for _, slo := range f.Rules.SLO {
		if slo.Metric == metricTokenRate {
			if v, ok := seen.Whole.RequestTokensPerSec.Value(); ok {
				worst = max(worst, math.Log(slo.Min/v))
			}
		} else if v, ok := sloValue(&seen, slo); ok {
			worst = max(worst, math.Log(v/slo.Max.Seconds()))
		}
	}
	if share, ok := step.Whole.GoodShare.Value(); ok && f.Rules.MinGoodput > 0 {
		half := 0.5 / float64(max(step.Whole.Completed+step.Whole.Failed, 1)) // of a request, where none is bad
		worst = max(worst, math.Log(max(1-share, half)/max(1-f.Rules.MinGoodput, half)))
	}
	return worst, !math.IsInf(worst, 0) && !math.IsNaN(worst)
}

// What a server may be like: by how much runs of one speed differ, as a share of the
// speed, and how many percent a figure near its limit grows by with one percent of
// speed.
var (
	headroomWidths = []float64{0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.12}
	headroomSlopes = []float64{0.25, 0.5, 1, 2, 4, 8, 16, 32, 64}
)

// placeOf weighs every place, width and slope by how likely they make what the runs
// gave: Bayes' rule, flat over the logarithms. A run far from the limit says whether it
// held, with the chance Phi((place - x) / width); one near it says how far off it is,
// for its figure is slope x (x - place), give or take slope x width. One run in a
// hundred may be a matter of something else. What does not depend on the slope is
// weighed once for all of them.
func (f FindHeadroom) placeOf(steps []analysis.Step) place {
	const cells = 600
	trials := f.trials(steps)
	low, high := math.Inf(1), math.Inf(-1)
	for _, t := range trials {
		low, high = min(low, t.x), max(high, t.x)
	}
	from, to := low-0.3, high+0.3
	if good, bad := speedBounds(steps); good > 0 && !math.IsInf(bad, 1) { // far outside nothing has weight
		from, to = math.Log(min(good, bad)/1.5), math.Log(max(good, bad)*1.5)
	}
	at := func(i int) float64 { return from + (to-from)*(float64(i)+0.5)/cells }
	weights, total := make([]float64, cells), 0.0
	far, all := make([]float64, cells), make([]float64, cells)
	// The ends are wider than 95 %: a search that stops where its interval looks narrow
	// stops too often where it does so by luck.
	widths, tail := headroomWidths, 0.01
	if len(f.Traffic.At) < 150 { // a statistic of so few is one of the last of them
		widths, tail = append(widths[:len(widths):len(widths)], 0.24, 0.48), 0.005
	}
	for _, width := range widths {
		fill(far, 1)
		for _, t := range trials {
			if !t.near { // knows no slope
				t.weigh(far, at, width, 1)
			}
		}
		for _, slope := range headroomSlopes {
			copy(all, far)
			for _, t := range trials {
				if t.near {
					t.weigh(all, at, width, slope)
				}
			}
			for i, w := range all {
				weights[i] += w
				total += w
			}
		}
	}
	quantile := func(share float64) float64 {
		sum := 0.0
		for i, w := range weights {
			if sum += w; sum >= share*total {
				return math.Exp(at(i))
			}
		}
		return math.Exp(to)
	}
	return place{quantile(tail), quantile(0.2), quantile(0.5), quantile(0.8), quantile(1 - tail)}
}

// accident is how often a run is a matter of something else.
const accident = 0.01

// weigh multiplies the weight of every place by how likely it makes the run's outcome.
func (t trial) weigh(weights []float64, at func(int) float64, width, slope float64) {
	for i := range weights {
		weights[i] *= t.likely(at(i), width, slope)*(1-accident) + accident/2
	}
}

func fill[T any](all []T, v T) {
	for i := range all {
		all[i] = v
	}
}

// likely is how likely a run's outcome is: a chance, or of one near the limit a density.
func (t trial) likely(place, width, slope float64) float64 {
	const beyond = 9 // standard deviations, where what is left is no number any more
	if t.near {
		z := (t.margin/slope - (t.x - place)) / width
		if math.Abs(z) > beyond {
			return 0
		}
		return math.Exp(-z*z/2) / (slope * width * math.Sqrt(2*math.Pi))
	}
	z := (place - t.x) / width
	if !t.holds {
		z = -z
	}
	if math.Abs(z) > beyond {
		return math.Max(0, math.Copysign(1, z))
	}
	return 0.5 * math.Erfc(-z/math.Sqrt2)
}

func (f FindHeadroom) answer(h History) Answer {
	a := &HeadroomAnswer{Piece: f.Piece, Speedup: f.Speedup}
	out := Answer{Steps: h.Steps, Headroom: a, Warnings: remarks(h.Steps, h.Crashes, f.Rules)}
	if s := f.Piece.sentence(); s != "" {
		out.Warnings = append(out.Warnings, s)
	}
	good, bad := speedBounds(h.Steps)
	var broke *analysis.Step // the slowest run that failed
	for i := range h.Steps {
		if st := &h.Steps[i]; !st.Passed() && st.Speed.Or(0) == bad {
			broke = st
		}
	}
	if broke != nil {
		a.SLO = broke.Stop.Rule
	}
	if good > 0 && broke != nil {
		p := f.placeOf(h.Steps)
		a.Speed, a.Low, a.High, a.Confidence = loadgen.Known(p.middle), loadgen.Known(p.low), loadgen.Known(p.high), loadgen.Known(0.95)
		f.widen(a, h.Steps, p)
		a.Rate = loadgen.Known(p.middle * f.Traffic.Rate())
	}
	out.Warnings = append(out.Warnings, f.doubts(a, h.Steps)...)
	if h.complete() {
		f.beside(a, h.Steps)
	}
	limited := rateClientLimited(h.Steps)
	switch {
	case !h.complete():
		out.Verdict, out.Sentence = Interrupted, "interrupted before it was found how many times the traffic fits"
	case limited != nil:
		out.Verdict, out.Sentence = ClientLimited, fmt.Sprintf("this client, not the server, was the limit at %s x the recorded traffic: %s", speedText(limited.Speed.Or(0)), limited.Client.Limits[0])
	case len(h.Steps) == 0:
		out.Verdict, out.Sentence = NotReached, "no speed was tried"
	case broke == nil:
		a.Low = loadgen.Known(good)
		out.Verdict, out.Sentence = NotReached, fmt.Sprintf("every requirement held up to %s x the recorded traffic, the highest speed tried", speedText(good))
	case good == 0:
		out.Verdict, out.Sentence = FailedAtFirstStep, "not even the slowest speed tried held: "+broke.Stop.Sentence
	default:
		out.Verdict = LimitFound
		words := "the server carries %s x the recorded traffic (95 %% CI %s-%s; %s req/s on average), bound by %s"
		if f.Speedup == MoreSessions {
			words = "the server carries %s x the recorded sessions, each at its own pace (95 %% CI %s-%s; %s req/s on average), bound by %s"
		}
		out.Sentence = fmt.Sprintf(words, speedText(a.Speed.Or(0)), speedText(a.Low.Or(0)), speedText(a.High.Or(0)), figure(a.Rate.Or(0)), boundBy(broke.Stop))
	}
	return out
}

// beside is what a reader wants to see beside the answer.
func (f FindHeadroom) beside(a *HeadroomAnswer, steps []analysis.Step) {
	whole := f.Traffic
	if whole.Whole != nil {
		whole = whole.Whole
	}
	a.Arrivals, a.Queue = whole.Arrived(), f.simulate(steps)
}

// widen makes the interval that of the traffic, of which the trace is a sample: it holds
// what other traces of the same kind would have come to, and longer ones where this one is
// over before a queue can grow.
func (f FindHeadroom) widen(a *HeadroomAnswer, steps []analysis.Step, p place) {
	k := f.alike(steps, p.middle, a.SLO)
	if k == nil {
		return
	}
	others := min(k.spread(), likeMost) // beyond, nothing is known
	low, high := math.Hypot(math.Log(p.middle/p.low), others), math.Hypot(math.Log(p.high/p.middle), others)
	a.Again = &Ends{p.low, p.high}
	a.Low, a.High = loadgen.Known(p.middle*math.Exp(-low)), loadgen.Known(p.middle*math.Exp(high))
	if _, responses, _ := f.lasts(steps); responses < briefResponses {
		speed := p.middle * math.Exp(k.ratios(longerTraces, longer)[longerTraces/2])
		a.Longer, a.Low = loadgen.Known(speed), loadgen.Known(math.Exp(-low)*min(p.middle, speed))
	}
}

// doubts is what a short trace leaves open, in words.
func (f FindHeadroom) doubts(a *HeadroomAnswer, steps []analysis.Step) []string {
	var out []string
	if again := a.Again; again != nil && a.High.Or(0)/a.Low.Or(1) > 1.5*again.High/again.Low {
		out = append(out, fmt.Sprintf("%d requests are a small sample of such traffic: these very ones, sent again, would come to %s-%s x; the interval holds as well what others of the same kind would come to, simulated. Record more for a narrower one",
			len(f.Traffic.At), speedText(again.Low), speedText(again.High)))
	}
	if s, responses, speed := f.lasts(steps); responses < briefResponses {
		out = append(out, fmt.Sprintf("at %s x the recorded traffic all of it comes within %s, %.1f response times: too short for a queue to grow as it would in longer traffic, which fits less often",
			speedText(speed), spanOf(s), responses))
		if v, ok := a.Longer.Value(); ok {
			out = append(out, fmt.Sprintf("simulated, ten times as much traffic of this kind fits %s x; the interval begins below that", speedText(v)))
		}
	}
	return out
}

// briefResponses is how many response times traffic has to last for a queue to grow.
const briefResponses = 20

// lasts is how long the traffic lasts at the largest speed that held, in seconds and in
// response times; for ever where none held.
func (f FindHeadroom) lasts(steps []analysis.Step) (s, responses, speed float64) {
	var best *analysis.Step
	for i := range steps {
		if st := &steps[i]; st.Passed() && (best == nil || st.Speed.Or(0) > best.Speed.Or(0)) {
			best = st
		}
	}
	if best == nil {
		return math.Inf(1), math.Inf(1), 0
	}
	speed = best.Speed.Or(1)
	if s = f.Traffic.Span().Seconds(); f.Speedup != MoreSessions {
		s /= speed
	}
	return s, s / best.Whole.E2E.Mean.Or(0), speed
}

// worst: only the highest speed fails.
func (f FindHeadroom) worst() ([]forecast, []string) {
	return []forecast{{residence: func(float64) float64 { return 0.1 }, speed: 3}},
		[]string{"counted as if 3 x the recorded traffic did not hold, and 2 x did; every further doubling sends it once more", "runs near the limit are made until it is known within 10 %, at most 12 of them"}
}
