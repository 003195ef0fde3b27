package report

import (
	"strings"

	"github.com/capfind/capfind/analysis"
)

// table is rows of text, rendered as HTML and as Markdown.
type table struct {
	Caption string
	Head    []string
	Rows    []tableRow
}

type tableRow struct {
	Step  int // index of the step that the row is about, -1 for none
	Tone  string
	Cells []cell
}

// cell is one figure. Exact carries the stored figure with all its digits, so
// that a script that reads the page loses nothing to rounding.
type cell struct {
	Text  string
	Exact string
	Num   bool
	Hint  string // why the figure is marked
	Link  string // where the text leads
}

// IsNumber reports whether a column holds figures, which are set flush right.
func (t *table) IsNumber(column int) bool {
	return len(t.Rows) > 0 && column < len(t.Rows[0].Cells) && t.Rows[0].Cells[column].Num
}

func (t *table) add(step int, cells ...cell) {
	t.Rows = append(t.Rows, tableRow{Step: step, Cells: cells})
}

func str(s string) cell { return cell{Text: s} }

func num(n analysis.Number, show string) cell {
	return cell{Text: show, Exact: exact(n), Num: true}
}

func integer(n int) cell { return cell{Text: count(n), Exact: exact(number(float64(n))), Num: true} }

// table lists the values that a chart draws, for those who cannot see it and for
// those who want the figures.
func (c *chart) table(v *view) *table {
	t := &table{Caption: c.title, Head: []string{v.loadHead()}}
	if c.xHead != "" {
		t.Head = append(t.Head, c.xHead)
	}
	var cols []int
	for i, s := range c.series {
		if s.kind != curve {
			cols = append(cols, i)
			t.Head = append(t.Head, s.name)
		}
	}
	if len(cols) == 0 {
		return c.violinTable(v, t)
	}
	for i := range v.r.Steps {
		row, any := tableRow{Step: i, Cells: []cell{str(v.loadText(&v.r.Steps[i]))}}, false
		x := cell{}
		var values []cell
		for _, k := range cols {
			value := cell{Text: "–", Num: true}
			for _, p := range c.series[k].points {
				if p.step == i {
					value.Text, any = p.text, true
					x = cell{Text: significant(p.x), Num: true}
				}
			}
			values = append(values, value)
		}
		if c.xHead != "" {
			row.Cells = append(row.Cells, x)
		}
		row.Cells = append(row.Cells, values...)
		if any {
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

// violinTable lists what the shapes of a distribution show.
func (c *chart) violinTable(v *view, t *table) *table {
	t.Head = append(t.Head, "min", "p50", "p90", "p95", "p99", "max")
	for _, vi := range c.violins {
		s := &v.r.Steps[vi.step]
		d := s.Whole.TTFT
		t.add(vi.step, str(v.loadText(s)), num(d.Min, seconds(d.Min)), v.statCell(d, "p50"), v.statCell(d, "p90"),
			v.statCell(d, "p95"), v.statCell(d, "p99"), num(d.Max, seconds(d.Max)))
	}
	return t
}

// markdown writes a table in GitHub's form.
func (t *table) markdown(b *strings.Builder) {
	if t == nil || len(t.Rows) == 0 {
		return
	}
	b.WriteString("|")
	for _, h := range t.Head {
		b.WriteString(" " + escapeMarkdown(h) + " |")
	}
	b.WriteString("\n|")
	for i := range t.Head {
		if t.IsNumber(i) {
			b.WriteString("---:|")
		} else {
			b.WriteString("---|")
		}
	}
	b.WriteString("\n")
	for _, row := range t.Rows {
		b.WriteString("|")
		for _, c := range row.Cells {
			b.WriteString(" " + escapeMarkdown(c.Text) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// escapeMarkdown makes any text one harmless line: no markup, no HTML, no cell
// or line break.
func escapeMarkdown(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '\\', '`', '*', '_', '[', ']', '|', '#', '~', '!':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
