package report

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// The drawing area in user units; the page scales it. Text is 13 units high,
// and 20 on a phone, where the whole picture is drawn smaller: labels that
// would then touch carry the class "wide" and are hidden there.
const (
	svgWidth, svgHeight           = 560.0, 340.0
	svgLeft, svgRight, svgBottom  = 62.0, 18.0, 48.0
	svgFont, svgPhoneFont, svgRow = 13.0, 20.0, 19.0
)

// canvas draws one chart as SVG. All text goes through esc.
type canvas struct {
	strings.Builder
	c                        *chart
	left, right, top, bottom float64
}

func esc(s string) string { return html.EscapeString(s) }

// px writes a coordinate with no more digits than a screen can show.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func (s *canvas) f(format string, args ...any) { fmt.Fprintf(s, format, args...) }

func (s *canvas) x(v float64) float64 {
	return s.left + s.c.x.place(v)*(s.right-s.left)
}

// y keeps values far outside the axis at a distance that every renderer can handle.
func (s *canvas) y(v float64) float64 {
	return s.bottom - math.Max(-1, math.Min(2, s.c.y.place(v)))*(s.bottom-s.top)
}

// svg draws the chart. The picture's text alternative is its title and reading;
// the exact values are in the table beside it.
func (c *chart) svg() string {
	s := &canvas{c: c, left: svgLeft, right: svgWidth - svgRight, bottom: svgHeight - svgBottom}
	labels, rows, total := c.header((s.right - s.left) / svgFont)
	s.top = 30 + float64(total)*svgRow
	s.f(`<svg class="chart" viewBox="0 0 %s %s" role="img" aria-label="%s" data-id="%s" data-box="%s %s %s %s" data-y="%s %s %t">`,
		px(svgWidth), px(svgHeight), esc(strings.TrimSpace(c.title+". "+capital(c.reading))), c.id,
		px(s.left), px(s.top), px(s.right), px(s.bottom), plainFloat(c.y.min), plainFloat(c.y.max), c.y.log)
	s.grid()
	s.f(`<svg class="clip" x="%s" y="%s" width="%s" height="%s" viewBox="%s %s %s %s"><g class="plot">`,
		px(s.left-9), px(s.top-9), px(s.right-s.left+18), px(s.bottom-s.top+18), px(s.left-9), px(s.top-9), px(s.right-s.left+18), px(s.bottom-s.top+18))
	s.bands()
	s.lines()
	for i := range c.violins {
		s.violin(&c.violins[i])
	}
	for i := range c.series {
		s.series(&c.series[i])
	}
	s.WriteString(`</g></svg>`)
	s.head(labels, rows)
	s.thresholds()
	s.WriteString(`</svg>`)
	return s.String()
}

