package sweep

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

func TestLaddersOfAnEffort(t *testing.T) {
	for _, tt := range []struct {
		effort Effort
		steps  Steps
		want   []int
	}{
		{"", Default().Concurrency, Default().Concurrency},
		{EffortGuide, Steps{1, 2, 3}, []int{1, 2, 3}},
		{EffortThorough, Steps{1, 2, 3}, []int{1, 2, 3}},
		{EffortQuick, Default().Concurrency, []int{1, 10, 20, 100, 200, 500, 1000}},
		{EffortQuick, Steps{1, 2, 5, 10}, []int{1, 10}},
	} {
		c := Default()
		c.Effort, c.Concurrency = tt.effort, tt.steps
		if got := c.rungs(); !slices.Equal(got, tt.want) {
			t.Errorf("%s, %v: %v, want %v", tt.effort, tt.steps, got, tt.want)
		}
	}
	c := Config{Effort: EffortQuick, Concurrency: Default().Concurrency}
	if got := c.rungAbove(20, true); got != 50 {
		t.Errorf("near a limit it goes from 20 to %d", got)
	}
	if got := c.rungAbove(50, false); got != 100 {
		t.Errorf("from 50, where nothing is near, it goes to %d", got)
	}
	quick := FindLimit{Config: c, Rules: DefaultStopRules()}.read(History{}).ask.Rules
	guide := FindLimit{Config: Default(), Rules: DefaultStopRules()}.read(History{}).ask.Rules
	for _, tt := range []struct {
		from, to     int
		quick, guide float64
	}{
		{5, 20, 0.44, 0.2}, {50, 100, 0.2, 0.2}, {2, 5, math.Pow(1.2, math.Log2(2.5)) - 1, 0.2},
		{100, 137, math.Pow(1.2, math.Log2(1.37)) - 1, math.Pow(1.2, math.Log2(1.37)) - 1},
	} {
		if q, g := quick.gainAsked(tt.from, tt.to), guide.gainAsked(tt.from, tt.to); math.Abs(q-tt.quick) > 1e-9 || math.Abs(g-tt.guide) > 1e-9 {
			t.Errorf("from %d to %d a quick sweep asks for a gain of %v and the guide for %v, want %v and %v", tt.from, tt.to, q, g, tt.quick, tt.guide)
		}
	}
}

// atEffort is a sweep of the default settings at an effort.
func atEffort(e Effort) FindLimit {
	q := FindLimit{Config: Default(), Rules: DefaultStopRules(), Band: DefaultBand()}
	q.Config.Effort = e
	return q
}

// asked are the orders of a quick sweep of a server, as long as want says so.
func asked(server func(o *Order) LoadState, want func(o *Order) bool) (got []int, answer Answer) {
	q := atEffort(EffortQuick)
	var h History
	for {
		o, a := q.Next(h)
		if o == nil || !want(o) {
			return got, a
		}
		h.Steps = append(h.Steps, server(o).Step(o, o.Requests, 0))
		got = append(got, o.Concurrency)
	}
}

func onLadder(o *Order) bool { return o.Phase == analysis.PhaseLadder }

// A step further up costs less where throughput bends already, and none is climbed where
// requests wait.
func TestQuickLeapsWhereNothingIsNear(t *testing.T) {
	for _, tt := range []struct {
		slots float64
		want  []int
	}{{40, []int{1, 10, 20, 100}}, {12, []int{1, 10, 20}}, {3, []int{1, 10}}} {
		got, _ := asked(func(o *Order) LoadState {
			r := max(1, float64(o.Concurrency)/tt.slots)
			return LoadState{Residence: r, TTFT: r - 0.99, Tokens: 100}
		}, onLadder)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v slots: %v, want %v", tt.slots, got, tt.want)
		}
	}
}

// Time in system rises in a straight line, R = a + b N, so that the knee lies at 2.8 a/b
// whatever the step: one load above it shows that, and no more is climbed.
func TestQuickClimbsToTheKneeAhead(t *testing.T) {
	for knee, want := range map[float64][]int{109: {1, 10, 20, 50, 100, 137}, 45: {1, 10, 20, 50, 65}} {
		slope := (1/math.Log2(1.2) - 1) / knee
		got, answer := asked(func(o *Order) LoadState {
			r := 1 + slope*float64(o.Concurrency)
			if o.Concurrency > 109 {
				r *= 0.97 // by chance, so that throughput gains enough there: it ends all the same
			}
			return LoadState{Residence: r, TTFT: 0.01, Tokens: 100}
		}, func(*Order) bool { return true })
		if climbed := got[:min(len(want), len(got))]; !slices.Equal(climbed, want) || slices.Max(got) > want[len(want)-1] {
			t.Errorf("knee %v: %v, want %v", knee, got, want)
		}
		if at := answer.Limit; at == nil || math.Abs(at.Concurrency.Or(0)-knee) > 0.05*knee || at.Confidence.Or(0) != 0.95 {
			t.Errorf("knee %v: limit %+v", knee, at)
		}
	}
}

