package report

import (
	"io"
	"math"
	"time"

	"github.com/capfind/capfind/loadgen/trace"
)

// TracePicture draws what a trace is like: its arrivals over time, and how long its
// prompts and answers are.
func TracePicture(to io.Writer, d *trace.Description, title, subtitle string) error {
	w, err := dictionary(English)
	if err != nil {
		return err
	}
	var charts []*chart
	for _, c := range []*chart{arrivals(w, d), lengths(w, d)} {
		if !c.empty() {
			charts = append(charts, c)
		}
	}
	return writePNG(to, &lettering{words: w}, title, subtitle, charts...)
}

func arrivals(w words, d *trace.Description) *chart {
	c := &chart{id: "arrivals", title: w.say("chart.arrivals")}
	name := w.say("series.arrivals")
	if len(d.Arrivals) > 1 {
		name = w.say("series.arrivalsBy", w.stretch(time.Duration((d.Arrivals[1].AtSeconds-d.Arrivals[0].AtSeconds)*float64(time.Second))))
	}
	line := series{name: name, style: blue.bare(), kind: curve}
	for _, a := range d.Arrivals {
		line.points = append(line.points, datum{x: a.AtSeconds, y: a.Rate, step: -1})
	}
	c.add(line)
	if mean, ok := d.RequestRate.Value(); ok {
		c.across = append(c.across, level{at: mean, text: w.say("mark.meanRate", figure(d.RequestRate))})
	}
	if p := d.Peak; p != nil {
		c.upright = append(c.upright, mark{at: p.AtSeconds + 30, text: w.say("mark.peakMinute", figure(number(p.Rate)))})
	}
	c.x = w.timeAxis("axis.traceTime", 0, d.SpanSeconds)
	_, high := extent(c.values())
	c.y = linearAxis(w.say("axis.rate"), 0, high)
	return c
}

func lengths(w words, d *trace.Description) *chart {
	c := &chart{id: "lengths", title: w.say("chart.lengths")}
	for _, l := range []struct {
		key     string
		style   style
		lengths trace.Lengths
	}{{"series.prompts", blue, d.InputTokens}, {"series.answers", orange, d.OutputTokens}} {
		line := series{name: w.say(l.key), style: l.style.bare(), kind: curve}
		for _, q := range l.lengths.Quantiles {
			line.points = append(line.points, datum{x: 100 * q.Share, y: q.Tokens, step: -1})
		}
		c.add(line)
	}
	c.x = linearAxis(w.say("axis.share"), 0, 100)
	c.x.max = 100
	low, high := extent(c.values())
	c.y = logAxis(w.say("axis.length"), math.Max(low, 1), math.Max(high, 2))
	return c
}
