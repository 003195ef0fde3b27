package sweep

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// knee finds where throughput stops growing enough, with probes near it until its
// interval is narrow.
func (e *evidence) knee() *Order {
	if e.ask.Rules.MinThroughputGain <= 0 || e.count(RuleGain) >= e.pace().probes {
		return nil
	}
	n, why := e.kneeGuess()
	if n == 0 {
		return nil
	}
	return e.probe(n, e.kneeWaves(), RuleGain, why)
}

// kneeWaves is longer where the service times vary for a reason other than the
// answers' lengths, so that only more requests tell. Where runs differ, more of them
// tell, and not longer ones.
func (e *evidence) kneeWaves() float64 {
	c := e.curve()
	knee, ok := c.Knee.Value()
	if ok && e.between().Tau < uneven && (c.KneeHigh.Or(math.Inf(1))-c.KneeLow.Or(0))/2 > 3*e.near(knee) {
		return 2 * e.waves()
	}
	return e.waves()
}

// kneeGuess is where to measure next for the knee; 0 where enough is known: two
// probes near it, one of them above, and a narrow interval.
func (e *evidence) kneeGuess() (int, string) {
	c := e.curve()
	knee, ok := c.Knee.Value()
	if e.pace().frugal && len(e.merged()) < e.pace().loads {
		if n := e.roughKnee(); n > 0 {
			return n, "throughput may stop growing there"
		}
	}
	if !ok && c.KneeBeyond {
		return e.kneeBelow(c.KneeLow.Or(math.Inf(1)))
	}
	if !ok {
		return e.widerCurve()
	}
	top := float64(e.ceiling())
	free := func(low, high, want float64) int {
		for i := range e.steps {
			if n := float64(e.steps[i].Concurrency) / knee; n >= low && n <= high && e.levels[i] != nil {
				return 0
			}
		}
		n := int(math.Round(min(want*knee, top)))
		if n < 1 || e.tried(n) || float64(n) < low*knee {
			return 0
		}
		return n
	}
	if n := free(0.9, 1.1, 1); n > 0 {
		return n, fmt.Sprintf("throughput seems to stop growing at %.0f", knee)
	}
	if n := free(1.1, e.pace().showsAbove, above); n > 0 {
		return n, fmt.Sprintf("above %.0f, where throughput seems to stop growing", knee)
	}
	if e.narrow(&c, knee) {
		return 0, ""
	}
	for _, f := range []float64{0.55, 1.2, 0.8, 0.9} {
		if n := int(math.Round(min(f*knee, top))); n >= 1 && !e.tried(n) {
			return n, fmt.Sprintf("around %.0f, where throughput seems to stop growing", knee)
		}
	}
	return 0, ""
}

// narrow reports whether the interval of a knee is as narrow as is asked for.
func (e *evidence) narrow(c *analysis.Curve, knee float64) bool {
	return (c.KneeHigh.Or(math.Inf(1))-c.KneeLow.Or(0))/2 <= e.pace().kneeEnough*e.near(knee)
}

// roughKnee is a load near where throughput stops growing as few loads say, and that was
// not measured; 0 where it would not bind.
func (e *evidence) roughKnee() int {
	at, ok := e.kneeGuessed()
	bound := e.otherBound()
	if !ok || at >= 0.9*bound {
		return 0
	}
	points := e.merged()
	for _, f := range []float64{1, above, 0.8} {
		n := int(math.Round(min(f*at, bound)))
		near := slices.ContainsFunc(points, func(p analysis.CurveInput) bool { return math.Abs(p.Concurrency-float64(n)) < 0.1*float64(n) })
		if n >= 1 && !near {
			return n
		}
	}
	return 0
}

// kneeBelow looks for a knee below the limit that binds otherwise, where the curve does
// not rule out that there is one: low is the lower end of where it may be.
func (e *evidence) kneeBelow(low float64) (int, string) {
	if e.broken == 0 {
		return 0, ""
	}
	bound := e.otherBound()
	if low >= 0.9*bound && !e.uneven(bound) {
		return 0, ""
	}
	for _, f := range []float64{0.8, 0.6, 0.9, 0.7} {
		if n := int(math.Round(f * bound)); n >= 1 && n <= e.ceiling() && !e.tried(n) {
			return n, "throughput may stop growing below the limit by the other rules"
		}
	}
	return 0, ""
}

