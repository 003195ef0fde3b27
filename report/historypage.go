package report

import (
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

// historyPage is what the template of a history shows.
type historyPage struct {
	page
	Models      []historyModel
	Notes       []string
	Regressions []string
	Gated       bool
	Threshold   string
}

// historyModel is one model's lines: a picture and a table.
type historyModel struct {
	Name    string
	Figure  *figureBlock
	Changed []string // what was set otherwise, one result each
	Table   *table
}

// HTML writes the history as one offline page.
func (h *History) HTML(w io.Writer) error {
	css, js := asset("style.css"), asset("script.js")
	p := &historyPage{page: page{Lang: h.w.lang, Policy: policy(css, js), CSS: template.CSS(css), JS: template.JS(js), W: h.w,
		Title: h.w.say("history.title"), Kind: h.w.say("history.kind"), Version: h.version},
		Notes: h.Notes, Regressions: h.Regressions, Gated: h.o.FailIfWorse.IsKnown(), Threshold: shareText(h.o.FailIfWorse)}
	for _, lines := range h.models() {
		m := historyModel{Name: lines[0].Model, Table: h.table(lines), Changed: changes(lines)}
		for i := range m.Table.Rows { // what changed stands beside the picture, where there is room
			m.Table.Rows[i].Cells = m.Table.Rows[i].Cells[:len(m.Table.Head)-1]
		}
		m.Table.Head = m.Table.Head[:len(m.Table.Head)-1]
		if m.Name == "" {
			m.Name = h.w.say("history.noModel")
		}
		if c := h.chart(lines); c != nil {
			c.id = "limit-" + count(len(p.Models)+1)
			f := figureVariant{SVG: template.HTML(c.svg())}
			for i := range c.series {
				f.Keys = append(f.Keys, legendKey{template.HTML(c.series[i].legendSVG()), c.series[i].name})
			}
			m.Figure = &figureBlock{ID: c.id, Title: c.title, Variants: []figureVariant{f}}
		}
		p.Models = append(p.Models, m)
	}
	return renderPage(w, "history.html", p)
}

// models groups the lines by model.
func (h *History) models() [][]HistoryLine {
	var out [][]HistoryLine
	for i, l := range h.Lines {
		if i == 0 || l.Model != h.Lines[i-1].Model {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], l)
	}
	return out
}

// chart draws the limits of a model over time. A lower bound is a hollow point
// through which no line goes; nil where there is nothing to draw.
func (h *History) chart(lines []HistoryLine) *chart {
	c := &chart{title: h.w.say("history.chart")}
	bounds, row := false, 0
	var times []time.Time
	for i, l := range lines {
		s := series{name: l.name(h.w), style: subjectStyles[i%len(subjectStyles)], kind: joined}
		for j := range l.Entries {
			e := &l.Entries[j]
			if p, ok := e.point(row); ok {
				bounds = bounds || p.hollow
				s.points = append(s.points, p)
				times = append(times, e.StartedAt)
			}
			row++
		}
		c.add(s)
	}
	if c.empty() {
		return nil
	}
	c.upright = h.versions(lines)
	if bounds {
		key := searchKey(h.w)
		key.name, key.points = h.w.say("history.bound"), nil
		c.series = append(c.series, key)
	}
	c.x = dateAxis(h.w.say("axis.started"), times)
	c.y = valueAxis(h.w.say("axis.limit"), c.values())
	return c
}

// point is where an entry stands; the row is its place in the table.
func (e *HistoryEntry) point(row int) (datum, bool) {
	text, interval := e.limit()
	p := datum{x: float64(e.StartedAt.Unix()), step: row, xText: day(e.StartedAt) + " · " + e.Name, text: strings.TrimSpace(text + " " + interval)}
	if e.Limit == nil {
		p.y, p.hollow, p.apart = e.AtLeast.Or(0), true, true
		return p, e.AtLeast.IsKnown()
	}
	p.y = e.Limit.Concurrency.Or(0)
	if low, ok := e.Limit.Low.Value(); ok && e.Limit.High.Or(0) > low {
		p.low, p.high = low, e.Limit.High.Or(0)
	}
	return p, true
}

// versions marks the moments from which the server was another one.
func (h *History) versions(lines []HistoryLine) []mark {
	const most = 8 // more names above a picture are no help
	seen := map[string]bool{}
	var marks []mark
	for _, l := range lines {
		for i := 1; i < len(l.Entries); i++ {
			e := &l.Entries[i]
			key := e.Server + "\x00" + e.StartedAt.Format(time.DateOnly)
			if e.Server == "" || e.Server == l.Entries[i-1].Server || seen[key] {
				continue
			}
			seen[key] = true
			marks = append(marks, mark{at: float64(e.StartedAt.Unix()), text: e.Server, faint: true})
		}
	}
	if len(marks) > most {
		return nil
	}
	return marks
}

