package report

import (
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
	"github.com/capfind/capfind/sweep"
)

// verdict is the answer as page and Markdown show it first.
type verdict struct {
	Tone     string // good, warn or bad: how much the answer can be relied on
	Kicker   string // what kind of answer it is
	Number   string // the limit; empty where there is none
	Unit     string
	Interval string // how sure it is
	Bound    string // what bound it
	Sentence string // the answer in one line
	Facts    []fact
	Caveats  []string
}

// fact is one figure with its name and a remark.
type fact struct{ Name, Value, Note string }

// verdictTone says how much an answer can be relied on.
var verdictTone = map[sweep.Verdict]string{
	sweep.LimitFound: "good", sweep.NotReached: "good", sweep.FailedAtFirstStep: "bad",
	sweep.ClientLimited: "warn", sweep.Unstable: "warn", sweep.Interrupted: "warn", sweep.Met: "good", sweep.NotMet: "bad",
}

func (v *view) verdict() verdict {
	r := v.r
	d := verdict{Tone: verdictTone[r.Verdict], Kicker: v.w.name("verdict", string(r.Verdict)), Unit: v.w.say("unit.concurrency"), Sentence: v.meaning()}
	if d.Tone == "" {
		d.Tone = "warn"
	}
	if r.Verdict == "" {
		d.Kicker = v.w.say("verdict.none")
		if !r.Complete {
			d.Kicker = v.w.say("verdict.running")
		}
	}
	v.number(&d)
	if d.Number == "" {
		d.Unit = ""
	}
	d.Facts = v.facts()
	d.Caveats = v.caveats()
	return d
}

// number fills in the large figure, its interval and what bound it.
func (v *view) number(d *verdict) {
	r := v.r
	switch {
	case r.Rate != nil:
		v.rateNumber(d, r.Rate)
		return
	case r.Headroom != nil:
		v.headroomNumber(d, r.Headroom)
		return
	case r.QPS != nil:
		v.qpsNumber(d, r.QPS)
		return
	case v.open:
		return // the sentence says it
	}
	if l := r.Limit; l != nil && l.Concurrency.IsKnown() {
		d.Number = whole(l.Concurrency)
		d.Interval = v.interval(*l)
		d.Bound = v.w.say("verdict.bound", v.rule(l.BoundBy))
		return
	}
	switch r.Verdict {
	case sweep.NotReached:
		if r.Ladder.LastGood.IsKnown() {
			d.Number = "≥ " + whole(r.Ladder.LastGood)
			d.Interval = v.w.say("verdict.highest")
		}
	case sweep.FailedAtFirstStep:
		if r.Ladder.FirstBad.IsKnown() {
			d.Number = "< " + whole(r.Ladder.FirstBad)
		}
	case sweep.Interrupted, sweep.ClientLimited:
		if r.Ladder.LastGood.IsKnown() {
			d.Number = "≥ " + whole(r.Ladder.LastGood)
			d.Interval = v.w.say("verdict.partial")
		}
	}
}

// rateNumber is the answer of a search for the highest arrival rate.
func (v *view) rateNumber(d *verdict, a *sweep.RateAnswer) {
	d.Unit = v.w.say("unit.rate")
	switch {
	case a.Rate.IsKnown() && a.High.IsKnown():
		d.Number = figure(a.Rate)
		d.Interval = v.w.say("verdict.between", figure(a.Low), figure(a.High))
	case a.AtLeast.IsKnown():
		d.Number = "≥ " + figure(a.AtLeast)
		d.Interval = v.w.say("verdict.highest")
	case a.Rate.IsKnown():
		d.Number = figure(a.Rate)
	}
	if a.BoundBy != "" {
		d.Bound = v.w.say("verdict.bound", v.rule(a.BoundBy))
	}
}