// otherBound is the largest load that the criteria but the throughput gain allow.
func (e *evidence) otherBound() float64 {
	bound := float64(e.ceiling())
	for _, t := range e.timedRules() {
		bound = min(bound, analysis.Cross(e.points(t), t.threshold, e.between()).At.Or(bound))
	}
	return bound
}

// uneven reports whether requests wait near a limit although no number of slots
// explains it, as behind a balancer with unlike replicas: what is full there may have
// stopped growing below, between two loads.
func (e *evidence) uneven(near float64) bool {
	if e.slots() != nil {
		return false
	}
	for i := range e.steps {
		if float64(e.steps[i].Concurrency) >= 0.9*near && e.waits(i) {
			return true
		}
	}
	return false
}

// bent reports whether the curve is one with a single bend, or with none up to the
// largest load, although requests wait long before: a part of the server is full there,
// throughput bends more than once, and a single bend comes to lie in between, whatever
// its fit.
func (e *evidence) bent(c analysis.Curve) bool {
	if !c.Slots().IsKnown() && !c.KneeBeyond || e.slots() != nil {
		return false
	}
	return analysis.WaitsBelow(e.waiting(), wellBelow*c.Knee.Or(c.ToConcurrency))
}

// wellBelow is the share of a knee below which nothing waits where it is the only one.
const wellBelow = 0.8

// widerCurve adds points where the ladder stopped for lack of gain and no curve tells
// where: between the loads that bracket the knee, and at small loads where there are
// too few points for a curve since the server changed.
func (e *evidence) widerCurve() (int, string) {
	bad := e.firstBad()
	if bad == nil || !breaks(bad, RuleGain) || e.slots() != nil {
		return 0, ""
	}
	if e.since > 0 {
		for _, n := range e.ask.Config.Concurrency {
			if n < e.last && !e.tried(n) && e.distinct() < e.pace().loads {
				return n, "too few loads were measured since the server changed"
			}
		}
	}
	low, high, ok := e.kneeBracket(shownBy)
	if !ok {
		low, high = float64(e.last), float64(e.broken)
	}
	for _, f := range []float64{0.5, 0.25, 0.75} {
		n := int(math.Round(low * math.Pow(high/low, f)))
		if high > narrowBracket*low && float64(n) > low && float64(n) < high && n <= e.ceiling() && !e.tried(n) {
			return n, "for the stretch of throughput in which the gain ends"
		}
	}
	return 0, ""
}

// narrowBracket is the ratio of its ends at which a bracket of the knee is narrow enough.
const narrowBracket = 1.2

func (e *evidence) distinct() int {
	seen := map[int]bool{}
	for i := range e.steps {
		if e.levels[i] != nil {
			seen[e.steps[i].Concurrency] = true
		}
	}
	return len(seen)
}

// shownBy is how many standard errors an elasticity must lie off the one asked for to
// show on which side of the knee it lies.
const shownBy = 2.5

// shortStretch is the ratio of two loads below which a stretch between them tells
// nothing.
const shortStretch = 1.15

// teeth is by how much the throughput of a server with a shape of its own may differ
// between two loads for no other reason than where they lie, as where batches are
// rounded: a share, 0 where a curve goes through the loads.
func (e *evidence) teeth() float64 {
	if !e.between().Odd {
		return 0
	}
	return e.scatter.Relative
}

// kneeBracket is what the throughputs of the loads alone say of the knee: it lies
// above the beginning of every stretch over which throughput gains enough, and below
// the end of one behind it over which it does not, by so many standard errors and by
// more than teeth. A stretch's gain is its mean elasticity, ln(X2/X1) / ln(N2/N1).
func (e *evidence) kneeBracket(sure float64) (low, high float64, ok bool) {
	points, teeth := e.merged(), e.teeth()
	want := math.Log2(1 + e.ask.Rules.MinThroughputGain)
	high = math.Inf(1)
	stretches := func(take func(a, b analysis.CurveInput, over, unsure float64)) {
		for i, a := range points {
			for _, b := range points[i+1:] {
				if b.Concurrency < shortStretch*a.Concurrency {
					continue
				}
				over := (1-want)*math.Log(b.Concurrency/a.Concurrency) - math.Log(b.Residence/a.Residence)
				take(a, b, over, sure*math.Hypot(a.SE/a.Residence, b.SE/b.Residence)+teeth)
			}
		}
	}
	stretches(func(a, _ analysis.CurveInput, over, unsure float64) {
		if over > unsure {
			low = max(low, a.Concurrency)
		}
	})
	stretches(func(a, b analysis.CurveInput, over, unsure float64) {
		if over < -unsure && a.Concurrency >= low {
			high = min(high, b.Concurrency)
		}
	})
	return low, high, low > 0 && !math.IsInf(high, 1)
}