// From how many on requests fail does not matter where the knee lies well below.
func TestQuickLooksForNoSuccessAboveTheKnee(t *testing.T) {
	q := atEffort(EffortQuick)
	var h History
	for {
		o, a := q.Next(h)
		if o == nil {
			if a.Limit == nil || math.Abs(a.Limit.Concurrency.Or(0)-32) > 1 || a.Limit.BoundBy != RuleGain {
				t.Errorf("limit %+v", a.Limit)
			}
			break
		}
		failed := 0
		if o.Concurrency > 48 { // a queue of 16
			failed = o.Requests / 2
		}
		r := max(1, float64(o.Concurrency)/32)
		h.Steps = append(h.Steps, LoadState{Residence: r, TTFT: r - 0.99, Tokens: 100, Served: min(float64(o.Concurrency), 48)}.Step(o, o.Requests-failed, failed))
	}
	for _, s := range h.Steps {
		if s.Purpose == RuleSuccess && s.Concurrency != 47 { // from which the knee is guessed
			t.Errorf("%d requests in flight were measured for success", s.Concurrency)
		}
	}
}

// A server that dies at 137 in flight is killed once: that it bears one less says that it was
// the load, and nothing else is measured up there.
func TestQuickKillsOnce(t *testing.T) {
	q := atEffort(EffortQuick)
	var h History
	var above []int
	for {
		o, a := q.Next(h)
		if o == nil {
			if l := a.Limit; l == nil || l.Concurrency.Or(0) != 136 || l.High.Or(0) != 136 || l.BoundBy != RuleSuccess {
				t.Errorf("limit %+v", l)
			}
			break
		}
		step := LoadState{Residence: 1.56 + 0.0048*float64(o.Concurrency), TTFT: 0.1, Tokens: 100}
		if o.Concurrency > 136 {
			above = append(above, o.Concurrency)
			h.Crashes = append(h.Crashes, Crash{Step: len(h.Steps), Concurrency: o.Concurrency, InFlight: loadgen.Known(137), RecoveredSeconds: loadgen.Known(1)})
			h.Steps = append(h.Steps, step.Step(o, 0, o.Concurrency))
			continue
		}
		h.Steps = append(h.Steps, step.Step(o, o.Requests, 0))
	}
	if !slices.Equal(above, []int{200}) {
		t.Errorf("measured above the edge: %v", above)
	}
}

// Long answers alone make a step of a few dozen requests look slow: at equal lengths it is not.
func TestQuickStepAtEqualLengths(t *testing.T) {
	run := func(long float64) History {
		q := atEffort(EffortQuick)
		var h History
		for {
			o, _ := q.Next(h)
			if o == nil || o.Concurrency > 10 || !onLadder(o) {
				return h
			}
			tokens := 100.0
			if o.Concurrency == 10 {
				tokens *= long
			}
			s := LoadState{Residence: 0.01 * tokens, TTFT: 0.01, Tokens: tokens, PerToken: 0.01}.Step(o, o.Requests, 0)
			h.Steps = append(h.Steps, s)
		}
	}
	q := atEffort(EffortQuick)
	h := run(6)
	raw := h.Steps[len(h.Steps)-1]
	if raw.Concurrency != 10 || raw.Passed() {
		t.Fatalf("the step at %d: %+v; it must look short of throughput", raw.Concurrency, raw.Stop)
	}
	next, _ := q.Next(h)
	if next == nil || !onLadder(next) || next.Concurrency != 20 {
		t.Errorf("it goes on with %+v", next)
	}
	_, answer := q.Next(History{Steps: h.Steps, End: &End{Why: "enough"}})
	if s := answer.Steps[len(answer.Steps)-1]; s.Cleared == nil || !AtEqualLengths(answer.Steps, &s) {
		t.Errorf("the step: %+v", s.Cleared)
	}
	for _, w := range answer.Warnings {
		if strings.Contains(w, "the ladder stopped") {
			t.Error(w)
		}
	}
	q.Config.Effort = EffortGuide
	h.Steps[len(h.Steps)-1].Cleared = nil
	if next, _ := q.Next(h); next == nil || onLadder(next) {
		t.Errorf("the guide's own ladder goes on with %+v", next)
	}
}

