package report

import (
	"math"
	"sort"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// test works out every change against the first subject and which of them the
// standard errors support.
func (c *Comparison) test() {
	var tested []*Change
	for r := range c.Rows {
		row := &c.Rows[r]
		row.Changes = make([]Change, len(row.Values))
		a, ok := row.Values[0].Value()
		for i := 1; i < len(row.Values); i++ {
			b, known := row.Values[i].Value()
			if !ok || !known || row.AtLeast[0] && row.AtLeast[i] {
				continue
			}
			// A bound tells only about what lies beyond it.
			if row.AtLeast[0] && b > a || row.AtLeast[i] && b < a {
				continue
			}
			ch := &row.Changes[i]
			if a != 0 {
				ch.Relative = number(b/a - 1)
			}
			ch.Worse = b != a && (b < a) == row.Higher
			ea, k1 := row.Errors[0].Value()
			eb, k2 := row.Errors[i].Value()
			if se := math.Hypot(ea, eb); k1 && k2 && se > 0 && !row.AtLeast[0] && !row.AtLeast[i] {
				ch.P = number(math.Erfc(math.Abs(b-a) / se / math.Sqrt2))
				tested = append(tested, ch)
			}
		}
	}
	holm(tested, .05)
}

// holm marks the changes that are significant together at the level alpha.
func holm(changes []*Change, alpha float64) {
	sort.Slice(changes, func(i, j int) bool { return changes[i].P.Or(1) < changes[j].P.Or(1) })
	all := true
	for i, ch := range changes {
		all = all && ch.P.Or(1) <= alpha/float64(len(changes)-i)
		significant := all
		ch.Significant = &significant
	}
}

// judge names the regressions: worse by more than the threshold, and not merely
// by chance as far as that can be told.
func (c *Comparison) judge() {
	limit, gated := c.o.FailIfWorse.Value()
	if !gated {
		return
	}
	c.judgeFirstStep()
	for _, row := range c.Rows {
		for i := 1; i < len(row.Changes); i++ {
			ch := row.Changes[i]
			rel, ok := ch.Relative.Value()
			if !ok || !ch.Worse || math.Abs(rel) <= limit || ch.Significant != nil && !*ch.Significant {
				continue
			}
			c.Regressions = append(c.Regressions, c.w.say("compare.regression", c.Names[i], row.Name, row.Shown[i], row.Shown[0], change(ch.Relative)))
		}
	}
}

// judgeFirstStep names the subjects that failed at a load which the first one
// bore: they have no limit that could be held against its.
func (c *Comparison) judgeFirstStep() {
	base := c.subjects[0].Result
	bore := base.Ladder.LastGood
	if base.Limit != nil && base.Limit.Concurrency.IsKnown() {
		bore = base.Limit.Concurrency
	}
	for i, s := range c.subjects[1:] {
		bad, ok := s.Result.Ladder.FirstBad.Value()
		if s.Result.Verdict == sweep.FailedAtFirstStep && ok && bore.Or(0) >= bad {
			c.Regressions = append(c.Regressions, c.w.say("compare.regression", c.Names[i+1], c.w.say("compare.limit"),
				"< "+whole(s.Result.Ladder.FirstBad), whole(bore), c.w.name("verdict", string(s.Result.Verdict))))
		}
	}
}

// change writes a relative difference with its sign.
func change(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return ""
	}
	text := percent(number(math.Abs(v)), 1)
	switch {
	case math.Abs(v) < .0005:
		return "±0 %"
	case v < 0:
		return "−" + text
	}
	return "+" + text
}

// configDifferences lists the settings that the results do not share.
func configDifferences(subjects []Subject) []ConfigDifference {
	byKey := map[string]*ConfigDifference{}
	var keys []string
	for i := 1; i < len(subjects); i++ {
		a, b := subjects[0].Result, subjects[i].Result
		diffs := serverDifferences(a.Target, b.Target)
		if a.Config != nil && b.Config != nil { // else not known, which is not the same as different
			diffs = append(diffs, sweep.Differences(a.Config, b.Config, "output", "report", "preset", "web")...)
		}
		for _, d := range diffs {
			row := byKey[d.Key]
			if row == nil {
				row = &ConfigDifference{Key: d.Key, Values: make([]string, len(subjects))}
				for j := range row.Values {
					row.Values[j] = d.Old
				}
				byKey[d.Key] = row
				keys = append(keys, d.Key)
			}
			row.Values[i] = d.New
		}
	}
	sort.Strings(keys)
	var out []ConfigDifference
	for _, k := range keys {
		out = append(out, *byKey[k])
	}
	return out
}

// serverDifferences is what two servers said of themselves and was not the same;
// the keys are those of result.json.
func serverDifferences(a, b sweep.TargetInfo) []sweep.Difference {
	length := func(n int) string {
		if n == 0 {
			return ""
		}
		return count(n)
	}
	var out []sweep.Difference
	for _, f := range []sweep.Difference{{Key: "model", Old: a.Model, New: b.Model}, {Key: "server", Old: a.Server, New: b.Server},
		{Key: "context_length", Old: length(a.ContextLength), New: length(b.ContextLength)}} {
		if f.Old != "" && f.New != "" && f.Old != f.New {
			out = append(out, f)
		}
	}
	return out
}

// remarks are what a reader must know before believing a difference.
func (c *Comparison) remarks() {
	for i, s := range c.subjects {
		if !s.Result.Complete {
			c.Notes = append(c.Notes, c.w.say("compare.incomplete", c.Names[i]))
		}
	}
	for _, d := range c.Differences {
		// The seed says which prompts are sent, not of what kind; each run draws one.
		if strings.HasPrefix(d.Key, "workload.") && d.Key != "workload.seed" {
			c.Notes = append(c.Notes, c.w.say("compare.workload"))
			break
		}
	}
	if len(c.commonLoads()) == 0 {
		c.Notes = append(c.Notes, c.w.say("compare.noCommon"))
	}
}
