package report

import (
	"fmt"
	"math"
	"strings"
	"time"
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
	per, unit := 1.0, "axis.traceSeconds"
	if end > 7200 {
		per, unit = 60, "axis.traceMinutes"
	}
	line := series{name: v.w.say("series.arrivals"), style: sky.bare(), kind: curve}
	for _, s := range a.Arrivals {
		line.points = append(line.points, datum{x: s.AtSeconds / per, y: s.Rate, step: -1, text: perSecond(number(s.Rate), "req/s"), xText: seconds(number(s.AtSeconds))})
	}
	c.add(line)
	if p := a.Piece; p.Of > p.Requests {
		c.bands = append(c.bands, band{from: p.FromSeconds / per, to: (p.FromSeconds + p.Seconds) / per, style: window, text: v.w.say("mark.piece")})
		c.reading = v.w.say("read.recorded")
	}
	c.x = timeAxis(v.w.say(unit), end/per)
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
		t.Rows = append(t.Rows, tableRow{Step: -1, Cells: []cell{num(speed, v.w.say("load.speed", loadNumber(q.Speed))), num(number(float64(q.Peak)), count(q.Peak)),
			num(number(q.Mean), figure(number(q.Mean))), num(number(q.AtSeconds), seconds(number(q.AtSeconds))), str(basis)}})
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

// demands draws into a chart over time what is required of its figure.
func (v *view) demands(c *chart, p stepPanel) {
	metric := map[string]string{"chart.ttftDue": "ttft", "chart.e2eDue": "e2e"}[p.key]
	if metric == "" {
		return
	}
	for name, most := range v.bounds(metric) {
		c.across = append(c.across, level{at: most.Seconds() * p.scale, text: v.w.say("mark.atMost", name, seconds(number(most.Seconds())))})
	}
	_, high := extent(c.values())
	c.y = linearAxis(v.w.say(p.axis), 0, high)
}

// bounds are the longest times that the requirements on a metric allow, by statistic.
func (v *view) bounds(metric string) map[string]time.Duration {
	out := map[string]time.Duration{}
	add := func(statistic, text any) {
		if d, err := time.ParseDuration(fmt.Sprint(text)); err == nil && d > 0 {
			name := "mean"
			if s, ok := statistic.(string); ok && s != "" {
				name = s
			}
			out[v.w.say("stat."+name)+" "+strings.ToUpper(metric)] = d
		}
	}
	list, _ := v.config("stop", "slo").([]any)
	for _, x := range list {
		if slo, ok := x.(map[string]any); ok && slo["metric"] == metric {
			add(slo["statistic"], slo["max"])
		}
	}
	if metric == "ttft" {
		add(v.statistic(), v.config("stop", "max_ttft"))
	}
	return out
}
