package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/capfind/capfind/sweep"
)

// page is all that the template shows.
type page struct {
	Lang         Language
	Policy       string // Content-Security-Policy: nothing but what is inlined, by its hash
	CSS          template.CSS
	JS           template.JS
	W            words
	Title        string
	Kind         string // what kind of page it is
	Subtitle     []string
	Verdict      verdict
	Limits       []limitBar
	Why          *why
	Sizing       *table
	Replicas     *table
	Recorded     *recorded
	Toggle       bool // the two bases of figures differ, so that there is a choice
	Charts       []figureBlock
	Time         []stepTime
	Server       []figureBlock
	Soak         []figureBlock
	Trends       *table
	Failures     *table
	Client       *table
	ClientText   string
	Workers      *table    // of a fleet
	Steps        [2]*table // as judged, and over the whole run
	Validity     *table
	ValidityText string
	Refusals     []string
	Method       *table
	Command      string
	Config       string
	Glossary     []term
	Version      string
}

// figureBlock is one chart of the page, in one or two variants.
type figureBlock struct {
	ID, Title string
	Variants  []figureVariant
}

// figureVariant is a chart on one basis of figures.
type figureVariant struct {
	Class   string // b-judged or b-whole where there are two
	Reading string
	SVG     template.HTML
	Keys    []legendKey
	Table   *table
}

type legendKey struct {
	SVG  template.HTML
	Name string
}

type term struct{ Name, Formula, Text string }

var pageTemplate = sync.OnceValues(func() (*template.Template, error) {
	return template.ParseFS(assets, "assets/*.html")
})

// asset returns an embedded style sheet or script.
func asset(name string) string {
	raw, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // a file that is compiled in
	}
	return strings.TrimSpace(string(raw))
}

// policy allows the page its own style sheet and script, by hash, and nothing
// else: no request can leave it, whatever a result contains.
func policy(css, js string) string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; img-src data:; base-uri 'none'; form-action 'none'", hash(css), hash(js))
}

// HTML writes the report as one offline page.
func HTML(w io.Writer, r *sweep.Result, o Options) error {
	dict, err := dictionary(o.Language)
	if err != nil {
		return err
	}
	return renderPage(w, "page.html", newPage(newView(r, dict, false), o))
}

