package report

import (
	"html/template"
	"io"
	"math"
	"strings"

	"github.com/capfind/capfind/analysis"
)

// subjectStyles tell the results apart; a chart compares at most as many.
var subjectStyles = []style{blue, orange, green, purple, red, sky}

// comparePage is what the template of a comparison shows.
type comparePage struct {
	page
	Cards       []subjectCard
	Figures     *table
	Differences *table
	Notes       []string
	Regressions []string
	Gated       bool
	Threshold   string
}

// subjectCard is one result's answer.
type subjectCard struct {
	Name, Model, Sentence string
	Verdict               verdict
	Key                   template.HTML
}

// HTML writes the comparison as one offline page.
func (c *Comparison) HTML(w io.Writer) error {
	css, js := asset("style.css"), asset("script.js")
	p := &comparePage{page: page{Lang: c.w.lang, Policy: policy(css, js), CSS: template.CSS(css), JS: template.JS(js), W: c.w,
		Title: strings.Join(c.Names, " – "), Kind: c.w.say("compare.title")},
		Figures: c.table(), Differences: filled(c.differenceTable()), Notes: c.Notes, Regressions: c.Regressions,
		Gated: c.o.FailIfWorse.IsKnown(), Threshold: shareText(c.o.FailIfWorse)}
	for i, s := range c.subjects {
		v := newView(s.Result, c.w, false)
		p.Version = s.Result.CapfindVersion
		key := series{style: c.style(i), kind: joined}
		p.Cards = append(p.Cards, subjectCard{Name: c.Names[i], Model: s.Result.Target.Model, Verdict: v.verdict(), Key: template.HTML(key.legendSVG())})
	}
	for _, chart := range c.charts() {
		p.Charts = append(p.Charts, figureBlock{ID: chart.id, Title: chart.title, Variants: []figureVariant{c.variant(chart)}})
	}
	return renderPage(w, "compare.html", p)
}

func (c *Comparison) style(i int) style { return subjectStyles[i%len(subjectStyles)] }

func (c *Comparison) variant(ch *chart) figureVariant {
	f := figureVariant{SVG: template.HTML(ch.svg()), Table: filled(c.chartTable(ch))}
	for i := range ch.series {
		f.Keys = append(f.Keys, legendKey{template.HTML(ch.series[i].legendSVG()), ch.series[i].name})
	}
	return f
}

// chartTable lists the values by load, one column a subject.
func (c *Comparison) chartTable(ch *chart) *table {
	t := &table{Caption: ch.title, Head: []string{c.w.say("col.load")}}
	rows := map[string][]cell{}
	var order []string
	for i, s := range ch.series {
		t.Head = append(t.Head, s.name)
		for _, p := range s.points {
			if rows[p.xText] == nil {
				rows[p.xText] = make([]cell, len(ch.series))
				for j := range rows[p.xText] {
					rows[p.xText][j] = cell{Text: "–", Num: true}
				}
				order = append(order, p.xText)
			}
			rows[p.xText][i].Text = p.text
		}
	}
	for _, x := range order {
		t.add(-1, append([]cell{str(x)}, rows[x]...)...)
	}
	return t
}

// charts overlays the curves of all subjects on common axes.
func (c *Comparison) charts() []*chart {
	seconds1000 := func(take func(*analysis.Summary) analysis.Dist) func(*analysis.Summary) (datum, bool) {
		return func(s *analysis.Summary) (datum, bool) {
			d := take(s)
			p, ok := plus(d.Mean, d.SE, seconds(d.Mean))
			p.y, p.low, p.high = p.y*1000, p.low*1000, p.high*1000
			return p, ok && p.y > 0
		}
	}
	var out []*chart
	for _, k := range []struct {
		id, axis string
		latency  bool
		take     func(*analysis.Summary) (datum, bool)
	}{
		{"throughput", c.w.say("axis.throughput"), false, func(s *analysis.Summary) (datum, bool) {
			return plus(s.RequestThroughput, s.RequestThroughputSE, perSecond(s.RequestThroughput, "req/s"))
		}},
		{"tokens", c.w.say("axis.tokens"), false, func(s *analysis.Summary) (datum, bool) {
			return plus(s.OutputThroughput, analysis.Number{}, perSecond(s.OutputThroughput, "tok/s"))
		}},
		{"ttft", "TTFT (ms)", true, seconds1000(func(s *analysis.Summary) analysis.Dist { return s.TTFT })},
		{"tpot", "TPOT (ms)", true, seconds1000(func(s *analysis.Summary) analysis.Dist { return s.TPOT })},
	} {
		if ch := c.overlay(k.id, k.axis, k.latency, k.take); ch != nil {
			out = append(out, ch)
		}
	}
	return out
}