// headroomNumber is the answer of how many times recorded traffic fits.
func (v *view) headroomNumber(d *verdict, a *sweep.HeadroomAnswer) {
	d.Unit = v.w.say("unit.speed")
	switch c, ok := a.Confidence.Value(); {
	case a.Speed.IsKnown() && ok:
		d.Number = figure(a.Speed) + " x"
		d.Interval = v.w.say("verdict.interval", percent(number(c), 0), figure(a.Low)+"–"+figure(a.High))
	case a.Low.IsKnown():
		d.Number = "≥ " + figure(a.Low) + " x"
		d.Interval = v.w.say("verdict.highest")
	}
	if a.SLO != "" {
		d.Bound = v.w.say("verdict.bound", v.rule(a.SLO))
	}
}

// qpsNumber is the answer of a search for the concurrency that holds a rate.
func (v *view) qpsNumber(d *verdict, a *sweep.QPSAnswer) {
	if !a.Reached {
		return
	}
	d.Number = whole(a.Concurrency)
	if a.Low.IsKnown() && a.High.IsKnown() {
		d.Interval = rangeText(a.Low, a.High)
		switch c, ok := a.Confidence.Value(); {
		case ok && whole(a.Low) == whole(a.High):
			d.Interval = v.w.say("verdict.exact", percent(number(c), 0), whole(a.Low))
		case ok:
			d.Interval = v.w.say("verdict.interval", percent(number(c), 0), rangeText(a.Low, a.High))
		}
	}
	d.Bound = v.w.say("verdict.holds", percent(number(a.Share), 0), plain(a.Target))
}

// interval says how sure a limit is.
func (v *view) interval(l analysis.Limit) string {
	c, confident := l.Confidence.Value()
	switch {
	case !l.Low.IsKnown():
		return ""
	case !l.High.IsKnown() && !confident:
		return v.w.say("limit.orMore", whole(l.Low))
	case confident && whole(l.Low) == whole(l.High):
		return v.w.say("verdict.exact", percent(number(c), 0), whole(l.Low))
	case confident:
		return v.w.say("verdict.interval", percent(number(c), 0), rangeText(l.Low, l.High))
	}
	if v.searched() {
		return v.w.say("verdict.between", whole(l.Low), whole(l.High))
	}
	return v.w.say("verdict.bracket", whole(l.Low), whole(l.High))
}

// searched reports whether the space between the ladder's steps was looked at.
func (v *view) searched() bool {
	if v.r.Search != nil {
		return true
	}
	for i := range v.r.Steps {
		if !onLadder(v.r.Steps[i].Phase) {
			return true
		}
	}
	return false
}

// rule is what a criterion is called.
func (v *view) rule(name string) string { return v.w.name("rule", name) }

// headline is the answer in one line: what the console printed.
func (v *view) headline() string { return v.w.sentence(v.r.Sentence) }

// meaning says in a sentence what the figures beside it say in numbers: what
// happens beyond the limit. Where there is no limit to read it from, it is the
// answer in one line.
func (v *view) meaning() string {
	r := v.r
	switch {
	case r.Verdict == sweep.Unstable && r.Search != nil && len(r.Search.Doubts) > 0:
		return v.w.say("meaning.unstable")
	case r.Verdict == sweep.ClientLimited && r.Command == "sweep" && r.Ladder.FirstBad.IsKnown():
		return v.w.say("meaning.client", whole(r.Ladder.FirstBad))
	case r.QPS != nil && r.QPS.Reached:
		return v.w.say("meaning.qps", whole(r.QPS.Concurrency), figure(number(r.QPS.Share*r.QPS.Target)))
	case r.Rate != nil:
		return v.w.closed(strings.TrimSuffix(r.Sentence, "; "+r.Rate.Sentence)) // what was foretold stands among the facts
	case r.Headroom != nil:
		return v.w.closed(r.Sentence)
	case r.Command == "run" || r.Command == "soak" || r.Command == "replay":
		return v.pointMeaning()
	case r.Verdict != sweep.LimitFound || r.Limit == nil || !r.Limit.Concurrency.IsKnown() || v.open:
		return v.w.closed(r.Sentence)
	}
	n := whole(r.Limit.Concurrency)
	limit := v.threshold(r.Limit.BoundBy)
	switch rule := r.Limit.BoundBy; {
	case rule == "throughput_gain" && limit.IsKnown():
		return v.w.say("meaning.gain", n, percent(limit, 0))
	case rule == "ttft" && limit.IsKnown():
		return v.w.say("meaning.ttft", n, v.w.say("stat."+v.statistic()), seconds(limit))
	case rule == "success_rate" && limit.IsKnown():
		return v.w.say("meaning.success", n, percent(limit, 0))
	case rule == "resources":
		return v.w.say("meaning.resources", n)
	}
	return v.w.say("meaning.other", n, v.rule(r.Limit.BoundBy))
}

