package report

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// twoSteps is a result whose figures at 10 and 20 are given.
func twoSteps(limit float64, throughput, se, ttft, ttftSE float64) *sweep.Result {
	r := &sweep.Result{Answer: sweep.Answer{Verdict: sweep.LimitFound}, Complete: true}
	l := found(limit, limit-2, limit+2, "ttft")
	r.Limit = &l
	for _, n := range []int{10, 20} {
		s := analysis.Step{Concurrency: n, Phase: analysis.PhaseLadder, VerdictBasis: analysis.BasisWhole}
		s.Whole = analysis.Summary{Completed: 200, SuccessRate: number(1), RequestThroughput: number(throughput * float64(n)), RequestThroughputSE: number(se * float64(n))}
		s.Whole.TTFT = analysis.Dist{Mean: number(ttft), SE: number(ttftSE), N: 200}
		r.Steps = append(r.Steps, s)
	}
	return r
}

func rowOf(t *testing.T, c *Comparison, key string) ComparedFigure {
	t.Helper()
	for _, r := range c.Rows {
		if r.Key == key {
			return r
		}
	}
	t.Fatalf("no row %q in %d rows", key, len(c.Rows))
	return ComparedFigure{}
}

// TestCompareByHand checks changes and p values against hand computation:
// 2.0 against 1.9 with standard errors of 0.03 and 0.04 is 2 standard errors
// apart, p = 0.0455.
func TestCompareByHand(t *testing.T) {
	a, b := twoSteps(64, 2, .03, .1, .001), twoSteps(91, 1.9, .04, .2, .001)
	c, err := Compare([]Subject{{Name: "a", Result: a}, {Name: "b", Result: b}}, CompareOptions{FailIfWorse: number(.04)})
	if err != nil {
		t.Fatal(err)
	}
	x := rowOf(t, c, "request_throughput_at_10").Changes[1]
	if math.Abs(x.Relative.Or(0)+.05) > 1e-12 || math.Abs(x.P.Or(0)-.0455) > 1e-4 || !x.Worse {
		t.Errorf("throughput: %+v", x)
	}
	// Alone it would pass at 5 %; among all the figures of the table it does not.
	if x.Significant == nil || *x.Significant {
		t.Errorf("throughput is significant after correction: %+v", x)
	}
	ttft := rowOf(t, c, "mean_ttft_seconds_at_20").Changes[1]
	if ttft.Significant == nil || !*ttft.Significant || !ttft.Worse || ttft.Relative.Or(0) != 1 {
		t.Errorf("TTFT: %+v", ttft)
	}
	limit := rowOf(t, c, "limit").Changes[1]
	if limit.Worse || limit.Significant == nil || !*limit.Significant {
		t.Errorf("limit: %+v", limit)
	}
	if len(c.Regressions) != 2 || !strings.Contains(c.Regressions[0], "TTFT") {
		t.Errorf("regressions: %q", c.Regressions)
	}
	same, err := Compare([]Subject{{Name: "a", Result: a}, {Name: "again", Result: a}}, CompareOptions{FailIfWorse: number(0)})
	if err != nil || len(same.Regressions) != 0 {
		t.Errorf("a result is worse than itself: %q, %v", same.Regressions, err)
	}
}

// TestHolm checks the correction by hand: of four p values in ascending order the
// first is held against 0.05/4, the next against 0.05/3, and so on until one fails.
func TestHolm(t *testing.T) {
	run := func(ps ...float64) string {
		var list []*Change
		for _, p := range ps {
			list = append(list, &Change{P: number(p)})
		}
		byInput := append([]*Change(nil), list...)
		holm(list, .05)
		out := ""
		for _, c := range byInput {
			if *c.Significant {
				out += "+"
			} else {
				out += "-"
			}
		}
		return out
	}
	for _, c := range []struct {
		ps   []float64
		want string
	}{
		{[]float64{.01, .02, .03, .005}, "++++"}, {[]float64{.01, .04, .03, .005}, "+--+"}, {[]float64{.05}, "+"}, {[]float64{.051}, "-"}, {[]float64{.03, .03}, "--"},
	} {
		if got := run(c.ps...); got != c.want {
			t.Errorf("%v: %s, want %s", c.ps, got, c.want)
		}
	}
}

