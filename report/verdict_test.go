package report

import (
	"math"
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
)

// TestVerdicts says what the first thing that a reader sees must be, in every
// state.
func TestVerdicts(t *testing.T) {
	all := fixtures()
	for _, c := range []struct {
		state, tone, number, interval, bound string
	}{
		{"slots", "good", "64", "95 % confidence interval 62–67", "bound by throughput gain"},
		{"crash", "good", "136", "between 136 (held) and 137 (failed)", "bound by success rate"},
		{"queue", "good", "20", "between 20 (held) and 50 (failed); not searched further", "bound by success rate"},
		{"not_reached", "good", "≥ 50", "the highest load that was tested", ""},
		{"first", "bad", "< 1", "", ""},
		{"client", "warn", "≥ 50", "as far as it was measured", ""},
		{"interrupted", "warn", "≥ 20", "as far as it was measured", ""},
		{"imported", "good", "50", "between 50 (held) and 100 (failed); not searched further", "bound by TTFT"},
		{"empty", "warn", "", "", ""},
		{"qps", "good", "40", "95 % confidence interval 39–41", "holds 95 % of 20 req/s"},
		{"rate", "good", "25.1", "between 24.4 (held) and 25.9 (failed)", "bound by TTFT"},
		{"soak", "bad", "", "", ""},
	} {
		d := newView(all[c.state].result, testWords(t, English), false).verdict()
		if d.Tone != c.tone || d.Number != c.number || d.Interval != c.interval || d.Bound != c.bound {
			t.Errorf("%s: %s %q, %q, %q; want %+v", c.state, d.Tone, d.Number, d.Interval, d.Bound, c)
		}
	}
}

// TestCaveats: what can overturn the answer stands next to it.
func TestCaveats(t *testing.T) {
	caveats := func(b *build) string {
		return strings.Join(newView(b.result, testWords(t, English), false).verdict().Caveats, "\n")
	}
	all := fixtures()
	simulated := slotsFixture()
	simulated.result.Environment.InsideTarget = true
	small := newBuild("small", slots64).ladder(1, 2, 5, 10).settle("limit_found", "", "ttft", found(8, 8, 8, "ttft"))
	flipped := slotsFixture()
	flipped.result.Steps[5].Whole.TTFT.Mean = number(1.4)
	for _, c := range []struct {
		name string
		b    *build
		want string
	}{
		{"interrupted", all["interrupted"], "interrupted"}, {"running", all["empty"], "not finished"}, {"imported", all["imported"], "another tool"},
		{"bracket", all["queue"], "between two steps"}, {"simulated", simulated, "simulator"}, {"small limit", small, "4 or below"}, {"bases differ", flipped, "In 1 of the steps"},
	} {
		if got := caveats(c.b); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not say %q", c.name, got, c.want)
		}
	}
	if got := caveats(slotsFixture()); got != "" {
		t.Errorf("caveats about nothing: %q", got)
	}
}

// TestSizing holds the table of what a replica carries against the closed form of
// the server.
func TestSizing(t *testing.T) {
	v := newView(slotsFixture().result, testWords(t, English), false)
	rows := v.sizing(Options{PricePerHour: number(4)}).Rows
	if len(rows) != 4 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, n := range []int{44, 51, 52, 64} {
		x := slots64.at(n).x
		for column, want := range map[int]float64{1: float64(n), 2: x, 3: x * 101, 6: x * 86400, 7: 4 / (3600 * x * 101) * 1e6} {
			var got analysis.Number
			if err := got.UnmarshalJSON([]byte(rows[i].Cells[column].Exact)); err != nil || math.Abs(got.Or(0)/want-1) > .01 {
				t.Errorf("%d in flight, column %d: %s, want %v", n, column, rows[i].Cells[column].Exact, want)
			}
		}
	}
	// 100 req/s today, 150 with growth, 24.3 each: 7 replicas.
	for _, row := range v.replicas(Options{}).Rows {
		if row.Cells[0].Text == "100 req/s" && row.Cells[1].Text != "7" {
			t.Errorf("100 req/s take %s replicas", row.Cells[1].Text)
		}
	}
}

// TestBasis: a view shows the figures that the verdict was taken from, or those
// of the whole run.
func TestBasis(t *testing.T) {
	r := slotsFixture().result
	judged, whole := newView(r, testWords(t, English), false), newView(r, testWords(t, English), true)
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Steady != nil && judged.figures(s) != s.Steady || whole.figures(s) != &s.Whole {
			t.Errorf("step %d shows the wrong figures", s.Concurrency)
		}
	}
}

// TestRefusesWhatIsNotKnown: where nothing was measured there is no section.
func TestRefusesWhatIsNotKnown(t *testing.T) {
	v := newView(fixtures()["empty"].result, testWords(t, English), false)
	if v.sizing(Options{}) != nil || v.replicas(Options{}) != nil || v.why() != nil || len(v.overLoadCharts()) != 0 || len(v.limitBars()) != 0 {
		t.Error("a result without steps claims something")
	}
	imported := newView(fixtures()["imported"].result, testWords(t, English), false)
	if filled(imported.clientTable()) != nil || filled(imported.validityTable()) != nil || len(imported.timeGroups()) != 0 {
		t.Error("an imported result knows the client, checks or time lines")
	}
}
