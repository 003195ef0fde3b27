package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// statCell shows a statistic, marked where there are too few samples for it.
func (v *view) statCell(d analysis.Dist, name string) cell {
	n, enough := d.Statistic(name)
	if n.IsKnown() && !enough {
		return cell{Text: v.w.say("few"), Num: true, Hint: v.w.say("few.hint", count(d.N))}
	}
	return num(n, seconds(n))
}

// stepTable is the heart of the report in figures: one row a step.
func (v *view) stepTable() *table {
	t := &table{Caption: v.w.say("section.steps"), Head: []string{v.loadHead(), v.w.say("col.phase"), v.w.say("col.requests"),
		v.w.say("fact.success"), v.w.say("col.throughput"), v.w.say("col.efficiency"), v.w.say("col.output"),
		"TTFT " + v.w.say("stat.mean"), "TTFT p50", "TTFT p95", "TTFT p99", "TPOT " + v.w.say("stat.mean"), "E2E " + v.w.say("stat.mean"),
		v.w.say("col.verdict")}}
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		f := v.figures(s)
		basis := s.VerdictBasis
		if v.whole {
			basis = analysis.BasisWhole
		}
		t.Rows = append(t.Rows, tableRow{Step: i, Tone: v.stepTone(s), Cells: []cell{
			{Text: v.loadText(s), Exact: exact(number(v.load(s))), Num: true}, str(v.w.name("phase", string(s.Phase))), integer(f.Completed + f.Failed),
			num(f.SuccessRate, percent(f.SuccessRate, 1)), num(f.RequestThroughput, figure(f.RequestThroughput)),
			num(f.Efficiency, figure(f.Efficiency)), num(f.OutputThroughput, figure(f.OutputThroughput)),
			v.statCell(f.TTFT, "mean"), v.statCell(f.TTFT, "p50"), v.statCell(f.TTFT, "p95"), v.statCell(f.TTFT, "p99"),
			v.statCell(f.TPOT, "mean"), v.statCell(f.E2E, "mean"), str(v.stepVerdict(s) + v.w.say("step.basis", v.w.name("basis", string(basis)))),
		}})
	}
	if v.open { // per unit of a cap on what is in flight means nothing
		t.without(v.w.say("col.efficiency"))
	}
	return t
}

// without leaves a column out.
func (t *table) without(head string) {
	i := slices.Index(t.Head, head)
	t.Head = slices.Delete(t.Head, i, i+1)
	for r := range t.Rows {
		t.Rows[r].Cells = slices.Delete(t.Rows[r].Cells, i, i+1)
	}
}

func (v *view) stepTone(s *analysis.Step) string {
	switch {
	case s.ClientLimited():
		return "warn"
	case !s.Passed():
		return "bad"
	}
	return "good"
}

func (v *view) stepVerdict(s *analysis.Step) string {
	switch {
	case s.ClientLimited():
		return v.w.say("step.client")
	case s.Stop != nil:
		return v.w.say("step.breaks", v.rule(s.Stop.Rule))
	}
	return v.w.say("step.passes")
}

// limitsTable shows every criterion's limit, the binding one named.
func (v *view) limitsTable() *table {
	t := &table{Caption: v.w.say("section.limits"), Head: []string{v.w.say("col.criterion"), v.w.say("col.limit"), v.w.say("col.remark")}}
	for _, name := range v.criteria() {
		l := v.r.Limits[name]
		remark := v.w.sentence(l.Note)
		if v.r.Limit != nil && v.r.Limit.BoundBy == name {
			remark = v.w.say("limit.binding")
		}
		t.add(-1, str(v.rule(name)), cell{Text: v.limitText(l), Num: true}, str(remark))
	}
	return t
}