// dateAxis is a horizontal axis over moments, in UTC, with ticks at round ones.
func dateAxis(label string, times []time.Time) axis {
	first, last := times[0], times[0]
	for _, t := range times {
		if t.Before(first) {
			first = t
		}
		if t.After(last) {
			last = t
		}
	}
	room := max(last.Sub(first)/20, time.Minute)
	first, last = first.Add(-room).UTC(), last.Add(room).UTC()
	a := axis{label: label, min: float64(first.Unix()), max: float64(last.Unix())}
	at, next, layout := roundMoments(first, last.Sub(first))
	for ; !at.After(last); at = next(at) {
		if !at.Before(first) {
			a.ticks = append(a.ticks, tick{float64(at.Unix()), at.Format(layout)})
		}
	}
	return a
}

// roundMoments gives the first round moment at or before a time, and how to go on
// from it, so that about six fall into a span.
func roundMoments(from time.Time, span time.Duration) (at time.Time, next func(time.Time) time.Time, layout string) {
	const day = 24 * time.Hour
	for _, step := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, day, 2 * day, 7 * day} {
		if span > 7*step {
			continue
		}
		layout = "01-02 15:04"
		if step >= day {
			layout = time.DateOnly
		}
		return from.Truncate(step), func(t time.Time) time.Time { return t.Add(step) }, layout
	}
	months := 1
	for _, n := range []int{1, 3, 6, 12} {
		months = n
		if span <= time.Duration(n)*7*31*day {
			break
		}
	}
	if years := int(math.Ceil(span.Hours() / 24 / 366 / 7)); months == 12 {
		months *= max(years, 1)
	}
	return time.Date(from.Year(), 1, 1, 0, 0, 0, 0, time.UTC), func(t time.Time) time.Time { return t.AddDate(0, months, 0) }, "2006-01"
}

// table lists the lines' results, the changes against the one before in each.
func (h *History) table(lines []HistoryLine) *table {
	t := &table{Caption: h.w.say("history.results"), Head: h.head(len(lines) > 1)}
	row := 0
	for i := range lines {
		for j := range lines[i].Entries {
			e := &lines[i].Entries[j]
			cells := []cell{str(e.StartedAt.UTC().Format("2006-01-02 15:04")), {Text: e.Name, Link: e.link}, str(e.Server)}
			if len(lines) > 1 {
				cells = append(cells, str(lines[i].name(h.w)))
			}
			text, interval := e.limit()
			exact := e.AtLeast
			if e.Limit != nil {
				exact = e.Limit.Concurrency
			}
			cells = append(cells, num(exact, text), cell{Text: interval, Num: true}, str(e.bound()), num(e.Recommends, whole(e.Recommends)),
				cell{Text: certainty(h.w, e.Change), Num: true}, str(strings.Join(e.changed(), "; ")))
			t.add(row, cells...)
			row++
		}
	}
	return t
}

func (h *History) head(several bool) []string {
	keys := []string{"axis.started", "col.result", "col.server"}
	if several {
		keys = append(keys, "col.question")
	}
	var out []string
	for _, k := range append(keys, "col.limit", "col.interval", "col.bound", "col.recommended", "col.limitChange", "col.changed") {
		out = append(out, h.w.say(k))
	}
	return out
}

// Rows is the whole history as one table of text, its first row the head.
func (h *History) Rows() [][]string {
	rows := [][]string{append([]string{h.w.say("col.model")}, h.head(true)...)}
	for i := range h.Lines {
		// The table of a single line has no column for the question.
		t := h.table([]HistoryLine{h.Lines[i], {}})
		for _, r := range t.Rows {
			row := []string{h.Lines[i].Model}
			for _, c := range r.Cells {
				row = append(row, c.Text)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// Short is the history for a terminal: without what Changes lists, and without
// model and question where there is but one.
func (h *History) Short() [][]string {
	const model, result, question, limit, interval, change = 0, 2, 4, 5, 6, 9
	columns := []int{result, limit, interval, change}
	if len(h.Lines) > 1 {
		columns = []int{result, question, limit, interval, change}
	}
	if len(h.models()) > 1 {
		columns = append([]int{model}, columns...)
	}
	var short [][]string
	for _, row := range h.Rows() {
		var cells []string
		for _, k := range columns {
			cells = append(cells, row[k])
		}
		short = append(short, cells)
	}
	return short
}

// Changes says of each result what was set otherwise than in the one before it.
func (h *History) Changes() []string { return changes(h.Lines) }

func changes(lines []HistoryLine) []string {
	var out []string
	for i := range lines {
		for j := range lines[i].Entries {
			e := &lines[i].Entries[j]
			if changed := e.changed(); len(changed) > 0 {
				out = append(out, e.Name+": "+strings.Join(changed, "; "))
			}
		}
	}
	return out
}

// Markdown writes the history for a pull request or a job's summary.
func (h *History) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# " + h.w.say("history.title") + "\n\n")
	writeGate(&b, h.w, h.o.FailIfWorse, h.Regressions)
	markdownList(&b, h.Notes)
	for _, lines := range h.models() {
		t := h.table(lines)
		t.Caption = lines[0].Model
		t.section(&b)
	}
	b.WriteString(escapeMarkdown(h.w.say("history.note")) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}
