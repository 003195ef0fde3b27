package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// recorded is what the page shows of recorded traffic: when it came, what of it was
// sent, and how many requests would pile up.
type recorded struct {
	Charts []figureBlock
	Queue  *table
}

// recorded is nil where no traffic was sent again, or nothing is known of it.
func (v *view) recorded() *recorded {
	a := v.r.Headroom
	if a == nil || len(a.Arrivals) < 3 && len(a.Queue) == 0 {
		return nil
	}
	out := &recorded{Queue: v.queueTable()}
	if c := v.recordedArrivals(); c != nil {
		out.Charts = single(v, []*chart{c})
	}
	return out
}

// recordedArrivals draws when the recorded requests came, and what of it was sent.
func (v *view) recordedArrivals() *chart {
	a := v.r.Headroom
	if len(a.Arrivals) < 3 {
		return nil
	}
	c := &chart{id: "recorded", title: v.w.say("chart.recorded"), reading: v.w.say("read.recordedAll")}
	end := 2*a.Arrivals[len(a.Arrivals)-1].AtSeconds - a.Arrivals[len(a.Arrivals)-2].AtSeconds
	line := series{name: v.w.say("series.arrivals"), style: sky.bare(), kind: curve}
	for _, s := range a.Arrivals {
		line.points = append(line.points, datum{x: s.AtSeconds, y: s.Rate, step: -1, text: perSecond(number(s.Rate), "req/s"), xText: lasting(s.AtSeconds)})
	}
	c.add(line)
	if p := a.Piece; p.Of > p.Requests {
		c.bands = append(c.bands, band{from: p.FromSeconds, to: p.FromSeconds + p.Seconds, style: window, text: v.w.say("mark.piece")})
		c.reading = v.w.say("read.recorded")
	}
	c.x = v.w.timeAxis("axis.traceTime", 0, end)
	_, high := extent(c.values())
	c.y = linearAxis(v.w.say("axis.rate"), 0, high)
	return c
}

// queueTable says how many requests would be in the server at some speeds.
func (v *view) queueTable() *table {
	t := &table{Caption: v.w.say("chart.queue"), Head: []string{v.w.say("col.speed"), v.w.say("col.peakIn"), v.w.say("col.meanIn"), v.w.say("col.peakAt"), v.w.say("col.basis")}}
	for _, q := range v.r.Headroom.Queue {
		basis := v.w.say("recorded.within")
		if q.Beyond {
			basis = v.w.say("recorded.beyond")
		}
		speed := number(q.Speed)
		t.Rows = append(t.Rows, tableRow{Step: -1, Cells: []cell{num(speed, v.w.say("load.speed", plain(q.Speed))), num(number(float64(q.Peak)), count(q.Peak)),
			num(number(q.Mean), figure(number(q.Mean))), num(number(q.AtSeconds), lasting(q.AtSeconds)), str(basis)}})
	}
	if !slices.ContainsFunc(v.r.Headroom.Queue, func(q sweep.Simulated) bool { return q.Beyond }) {
		t.without(v.w.say("col.basis"))
	}
	return filled(t)
}

// telling reports whether a step is one of the two that the answer of a replay rests
// on most: the fastest that held and the slowest that did not.
func (v *view) telling(i int) bool {
	if v.r.Headroom == nil {
		return false
	}
	good, bad, held, broke := math.Inf(-1), math.Inf(1), -1, -1
	for k := range v.r.Steps {
		s := &v.r.Steps[k]
		if speed := s.Speed.Or(0); s.Passed() && speed > good {
			good, held = speed, k
		} else if !s.Passed() && speed < bad {
			bad, broke = speed, k
		}
	}
	return i == held || i == broke
}

// clock is what the time of a step is counted in.
type clock struct {
	axis       string
	from, pace float64 // what it shows at the step's start, and per second of it
}

func (c clock) at(s float64) float64 { return c.from + c.pace*s }

// clock of recorded traffic is that of the trace: whatever the speed, a rush stands where
// it was recorded. Between several runs of a step there are gaps.
func (v *view) clock(s *analysis.Step) clock {
	speed, ok := s.Speed.Value()
	if !ok || s.Runs > 1 {
		return clock{"axis.stepTime", 0, 1}
	}
	c := clock{"axis.traceTime", 0, speed}
	if v.config("replay", "speedup") == string(sweep.MoreSessions) {
		c.pace = 1
	}
	if a := v.r.Headroom; a != nil {
		c.from = a.Piece.FromSeconds
	}
	return c
}

// demands draws into a chart over time what is required of its figure, and says in how
// many stretches of the trace it held.
func (v *view) demands(c *chart, p stepPanel, s *analysis.Step) {
	metric := map[string]string{"chart.ttftDue": "ttft", "chart.e2eDue": "e2e"}[p.key]
	if metric == "" {
		return
	}
	bounds, clock := v.bounds(metric), v.clock(s)
	for _, b := range bounds {
		c.across = append(c.across, level{at: b.most.Seconds() * p.scale, text: b.text})
	}
	_, high := extent(c.values())
	c.y = linearAxis(v.w.say(p.axis), 0, high)
	if clock.axis != "axis.traceTime" {
		return
	}
	each := v.w.stretch(time.Duration(math.Round(2e3*s.Series[0].AtSeconds*clock.pace)) * time.Millisecond)
	var parts []string
	for _, b := range bounds {
		if b.statistic != "p95" { // a slice keeps no other
			continue
		}
		held := 0
		for _, x := range c.series[0].points {
			if x.y <= b.most.Seconds()*p.scale {
				held++
			}
		}
		parts = append(parts, v.w.say("read.held", b.text, count(held), count(len(c.series[0].points))))
	}
	c.reading = v.w.say("read.stretch", each) + strings.Join(parts, "")
}

// bound is the longest time that a requirement allows.
type bound struct {
	statistic, text string
	most            time.Duration
}

// bounds are the requirements on a metric.
func (v *view) bounds(metric string) []bound {
	out := v.objectives(metric)
	if metric == "ttft" {
		out = v.bound(out, metric, v.statistic(), v.config("stop", "max_ttft"))
	}
	return out
}

// objectives are those of stop.slo alone.
func (v *view) objectives(metric string) []bound {
	var out []bound
	list, _ := v.config("stop", "slo").([]any)
	for _, x := range list {
		if slo, ok := x.(map[string]any); ok && slo["metric"] == metric {
			out = v.bound(out, metric, slo["statistic"], slo["max"])
		}
	}
	return out
}

// bound adds a requirement as the configuration has it, where it is one.
func (v *view) bound(to []bound, metric string, statistic, most any) []bound {
	d, err := time.ParseDuration(fmt.Sprint(most))
	if err != nil || d <= 0 {
		return to
	}
	name, ok := statistic.(string)
	if !ok || name == "" {
		name = "mean"
	}
	words := v.w.say("mark.atMost", v.w.say("stat."+name)+" "+strings.ToUpper(metric), seconds(number(d.Seconds())))
	return append(to, bound{name, words, d})
}

// objective draws the requirements of stop.slo on a metric into a chart in seconds.
func (v *view) objective(c *chart, metric string) {
	for _, b := range v.objectives(metric) {
		c.across = append(c.across, level{at: b.most.Seconds(), text: b.text})
	}
}
