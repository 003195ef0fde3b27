package report

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	stdfont "golang.org/x/image/font"
)

// A picture fills a 16:9 slide: 1920 x 1080 pixels.
const (
	pngWidth, pngHeight = 960 * vg.Length(1), 540 * vg.Length(1) // points
	pngDPI              = 144
	pngMargin           = 28 * vg.Length(1)
	pngFont             = 13 * vg.Length(1)
	pngRow              = 19 * vg.Length(1)
)

var (
	ink      = hex("#1F2937")
	inkSoft  = hex("#5B6472")
	hairline = hex("#E3E7EC")
	limitInk = hex("#B34700")
	bandFill = hex("#D6EFE6")
	bandInk  = hex("#00694D")
)

// hex reads #RRGGBB; the palette's own constants are the only input.
func hex(s string) color.NRGBA {
	var r, g, b uint8
	fmt.Sscanf(s, "#%02x%02x%02x", &r, &g, &b)
	return color.NRGBA{r, g, b, 255}
}

// writePNG draws charts side by side under one title.
func writePNG(w io.Writer, l *lettering, title, subtitle string, charts ...*chart) error {
	img := vgimg.NewWith(vgimg.UseWH(pngWidth, pngHeight), vgimg.UseDPI(pngDPI))
	page := draw.New(img)
	page.FillPolygon(color.White, []vg.Point{page.Min, {X: page.Max.X, Y: page.Min.Y}, page.Max, {X: page.Min.X, Y: page.Max.Y}})
	page = draw.Crop(page, pngMargin, -pngMargin, pngMargin*.8, -pngMargin)
	page.FillText(l.style(22, ink, stdfont.WeightBold, draw.XLeft, draw.YTop), vg.Point{X: page.Min.X, Y: page.Max.Y}, l.text(title))
	page.FillText(l.style(13, inkSoft, stdfont.WeightNormal, draw.XLeft, draw.YTop), vg.Point{X: page.Min.X, Y: page.Max.Y - 30}, shortened(l.style(13, inkSoft, stdfont.WeightNormal, draw.XLeft, draw.YTop), l.text(subtitle), page.Max.X-page.Min.X))
	page.Max.Y -= 62
	gap := 34 * vg.Length(1)
	width := (page.Max.X - page.Min.X - gap*vg.Length(len(charts)-1)) / vg.Length(len(charts))
	for i, c := range charts {
		panel := page
		panel.Min.X += vg.Length(i) * (width + gap)
		panel.Max.X = panel.Min.X + width
		c.draw(panel, l)
	}
	_, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(w)
	return err
}

