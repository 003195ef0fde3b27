package report

import (
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// stepTime is one step over its own time.
type stepTime struct {
	Title  string
	Open   bool
	Charts []figureBlock
}

// timeGroups shows each step over its own time: requests in flight, time to first
// token and token throughput, the steady window shaded. The last good and the
// first failing step are open, because the verdict rests on them.
func (v *view) timeGroups() []stepTime {
	var out []stepTime
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		telling := v.telling(i)
		if len(s.Series) < 3 || !onLadder(s.Phase) && !telling {
			continue
		}
		var charts []*chart
		for _, p := range stepPanels {
			if c := v.timeChart(i, p); c != nil {
				v.demands(c, p, s)
				charts = append(charts, c)
			}
		}
		if len(charts) == 0 {
			continue
		}
		n := number(v.load(s))
		open := telling || n == v.r.Ladder.LastGood || n == v.r.Ladder.FirstBad || s.Phase == analysis.PhasePoint
		title := v.w.say("time.step", v.loadText(s))
		if s.Runs > 1 {
			title = v.w.say("time.runs", title, count(s.Runs))
		}
		out = append(out, stepTime{Title: title, Open: open, Charts: single(v, charts)})
	}
	return out
}

// stepPanel is one quantity of a step over time.
type stepPanel struct {
	key, axis string
	style     style
	scale     float64 // from the stored unit to the axis'
	show      func(analysis.Number) string
	take      func(*analysis.Slice) analysis.Number
}

var stepPanels = []stepPanel{
	{"chart.arrivals", "axis.rate", sky, 1, func(n analysis.Number) string { return perSecond(n, "req/s") },
		func(s *analysis.Slice) analysis.Number { return s.ArrivalRate }},
	{"chart.flight", "series.inFlight", orange, 1, figure, func(s *analysis.Slice) analysis.Number { return s.InFlight }},
	{"chart.ttftDue", "axis.ttftMs", red, 1000, seconds, func(s *analysis.Slice) analysis.Number { return s.TTFTDue }},
	{"chart.e2eDue", "axis.e2eMs", purple, 1000, seconds, func(s *analysis.Slice) analysis.Number { return s.E2EDue }},
	{"chart.time", "axis.ttftMs", blue, 1000, seconds, func(s *analysis.Slice) analysis.Number { return s.TTFTMean }},
	{"chart.rate", "axis.tokens", green, 1, func(n analysis.Number) string { return perSecond(n, "tok/s") },
		func(s *analysis.Slice) analysis.Number { return s.OutputThroughput }},
}

func (v *view) timeChart(i int, p stepPanel) *chart {
	s := &v.r.Steps[i]
	c := &chart{id: strings.TrimPrefix(p.key, "chart.") + "-" + strconv.Itoa(i), title: v.w.say(p.key)}
	line := series{name: v.w.say(p.axis), style: p.style.bare(), kind: curve}
	clock, end := v.clock(s), 0.0
	for j := range s.Series {
		at := clock.at(s.Series[j].AtSeconds)
		end = math.Max(end, at)
		if y, ok := p.take(&s.Series[j]).Value(); ok {
			line.points = append(line.points, datum{x: at, y: y * p.scale, step: -1, text: p.show(number(y)), xText: lasting(at)})
		}
	}
	if len(line.points) < 2 {
		return nil
	}
	c.add(line)
	if s.Window != nil && s.Runs <= 1 {
		c.bands = append(c.bands, band{from: clock.at(s.Window.FromSeconds), to: clock.at(s.Window.ToSeconds), style: window, text: v.w.say("mark.window")})
	}
	c.x = v.w.timeAxis(clock.axis, clock.from, end)
	_, high := extent(c.values())
	c.y = linearAxis(v.w.say(p.axis), 0, high)
	if p.key == "chart.flight" {
		c.y = countAxis(v.w.say(p.axis), high)
	}
	return c
}

// timeAxis runs from a moment to just beyond another one, both in seconds. It is
// labelled in the unit of its ticks, which are a round stretch of time apart.
func (w words) timeAxis(key string, from, end float64) axis {
	between := loadgen.RoundStretch(time.Duration((end-from)*float64(time.Second)), 7)
	unit, name := unitOf(between)
	a := axis{label: w.say(key, w.say(name)), min: from, max: math.Max(end+0.01*(end-from), from+1e-9)}
	for i := math.Ceil(from / between.Seconds()); i*between.Seconds() <= a.max; i++ {
		a.ticks = append(a.ticks, tick{i * between.Seconds(), plain(i * float64(between) / float64(unit))})
	}
	return a
}

// unitOf is the unit in which people count a time, and its key in the dictionaries.
func unitOf(d time.Duration) (time.Duration, string) {
	switch {
	case d >= 24*time.Hour:
		return 24 * time.Hour, "unit.day"
	case d >= time.Hour:
		return time.Hour, "unit.hour"
	case d >= time.Minute:
		return time.Minute, "unit.minute"
	}
	return time.Second, "unit.second"
}

