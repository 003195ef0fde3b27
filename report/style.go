package report

// Colours are those of Okabe and Ito, which people with any of the common
// colour-vision deficiencies can tell apart. Every colour has its own marker,
// so that no series rests on colour alone. Dark pages use lighter shades.
type style struct {
	class  string // of the SVG elements; the page's style sheet gives the colour
	light  string // on white: PNG and the light page
	marker marker
}

// marker is the shape of a series' points.
type marker int

const (
	circle marker = iota
	square
	triangle
	diamond
	downward
	noMarker
)

var (
	blue   = style{"c-blue", "#0072B2", circle}
	orange = style{"c-orange", "#E69F00", square}
	green  = style{"c-green", "#009E73", triangle}
	purple = style{"c-purple", "#CC79A7", diamond}
	sky    = style{"c-sky", "#56B4E9", downward}
	red    = style{"c-red", "#D55E00", square}
	grey   = style{"c-grey", "#6B7280", noMarker}
)

// bare is the style without its marker: for lines of many points.
func (s style) bare() style {
	s.marker = noMarker
	return s
}
