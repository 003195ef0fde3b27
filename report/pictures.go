package report

import (
	"bytes"
	"io"
	"strings"

	"github.com/capfind/capfind/sweep"
)

// picture is one PNG file of the result directory.
type picture struct {
	path  string // within the directory
	write func(io.Writer) error
}

// pictures lists the PNG files that a result has data for. Their text is
// English in every language: the font that is drawn with has no other letters.
func pictures(r *sweep.Result) ([]picture, error) {
	w, err := dictionary(English)
	if err != nil {
		return nil, err
	}
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
			return writePNG(to, w, title, subtitle, c)
		}})
	}
	if len(pair) > 0 {
		out = append(out, picture{"concurrency_analysis.png", func(to io.Writer) error {
			return writePNG(to, w, w.say("chart.analysis"), subtitle, pair...)
		}})
	}
	return out, nil
}

// render returns the picture's bytes.
func (p picture) render() ([]byte, error) {
	var b bytes.Buffer
	if err := p.write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
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
	return splitList(v.headline())[0]
}
