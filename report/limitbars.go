package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/capfind/capfind/analysis"
)

// limitBar is one criterion's limit as a bar on the scale that all share.
type limitBar struct {
	Name, Text string
	Binding    bool
	SVG        template.HTML
}

// limitBars draws all criteria's limits under each other, so that the binding
// one is seen at a glance.
func (v *view) limitBars() []limitBar {
	if v.open {
		return nil
	}
	top := 1.0
	grow := func(n analysis.Number) { top = math.Max(top, n.Or(0)) }
	for _, l := range v.r.Limits {
		grow(l.Concurrency)
		grow(l.High)
		grow(l.AtLeast)
	}
	for i := range v.r.Steps {
		top = math.Max(top, float64(v.r.Steps[i].Concurrency))
	}
	place := func(n float64) float64 { // percent; logarithmic, 1 stands a little inside
		return 2 + 92*math.Log(math.Max(n, 1))/math.Log(math.Max(top, 2))
	}
	var out []limitBar
	for _, name := range v.criteria() {
		l := v.r.Limits[name]
		if !l.Concurrency.IsKnown() && !l.AtLeast.IsKnown() {
			continue
		}
		binding := v.r.Limit != nil && v.r.Limit.BoundBy == name
		out = append(out, limitBar{Name: v.rule(name), Text: v.limitText(l), Binding: binding, SVG: template.HTML(barSVG(l, place, binding))})
	}
	return out
}

// barSVG draws a bar up to the limit with its interval, or an open arrow where
// the limit lies beyond what was tested. Widths are percentages, so that the bar
// fits any page.
func barSVG(l analysis.Limit, place func(float64) float64, binding bool) string {
	var b strings.Builder
	class := "bar-row"
	if binding {
		class += " binding"
	}
	fmt.Fprintf(&b, `<svg class="%s" height="22" aria-hidden="true"><rect class="track" x="0" y="8" width="100%%" height="6" rx="3"/>`, class)
	n, reached := l.Concurrency.Value()
	if !reached {
		n = l.AtLeast.Or(0)
	}
	fmt.Fprintf(&b, `<rect class="fill" x="0" y="8" width="%s%%" height="6" rx="3"/>`, px(place(n)))
	if reached {
		if l.Low.IsKnown() && l.High.IsKnown() && l.High.Or(0) > l.Low.Or(0) {
			low, high := place(l.Low.Or(0)), place(l.High.Or(0))
			fmt.Fprintf(&b, `<rect class="span" x="%s%%" y="4" width="%s%%" height="14" rx="3"/>`, px(low), px(high-low))
		}
		fmt.Fprintf(&b, `<circle class="dot" cx="%s%%" cy="11" r="6"/>`, px(place(n)))
	} else {
		fmt.Fprintf(&b, `<svg x="%s%%" overflow="visible"><path class="open" d="M0 5l8 6l-8 6"/></svg>`, px(place(n)))
	}
	b.WriteString(`</svg>`)
	return b.String()
}