// validityTable lists the laws that must hold for the figures to mean what they say.
func (v *view) validityTable() *table {
	t := &table{Caption: v.w.say("section.validity"), Head: []string{v.loadHead(), v.w.say("col.check"), v.w.say("col.value"), v.w.say("col.gate"), v.w.say("col.holds"), v.w.say("col.meaning")}}
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		for _, c := range s.Validity {
			held, tone := v.w.say("yes"), ""
			if !c.OK {
				held, tone = v.w.say("no"), "bad"
			}
			t.Rows = append(t.Rows, tableRow{Step: i, Tone: tone, Cells: []cell{str(v.loadText(s)), str(v.w.name("check", c.Check)),
				num(c.Value, figure(c.Value)), num(c.Gate, figure(c.Gate)), str(held), str(v.w.sentence(c.Text))}})
		}
	}
	return t
}

// validityText says whether the laws held.
func (v *view) validityText() string {
	n := 0
	var broken []string
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		n += len(s.Validity)
		for _, c := range s.Validity {
			if !c.OK {
				broken = append(broken, v.w.say("validity.at", v.w.name("check", c.Check), v.loadText(s)))
			}
		}
	}
	if len(broken) == 0 {
		return v.w.say("validity.all", count(n))
	}
	return v.w.say("validity.some", count(len(broken)), count(n), strings.Join(broken, v.w.say("list.separator")))
}

// clientTable shows whether this machine was the limit.
func (v *view) clientTable() *table {
	t := &table{Caption: v.w.say("section.client"), Head: []string{v.loadHead(), v.w.say("col.cpu"), v.w.say("col.dispatch"), v.w.say("col.stamp"),
		v.w.say("col.gc"), v.w.say("col.reuse"), v.w.say("col.files"), v.w.say("col.client")}}
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		h := s.Client
		if !h.CPUShare.IsKnown() && !h.DispatchP99Seconds.IsKnown() && len(h.Limits) == 0 {
			continue
		}
		verdict, tone := v.w.say("client.fine"), ""
		if len(h.Limits) > 0 {
			verdict, tone = v.w.sentence(strings.Join(h.Limits, "; ")), "bad"
		}
		t.Rows = append(t.Rows, tableRow{Step: i, Tone: tone, Cells: []cell{str(v.loadText(s)), num(h.CPUShare, percent(h.CPUShare, 0)),
			num(h.DispatchP99Seconds, seconds(h.DispatchP99Seconds)), num(h.StampDelayP99Seconds, seconds(h.StampDelayP99Seconds)),
			num(h.GCPauseMaxSeconds, seconds(h.GCPauseMaxSeconds)), num(h.ConnReuse, percent(h.ConnReuse, 0)),
			num(h.OpenFiles, whole(h.OpenFiles)), str(verdict)}})
	}
	return t
}

// workerTable shows what each machine of a fleet had.
func (v *view) workerTable() *table {
	t := &table{Caption: v.w.say("section.workers"), Head: []string{v.w.say("col.worker"), v.w.say("col.workerShare"), v.w.say("col.streams"), v.w.say("col.clock"), v.w.say("col.client")}}
	for _, x := range v.r.Workers {
		verdict, tone := v.w.say("client.fine"), ""
		if len(x.Limits) > 0 {
			verdict, tone = v.w.sentence(strings.Join(x.Limits, "; ")), "bad"
		}
		t.Rows = append(t.Rows, tableRow{Step: -1, Tone: tone, Cells: []cell{str(x.Name), num(x.Share, percent(x.Share, 0)), integer(x.StreamsMax),
			num(x.ClockErrorSeconds, "± "+seconds(x.ClockErrorSeconds)), str(verdict)}})
	}
	return t
}

// clientText answers whether this machine was the limit.
func (v *view) clientText() string {
	var limited []string
	var cpu, dispatch analysis.Number
	most := func(to *analysis.Number, n analysis.Number) {
		if n.IsKnown() && n.Or(0) > to.Or(-1) {
			*to = n
		}
	}
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		if s.ClientLimited() {
			limited = append(limited, v.loadText(s))
		}
		most(&cpu, s.Client.CPUShare)
		most(&dispatch, s.Client.DispatchP99Seconds)
	}
	if len(limited) > 0 {
		return v.w.say("client.bad", strings.Join(limited, ", "))
	}
	return v.w.say("client.ok", percent(cpu, 0), seconds(dispatch))
}