// Of a few dozen requests two that fail settle nothing; of the guide's hundred six do.
func TestWhatEndsAStep(t *testing.T) {
	for effort, want := range map[Effort]Abandon{
		EffortQuick: {Allowed: -1, Sequential: true, Patience: 0.2},
		EffortGuide: {Allowed: 0},
	} {
		q := atEffort(effort)
		if o, _ := q.Next(History{}); o.Abandon != want {
			t.Errorf("%s: %+v, want %+v", effort, o.Abandon, want)
		}
	}
}

// The interval of a time's limit allows for hours that a quick sweep does not see; the limit
// itself, and the guide's interval, stay.
func TestQuickAllowsForOtherHours(t *testing.T) {
	server := func(o *Order) LoadState {
		ttft := 0.1 + 0.012*float64(o.Concurrency)
		return LoadState{Residence: 4 + ttft, TTFT: ttft, Tokens: 100}
	}
	q := atEffort(EffortQuick)
	var h History
	for o, _ := q.Next(h); o != nil; o, _ = q.Next(h) {
		h.Steps = append(h.Steps, server(o).Step(o, o.Requests, 0))
	}
	limit := func(effort Effort) (plain, told analysis.Limit) {
		q.Config.Effort = effort
		e := q.read(h)
		rule := e.timedRules()[0]
		return analysis.LatencyLimit(e.points(rule), rule.threshold, rule.rule, e.between()), e.limits()[rule.rule]
	}
	plain, quick := limit(EffortQuick)
	if at := quick.Concurrency.Or(0); at != plain.Concurrency.Or(-1) || math.Abs(at-75) > 1 || quick.Low.Or(0) > 72 || quick.High.Or(0) < 78 || plain.High.Or(0)-plain.Low.Or(0) > 7 {
		t.Errorf("quick: %+v, of which the measurement itself gave %+v", quick, plain)
	}
	if plain, guide := limit(EffortGuide); guide != plain {
		t.Errorf("guide: %+v, of which the measurement itself gave %+v", guide, plain)
	}
}

// The tail of a run is cut where it is judged by what shows before its end, and no failure
// makes one wish to know what becomes of each request.
func TestWhoseTailIsCut(t *testing.T) {
	for name, tt := range map[string]struct {
		effort Effort
		slo    SLO
		failed int
		want   bool
	}{
		"quick":                 {effort: EffortQuick, want: true},
		"quick, TTFT bound":     {effort: EffortQuick, slo: SLO{Metric: metricTTFT, Max: time.Second}, want: true},
		"quick, E2E bound":      {effort: EffortQuick, slo: SLO{Metric: metricE2E, Max: time.Second}},
		"quick, some fail":      {effort: EffortQuick, failed: 1},
		"guide":                 {effort: EffortGuide},
		"thorough":              {effort: EffortThorough},
		"quick, token rate":     {effort: EffortQuick, slo: SLO{Metric: metricTokenRate}, want: true},
		"quick, gaps of chunks": {effort: EffortQuick, slo: SLO{Metric: metricGap, Max: time.Second}},
	} {
		q := atEffort(tt.effort)
		if tt.slo.Metric != "" {
			q.Rules.SLO = []SLO{tt.slo}
		}
		first, _ := q.Next(History{})
		h := History{Steps: []analysis.Step{LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}.Step(first, 30, tt.failed)}}
		if tt.failed > 0 { // and more of them at the next load: success falls slowly
			second, _ := q.Next(h)
			h.Steps = append(h.Steps, LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}.Step(second, 27, 3))
		}
		if next, _ := q.Next(h); next.CutTail != tt.want {
			t.Errorf("%s: %v", name, next.CutTail)
		}
	}
}

