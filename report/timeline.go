package report

import (
	"math"
	"sort"
	"time"

	"github.com/capfind/capfind/analysis"
)

// timeCharts shows each step over its own time: what was in flight and the time
// to first token, the steady window shaded.
func (v *view) timeCharts() []*chart {
	var out []*chart
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		if len(s.Series) < 3 || !onLadder(s.Phase) {
			continue
		}
		c := &chart{id: "time-" + count(i), title: v.w.say("chart.time", v.loadText(s)), xHead: v.w.say("axis.time")}
		var end float64
		ttft := series{name: v.w.say("series.ttftMean"), style: blue.bare(), kind: curve}
		flight := series{name: v.w.say("series.inFlight"), style: orange.bare(), kind: curve}
		for _, p := range s.Series {
			end = math.Max(end, p.AtSeconds)
			at := seconds(number(p.AtSeconds))
			if y, ok := p.TTFTMean.Value(); ok {
				ttft.points = append(ttft.points, datum{x: p.AtSeconds, y: y * 1000, step: -1, text: seconds(p.TTFTMean), xText: at})
			}
			if y, ok := p.InFlight.Value(); ok {
				flight.points = append(flight.points, datum{x: p.AtSeconds, y: y, step: -1, text: figure(p.InFlight), xText: at})
			}
		}
		if len(ttft.points) < 2 {
			ttft, flight = flight, series{}
		}
		c.add(ttft)
		if c.empty() {
			continue
		}
		if s.Window != nil && s.Runs <= 1 {
			c.bands = append(c.bands, band{from: s.Window.FromSeconds, to: s.Window.ToSeconds, style: window, text: v.w.say("mark.window")})
		}
		c.x = linearAxis(v.w.say("axis.time"), 0, end)
		c.x.max = math.Max(end*1.02, 1e-9)
		c.x.ticks = within(c.x.ticks, c.x.max)
		_, high := extent(c.values())
		c.y = linearAxis(v.w.say("axis.ttftMs"), 0, high)
		if ttft.style.class == orange.class {
			c.y.label = v.w.say("series.inFlight")
		}
		out = append(out, c)
	}
	return out
}

func within(ticks []tick, top float64) []tick {
	var out []tick
	for _, t := range ticks {
		if t.at <= top {
			out = append(out, t)
		}
	}
	return out
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
		c := &chart{id: g.id, title: v.w.say("chart." + g.id), xHead: v.w.say("axis.time")}
		for _, l := range g.lines {
			c.add(series{name: v.w.say(l.key), style: l.style.bare(), kind: curve, points: thin(points, start, l.take, g.label == "axis.percent")})
		}
		if c.empty() {
			continue
		}
		end := points[len(points)-1].At.Sub(start).Seconds()
		c.x = linearAxis(v.w.say("axis.time"), 0, end)
		c.x.max = math.Max(end*1.01, 1e-9)
		c.x.ticks = within(c.x.ticks, c.x.max)
		_, high := extent(c.values())
		if g.label == "axis.percent" {
			high = 100
		}
		c.y = linearAxis(v.w.say(g.label), 0, high)
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
		d := datum{x: at / n, y: sum / n, step: -1, text: significant(sum / n), xText: seconds(number(at / n))}
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
