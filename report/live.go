package report

import (
	"bytes"
	"html/template"
	"io"
	"strings"

	"github.com/capfind/capfind/sweep"
)

// livePage is the frame of the page that is shown while something is measured.
type livePage struct {
	Policy, Title, Kind string
	CSS                 template.CSS
	JS                  template.JS
}

// Live writes the page that follows a measurement, in English, and returns the
// Content-Security-Policy that it needs as a header. What it shows arrives as events.
func Live(w io.Writer, title string) (csp string, err error) {
	css, js := asset("style.css")+"\n"+asset("live.css"), asset("live.js")
	csp = policy(css, js) + "; connect-src 'self'"
	return csp, renderPage(w, "live.html", livePage{Policy: csp, Title: title, Kind: "Measuring", CSS: template.CSS(css), JS: template.JS(js)})
}

// LiveCharts are the curves of throughput and TTFT over the steps of an unfinished
// result as HTML, empty before there are two loads to draw a curve through.
func LiveCharts(r *sweep.Result) (string, error) {
	dict, err := dictionary("en")
	if err != nil {
		return "", err
	}
	v := newView(r, dict, false)
	if v.distinctLoads() < 2 {
		return "", nil
	}
	var charts []*chart
	for _, build := range []func() *chart{v.throughput, v.ttft} {
		if c := build(); c != nil && !c.empty() {
			charts = append(charts, c)
		}
	}
	t, err := pageTemplate()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for _, f := range single(v, charts) {
		if err := t.ExecuteTemplate(&b, "figure", figureData{&page{W: dict}, f}); err != nil {
			return "", err
		}
	}
	return strings.TrimSpace(b.String()), nil
}
