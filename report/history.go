package report

import (
	"cmp"
	"errors"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// History is the limits of many results over time, in lines of results that can
// be held against each other.
type History struct {
	Lines       []HistoryLine `json:"lines"`
	Notes       []string      `json:"notes"`
	Regressions []string      `json:"regressions"` // of the newest result of each line against the one before it

	version string // of the newest result's capfind
	o       CompareOptions
	w       words
}

// HistoryLine is the results that asked one model the same question: the same
// workload and the same rules.
type HistoryLine struct {
	Model    string         `json:"model"`
	Question string         `json:"question"` // what sets it apart from the model's first line; empty for that one
	Entries  []HistoryEntry `json:"entries"`  // the oldest first
}

// HistoryEntry is one result in a line.
type HistoryEntry struct {
	Name       string          `json:"name"`
	StartedAt  time.Time       `json:"started_at"`
	Server     string          `json:"server"` // kind and version; empty where unknown
	Verdict    sweep.Verdict   `json:"verdict"`
	Limit      *analysis.Limit `json:"limit"`       // null where none was found
	AtLeast    analysis.Number `json:"at_least"`    // where none was found: the highest concurrency that passed
	Recommends analysis.Number `json:"recommended"` // upper end of the band
	// Against the entry before, where there is one.
	Change      Change             `json:"change"` // of the limit
	Differences []ConfigDifference `json:"config_differences"`

	link string // to its report, relative to the page
	view *view
}

// NewHistory puts the limits of results over time. Each is held against the one
// before it in its line as Compare does it. Results that were to find no limit,
// or did not come to their end, are left out and named in the notes.
func NewHistory(subjects []Subject, o CompareOptions) (*History, error) {
	w, err := dictionary(o.Language)
	if err != nil {
		return nil, err
	}
	h := &History{o: o, w: w}
	lines := h.arrange(subjects)
	if len(lines) == 0 {
		return nil, errors.New("none of the results found a limit or was to find one; capfind sweep does")
	}
	for _, members := range lines {
		line := HistoryLine{Model: members[0].Result.Target.Model}
		for i, s := range members {
			entry := h.entry(s)
			if i > 0 {
				if err := h.hold(&entry, members[i-1], s, i == len(members)-1); err != nil {
					return nil, err
				}
			}
			line.Entries = append(line.Entries, entry)
		}
		line.Question = h.question(lines, members[0].Result)
		h.Lines = append(h.Lines, line)
	}
	return h, nil
}

// arrange sorts the results by time into lines; the lines of a model are next to
// each other, in the order of their first results.
func (h *History) arrange(subjects []Subject) [][]Subject {
	subjects = slices.Clone(subjects)
	slices.SortStableFunc(subjects, func(a, b Subject) int { return a.Result.StartedAt.Compare(b.Result.StartedAt) })
	var lines [][]Subject
	others, unfinished := map[string]int{}, []string(nil)
	for _, s := range subjects {
		h.version = s.Result.CapfindVersion
		switch {
		case s.Result.Command != "sweep" && s.Result.Command != "import":
			others[s.Result.Command]++
		case !s.Result.Complete || len(s.Result.Steps) == 0:
			unfinished = append(unfinished, s.Name)
		default:
			at := slices.IndexFunc(lines, func(l []Subject) bool { return sameQuestion(l[0].Result, s.Result) })
			if at < 0 {
				at, lines = len(lines), append(lines, nil)
			}
			lines[at] = append(lines[at], s)
		}
	}
	order := map[string]int{}
	for i, l := range lines {
		if model := l[0].Result.Target.Model; order[model] == 0 {
			order[model] = i + 1
		}
	}
	slices.SortStableFunc(lines, func(a, b []Subject) int {
		return cmp.Compare(order[a[0].Result.Target.Model], order[b[0].Result.Target.Model])
	})
	var counts []string
	for command, n := range others {
		counts = append(counts, count(n)+" "+h.w.name("command", command))
	}
	sort.Strings(counts)
	if len(counts) > 0 {
		h.Notes = append(h.Notes, h.w.say("history.others", strings.Join(counts, h.w.say("list.comma"))))
	}
	if len(unfinished) > 0 {
		h.Notes = append(h.Notes, h.w.say("history.unfinished", strings.Join(unfinished, h.w.say("list.comma"))))
	}
	return lines
}

// asked are the settings that make another question of a sweep; the seed only
// draws other prompts of the same kind.
func asked(a, b *sweep.Result) []sweep.Difference {
	return slices.DeleteFunc(sweep.Differences(a.Config, b.Config, "workload.seed"), func(d sweep.Difference) bool {
		return !strings.HasPrefix(d.Key, "workload.") && !strings.HasPrefix(d.Key, "stop.")
	})
}

func sameQuestion(a, b *sweep.Result) bool {
	return a.Target.Model == b.Target.Model && (a.Config == nil) == (b.Config == nil) && len(asked(a, b)) == 0
}

// question names what sets a line apart from the first of its model.
func (h *History) question(lines [][]Subject, r *sweep.Result) string {
	first := lines[slices.IndexFunc(lines, func(l []Subject) bool { return l[0].Result.Target.Model == r.Target.Model })][0].Result
	if first == r {
		return ""
	}
	if r.Config == nil || first.Config == nil {
		return h.w.name("command", r.Command)
	}
	var parts []string
	for _, d := range asked(first, r) {
		value := d.New
		if value == "" {
			value = "–"
		}
		parts = append(parts, d.Key+" "+value)
	}
	return strings.Join(parts, h.w.say("list.comma"))
}

func (h *History) entry(s Subject) HistoryEntry {
	r := s.Result
	e := HistoryEntry{Name: s.Name, StartedAt: r.StartedAt, Server: r.Target.Server, Verdict: r.Verdict, link: s.Link, view: newView(r, h.w, false)}
	if r.Recommendation != nil {
		e.Recommends = r.Recommendation.High
	}
	switch {
	case r.Verdict == sweep.Unstable:
	case r.Limit != nil && r.Limit.Concurrency.IsKnown():
		e.Limit = r.Limit
	default:
		e.AtLeast = r.Ladder.LastGood
	}
	return e
}

// hold holds a result against the one before it; only the newest of a line is
// judged, for what was worse in between is past.
func (h *History) hold(e *HistoryEntry, before, s Subject, newest bool) error {
	o := h.o
	if !newest {
		o.FailIfWorse = analysis.Number{}
	}
	c, err := Compare([]Subject{before, s}, o)
	if err != nil {
		return err
	}
	for _, row := range c.Rows {
		if row.Key == "limit" {
			e.Change = row.Changes[1]
		}
	}
	e.Differences = slices.DeleteFunc(c.Differences, func(d ConfigDifference) bool { return d.Key == "workload.seed" })
	h.Regressions = append(h.Regressions, c.Regressions...)
	return nil
}

// limit is the entry's limit as text, its interval beside it.
func (e *HistoryEntry) limit() (text, interval string) {
	switch {
	case e.Limit != nil:
		l := *e.Limit
		switch confidence, ok := l.Confidence.Value(); {
		case !l.Low.IsKnown():
		case ok:
			interval = rangeText(l.Low, l.High) + " (" + percent(number(confidence), 0) + ")"
		default:
			interval = rangeText(l.Low, l.High)
		}
		return whole(l.Concurrency), interval
	case e.AtLeast.IsKnown():
		return e.view.w.say("limit.atLeast", whole(e.AtLeast)), ""
	case e.Verdict == sweep.FailedAtFirstStep:
		return "< " + whole(e.view.r.Ladder.FirstBad), ""
	}
	return notKnown, ""
}

// bound is what bound the limit, or why there is none.
func (e *HistoryEntry) bound() string {
	if e.Limit != nil {
		return e.view.rule(e.Limit.BoundBy)
	}
	return e.view.w.name("verdict", string(e.Verdict))
}

// changed lists what was set otherwise than in the entry before.
func (e *HistoryEntry) changed() []string {
	var out []string
	for _, d := range e.Differences {
		old, now := d.Values[0], d.Values[1]
		if old == "" {
			old = "–"
		}
		if now == "" {
			now = "–"
		}
		out = append(out, d.Key+": "+old+" → "+now)
	}
	return out
}

// name is what a line is called where its model is known from elsewhere.
func (l *HistoryLine) name(w words) string {
	if l.Question == "" {
		return w.say("history.first")
	}
	return l.Question
}