// TestCompareBounds: a limit that was not reached is only a bound, and nothing
// is claimed that the bound does not say.
func TestCompareBounds(t *testing.T) {
	open := func(lastGood float64) *sweep.Result {
		r := twoSteps(1, 2, .03, .1, .001)
		r.Limit, r.Verdict, r.Ladder.LastGood = nil, sweep.NotReached, number(lastGood)
		return r
	}
	for _, c := range []struct {
		name string
		a, b *sweep.Result
		want string // sign of the change, "?" where none is claimed
	}{
		{"found below a bound", open(100), twoSteps(64, 2, .03, .1, .001), "−"},
		{"found above a bound", open(50), twoSteps(64, 2, .03, .1, .001), "?"},
		{"bound above found", twoSteps(64, 2, .03, .1, .001), open(100), "+"},
		{"bound below found", twoSteps(64, 2, .03, .1, .001), open(50), "?"},
		{"two bounds", open(50), open(100), "?"},
	} {
		cmp, err := Compare([]Subject{{Name: "a", Result: c.a}, {Name: "b", Result: c.b}}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := "?"
		if ch := rowOf(t, cmp, "limit").Changes[1]; ch.Relative.IsKnown() {
			got = string([]rune(change(ch.Relative))[:1])
			if ch.P.IsKnown() {
				t.Errorf("%s: a p value for a bound", c.name)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Each run draws a seed of its own, which makes no other workload of it.
func TestSeedIsNoOtherWorkload(t *testing.T) {
	for _, c := range []struct {
		key   string
		noted bool
	}{{"seed", false}, {"input_len", true}} {
		a, b := twoSteps(60, 1, .01, .1, .001), twoSteps(60, 1, .01, .1, .001)
		a.Config = map[string]any{"workload": map[string]any{c.key: 1}}
		b.Config = map[string]any{"workload": map[string]any{c.key: 2}}
		got := mustCompare(t, []Subject{{Name: "a", Result: a}, {Name: "b", Result: b}})
		if noted := strings.Contains(strings.Join(got.Notes, "\n"), "workload"); noted != c.noted || len(got.Differences) != 1 {
			t.Errorf("%s: notes %q, differences %v", c.key, got.Notes, got.Differences)
		}
	}
}

func TestCompareRenders(t *testing.T) {
	all := fixtures()
	subjects := []Subject{{Name: hostileName, Result: all["slots"].result, PricePerHour: number(4)}, {Name: "b", Result: all["decode"].result, PricePerHour: number(2)},
		{Name: "c", Result: all["imported"].result}, {Name: "d", Result: all["first"].result}}
	for _, lang := range []Language{English, Chinese} {
		c, err := Compare(subjects, CompareOptions{Language: lang, FailIfWorse: number(.05)})
		if err != nil {
			t.Fatal(err)
		}
		var page, md bytes.Buffer
		if err := c.HTML(&page); err != nil {
			t.Fatal(err)
		}
		if err := c.Markdown(&md); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"NaN", "%!", "<img", "ZgotmplZ"} {
			if strings.Contains(page.String(), bad) || strings.Contains(md.String(), bad) {
				t.Errorf("%s: %q in the comparison", lang, bad)
			}
		}
	}
	cost := rowOf(t, mustCompare(t, subjects), "cost_per_million_output_tokens")
	// 51 in flight, 24.3 req/s of 101 tokens at 4 an hour.
	want := 4 / (3600 * slots64.at(51).x * 101) * 1e6
	if math.Abs(cost.Values[0].Or(0)/want-1) > .01 {
		t.Errorf("cost %v, want %v", cost.Values[0], want)
	}
	if _, err := Compare(subjects[:1], CompareOptions{}); err == nil {
		t.Error("one result is compared with nothing")
	}
	if _, err := Compare([]Subject{{Name: "a", Result: &sweep.Result{}}, {Name: "b", Result: &sweep.Result{}}}, CompareOptions{}); err == nil {
		t.Error("results without steps are compared")
	}
}

func mustCompare(t *testing.T, s []Subject) *Comparison {
	t.Helper()
	c, err := Compare(s, CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