// A rate limiter lets 12 requests/s through, of 2.5 s each: what one load far above shows of
// that is enough, and the answer allows for the luck of a sample's lengths.
func TestQuickCountsWhatIsLetThrough(t *testing.T) {
	const rate, residence = 12.0, 2.5
	q := atEffort(EffortQuick)
	var h History
	asked := 0
	o, a := q.Next(h)
	for ; o != nil; o, a = q.Next(h) {
		failed := 0
		if o.Concurrency > 30 {
			failed = o.Requests / 2
		}
		s := LoadState{Residence: residence, TTFT: 0.1, Tokens: 100, Spread: 0.5}.Step(o, o.Requests-failed, failed)
		if failed > 0 {
			s.Failures = map[loadgen.Class]int{loadgen.HTTP429: failed}
			steady := s.Whole
			// Of the few answers that came the mean is off; the count is not.
			steady.E2E.Mean, steady.RequestThroughput = loadgen.Known(1.2*residence), loadgen.Known(rate)
			steady.DurationSeconds = loadgen.Known(float64(steady.Completed) / rate)
			s.Steady = &steady
		}
		h.Steps = append(h.Steps, s)
		if o.Phase != analysis.PhaseLadder {
			asked += o.Requests
		}
	}
	l := a.Limit
	if l == nil || l.Concurrency.Or(0) != 30 || l.Low.Or(30) > 28 || l.High.Or(0) < 32 || l.High.Or(0) > 36 || l.BoundBy != RuleSuccess {
		t.Errorf("limit %+v", l)
	}
	if asked > 500 {
		t.Errorf("%d requests beyond the ladder", asked)
	}
}

// A load that was broken by few failures of few requests is no sure upper end, where success
// falls slowly; one that was broken by most of them is.
func TestQuickDoubtsFewFailures(t *testing.T) {
	for share, want := range map[float64]bool{0.07: true, 0.5: false} {
		q := atEffort(EffortQuick)
		var h History
		for o, _ := q.Next(h); o != nil; o, _ = q.Next(h) {
			failed := 0
			if o.Concurrency >= 64 {
				failed = int(math.Ceil(share * float64(o.Requests)))
			}
			h.Steps = append(h.Steps, LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}.Step(o, o.Requests-failed, failed))
		}
		e := q.read(h)
		good, bad := e.successBracket()
		l := e.limits()[RuleSuccess]
		if got := e.barelyBroken(bad); got != want || good >= 64 || bad < 64 || l.High.Or(0) < float64(bad-1) {
			t.Errorf("%v fail: between %d and %d, barely %v, limit %+v", share, good, bad, got, l)
		}
		q.Config.Effort = EffortGuide
		if q.read(h).barelyBroken(bad) {
			t.Error("so it is for the guide, which has the requests to tell")
		}
	}
}

// A run that held a time's bound within the interval says as much of its lower end: no more
// is sent for it.
func TestQuickTrustsARunThatHeld(t *testing.T) {
	got, answer := asked(func(o *Order) LoadState {
		ttft := 0.1 + 0.012*float64(o.Concurrency)
		return LoadState{Residence: 4 + ttft, TTFT: ttft, Tokens: 100}
	}, func(*Order) bool { return true })
	probes := 0
	for _, s := range answer.Steps {
		if s.Purpose == RuleTTFT {
			probes++
		}
	}
	if probes > 2 || math.Abs(answer.Limit.Concurrency.Or(0)-75) > 1 {
		t.Errorf("%v: %d probes for TTFT, limit %+v", got, probes, answer.Limit)
	}
}

// Of a run whose tail was cut those that came to their end are short: the mean length is that
// of all of them.
func TestLengthsOfACutTail(t *testing.T) {
	whole := LoadState{Residence: 1, Tokens: 100}.Step(&Order{Concurrency: 10}, 50, 0)
	cut := LoadState{Residence: 1, Tokens: 100}.Step(&Order{Concurrency: 10}, 50, 0)
	cut.Whole.Cancelled, cut.Whole.OutputTokens = 20, cut.Whole.OutputTokens/2
	if got := meanTokens([]analysis.Step{whole, cut}); got != 100 {
		t.Errorf("%v tokens", got)
	}
}

// Whether the server still answers is asked as soon as it was asked too much: a few that are
// turned away then break no rule.
func TestAliveAllTheSame(t *testing.T) {
	for _, effort := range []Effort{EffortQuick, EffortGuide} {
		q := atEffort(effort)
		var h History
		for o, _ := q.Next(h); o != nil; o, _ = q.Next(h) {
			if o.Purpose == purposeAlive {
				if o.Rules.MinSuccessRate != 0 {
					t.Errorf("%s: %+v", effort, o.Rules)
				}
				break
			}
			failed := 0
			if o.Concurrency > 50 {
				failed = o.Requests
			}
			h.Steps = append(h.Steps, LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}.Step(o, o.Requests-failed, failed))
		}
	}
}