// pointMeaning says of a single load what the figures beside it do not: the load,
// and what did not hold.
func (v *view) pointMeaning() string {
	if len(v.r.Steps) == 0 {
		return v.w.closed(v.r.Sentence)
	}
	load, _, _ := strings.Cut(v.r.Sentence, ": ")
	parts := []string{v.w.say("meaning.point", v.w.sentence(load))}
	for _, s := range splitList(v.r.Sentence)[1:] {
		if !strings.HasPrefix(s, "degrades: ") {
			parts = append(parts, v.w.closed(s))
		}
	}
	if v.r.Soak != nil {
		var worse []string
		for _, t := range v.r.Soak.Trends {
			if t.Degrades {
				worse = append(worse, v.w.sentence(t.Metric))
			}
		}
		if len(worse) > 0 {
			parts = append(parts, v.w.say("meaning.degrades", strings.Join(worse, v.w.say("list.comma"))))
		}
	}
	return strings.Join(parts, v.w.say("list.space"))
}

// guideOrder is the order in which the guide names its rules.
var guideOrder = []string{"success_rate", "ttft", "throughput_gain", "resources"}

// criteria lists the names of all criteria that have a limit: the guide's in its
// order, then the others by name.
func (v *view) criteria() []string {
	var names, others []string
	for _, name := range guideOrder {
		if _, ok := v.r.Limits[name]; ok {
			names = append(names, name)
		}
	}
	for name := range v.r.Limits {
		if !slices.Contains(guideOrder, name) {
			others = append(others, name)
		}
	}
	sort.Strings(others)
	return append(names, others...)
}

// limitText writes a criterion's limit: "91 (90–92)", "between 50 and 100", "> 100".
func (v *view) limitText(l analysis.Limit) string {
	switch {
	case l.Concurrency.IsKnown() && l.Confidence.IsKnown() && (l.Low != l.High || l.Low != l.Concurrency):
		return whole(l.Concurrency) + " (" + rangeText(l.Low, l.High) + ")"
	case l.Concurrency.IsKnown() && l.High.IsKnown() && l.High.Or(0) > l.Concurrency.Or(0):
		return v.w.say("limit.between", whole(l.Low), whole(l.High))
	case l.Concurrency.IsKnown() && l.Low.IsKnown() && !l.High.IsKnown():
		return v.w.say("limit.orMore", whole(l.Low))
	case l.Concurrency.IsKnown():
		return whole(l.Concurrency)
	case l.AtLeast.IsKnown():
		return v.w.say("limit.atLeast", whole(l.AtLeast))
	}
	return notKnown
}

