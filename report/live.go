package report

import (
	"bytes"
	"encoding/json"
	"html/template"
	"strings"

	"github.com/capfind/capfind/sweep"
)

// Live is the page that follows a measurement, in one language.
type Live struct {
	HTML   []byte // its frame; what it shows arrives as events
	Policy string // the Content-Security-Policy that it needs as a header
	words  words
}

// livePage is what the frame is made of.
type livePage struct {
	Lang                Language
	Policy, Title, Kind string
	Words               string // those that the script needs, as JSON
	W                   words
	CSS                 template.CSS
	JS                  template.JS
}

// Say returns a text by its key in the dictionary.
func (p livePage) Say(key string) string { return p.W.say(key) }

// NewLive makes the page; no language is English.
func NewLive(title string, lang Language) (*Live, error) {
	dict, err := dictionary(lang)
	if err != nil {
		return nil, err
	}
	said := map[string]string{}
	for key, text := range dict.text {
		if name, ok := strings.CutPrefix(key, "live."); ok {
			said[name] = text
		}
	}
	raw, err := json.Marshal(said)
	if err != nil {
		return nil, err
	}
	css, js := asset("style.css")+"\n"+asset("live.css"), asset("live.js")
	l := &Live{Policy: policy(css, js) + "; connect-src 'self'", words: dict}
	var b bytes.Buffer
	err = renderPage(&b, "live.html", livePage{Lang: dict.lang, Policy: l.Policy, Title: title, Kind: dict.say("live.kind"),
		Words: string(raw), W: dict, CSS: template.CSS(css), JS: template.JS(js)})
	l.HTML = b.Bytes()
	return l, err
}

// Say says one of the program's own sentences in the page's language; what somebody
// else said stays as it is.
func (l *Live) Say(sentence string) string { return l.words.sentence(sentence) }

// Charts are the curves of throughput and TTFT over the steps of an unfinished
// result as HTML, empty before there are two loads to draw a curve through.
func (l *Live) Charts(r *sweep.Result) (string, error) {
	v := newView(r, l.words, false)
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
		if err := t.ExecuteTemplate(&b, "figure", figureData{&page{W: l.words}, f}); err != nil {
			return "", err
		}
	}
	return strings.TrimSpace(b.String()), nil
}