// shortened cuts a text so that it fits.
func shortened(sty text.Style, s string, width vg.Length) string {
	if sty.Width(s) <= width {
		return s
	}
	runes := []rune(s)
	for len(runes) > 0 && sty.Width(string(runes)+"...") > width {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "..."
}

// scale lets gonum place values as the chart's own axis does, which unlike
// gonum's LogScale survives a value without a logarithm.
type scale struct{ axis }

func (s scale) Normalize(_, _, v float64) float64 { return s.place(v) }

// draw draws the legend, the labels above the plot and the plot itself.
func (c *chart) draw(panel draw.Canvas, l *lettering) {
	panel.Max.Y -= c.drawLegend(panel, l) + 10
	length := float64((panel.Max.X - panel.Min.X) * .92 / pngFont)
	labels, rows, total := c.header(length)
	panel.FillText(l.style(pngFont, inkSoft, stdfont.WeightNormal, draw.XLeft, draw.YTop), vg.Point{X: panel.Min.X, Y: panel.Max.Y}, l.text(c.y.label))
	panel.Max.Y -= 22 + pngRow*vg.Length(total)

	p := plot.New()
	p.BackgroundColor = color.Transparent
	c.setAxis(l, &p.X, c.x, length)
	c.setAxis(l, &p.Y, c.y, 0)
	p.X.Label.Text = l.text(c.x.label)
	p.X.Label.TextStyle = l.style(pngFont, inkSoft, stdfont.WeightNormal, draw.XCenter, draw.YTop)
	p.X.Label.Padding = 0
	p.X.Padding, p.Y.Padding = 0, 0
	p.Y.LineStyle.Width, p.Y.Tick.Length = 0, 0
	p.Add(drawing{c, l})
	p.Draw(panel)

	data := p.DataCanvas(panel)
	for i, label := range labels {
		// The row was laid out on an axis of this many font sizes; the real one differs by the width of the tick labels.
		x := data.Min.X + vg.Length(label.at/length)*(data.Max.X-data.Min.X)
		ink := map[string]color.Color{"t-limit": limitInk, "t-band": bandInk}[label.class]
		if ink == nil {
			ink = inkSoft
		}
		panel.FillText(l.style(pngFont, ink, stdfont.WeightBold, draw.XCenter, draw.YBottom),
			vg.Point{X: x, Y: data.Max.Y + 6 + pngRow*vg.Length(rows[i])}, l.text(label.text))
	}
}

// setAxis hands the chart's axis to gonum; labels that would touch are left out.
func (c *chart) setAxis(l *lettering, to *plot.Axis, a axis, length float64) {
	to.Min, to.Max, to.Scale = a.min, a.max, scale{a}
	to.LineStyle = draw.LineStyle{Color: inkSoft, Width: .8}
	to.Tick.LineStyle = to.LineStyle
	to.Tick.Label = l.style(pngFont, inkSoft, stdfont.WeightNormal, to.Tick.Label.XAlign, to.Tick.Label.YAlign)
	show := make([]bool, len(a.ticks))
	if length > 0 {
		show = a.fitting(length)
	}
	var ticks []plot.Tick
	for i, t := range a.ticks {
		label := t.text
		if length > 0 && !show[i] {
			label = ""
		}
		ticks = append(ticks, plot.Tick{Value: t.at, Label: label})
	}
	to.Tick.Marker = plot.ConstantTicks(ticks)
}

// drawLegend writes the series' names in rows and returns their height.
func (c *chart) drawLegend(panel draw.Canvas, l *lettering) vg.Length {
	sty := l.style(pngFont, ink, stdfont.WeightNormal, draw.XLeft, draw.YCenter)
	x, y := panel.Min.X, panel.Max.Y-8
	keys := append([]series(nil), c.series...)
	if c.searched() {
		keys = append(keys, searchKey(l.words))
	}
	for i := range keys {
		s := &keys[i]
		width := sty.Width(l.text(s.name))
		if x+width+50 > panel.Max.X && x > panel.Min.X {
			x, y = panel.Min.X, y-20
		}
		if s.kind != loose && s.kind != bars {
			panel.StrokeLine2(s.line(), x, y, x+28, y)
		}
		s.glyph(&panel, vg.Point{X: x + 14, Y: y}, s.kind == loose)
		panel.FillText(sty, vg.Point{X: x + 34, Y: y}, l.text(s.name))
		x += width + 58
	}
	return panel.Max.Y - y + 12
}

func (s *series) line() draw.LineStyle {
	l := draw.LineStyle{Color: hex(s.style.light), Width: 2.2}
	if s.dashed {
		l.Width, l.Dashes = 1.6, []vg.Length{6, 4}
	}
	return l
}

// glyph draws a marker; hollow ones are white inside.
func (s *series) glyph(c *draw.Canvas, at vg.Point, hollow bool) {
	if s.kind == bars {
		c.SetColor(hex(s.style.light))
		c.Fill(rectangle(at.X-6, at.Y-6, at.X+6, at.Y+6))
		return
	}
	outline := markerOutline(s.style.marker, at)
	if outline == nil {
		return
	}
	fill := hex(s.style.light)
	if hollow {
		fill = color.NRGBA{255, 255, 255, 255}
	}
	c.SetColor(fill)
	c.Fill(outline)
	c.SetLineStyle(draw.LineStyle{Color: hex(s.style.light), Width: 1.4})
	c.Stroke(outline)
}

// markerOutline is the closed path of a marker around a point.
func markerOutline(m marker, at vg.Point) vg.Path {
	corners := map[marker][][2]float64{
		square:   {{-4, -4}, {4, -4}, {4, 4}, {-4, 4}},
		triangle: {{0, 5.2}, {4.8, -3.6}, {-4.8, -3.6}},
		diamond:  {{0, 5.6}, {5, 0}, {0, -5.6}, {-5, 0}},
		downward: {{0, -5.2}, {4.8, 3.6}, {-4.8, 3.6}},
	}[m]
	var p vg.Path
	if m == circle {
		p.Move(vg.Point{X: at.X + 4.5, Y: at.Y})
		p.Arc(at, 4.5, 0, 2*math.Pi)
		p.Close()
		return p
	}
	for i, xy := range corners {
		pt := vg.Point{X: at.X + vg.Length(xy[0]), Y: at.Y + vg.Length(xy[1])}
		if i == 0 {
			p.Move(pt)
		} else {
			p.Line(pt)
		}
	}
	if p != nil {
		p.Close()
	}
	return p
}

func rectangle(x0, y0, x1, y1 vg.Length) vg.Path {
	var p vg.Path
	p.Move(vg.Point{X: x0, Y: y0})
	p.Line(vg.Point{X: x1, Y: y0})
	p.Line(vg.Point{X: x1, Y: y1})
	p.Line(vg.Point{X: x0, Y: y1})
	p.Close()
	return p
}

// drawing is the chart as one gonum plotter: bands below, then grid, lines,
// series, and the thresholds' names on top.
type drawing struct {
	c *chart
	l *lettering
}

// Plot implements plot.Plotter.
func (d drawing) Plot(cv draw.Canvas, p *plot.Plot) {
	l := d.l
	trX, trY := p.Transforms(&cv)
	x := func(v float64) vg.Length { return min(max(trX(v), cv.Min.X), cv.Max.X) }
	y := func(v float64) vg.Length { return min(max(trY(v), cv.Min.Y), cv.Max.Y) }
	for _, b := range d.c.bands {
		if b.style == recommended {
			cv.SetColor(bandFill)
			cv.Fill(rectangle(x(b.from), cv.Min.Y, x(b.to), cv.Max.Y))
		}
	}
	for _, t := range d.c.y.ticks {
		cv.StrokeLine2(draw.LineStyle{Color: hairline, Width: .8}, cv.Min.X, y(t.at), cv.Max.X, y(t.at))
	}
	for _, m := range d.c.upright {
		sty := draw.LineStyle{Color: limitInk, Width: 1.8}
		if m.faint {
			sty = draw.LineStyle{Color: inkSoft, Width: 1.2, Dashes: []vg.Length{2, 3}}
		}
		cv.StrokeLine2(sty, x(m.at), cv.Min.Y, x(m.at), cv.Max.Y)
	}
	for _, t := range d.c.across {
		cv.StrokeLine2(draw.LineStyle{Color: ink, Width: 1.2, Dashes: []vg.Length{7, 4}}, cv.Min.X, y(t.at), cv.Max.X, y(t.at))
	}
	for i := range d.c.violins {
		drawViolin(cv, &d.c.violins[i], x)
	}
	for i := range d.c.series {
		drawSeries(cv, l, &d.c.series[i], x, y)
	}
	for _, t := range d.c.across {
		at := y(t.at)
		align := draw.YBottom
		up := vg.Length(4)
		if t.under || cv.Max.Y-at < 20 {
			align, up = draw.YTop, -4
		}
		sty := l.style(pngFont, ink, stdfont.WeightNormal, draw.XLeft, align)
		behind := rectangle(cv.Min.X+5, at+up/2, cv.Min.X+11+sty.Width(l.text(t.text)), at+up*4.5)
		cv.SetColor(color.NRGBA{255, 255, 255, 215}) // legible across a line
		cv.Fill(behind)
		cv.FillText(sty, vg.Point{X: cv.Min.X + 8, Y: at + up}, l.text(t.text))
	}
}

func drawSeries(cv draw.Canvas, l *lettering, s *series, x, y func(float64) vg.Length) {
	var line, all []vg.Point
	for _, p := range s.points {
		at := vg.Point{X: x(p.x), Y: y(p.y)}
		all = append(all, at)
		if !p.apart {
			line = append(line, at)
		}
	}
	if (s.kind == joined || s.kind == curve) && len(line) > 1 {
		cv.StrokeLines(s.line(), line)
	}
	for i, p := range s.points {
		at := all[i]
		if s.kind == bars {
			cv.SetColor(hex(s.style.light))
			cv.Fill(rectangle(at.X-9, y(p.base), at.X+9, at.Y))
			continue
		}
		if p.high > p.low {
			sty := draw.LineStyle{Color: hex(s.style.light), Width: 1.4}
			cv.StrokeLine2(sty, at.X, y(p.low), at.X, y(p.high))
			cv.StrokeLine2(sty, at.X-5, y(p.low), at.X+5, y(p.low))
			cv.StrokeLine2(sty, at.X-5, y(p.high), at.X+5, y(p.high))
		}
		if s.kind != curve {
			s.glyph(&cv, at, p.hollow)
		}
		if p.label != "" {
			cv.FillText(l.style(pngFont, ink, stdfont.WeightNormal, draw.XRight, draw.YBottom), vg.Point{X: at.X - 6, Y: at.Y + 5}, l.text(p.label))
		}
	}
}

func drawViolin(cv draw.Canvas, v *violin, x func(float64) vg.Length) {
	corners := v.outline()
	if corners == nil {
		return
	}
	const half = 20
	y := func(place float64) vg.Length { return cv.Min.Y + vg.Length(place)*(cv.Max.Y-cv.Min.Y) }
	var p vg.Path
	for i, c := range corners {
		pt := vg.Point{X: x(v.x) + vg.Length(c[0]*half), Y: y(c[1])}
		if i == 0 {
			p.Move(pt)
		} else {
			p.Line(pt)
		}
	}
	for i := len(corners) - 1; i >= 0; i-- {
		p.Line(vg.Point{X: x(v.x) - vg.Length(corners[i][0]*half), Y: y(corners[i][1])})
	}
	p.Close()
	cv.SetColor(hex(blue.light))
	cv.Fill(p)
}
