package report

import (
	"io"
	"strings"

	"github.com/capfind/capfind/sweep"
)

// Markdown writes the report for a pull request or a job's summary: the verdict
// first, then limits, steps and how to repeat it. Whatever came from outside is
// escaped.
func Markdown(w io.Writer, r *sweep.Result, o Options) error {
	dict, err := dictionary(o.Language)
	if err != nil {
		return err
	}
	v := newView(r, dict, false)
	var b strings.Builder
	d := v.verdict()
	b.WriteString("# " + escapeMarkdown(v.title(o)) + "\n\n")
	v.markdownVerdict(&b, d)
	v.markdownWhy(&b)
	v.sizing(o).section(&b)
	v.replicas(o).section(&b)
	v.trendTable().section(&b)
	if len(r.Limits) > 0 {
		v.limitsTable().section(&b)
	}
	if len(r.Steps) > 0 {
		v.stepTable().section(&b)
	}
	if t := v.failureTable(); len(t.Rows) > 0 {
		t.section(&b)
	}
	v.environmentTable().section(&b)
	if line := command(r); line != "" {
		b.WriteString("## " + v.w.say("section.reproduce") + "\n\n" + codeBlock(line))
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// section writes a table under its caption as heading.
func (t *table) section(b *strings.Builder) {
	if t == nil || len(t.Rows) == 0 {
		return
	}
	b.WriteString("## " + escapeMarkdown(t.Caption) + "\n\n")
	t.markdown(b)
}

func (v *view) markdownVerdict(b *strings.Builder, d verdict) {
	line := d.Kicker
	if d.Number != "" {
		line += ": " + d.Number + " " + d.Unit
	}
	b.WriteString("**" + escapeMarkdown(line) + "**")
	for _, part := range []string{d.Interval, d.Bound} {
		if part != "" {
			b.WriteString(" · " + escapeMarkdown(part))
		}
	}
	b.WriteString("\n\n")
	if d.Sentence != "" {
		b.WriteString(escapeMarkdown(d.Sentence) + "\n\n")
	}
	facts := &table{Head: []string{v.w.say("col.what"), v.w.say("col.value"), v.w.say("col.remark")}}
	for _, f := range d.Facts {
		facts.add(-1, str(f.Name), cell{Text: f.Value, Num: true}, str(f.Note))
	}
	facts.markdown(b)
	if len(d.Caveats) > 0 {
		b.WriteString("**" + v.w.say("section.caveats") + "**\n\n")
		v.list(b, d.Caveats)
	}
}

func (v *view) markdownWhy(b *strings.Builder) {
	why := v.why()
	if why == nil {
		return
	}
	b.WriteString("## " + v.w.say("section.why") + "\n\n")
	if why.Cause != "" {
		b.WriteString(escapeMarkdown(why.Cause) + "\n\n")
	}
	v.list(b, why.Evidence)
	for _, p := range why.Paragraphs {
		b.WriteString(escapeMarkdown(p) + "\n\n")
	}
}

func (v *view) list(b *strings.Builder, items []string) {
	for _, item := range items {
		b.WriteString("- " + escapeMarkdown(item) + "\n")
	}
	if len(items) > 0 {
		b.WriteString("\n")
	}
}

// codeBlock fences a text with more backticks than it holds in a row.
func codeBlock(s string) string {
	fence := "```"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence + "\n" + s + "\n" + fence + "\n"
}
