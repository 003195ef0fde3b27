package report

import (
	"math"
	"slices"
	"sort"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// overLoadCharts returns every chart over the load that has data.
func (v *view) overLoadCharts() []*chart {
	if v.distinctLoads() < 2 {
		return nil
	}
	var out []*chart
	for _, build := range []func() *chart{v.throughput, v.efficiency, v.ttft, v.tpot, v.tradeoff, v.success, v.failures, v.tokens, v.ttftDistribution} {
		if c := build(); c != nil && !c.empty() {
			out = append(out, c)
		}
	}
	return out
}

const z95 = 1.959964 // two-sided 95 % of the normal distribution

func plus(n, se analysis.Number, text string) (datum, bool) {
	y, ok := n.Value()
	d := datum{y: y, text: text}
	if e, known := se.Value(); ok && known && e > 0 {
		d.low, d.high = math.Max(y-z95*e, 0), y+z95*e
	}
	return d, ok
}

func perSecond(n analysis.Number, unit string) string {
	if !n.IsKnown() {
		return notKnown
	}
	return figure(n) + " " + unit
}

func (v *view) throughput() *chart {
	c := v.overLoad("throughput")
	take := func(s *analysis.Summary) (datum, bool) {
		return plus(s.RequestThroughput, s.RequestThroughputSE, perSecond(s.RequestThroughput, "req/s"))
	}
	if f := v.r.Curve; f != nil && f.Model != "" && len(f.Points) > 1 && !v.open && v.r.Verdict != sweep.Unstable {
		fit := series{name: v.w.say("series.fit", f.Model), style: grey, kind: curve, dashed: true}
		for _, p := range f.Points {
			if p.Concurrency > 0 {
				fit.points = append(fit.points, datum{x: p.Concurrency, y: p.RequestThroughput, step: -1})
			}
		}
		c.add(fit)
	}
	v.addMetric(c, v.w.say("series.throughput"), blue, take)
	v.annotate(c)
	if q := v.r.QPS; q != nil {
		c.across = append(c.across, level{at: q.Target * q.Share, text: v.w.say("mark.target", percent(number(q.Share), 0), plain(q.Target))})
	}
	_, high := extent(c.values())
	c.y = linearAxis(v.w.say("axis.throughput"), 0, high)
	c.reading = v.readThroughput(c)
	return c
}

func (v *view) efficiency() *chart {
	if v.open {
		return nil // the concurrency is only a cap there
	}
	c := v.overLoad("efficiency")
	take := func(s *analysis.Summary) (datum, bool) {
		return plus(s.Efficiency, analysis.Number{}, perSecond(s.Efficiency, "req/s"))
	}
	v.addMetric(c, v.w.say("series.efficiency"), green, take)
	v.annotate(c)
	_, high := extent(c.values())
	c.y = linearAxis(v.w.say("axis.efficiency"), 0, high)
	if e := v.r.Efficiency; e.OptimalConcurrency.IsKnown() {
		c.reading = v.w.say("read.efficiency", whole(e.OptimalConcurrency), figure(e.MaxEfficiency))
	}
	return c
}

var statistics = []struct {
	name  string
	style style
}{{"mean", blue}, {"p50", green}, {"p95", orange}, {"p99", purple}}

// times draws statistics of a duration over the load, in milliseconds or, where
// they are long, in seconds.
func (v *view) times(c *chart, prefix string, only []string, take func(*analysis.Summary) analysis.Dist) {
	for _, st := range statistics {
		if only != nil && !slices.Contains(only, st.name) {
			continue
		}
		v.addMetric(c, prefix+v.w.say("stat."+st.name), st.style, func(s *analysis.Summary) (datum, bool) {
			n, ok := take(s).Statistic(st.name)
			d, known := plus(n, take(s).StatisticSE(st.name), seconds(n))
			return d, ok && known
		})
	}
}

// inUnit rescales a chart in seconds to the unit its axis is labelled in.
func (v *view) inUnit(c *chart, label string) {
	_, high := extent(c.values())
	factor, unit := 1.0, "s"
	if high < 9 {
		factor, unit = 1000, "ms"
	}
	for i := range c.series {
		for j := range c.series[i].points {
			p := &c.series[i].points[j]
			p.y, p.low, p.high = p.y*factor, p.low*factor, p.high*factor
		}
	}
	for i := range c.across {
		c.across[i].at *= factor
	}
	c.y = valueAxis(label+" ("+unit+")", c.values())
}

func (v *view) ttft() *chart {
	c := v.overLoad("ttft")
	v.times(c, "", nil, func(s *analysis.Summary) analysis.Dist { return s.TTFT })
	if c.empty() {
		return nil
	}
	if t, ok := v.threshold("ttft").Value(); ok {
		c.across = append(c.across, level{at: t, text: v.w.say("mark.threshold", v.w.say("stat."+v.statistic()), seconds(number(t)))})
	}
	v.objective(c, "ttft")
	v.annotate(c)
	v.inUnit(c, "TTFT")
	c.reading = v.readTTFT()
	return c
}

func (v *view) tpot() *chart {
	c := v.overLoad("tpot")
	v.times(c, "TPOT ", []string{"mean", "p95"}, func(s *analysis.Summary) analysis.Dist { return s.TPOT })
	gap := func(stat string) func(*analysis.Summary) (datum, bool) {
		return func(s *analysis.Summary) (datum, bool) {
			n, ok := s.ChunkGap.Statistic(stat)
			y, _ := n.Value()
			return datum{y: y, text: seconds(n)}, ok
		}
	}
	v.addMetric(c, v.w.say("series.gap", v.w.say("stat.p50")), green, gap("p50"))
	v.addMetric(c, v.w.say("series.gap", v.w.say("stat.p99")), purple, gap("p99"))
	if c.empty() {
		return nil
	}
	v.objective(c, "tpot")
	v.annotate(c)
	v.inUnit(c, v.w.say("axis.perToken"))
	c.reading = v.readTPOT()
	return c
}

// tradeoff shows latency against throughput; every point carries its load.
func (v *view) tradeoff() *chart {
	c := &chart{id: "tradeoff", title: v.w.say("chart.tradeoff"), xHead: v.w.say("series.throughput")}
	var xs []float64
	for _, st := range []struct {
		name  string
		style style
	}{{"mean", blue}, {"p95", orange}} {
		s := series{name: v.w.say("series.e2e", v.w.say("stat."+st.name)), style: st.style, kind: joined}
		for _, p := range v.points(onLadder, func(f *analysis.Summary) (datum, bool) {
			n, ok := f.E2E.Statistic(st.name)
			x, known := f.RequestThroughput.Value()
			return datum{y: n.Or(0), low: x, text: seconds(n), xText: perSecond(f.RequestThroughput, "req/s")}, ok && known && x > 0
		}) {
			p.label, p.x, p.low = loadNumber(p.x), p.low, 0
			if st.name != "mean" {
				p.label = ""
			}
			xs = append(xs, p.x)
			s.points = append(s.points, p)
		}
		c.add(s)
	}
	if len(xs) < 2 {
		return nil
	}
	_, high := extent(xs)
	c.x = linearAxis(v.w.say("axis.throughput"), 0, high)
	v.objective(c, "e2e")
	v.inUnit(c, "E2E")
	c.spareLabels()
	switch {
	case v.speed:
		c.reading = v.w.say("read.tradeoffSpeed")
	case v.open:
		c.reading = v.w.say("read.tradeoffRate")
	default:
		c.reading = v.w.say("read.tradeoff")
	}
	return c
}

func (v *view) success() *chart {
	c := v.overLoad("success")
	take := func(s *analysis.Summary) (datum, bool) {
		d, ok := plus(s.SuccessRate, analysis.Number{}, percent(s.SuccessRate, 1))
		d.y *= 100
		return d, ok
	}
	v.addMetric(c, v.w.say("series.success"), green, take)
	if t, ok := v.threshold("success_rate").Value(); ok {
		c.across = append(c.across, level{at: t * 100, text: v.w.say("mark.least", percent(number(t), 0)), under: true})
	}
	v.annotate(c)
	c.y = linearAxis(v.w.say("axis.success"), 0, 100)
	c.reading = v.readSuccess()
	return c
}

// classColours gives every failure class that can be common its own look.
var classColours = []style{red, orange, purple, sky, blue, grey}

func (v *view) failures() *chart {
	c := v.overLoad("failures")
	total := make([]float64, len(v.r.Steps))
	for k, class := range v.classes() {
		s := series{name: string(class), style: classColours[min(k, len(classColours)-1)], kind: bars}
		for i := range v.r.Steps {
			st := &v.r.Steps[i]
			n := float64(st.Failures[class])
			if n == 0 {
				continue
			}
			s.points = append(s.points, datum{x: v.load(st), base: total[i], y: total[i] + n, step: i, text: count(int(n)), xText: v.loadText(st)})
			total[i] += n
		}
		c.add(s)
	}
	if c.empty() {
		return nil
	}
	_, high := extent(c.values())
	c.y = countAxis(v.w.say("axis.failures"), high)
	c.reading = v.readFailures()
	return c
}

// classes lists the failure classes that occurred, the most frequent first.
func (v *view) classes() []loadgen.Class {
	sum := map[loadgen.Class]int{}
	for i := range v.r.Steps {
		for class, n := range v.r.Steps[i].Failures {
			if class != loadgen.Success && class != loadgen.Cancelled && n > 0 {
				sum[class] += n
			}
		}
	}
	var list []loadgen.Class
	for class := range sum {
		list = append(list, class)
	}
	sort.Slice(list, func(i, j int) bool {
		if sum[list[i]] != sum[list[j]] {
			return sum[list[i]] > sum[list[j]]
		}
		return list[i] < list[j]
	})
	return list
}

func (v *view) tokens() *chart {
	c := v.overLoad("tokens")
	for _, t := range []struct {
		key   string
		style style
		take  func(*analysis.Summary) analysis.Number
	}{
		{"series.output", blue, func(s *analysis.Summary) analysis.Number { return s.OutputThroughput }},
		{"series.total", orange, func(s *analysis.Summary) analysis.Number { return s.TotalTokenThroughput }},
	} {
		v.addMetric(c, v.w.say(t.key), t.style, func(s *analysis.Summary) (datum, bool) {
			n := t.take(s)
			return plus(n, analysis.Number{}, perSecond(n, "tok/s"))
		})
	}
	if c.empty() {
		return nil
	}
	v.annotate(c)
	_, high := extent(c.values())
	c.y = linearAxis(v.w.say("axis.tokens"), 0, high)
	c.reading = v.readTokens()
	return c
}

// violinCells is how many cells the axis of a distribution has: high enough to be
// seen each, small enough to show a shape.
const violinCells = 56

func (v *view) ttftDistribution() *chart {
	c := v.overLoad("distribution")
	var bounds []float64
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		if !onLadder(s.Phase) || len(s.TTFTBins) == 0 {
			continue
		}
		vi := violin{x: v.load(s), step: i, text: seconds(s.Whole.TTFT.P50)}
		for _, b := range s.TTFTBins {
			if b.Count > 0 && b.To > 0 {
				b.From, b.To = math.Max(b.From, b.To/4)*1000, b.To*1000
				vi.bins = append(vi.bins, b)
				bounds = append(bounds, b.From, b.To)
			}
		}
		if len(vi.bins) > 0 {
			c.violins = append(c.violins, vi)
		}
	}
	if c.empty() {
		return nil
	}
	if t, ok := v.threshold("ttft").Value(); ok {
		c.across = append(c.across, level{at: t * 1000, text: v.w.say("mark.threshold", v.w.say("stat."+v.statistic()), seconds(number(t)))})
		bounds = append(bounds, t*1000)
	}
	c.y = valueAxis("TTFT (ms)", bounds)
	for i := range c.violins {
		c.violins[i].even(c.y, violinCells)
	}
	c.reading = v.w.say("read.distribution")
	return c
}

// labelsLeft reports whether a point, at this share of the horizontal axis, has
// its label to its left, because there is no room to its right.
func labelsLeft(place float64) bool { return place > .92 }

// spareLabels drops the labels of points that lie too close to one that keeps
// its own; higher loads, which lie further right, come first.
func (c *chart) spareLabels() {
	type spot struct{ from, to, y float64 }
	var taken []spot
	for i := range c.series {
		points := c.series[i].points
		for j := len(points) - 1; j >= 0; j-- {
			p := &points[j]
			if p.label == "" {
				continue
			}
			x, width := c.x.place(p.x), textWidth(p.label)*svgPhoneFont/(svgWidth-svgLeft-svgRight)
			at := spot{x, x + width, c.y.place(p.y)}
			if labelsLeft(x) {
				at.from, at.to = x-width, x
			}
			for _, t := range taken {
				if at.from < t.to+.04 && t.from < at.to+.04 && math.Abs(t.y-at.y) < .09 {
					p.label = ""
				}
			}
			if p.label != "" {
				taken = append(taken, at)
			}
		}
	}
}
