package report

import (
	"io"
	"strings"

	"github.com/capfind/capfind/sweep"
)

// picture is one PNG file of the result directory.
type picture struct {
	path  string // within the directory
	write func(io.Writer) error
}

// pictures lists the PNG files that a result has data for. Their text is English
// where there is no font that has the letters of the language.
func pictures(r *sweep.Result, o Options) ([]picture, error) {
	l := &lettering{face: o.Typeface}
	language := English
	if o.Typeface != nil {
		language = o.Language
	}
	var err error
	if l.words, err = dictionary(language); err != nil {
		return nil, err
	}
	w := l.words
	v := newView(r, w, false)
	subtitle := v.subtitle()
	var out []picture
	var pair []*chart
	for _, c := range v.overLoadCharts() {
		if c.id == "throughput" || c.id == "efficiency" {
			pair = append(pair, c)
		}
		title := c.title
		out = append(out, picture{"charts/" + c.id + ".png", func(to io.Writer) error {
			return writePNG(to, l, title, subtitle, c)
		}})
	}
	if len(pair) > 0 {
		out = append(out, picture{"concurrency_analysis.png", func(to io.Writer) error {
			return writePNG(to, l, w.say("chart.analysis"), subtitle, pair...)
		}})
	}
	return out, nil
}

// subtitle names what was measured, and the answer.
func (v *view) subtitle() string {
	var parts []string
	for _, s := range []string{v.r.Target.Model, v.r.Target.Server, v.short()} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "  ·  ")
}

// short is the answer without what else was found.
func (v *view) short() string {
	if v.r.Verdict == sweep.Unstable {
		return v.w.name("verdict", string(v.r.Verdict))
	}
	return v.w.sentence(splitList(v.r.Sentence)[0])
}