// failureTable lists the classes of failures with an example each.
func (v *view) failureTable() *table {
	t := &table{Caption: v.w.say("chart.failures"), Head: []string{v.loadHead(), v.w.say("col.class"), v.w.say("col.count"), v.w.say("col.meaning"), v.w.say("col.example")}}
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		for _, class := range v.classes() {
			if n := s.Failures[class]; n > 0 {
				t.add(i, str(v.loadText(s)), str(string(class)), integer(n), str(v.w.class(class)), str(s.FailureExamples[class]))
			}
		}
	}
	return t
}

// environmentTable says what was measured with what.
func (v *view) environmentTable() *table {
	r := v.r
	t := &table{Caption: v.w.say("section.method"), Head: []string{v.w.say("col.what"), v.w.say("col.value")}}
	add := func(key, value string) {
		if value != "" && value != notKnown {
			t.add(-1, str(v.w.say(key)), str(value))
		}
	}
	add("env.model", r.Target.Model)
	add("env.server", r.Target.Server)
	add("env.url", r.Target.BaseURL)
	add("env.api", r.Target.API)
	if r.Target.ContextLength > 0 {
		add("env.context", count(r.Target.ContextLength))
	}
	add("env.metrics", r.Target.MetricsURL)
	add("env.notes", v.w.sentence(strings.Join(r.Target.Notes, "; ")))
	if !r.StartedAt.IsZero() {
		add("env.started", day(r.StartedAt))
	}
	if r.FinishedAt != nil {
		add("env.finished", day(*r.FinishedAt))
	}
	if r.Spent.Requests > 0 {
		add("env.spent", v.w.say("env.spentText", count(r.Spent.Requests), count(r.Spent.Tokens), significant(r.Spent.Seconds)))
	}
	if r.Seed != 0 {
		add("env.seed", fmt.Sprint(r.Seed))
	}
	add("env.version", r.CapfindVersion)
	e := r.Environment
	if e.OS != "" {
		machine := []string{e.OS + "/" + e.Arch}
		if e.CPUs.IsKnown() {
			machine = append(machine, v.w.say("env.cpus", figureTrim(e.CPUs)))
		}
		if e.MemoryBytes.IsKnown() {
			machine = append(machine, bytesText(e.MemoryBytes))
		}
		machine = append(machine, e.GoVersion)
		add("env.machine", strings.Join(machine, ", "))
	}
	return t
}

// figureTrim writes a figure without needless decimals: 2, not 2.00.
func figureTrim(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return notKnown
	}
	return plain(float64(int(v*100+.5)) / 100)
}

// command is the line that repeats the measurement, quoted for a shell.
func command(r *sweep.Result) string {
	var words []string
	for _, w := range r.Environment.CommandLine {
		words = append(words, shellQuote(w))
	}
	return strings.Join(words, " ")
}

func shellQuote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// configText writes the resolved configuration as indented key: value lines.
func configText(config map[string]any) string {
	var b strings.Builder
	writeConfig(&b, config, "")
	return b.String()
}

func writeConfig(b *strings.Builder, m map[string]any, indent string) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if inner, ok := m[k].(map[string]any); ok && len(inner) > 0 {
			fmt.Fprintf(b, "%s%s:\n", indent, k)
			writeConfig(b, inner, indent+"  ")
			continue
		}
		raw, err := json.Marshal(m[k])
		if err != nil {
			raw = []byte(fmt.Sprintf("%q", fmt.Sprint(m[k])))
		}
		fmt.Fprintf(b, "%s%s: %s\n", indent, k, raw)
	}
}