func plainFloat(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// headLabel is a text above the plot that names a line or a band.
type headLabel struct {
	text  string
	at    float64 // where the text is centred, in font sizes along the axis
	mark  float64 // what it names, on the axis
	class string
}

// header lists the texts above the plot and stacks them so that none touch;
// length is that of the horizontal axis in units of the font size.
func (c *chart) header(length float64) (labels []headLabel, rows []int, total int) {
	var spans []row
	add := func(text string, at float64, class string) {
		width := textWidth(text)
		centre := math.Min(math.Max(c.x.place(at)*length, width/2), length-width/2)
		labels = append(labels, headLabel{text, centre, at, class})
		spans = append(spans, row{centre, width})
	}
	for _, m := range c.upright {
		class := "t-limit"
		if m.faint {
			class = "t-faint"
		}
		add(m.text, m.at, class)
	}
	for _, b := range c.bands {
		if b.text == "" {
			continue
		}
		middle := (b.from + b.to) / 2
		if c.x.log {
			middle = math.Sqrt(b.from * b.to)
		}
		class := "t-faint"
		if b.style == recommended {
			class = "t-band"
		}
		add(b.text, middle, class)
	}
	rows, total = stack(spans)
	return labels, rows, total
}

func (s *canvas) head(labels []headLabel, rows []int) {
	for i, l := range labels {
		x := px(s.left + l.at*svgFont)
		s.f(`<text class="note %s" x="%s" y="%s" data-x0="%s" data-px="%s" text-anchor="middle">%s</text>`, l.class,
			x, px(s.top-8-float64(rows[i])*svgRow), x, px(s.x(l.mark)), esc(l.text))
	}
}

// grid draws the axes: horizontal hairlines, tick labels, the axes' names.
func (s *canvas) grid() {
	s.f(`<text class="axis" x="4" y="14">%s</text>`, esc(s.c.y.label))
	s.f(`<text class="axis" x="%s" y="%s" text-anchor="end">%s</text>`, px(s.right), px(svgHeight-6), esc(s.c.x.label))
	s.WriteString(`<g class="yt">`)
	for _, t := range s.c.y.ticks {
		s.f(`<g transform="translate(0 %s)"><path class="grid" d="M%s 0H%s"/><text x="%s" y="4.5" text-anchor="end">%s</text></g>`,
			px(s.y(t.at)), px(s.left), px(s.right), px(s.left-8), esc(t.text))
	}
	s.WriteString(`</g><g class="xt">`)
	length := s.right - s.left
	wide, phone := s.c.x.fitting(length/svgFont), s.c.x.fitting(length/svgPhoneFont)
	for i, t := range s.c.x.ticks {
		class := ""
		if !phone[i] {
			class = ` class="wide"`
		}
		s.f(`<g transform="translate(%s %s)"><path class="tick" d="M0 0v5"/>`, px(s.x(t.at)), px(s.bottom))
		if wide[i] {
			s.f(`<text%s y="19" text-anchor="middle">%s</text>`, class, esc(t.text))
		}
		s.WriteString(`</g>`)
	}
	s.f(`</g><path class="base" d="M%s %sH%s"/>`, px(s.left), px(s.bottom), px(s.right))
}

var bandClass = map[bandStyle]string{recommended: "b-rec", window: "b-win", stripe: "b-stripe"}

func (s *canvas) bands() {
	for _, b := range s.c.bands {
		if class := bandClass[b.style]; class != "" {
			from, to := math.Max(s.x(b.from), s.left), math.Min(s.x(b.to), s.right)
			s.f(`<path class="%s" d="M%s %sH%sV%sH%sz"/>`, class, px(from), px(s.top), px(to), px(s.bottom), px(from))
		}
	}
}

func (s *canvas) lines() {
	for _, m := range s.c.upright {
		class := "limit"
		if m.faint {
			class = "knee"
		}
		s.f(`<path class="%s" d="M%s %sV%s"/>`, class, px(s.x(m.at)), px(s.top), px(s.bottom))
	}
	for _, l := range s.c.across {
		s.f(`<path class="threshold" d="M%s %sH%s"/>`, px(s.left), px(s.y(l.at)), px(s.right))
	}
}

// thresholds writes the horizontal lines' names at the left end, where curves
// that grow with load leave room.
func (s *canvas) thresholds() {
	for _, l := range s.c.across {
		y := s.y(l.at) - 6
		if l.under || y < s.top+12 {
			y = s.y(l.at) + 16
		}
		s.f(`<text class="note t-thr halo" x="%s" y="%s" data-y0="%s" data-py="%s">%s</text>`, px(s.left+6), px(y), px(y), px(s.y(l.at)), esc(l.text))
	}
}

func (s *canvas) series(r *series) {
	s.f(`<g class="series %s" data-name="%s">`, r.style.class, esc(r.name))
	if r.kind == joined || r.kind == curve {
		s.path(r)
	}
	for i := range r.points {
		p := &r.points[i]
		switch r.kind {
		case bars:
			x, y, base := s.x(p.x), s.y(p.y), s.y(p.base)
			s.f(`<path class="bar pt"%s d="M%s %sh14V%sh-14z"/>`, s.data(p), px(x-7), px(base), px(y))
		case joined, loose:
			s.point(r, p)
		}
	}
	s.WriteString(`</g>`)
}

// path joins the points, one a load. Of a line without points it also carries
// the values, which have no element of their own.
func (s *canvas) path(r *series) {
	var d strings.Builder
	var values []string
	for _, p := range r.points {
		if p.apart {
			continue
		}
		fmt.Fprintf(&d, "%c%s %s", "ML"[min(len(values), 1)], px(s.x(p.x)), px(s.y(p.y)))
		values = append(values, p.text)
	}
	if len(values) < 2 {
		return
	}
	class := "line"
	if r.dashed {
		class += " dashed"
	}
	if r.kind == curve && values[0] != "" {
		s.f(`<path class="%s" d="%s" data-v="%s" data-x="%s"/>`, class, d.String(), esc(strings.Join(values, "|")), esc(s.xTexts(r)))
		return
	}
	s.f(`<path class="%s" d="%s"/>`, class, d.String())
}

func (s *canvas) xTexts(r *series) string {
	var list []string
	for _, p := range r.points {
		list = append(list, p.xText)
	}
	return strings.Join(list, "|")
}

func (s *canvas) data(p *datum) string {
	return fmt.Sprintf(` data-k="%d" data-x="%s" data-v="%s"`, p.step, esc(p.xText), esc(p.text))
}

// point draws a marker with its error bar and a native tooltip, which works
// where no script runs.
func (s *canvas) point(r *series, p *datum) {
	x, y := s.x(p.x), s.y(p.y)
	if p.high > p.low {
		s.f(`<path class="err" d="M%s %sV%s"/>`, px(x), px(s.y(p.high)), px(s.y(p.low)))
	}
	class := "pt"
	if p.hollow {
		class = "pt hollow"
	}
	s.f(`<g class="%s"%s transform="translate(%s %s)"><title>%s</title>`, class, s.data(p), px(x), px(y), esc(p.xText+" · "+r.name+" "+p.text))
	s.f(`<path class="mk" d="%s"/>`, markerPath[r.style.marker])
	if p.label != "" {
		anchor, dx := "start", 8
		if labelsLeft(s.c.x.place(p.x)) {
			anchor, dx = "end", -8
		}
		s.f(`<text class="halo" x="%d" y="-8" text-anchor="%s">%s</text>`, dx, anchor, esc(p.label))
	}
	s.WriteString(`</g>`)
}

// markerPath draws each marker around the origin, with about equal areas.
var markerPath = map[marker]string{
	circle:   "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
	square:   "M-4-4h8v8h-8z",
	triangle: "M0-5.2L4.8 3.6H-4.8z",
	diamond:  "M0-5.6L5 0L0 5.6L-5 0z",
	downward: "M0 5.2L4.8-3.6H-4.8z",
	noMarker: "M0 0",
}

// violin draws a histogram as a symmetric outline around its place.
func (s *canvas) violin(v *violin) {
	corners := v.outline()
	if corners == nil {
		return
	}
	const half = 15
	x := s.x(v.x)
	var d strings.Builder
	for i, c := range corners {
		fmt.Fprintf(&d, "%c%s %s", "ML"[min(i, 1)], px(x+c[0]*half), px(s.bottom-c[1]*(s.bottom-s.top)))
	}
	for i := len(corners) - 1; i >= 0; i-- {
		fmt.Fprintf(&d, "L%s %s", px(x-corners[i][0]*half), px(s.bottom-corners[i][1]*(s.bottom-s.top)))
	}
	s.f(`<g class="series c-blue" data-name="p50"><path class="violin pt" data-k="%d" data-x="%s" data-v="%s" d="%sz"/></g>`, v.step, loadNumber(v.x), esc(v.text), d.String())
}

// legendSVG draws the sample of a series that the legend shows.
func (r *series) legendSVG() string {
	var b strings.Builder
	class := r.style.class
	if r.kind == loose {
		class += " hollow"
	}
	fmt.Fprintf(&b, `<svg class="key" viewBox="0 0 26 12" aria-hidden="true"><g class="series %s">`, class)
	switch {
	case r.kind == bars:
		b.WriteString(`<path class="bar" d="M7 0h12v12h-12z"/>`)
	default:
		if r.kind != loose {
			line := "line"
			if r.dashed {
				line += " dashed"
			}
			fmt.Fprintf(&b, `<path class="%s" d="M1 6H25"/>`, line)
		}
		fmt.Fprintf(&b, `<path class="mk" transform="translate(13 6)" d="%s"/>`, markerPath[r.style.marker])
	}
	b.WriteString(`</g></svg>`)
	return b.String()
}
