package report

import (
	"math"

	"github.com/capfind/capfind/analysis"
)

// chart is a picture before it is drawn: the page (SVG) and the slides (PNG)
// are drawn from the same one.
type chart struct {
	id      string
	title   string
	reading string // one sentence: what the picture shows
	x, y    axis
	xHead   string // heading of the first table column where x is not the concurrency
	series  []series
	across  []level // horizontal lines: thresholds
	upright []mark  // vertical lines: limits, knees
	bands   []band
	violins []violin
}

// kind says how a series is drawn.
type kind int

const (
	joined kind = iota // points joined by lines
	loose              // points alone
	curve              // a line without points
	bars               // bars from base to y
)

type series struct {
	name   string
	style  style
	kind   kind
	dashed bool
	points []datum
}

type datum struct {
	x, y      float64
	low, high float64 // error bar; none where both are 0
	base      float64 // of a bar
	step      int     // index in Result.Steps, -1 where it is none
	text      string  // the value for people
	label     string  // drawn beside the point
	xText     string  // x for people
	hollow    bool    // a step of the search between the ladder's steps
	apart     bool    // a second point at a load: no line goes through it
}

type level struct {
	at    float64
	text  string
	under bool // the name stands below the line
}

type mark struct {
	at    float64
	text  string
	faint bool
}

// band is a stretch of the horizontal axis.
type band struct {
	from, to float64
	text     string
	style    bandStyle
}

type bandStyle int

const (
	recommended bandStyle = iota // what production should be set to
	window                       // the steady window of a step
	stripe                       // every other step of a time line
	silent                       // a stretch of a time line that is only labelled
)

// violin is a histogram standing upright at a place of the horizontal axis.
type violin struct {
	x    float64
	step int
	text string
	bins []analysis.Bin
	// shape holds the counts in cells of equal height along the vertical axis.
	shape []float64
}

// even restates the histogram in cells that are drawn equally high, so that a
// load whose times lie close together still has a shape that can be seen. A bin
// that spans several cells is spread evenly over them.
func (v *violin) even(a axis, cells int) {
	counts := make([]float64, cells)
	for _, b := range v.bins {
		low, high := a.place(b.From)*float64(cells), a.place(b.To)*float64(cells)
		first, last := int(math.Floor(low)), int(math.Ceil(high))
		for i := max(first, 0); i < min(max(last, first+1), cells); i++ {
			part := 1.0
			if high > low {
				part = (math.Min(high, float64(i+1)) - math.Max(low, float64(i))) / (high - low)
			}
			counts[i] += part * float64(b.Count)
		}
	}
	v.shape = counts
}

// outline returns the violin's right half as corners, bottom to top: half the
// width as a share of the widest cell's, and the place along the axis. Between
// its parts it narrows to nothing; no part is too thin to be seen.
func (v *violin) outline() [][2]float64 {
	_, most := extent(v.shape)
	if most <= 0 {
		return nil
	}
	const thinnest = .04
	cells := float64(len(v.shape))
	var corners [][2]float64
	within := false
	for i, n := range v.shape {
		from, to := float64(i)/cells, float64(i+1)/cells
		if n == 0 {
			if within {
				corners = append(corners, [2]float64{0, from})
			}
			within = false
			continue
		}
		if !within {
			corners = append(corners, [2]float64{0, from})
		}
		w := math.Max(n/most, thinnest)
		corners = append(corners, [2]float64{w, from}, [2]float64{w, to})
		within = true
	}
	return corners
}

// values lists all that the vertical axis must show.
func (c *chart) values() []float64 {
	var all []float64
	for _, s := range c.series {
		for _, p := range s.points {
			all = append(all, p.y)
			if p.high > p.low {
				all = append(all, p.high)
			}
		}
	}
	for _, l := range c.across {
		all = append(all, l.at)
	}
	return all
}

// allZero reports whether nothing on the chart is ever above 0.
func (c *chart) allZero() bool {
	for _, y := range c.values() {
		if y > 0 {
			return false
		}
	}
	return true
}

// empty reports whether there is nothing to draw.
func (c *chart) empty() bool {
	for _, s := range c.series {
		if len(s.points) > 0 {
			return false
		}
	}
	return len(c.violins) == 0
}

// add appends a series that has points.
func (c *chart) add(s series) {
	if len(s.points) > 0 {
		c.series = append(c.series, s)
	}
}

// searched reports whether any point is a step of the search, which the legend
// then explains.
func (c *chart) searched() bool {
	for _, s := range c.series {
		for _, p := range s.points {
			if p.hollow {
				return true
			}
		}
	}
	return false
}

// searchKey is the legend's entry for hollow points.
func searchKey(w words) series {
	return series{name: w.say("series.search"), style: style{class: grey.class, light: grey.light, marker: circle},
		kind: loose, points: []datum{{hollow: true}}}
}