// renderPage fills a template in memory: a failure leaves no half page.
func renderPage(w io.Writer, name string, data any) error {
	t, err := pageTemplate()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("rendering the page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

func newPage(v *view, o Options) *page {
	css, js := asset("style.css"), asset("script.js")
	p := &page{
		Lang: v.w.lang, Policy: policy(css, js), CSS: template.CSS(css), JS: template.JS(js), W: v.w,
		Title: v.title(o), Kind: v.w.say("title"), Subtitle: v.subtitleParts(), Verdict: v.verdict(), Limits: v.limitBars(), Why: v.why(), Sizing: v.sizing(o), Replicas: v.replicas(o),
		Client: filled(v.clientTable()), ClientText: v.clientText(), Workers: filled(v.workerTable()), ValidityText: v.validityText(), Validity: filled(v.validityTable()), Failures: filled(v.failureTable()), Method: filled(v.environmentTable()),
		Command: command(v.r), Config: configText(v.r.Config), Refusals: v.refusals(), Glossary: v.glossary(), Version: v.r.CapfindVersion,
	}
	over := newView(v.r, v.w, true)
	for i := range v.r.Steps {
		p.Toggle = p.Toggle || v.r.Steps[i].Verdict() != &v.r.Steps[i].Whole
	}
	p.Steps = [2]*table{filled(v.stepTable()), filled(over.stepTable())}
	p.Charts = v.paired(over, p.Toggle)
	p.Time, p.Recorded = v.timeGroups(), v.recorded()
	p.Soak, p.Trends = single(v, v.soakCharts()), v.trendTable()
	p.Server = single(v, v.telemetryCharts(o.Telemetry))
	return p
}

// filled drops a table without rows, so that its section is absent.
func filled(t *table) *table {
	if t == nil || len(t.Rows) == 0 {
		return nil
	}
	return t
}

// paired pairs every chart as judged with the same chart over the whole run.
func (v *view) paired(over *view, both bool) []figureBlock {
	var out []figureBlock
	other := map[string]*chart{}
	if both {
		for _, c := range over.overLoadCharts() {
			other[c.id] = c
		}
	}
	for _, c := range v.overLoadCharts() {
		b := figureBlock{ID: c.id, Title: c.title, Variants: []figureVariant{variant(v, c)}}
		if o := other[c.id]; o != nil {
			second := variant(over, o)
			if second.SVG != b.Variants[0].SVG {
				b.Variants[0].Class, second.Class = "b-judged", "b-whole"
				b.Variants = append(b.Variants, second)
			}
		}
		out = append(out, b)
	}
	return out
}

func single(v *view, charts []*chart) []figureBlock {
	var out []figureBlock
	for _, c := range charts {
		out = append(out, figureBlock{ID: c.id, Title: c.title, Variants: []figureVariant{variant(v, c)}})
	}
	return out
}

func variant(v *view, c *chart) figureVariant {
	f := figureVariant{Reading: capital(c.reading), SVG: template.HTML(c.svg()), Table: filled(c.table(v))}
	keys := c.series
	if c.searched() {
		keys = append(append([]series(nil), keys...), searchKey(v.w))
	}
	for i := range keys {
		f.Keys = append(f.Keys, legendKey{template.HTML(keys[i].legendSVG()), keys[i].name})
	}
	if len(keys) == 1 && keys[0].kind != bars {
		f.Keys = nil // the title says it
	}
	return f
}

// subtitleParts name what was measured.
func (v *view) subtitleParts() []string {
	r := v.r
	var out []string
	for _, s := range []string{r.Target.Server, r.Target.BaseURL, v.w.name("command", r.Command)} {
		if s != "" {
			out = append(out, s)
		}
	}
	if !r.StartedAt.IsZero() {
		out = append(out, day(r.StartedAt))
	}
	return out
}

// glossary explains every figure of the page with its formula.
func (v *view) glossary() []term {
	var out []term
	for _, key := range []string{"concurrency", "ttft", "tpot", "gap", "e2e", "success", "throughput", "efficiency", "gain", "steady", "limit", "interval", "knee", "band", "burst"} {
		out = append(out, term{v.w.say("term." + key), v.w.say("term." + key + ".formula"), v.w.say("term." + key + ".text")})
	}
	return out
}

// Say returns a text of the page's language.
func (p *page) Say(key string) string { return p.W.say(key) }

// Sayf returns a text with figures.
func (p *page) Sayf(key string, args ...any) string { return p.W.say(key, args...) }

// Script returns the texts that the script shows, as JSON.
func (p *page) Script() (string, error) {
	raw, err := json.Marshal(map[string]string{"reset": p.Say("script.reset"), "copy": p.Say("script.copy")})
	return string(raw), err
}

// figureData hands a chart and its page to the template together.
type figureData struct {
	Page   *page
	Figure figureBlock
}

// With pairs a chart with the page.
func (p *page) With(f figureBlock) figureData { return figureData{p, f} }

// ShareBars draws the parts of the response time next to each other.
func (p *page) ShareBars(parts []share) template.HTML {
	var b strings.Builder
	at := 0.0
	for _, s := range parts {
		fmt.Fprintf(&b, `<rect class="%s" x="%s%%" width="%s%%" height="18"/>`, s.Class, px(at), px(s.Width))
		at += s.Width
	}
	return template.HTML(b.String())
}

// setting is the name of a server's setting: a flag or an environment variable.
var setting = regexp.MustCompile(`--[a-z][a-z0-9-]*[a-z0-9]|\bOLLAMA_[A-Z_]+`)

// Prose marks up the settings in a sentence, which must not break across lines.
func (p *page) Prose(s string) template.HTML {
	return template.HTML(setting.ReplaceAllString(template.HTMLEscapeString(s), "<code>$0</code>"))
}
