package report

import (
	"math"
	"slices"
	"sort"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// view is a result in one language, on one basis of figures.
type view struct {
	r     *sweep.Result
	w     words
	whole bool // the whole run's figures even where the verdict was taken from steady state
	open  bool // load points are arrival rates, not concurrencies
	speed bool // they are speeds of recorded traffic
}

func newView(r *sweep.Result, w words, whole bool) *view {
	r = withoutLooks(r)
	v := &view{r: r, w: w, whole: whole, open: r.Command == "rate" || r.Command == "replay", speed: r.Command == "replay"}
	if v.open {
		for i := range r.Steps {
			v.open = v.open && r.Steps[i].RequestRate.IsKnown()
		}
	}
	return v
}

// withoutLooks leaves out the closed loops that only said at which arrival rate to begin:
// they stand on another axis.
func withoutLooks(r *sweep.Result) *sweep.Result {
	look := func(s analysis.Step) bool { return s.Phase == analysis.PhaseLook }
	if !slices.ContainsFunc(r.Steps, look) {
		return r
	}
	out := *r
	out.Steps = slices.DeleteFunc(slices.Clone(r.Steps), look)
	return &out
}

// figures returns the summary that this view shows of a step.
func (v *view) figures(s *analysis.Step) *analysis.Summary {
	if v.whole {
		return &s.Whole
	}
	return s.Verdict()
}

// load returns where a step stands on the horizontal axis.
func (v *view) load(s *analysis.Step) float64 {
	switch {
	case v.speed:
		return s.Speed.Or(0)
	case v.open:
		return s.RequestRate.Or(0)
	}
	return float64(s.Concurrency)
}

// loadText writes a step's load for people.
func (v *view) loadText(s *analysis.Step) string {
	if v.speed {
		return v.w.say("load.speed", loadNumber(v.load(s)))
	}
	return loadNumber(v.load(s))
}

// loadHead heads a column of loads.
func (v *view) loadHead() string {
	switch {
	case v.speed:
		return v.w.say("col.speed")
	case v.open:
		return v.w.say("col.rate")
	}
	return v.w.say("col.load")
}

func (v *view) loadLabel() string {
	switch {
	case v.speed:
		return v.w.say("axis.speed")
	case v.open:
		return v.w.say("axis.rate")
	}
	return v.w.say("axis.concurrency")
}

// points collects one figure of every step that has it, in ascending load.
func (v *view) points(phase func(analysis.Phase) bool, take func(*analysis.Summary) (datum, bool)) []datum {
	var out []datum
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		if !phase(s.Phase) {
			continue
		}
		d, ok := take(v.figures(s))
		if !ok {
			continue
		}
		d.x, d.step, d.xText, d.hollow = v.load(s), i, v.loadText(s), !onLadder(s.Phase)
		out = append(out, d)
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].x != out[j].x {
			return out[i].x < out[j].x
		}
		return !out[i].hollow && out[j].hollow
	})
	for i := 1; i < len(out); i++ {
		out[i].apart = out[i].x == out[i-1].x
	}
	return out
}

// addMetric draws one figure over the load; the steps of the search between
// the ladder's steps are hollow.
func (v *view) addMetric(c *chart, name string, st style, take func(*analysis.Summary) (datum, bool)) {
	c.add(series{name: name, style: st, kind: joined, points: v.points(anyPhase, take)})
}

func anyPhase(analysis.Phase) bool   { return true }
func onLadder(p analysis.Phase) bool { return p == analysis.PhaseLadder || p == analysis.PhasePoint }

// overLoad starts a chart whose horizontal axis is the load.
func (v *view) overLoad(id string) *chart {
	c := &chart{id: id, title: v.w.say("chart." + id)}
	var all, ladder []float64
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		all = append(all, v.load(s))
		if onLadder(s.Phase) {
			ladder = append(ladder, v.load(s))
		}
	}
	if len(ladder) == 0 {
		ladder = append(ladder, all...)
	}
	c.x = stepAxis(v.loadLabel(), all, ladder)
	return c
}

// annotate marks the limit, the knee and the recommended band.
func (v *view) annotate(c *chart) {
	r := v.r
	if v.open {
		if a := r.Headroom; a != nil && a.Speed.IsKnown() {
			c.upright = append(c.upright, mark{at: a.Speed.Or(0), text: v.w.say("mark.headroom", figure(a.Speed))})
			c.bands = append(c.bands, band{from: a.Low.Or(0), to: a.High.Or(0), style: window})
		}
		if r.Rate != nil && r.Rate.Rate.IsKnown() {
			c.upright = append(c.upright, mark{at: r.Rate.Rate.Or(0), text: v.w.say("mark.rate", figure(r.Rate.Rate))})
		}
		return
	}
	if q := r.QPS; q != nil && q.Concurrency.IsKnown() {
		c.upright = append(c.upright, mark{at: q.Concurrency.Or(1), text: v.w.say("mark.holds", whole(q.Concurrency))})
	}
	if rec := r.Recommendation; rec != nil && rec.Low.IsKnown() && rec.High.IsKnown() {
		low, high := rec.Low.Or(0), rec.High.Or(0)
		// A band that falls on one whole number is still drawn.
		c.bands = append(c.bands, band{from: math.Max(low-.25, c.x.min), to: math.Max(high+.25, c.x.min), style: recommended,
			text: v.w.say("mark.band", rangeText(rec.Low, rec.High))})
	}
	if r.Limit != nil {
		if n, ok := r.Limit.Concurrency.Value(); ok {
			c.upright = append(c.upright, mark{at: n, text: v.w.say("mark.limit", whole(r.Limit.Concurrency))})
		}
	}
	if k := r.Curve; k != nil && c.id == "throughput" && r.Verdict != sweep.Unstable {
		// A limit by the gain is the knee, rounded to a whole number.
		if n, ok := k.Knee.Value(); ok && (r.Limit == nil || math.Abs(r.Limit.Concurrency.Or(0)-n) >= 1) {
			c.upright = append(c.upright, mark{at: n, text: v.w.say("mark.knee", whole(k.Knee)), faint: true})
		}
	}
}

// distinctLoads counts the different load points; a curve needs two.
func (v *view) distinctLoads() int {
	seen := map[float64]bool{}
	for i := range v.r.Steps {
		seen[v.load(&v.r.Steps[i])] = true
	}
	return len(seen)
}

// rangeText writes "63–72", one figure where both ends are the same, and "≥ 63"
// where the upper end is not known.
func rangeText(low, high analysis.Number) string {
	switch {
	case !high.IsKnown():
		return "≥ " + whole(low)
	case whole(low) == whole(high):
		return whole(low)
	}
	return whole(low) + "–" + whole(high)
}