// merged are the points of the curve, those of one concurrency joined, with the
// errors between runs.
func (e *evidence) merged() []analysis.CurveInput {
	points := e.curveInputs(nil)
	slices.SortStableFunc(points, func(a, b analysis.CurveInput) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	tau := e.between().Tau
	var out []analysis.CurveInput
	for _, p := range points {
		p.SE = math.Hypot(p.SE, tau*p.Residence)
		k := len(out) - 1
		if k < 0 || out[k].Concurrency != p.Concurrency {
			out = append(out, p)
			continue
		}
		v, w := 1/(out[k].SE*out[k].SE), 1/(p.SE*p.SE)
		out[k].Residence = (v*out[k].Residence + w*p.Residence) / (v + w)
		out[k].SE = 1 / math.Sqrt(v+w)
	}
	return out
}

// contradicted is a load that has shown the knee to lie where the fitted curve does not
// have it, and was run only once; 0 where there is none.
func (e *evidence) contradicted() int {
	knee, ok := e.curve().Knee.Value()
	low, high, shown := e.kneeBracket(shownBy)
	if !ok || !shown || knee >= low && knee <= high {
		return 0
	}
	for _, n := range []float64{high, low} {
		if len(e.runsAt(int(n))) == 1 {
			return int(n)
		}
	}
	return 0
}

// gainLimit is the knee of the fitted curve where one is claimed and what the loads
// have shown does not speak against it; else the slots, where they show, or else what
// was shown.
func (e *evidence) gainLimit() analysis.Limit {
	c := e.curve()
	exact := analysis.GainLimit(c)
	low, high, shown := e.kneeBracket(shownBy)
	bent := e.bent(c)
	if bent {
		exact = analysis.Limit{BoundBy: RuleGain, Note: "requests wait for a part of the server before all of it is busy, so that throughput bends more than once"}
	}
	inside := func(at float64) bool { return !shown || at >= low && at <= high }
	if exact.Confidence.IsKnown() && inside(c.Knee.Or(0)) {
		return exact
	}
	if s := e.slots(); s != nil && inside(s.At) {
		half := max(0.5, 2*s.SE)
		return analysis.Limit{BoundBy: RuleGain, Confidence: loadgen.Known(0.95), Concurrency: loadgen.Known(math.Round(s.At)),
			Low: loadgen.Known(math.Round(s.At - half)), High: loadgen.Known(math.Round(s.At + half)), Note: "as many requests run at once, whatever else the curve does"}
	}
	l := bracket(RuleGain, e.steps)
	switch {
	case shown && high <= 2*low:
		return analysis.Limit{BoundBy: RuleGain, Confidence: loadgen.Known(0.95), Concurrency: loadgen.Known(math.Round(math.Sqrt(low * high))),
			Low: loadgen.Known(low), High: loadgen.Known(high), Note: "between loads that have shown it; no curve goes through the throughputs"}
	case shown:
		l.Concurrency, l.Low, l.High, l.AtLeast = loadgen.Known(low), loadgen.Known(low), loadgen.Known(high), loadgen.Number{}
	case !l.Reached():
		if (bent || c.Model == "" && c.Chi2PerDof.IsKnown()) && low > 0 { // no curve goes through the loads: they say no more than they have shown
			exact.Low, exact.AtLeast = loadgen.Known(low), loadgen.Known(low)
		}
		return exact
	}
	if least, ok := c.KneeLow.Value(); ok && !shown && least < l.Low.Or(0) {
		l.Low = loadgen.Known(math.Floor(least))
	}
	if c.KneeBeyond && high > l.High.Or(0) {
		l.High = loadgen.Number{} // the ladder's stop may have been chance
	}
	l.Note = "cannot be resolved further: " + exact.Note
	return l
}