// stretch writes a length of time in one unit: "30 s", "5 min".
func (w words) stretch(d time.Duration) string {
	unit, name := unitOf(d)
	return strconv.FormatFloat(float64(d)/float64(unit), 'g', 3, 64) + " " + w.say(name)
}

// mostPoints bounds a line over time: more than the picture has pixels says
// nothing more.
const mostPoints = 260

// telemetryCharts shows the server's own metrics over the whole measurement.
func (v *view) telemetryCharts(points []analysis.TelemetryPoint) []*chart {
	if len(points) < 3 {
		return nil
	}
	points = append([]analysis.TelemetryPoint(nil), points...)
	sort.SliceStable(points, func(i, j int) bool { return points[i].At.Before(points[j].At) })
	start := points[0].At
	share := func(take func(*analysis.TelemetryPoint) analysis.Number) func(*analysis.TelemetryPoint) analysis.Number {
		return func(p *analysis.TelemetryPoint) analysis.Number {
			x, ok := take(p).Value()
			if !ok {
				return analysis.Number{}
			}
			return number(x * 100)
		}
	}
	type line struct {
		key   string
		style style
		take  func(*analysis.TelemetryPoint) analysis.Number
	}
	groups := []struct {
		id, label string
		lines     []line
	}{
		{"server-queue", "axis.requests", []line{
			{"series.running", blue, func(p *analysis.TelemetryPoint) analysis.Number { return p.Running }},
			{"series.waiting", orange, func(p *analysis.TelemetryPoint) analysis.Number { return p.Waiting }}}},
		{"server-kv", "axis.percent", []line{{"series.kv", purple, share(func(p *analysis.TelemetryPoint) analysis.Number { return p.KVCache })}}},
		{"server-gpu", "axis.percent", []line{
			{"series.gpuUtil", green, share(func(p *analysis.TelemetryPoint) analysis.Number { return p.GPUUtil })},
			{"series.gpuMemory", red, share(func(p *analysis.TelemetryPoint) analysis.Number { return p.GPUMemory })}}},
		{"server-host", "axis.percent", []line{
			{"series.hostCPU", sky, share(func(p *analysis.TelemetryPoint) analysis.Number { return p.HostCPU })},
			{"series.hostMemory", red, share(func(p *analysis.TelemetryPoint) analysis.Number { return p.HostMemory })}}},
	}
	var out []*chart
	for _, g := range groups {
		c := &chart{id: g.id, title: v.w.say("chart." + g.id)}
		for _, l := range g.lines {
			c.add(series{name: v.w.say(l.key), style: l.style.bare(), kind: curve, points: thin(points, start, l.take, g.label == "axis.percent")})
		}
		if c.empty() || g.label == "axis.percent" && c.allZero() {
			continue // a share of nothing, such as the cache of a server that counts none
		}
		end := points[len(points)-1].At.Sub(start).Seconds()
		c.x = v.w.timeAxis("axis.time", 0, end)
		_, high := extent(c.values())
		c.y = countAxis(v.w.say(g.label), high)
		if g.label == "axis.percent" {
			c.y = linearAxis(v.w.say(g.label), 0, 100)
		}
		c.bands = v.stepBands(start, end)
		out = append(out, c)
	}
	return out
}

// thin averages neighbouring scrapes so that a line has at most mostPoints
// points; a bucket without a known value leaves a gap.
func thin(points []analysis.TelemetryPoint, start time.Time, take func(*analysis.TelemetryPoint) analysis.Number, percentage bool) []datum {
	per := (len(points) + mostPoints - 1) / mostPoints
	var out []datum
	for i := 0; i < len(points); i += per {
		sum, at, n := 0.0, 0.0, 0.0
		for j := i; j < min(i+per, len(points)); j++ {
			if y, ok := take(&points[j]).Value(); ok {
				sum, at, n = sum+y, at+points[j].At.Sub(start).Seconds(), n+1
			}
		}
		if n == 0 {
			continue
		}
		d := datum{x: at / n, y: sum / n, step: -1, text: significant(sum / n), xText: lasting(at / n)}
		if percentage {
			d.text += " %"
		}
		out = append(out, d)
	}
	return out
}

// stepBands marks when each step ran; those with room carry their load.
func (v *view) stepBands(start time.Time, end float64) []band {
	var out []band
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		duration, ok := s.Whole.DurationSeconds.Value()
		if s.StartedAt.IsZero() || !ok {
			continue
		}
		from := s.StartedAt.Sub(start).Seconds()
		b := band{from: math.Max(from, 0), to: math.Min(from+duration, end), style: silent}
		if len(out)%2 == 0 {
			b.style = stripe
		}
		if b.to <= b.from {
			continue
		}
		if b.to-b.from > end*.05 {
			b.text = v.loadText(s)
		}
		out = append(out, b)
	}
	return out
}