func (c *Comparison) overlay(id, axisLabel string, latency bool, take func(*analysis.Summary) (datum, bool)) *chart {
	ch := &chart{id: id, title: c.w.say("chart." + id)}
	var loads, ticks []float64
	for i, s := range c.subjects {
		v := newView(s.Result, c.w, false)
		line := series{name: c.Names[i], style: c.style(i), kind: joined, points: v.points(anyPhase, take)}
		for j := range line.points {
			p := &line.points[j]
			p.step = -1
			loads = append(loads, p.x)
			if !p.hollow {
				ticks = append(ticks, p.x)
			}
		}
		ch.add(line)
		if l := s.Result.Limit; l != nil && l.Concurrency.IsKnown() {
			ch.upright = append(ch.upright, mark{at: l.Concurrency.Or(1), text: c.Names[i] + " " + whole(l.Concurrency), faint: true})
		}
	}
	if ch.empty() || len(loads) < 2 {
		return nil
	}
	ch.x = stepAxis(c.w.say("axis.concurrency"), loads, ticks)
	for _, m := range ch.upright {
		ch.x.min, ch.x.max = min(ch.x.min, m.at*.95), max(ch.x.max, m.at*1.05)
	}
	_, high := extent(ch.values())
	ch.y = linearAxis(axisLabel, 0, high)
	if latency {
		ch.y = valueAxis(axisLabel, ch.values())
	}
	return ch
}

// table is the comparison in figures.
func (c *Comparison) table() *table {
	t := &table{Caption: c.w.say("compare.figures"), Head: []string{c.w.say("col.what")}}
	for i, name := range c.Names {
		t.Head = append(t.Head, name)
		if i > 0 {
			t.Head = append(t.Head, c.w.say("compare.change", name))
		}
	}
	for _, row := range c.Rows {
		cells := []cell{str(row.Name)}
		for i := range row.Values {
			cells = append(cells, num(row.Values[i], row.Shown[i]))
			if i > 0 {
				cells = append(cells, cell{Text: certainty(c.w, row.Changes[i]), Num: true})
			}
		}
		t.Rows = append(t.Rows, tableRow{Step: -1, Cells: cells})
	}
	return t
}

// certainty writes a change, and whether it is more than chance and for which side.
func certainty(w words, ch Change) string {
	key := "compare.unknown"
	switch {
	case !ch.Relative.IsKnown():
		return ""
	case ch.Significant == nil:
	case !*ch.Significant:
		key = "compare.chance"
	case ch.Worse:
		key = "compare.worse"
	default:
		key = "compare.better"
	}
	return w.say(key, change(ch.Relative))
}

func (c *Comparison) differenceTable() *table {
	t := &table{Caption: c.w.say("compare.settings"), Head: append([]string{c.w.say("compare.key")}, c.Names...)}
	for _, d := range c.Differences {
		cells := []cell{str(d.Key)}
		for _, v := range d.Values {
			if v == "" {
				v = "–"
			}
			cells = append(cells, str(v))
		}
		t.add(-1, cells...)
	}
	return t
}

// Markdown writes the comparison for a pull request.
func (c *Comparison) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# " + c.w.say("compare.title") + ": " + escapeMarkdown(strings.Join(c.Names, " – ")) + "\n\n")
	writeGate(&b, c.w, c.o.FailIfWorse, c.Regressions)
	for i, s := range c.subjects {
		v := newView(s.Result, c.w, false)
		b.WriteString("- **" + escapeMarkdown(c.Names[i]) + "**: " + escapeMarkdown(v.headline()) + "\n")
	}
	b.WriteString("\n")
	markdownList(&b, c.Notes)
	c.table().section(&b)
	filled(c.differenceTable()).section(&b)
	b.WriteString(escapeMarkdown(c.w.say("compare.note")) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// writeGate says whether anything is worse than allowed, where that was asked.
func writeGate(b *strings.Builder, w words, threshold analysis.Number, regressions []string) {
	if !threshold.IsKnown() {
		return
	}
	key := "compare.clean"
	if len(regressions) > 0 {
		key = "compare.regressed"
	}
	b.WriteString("**" + escapeMarkdown(w.say(key, shareText(threshold))) + "**\n\n")
	markdownList(b, regressions)
}

func markdownList(b *strings.Builder, items []string) {
	for _, s := range items {
		b.WriteString("- " + escapeMarkdown(s) + "\n")
	}
	if len(items) > 0 {
		b.WriteString("\n")
	}
}

// shareText writes a share that somebody chose: 5 %, 2.5 %.
func shareText(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return notKnown
	}
	return plain(math.Round(v*1e4)/100) + " %"
}
