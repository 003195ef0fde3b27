package report

import (
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// soakPanels are the figures of a long run that can drift.
var soakPanels = []struct {
	key   string
	style style
	scale float64
	axis  string
	show  func(analysis.Number) string
	take  func(*sweep.SoakSlice) analysis.Number
}{
	{"chart.soakThroughput", blue, 1, "axis.throughput", func(n analysis.Number) string { return perSecond(n, "req/s") },
		func(s *sweep.SoakSlice) analysis.Number { return number(s.RequestThroughput) }},
	{"chart.soakTTFT", orange, 1000, "axis.ttftMs", seconds, func(s *sweep.SoakSlice) analysis.Number { return s.TTFT }},
	{"chart.soakTPOT", green, 1000, "axis.tpotMs", seconds, func(s *sweep.SoakSlice) analysis.Number { return s.TPOT }},
	{"chart.soakErrors", red, 1, "axis.failures", figure, func(s *sweep.SoakSlice) analysis.Number { return number(float64(s.Failed)) }},
	{"chart.soakMemory", purple, 1.0 / (1 << 30), "axis.memory", bytesText, func(s *sweep.SoakSlice) analysis.Number { return s.ResidentBytes }},
}

// soakCharts shows a long run over time; each line's reading is the test of its
// trend.
func (v *view) soakCharts() []*chart {
	a := v.r.Soak
	if a == nil || len(a.Slices) < 3 {
		return nil
	}
	last := a.Slices[len(a.Slices)-1]
	end := last.AtSeconds + last.Seconds
	var out []*chart
	for _, p := range soakPanels {
		c := &chart{id: p.key[len("chart."):], title: v.w.say(p.key)}
		line := series{name: v.w.say(p.key), style: p.style.bare(), kind: curve}
		any := false
		for i := range a.Slices {
			s := &a.Slices[i]
			y, ok := p.take(s).Value()
			if !ok {
				continue
			}
			any = any || y != 0
			at := s.AtSeconds + s.Seconds/2
			line.points = append(line.points, datum{x: at, y: y * p.scale, step: -1, text: p.show(number(y)), xText: lasting(at)})
		}
		if len(line.points) < 2 || !any {
			continue
		}
		c.add(line)
		c.x = v.w.timeAxis("axis.runTime", 0, end)
		_, high := extent(c.values())
		c.y = linearAxis(v.w.say(p.axis), 0, high)
		out = append(out, c)
	}
	return out
}

// trendTable lists the tests of a long run for slow degradation.
func (v *view) trendTable() *table {
	if v.r.Soak == nil {
		return nil
	}
	t := &table{Caption: v.w.say("section.soak"), Head: []string{v.w.say("col.what"), v.w.say("col.change"), v.w.say("col.se"), v.w.say("col.gate"), v.w.say("col.verdict")}}
	for _, x := range v.r.Soak.Trends {
		verdict, tone := v.w.say("soak.steady"), ""
		switch {
		case x.Degrades:
			verdict, tone = v.w.say("soak.degrades"), "bad"
		case strings.Contains(x.Sentence, "no clear trend"):
			verdict = v.w.say("soak.unclear")
		case strings.Contains(x.Sentence, "too uneven to tell"):
			verdict = v.w.say("soak.uneven")
		}
		t.Rows = append(t.Rows, tableRow{Step: -1, Tone: tone, Cells: []cell{str(capital(v.w.sentence(x.Metric))), num(x.Change, change(x.Change)),
			num(x.SE, percent(x.SE, 1)), num(number(x.Gate), percent(number(x.Gate), 0)), str(verdict)}})
	}
	return filled(t)
}
