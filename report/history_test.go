package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/sweep"
)

// nightly is a result of one night: a limit of a server on a workload.
func nightly(night int, limit float64, server string, inputLen int) Subject {
	r := twoSteps(limit, 2, .03, .1, .001)
	r.Command, r.StartedAt = "sweep", fixtureStart.AddDate(0, 0, night)
	r.Target = sweep.TargetInfo{Model: "m", Server: server}
	r.Config = map[string]any{
		"target":   map[string]any{"base_url": "http://a"},
		"workload": map[string]any{"input_len": inputLen, "seed": night},
		"output":   map[string]any{"name": night},
	}
	return Subject{Name: "night-" + count(night), Result: r, Link: "night-" + count(night) + "/report.html"}
}

func mustHistory(t *testing.T, o CompareOptions, subjects ...Subject) *History {
	t.Helper()
	h, err := NewHistory(subjects, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func names(l HistoryLine) []string {
	var out []string
	for _, e := range l.Entries {
		out = append(out, e.Name)
	}
	return out
}

// TestHistoryLines: by time, whatever the order given; another workload or model
// is another line, another seed or name is not.
func TestHistoryLines(t *testing.T) {
	other := nightly(6, 10, "vllm 1", 512)
	other.Result.Target.Model = "n"
	run, torn := nightly(7, 1, "vllm 1", 512), nightly(8, 1, "vllm 1", 512)
	run.Result.Command, torn.Result.Complete = "run", false
	h := mustHistory(t, CompareOptions{}, nightly(3, 90, "vllm 2", 512), nightly(1, 64, "vllm 1", 512), other, run, torn,
		nightly(2, 63, "vllm 1", 512), nightly(5, 40, "vllm 2", 2048), nightly(4, 91, "vllm 2", 512))
	var got [][]string
	for _, l := range h.Lines {
		got = append(got, append([]string{l.Model, l.Question}, names(l)...))
	}
	want := [][]string{{"m", "", "night-1", "night-2", "night-3", "night-4"}, {"m", "workload.input_len 2048", "night-5"}, {"n", "", "night-6"}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, want %q", got, want)
	}
	third := h.Lines[0].Entries[2]
	if d := third.Differences; len(d) != 1 || d[0].Key != "server" || d[0].Values[0] != "vllm 1" || d[0].Values[1] != "vllm 2" {
		t.Errorf("what changed: %+v", d)
	}
	// 90 against 63 with standard errors of 1.02 each.
	if rel := third.Change.Relative.Or(0); rel < .428 || rel > .429 || third.Change.Significant == nil || !*third.Change.Significant {
		t.Errorf("change %+v", third.Change)
	}
	if s := h.Lines[0].Entries[1].Change.Significant; s == nil || *s {
		t.Error("63 instead of 64 is more than chance")
	}
	if all := strings.Join(h.Notes, "\n"); !strings.Contains(all, "1 single load point") || !strings.Contains(all, "night-8") {
		t.Errorf("notes %q", h.Notes)
	}
	if _, err := NewHistory([]Subject{run}, CompareOptions{}); err == nil {
		t.Error("a history without limits")
	}
}

// TestHistoryGate: the newest of a line is judged, and against the same question.
func TestHistoryGate(t *testing.T) {
	failed := nightly(3, 1, "v", 512)
	failed.Result.Limit, failed.Result.Verdict = nil, sweep.FailedAtFirstStep
	failed.Result.Ladder = sweep.Ladder{FirstBad: number(10)}
	for _, c := range []struct {
		name  string
		given []Subject
		worse string
	}{
		{"the newest is worse", []Subject{nightly(1, 64, "v", 512), nightly(2, 40, "v", 512)}, "night-2: Limit is 40 against 64"},
		{"an earlier one was", []Subject{nightly(1, 64, "v", 512), nightly(2, 40, "v", 512), nightly(3, 40, "v", 512)}, ""},
		{"another workload", []Subject{nightly(1, 64, "v", 512), nightly(2, 40, "v", 2048)}, ""},
		{"the newest bears nothing", []Subject{nightly(1, 64, "v", 512), failed}, "night-3: Limit is < 10 against 64"},
	} {
		h := mustHistory(t, CompareOptions{FailIfWorse: number(.05)}, c.given...)
		got := strings.Join(h.Regressions, "\n")
		if c.worse == "" && got != "" || !strings.HasPrefix(got, c.worse) {
			t.Errorf("%s: %q, want %q", c.name, got, c.worse)
		}
	}
}

func TestHistoryRenders(t *testing.T) {
	bound := nightly(9, 1, "vllm 2", 512)
	bound.Result.Limit, bound.Result.Verdict, bound.Result.Ladder.LastGood = nil, sweep.NotReached, number(100)
	hostileServer := nightly(10, 30, hostileName, 512)
	unstable := nightly(11, 30, "vllm 2", 512)
	unstable.Result.Verdict = sweep.Unstable
	for _, lang := range []Language{English, Chinese} {
		h := mustHistory(t, CompareOptions{Language: lang, FailIfWorse: number(.05)}, nightly(1, 64, "vllm 1", 512), nightly(2, 90, "vllm 2", 512), nightly(3, 80, "vllm 2", 2048), bound, hostileServer, unstable)
		var page, md bytes.Buffer
		if err := h.HTML(&page); err != nil {
			t.Fatal(err)
		}
		if err := h.Markdown(&md); err != nil {
			t.Fatal(err)
		}
		if raw, err := json.Marshal(h); err != nil || !json.Valid(raw) {
			t.Fatal(err)
		}
		for _, bad := range []string{"NaN", "%!", "<img", "ZgotmplZ"} {
			if strings.Contains(page.String(), bad) || strings.Contains(md.String(), bad) {
				t.Errorf("%s: %q in the history", lang, bad)
			}
		}
		for _, want := range []string{`href="night-2/report.html"`, "night-10", "> 100"} {
			if !strings.Contains(page.String(), strings.ReplaceAll(want, "> ", "&gt; ")) {
				t.Errorf("%s: the page lacks %q", lang, want)
			}
		}
		rows := h.Rows()
		if len(rows) != 7 || slices.ContainsFunc(rows, func(r []string) bool { return len(r) != len(rows[0]) }) {
			t.Errorf("%s: rows %q", lang, rows)
		}
	}
}

// TestDateAxis: whatever the span, some round moments and not too many.
func TestDateAxis(t *testing.T) {
	from := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	for _, c := range []struct {
		span  time.Duration
		first string
	}{
		{0, "03-14 09:26"}, {20 * time.Minute, "03-14 09:30"}, {5 * time.Hour, "03-14 10:00"}, {3 * 24 * time.Hour, "2026-03-15"},
		{30 * 24 * time.Hour, "2026-03-16"}, {200 * 24 * time.Hour, "2026-04"}, {800 * 24 * time.Hour, "2026-07"}, {9000 * 24 * time.Hour, ""},
	} {
		a := dateAxis("", []time.Time{from.Add(c.span), from})
		if n := len(a.ticks); n < 1 || n > 10 || a.place(a.ticks[0].at) < 0 || a.place(a.ticks[n-1].at) > 1 {
			t.Errorf("%v: %d ticks, %v", c.span, n, a.ticks)
		} else if c.first != "" && a.ticks[0].text != c.first {
			t.Errorf("%v: begins with %s, not %s", c.span, a.ticks[0].text, c.first)
		}
	}
}