// facts are the figures next to the verdict.
func (v *view) facts() []fact {
	r := v.r
	var out []fact
	add := func(name, value, note string) {
		if value != "" && value != notKnown {
			out = append(out, fact{v.w.say(name), value, note})
		}
	}
	if rec := r.Recommendation; rec != nil && !v.open {
		add("fact.band", rangeText(rec.Low, rec.High), v.w.say("fact.bandNote"))
		add("fact.burst", whole(rec.BurstSafe), v.w.say("fact.burstNote"))
	}
	if q := r.QPS; q != nil {
		add("fact.fullTarget", whole(q.FullTarget), v.w.say("fact.fullTargetNote"))
		add("fact.highestRate", perSecond(q.HighestRate, "req/s"), "")
	}
	if a := r.Rate; a != nil {
		add("fact.inFlight", figure(a.InFlight), v.w.say("fact.inFlightNote"))
		add("fact.predicted", perSecond(a.Predicted, "req/s"), v.w.say("fact.predictedNote"))
	}
	if r.Peak.RequestThroughput.IsKnown() && v.distinctLoads() > 1 {
		add("fact.peak", perSecond(r.Peak.RequestThroughput, "req/s"), v.w.say("fact.at", whole(r.Peak.Concurrency)))
	}
	if r.Efficiency.OptimalConcurrency.IsKnown() && v.distinctLoads() > 1 {
		add("fact.optimal", whole(r.Efficiency.OptimalConcurrency), v.w.say("fact.optimalNote", perSecond(r.Efficiency.MaxEfficiency, "req/s")))
	}
	if len(out) == 0 && len(r.Steps) > 0 {
		f := v.figures(&r.Steps[len(r.Steps)-1])
		add("fact.throughput", perSecond(f.RequestThroughput, "req/s"), "")
		add("fact.success", percent(f.SuccessRate, 1), "")
		add("fact.ttft", seconds(f.TTFT.Mean), "")
		add("fact.tpot", seconds(f.TPOT.Mean), "")
	}
	return out
}

// caveats are what a reader must know before using the answer.
func (v *view) caveats() []string {
	r := v.r
	var out []string
	if !r.Complete {
		key := "caveat.interrupted"
		if r.Verdict == "" {
			key = "caveat.running"
		}
		out = append(out, v.w.say(key))
	}
	if r.Environment.InsideTarget {
		out = append(out, v.w.say("caveat.simulated"))
	}
	if r.Command == "import" {
		out = append(out, v.w.say("caveat.imported"))
	}
	if l := r.Limit; l != nil && l.Concurrency.IsKnown() && !l.Confidence.IsKnown() && !v.searched() {
		out = append(out, v.w.say("caveat.bracket"))
	}
	if rec := r.Recommendation; rec != nil && r.Limit != nil {
		if n, ok := r.Limit.Concurrency.Value(); ok && rec.BurstSafe.IsKnown() && rec.BurstSafe.Or(0) < rec.Low.Or(0) {
			out = append(out, v.w.say("caveat.small", whole(number(math.Round(n))), whole(rec.BurstSafe)))
		}
	}
	if q := r.QPS; q != nil && q.Why != "" && !strings.Contains(r.Sentence, q.Why) {
		out = append(out, v.w.closed(q.Why))
	}
	if a := r.Rate; a != nil && a.Sentence != "" && !a.Predicted.IsKnown() {
		out = append(out, v.w.closed(a.Sentence))
	}
	if n := v.differing(); n > 0 {
		out = append(out, v.w.say("caveat.bases", count(n)))
	}
	if r.Verdict == sweep.Unstable && r.Search != nil {
		out = append(out, v.w.closedAll(r.Search.Doubts)...)
	}
	return append(out, v.w.closedAll(v.warnings())...)
}

// warnings are the result's own, without what the page says as evidence anyway.
func (v *view) warnings() []string {
	b := v.r.Bottleneck
	if b == nil || b.Kind != diagnosis.KindClient {
		return v.r.Warnings
	}
	var out []string
	for _, w := range v.r.Warnings {
		said := slices.ContainsFunc(b.Evidence, func(e string) bool { return strings.Contains(w, e) })
		if !said {
			out = append(out, w)
		}
	}
	return out
}

// differing counts the steps whose whole run and steady state lie on different
// sides of the TTFT threshold.
func (v *view) differing() int {
	limit, ok := v.threshold("ttft").Value()
	n := 0
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		if !ok || s.Steady == nil {
			continue
		}
		a, _ := s.Whole.TTFT.Statistic(v.statistic())
		b, _ := s.Steady.TTFT.Statistic(v.statistic())
		if a.IsKnown() && b.IsKnown() && (a.Or(0) > limit) != (b.Or(0) > limit) {
			n++
		}
	}
	return n
}
