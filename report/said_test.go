package report

import (
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// TestExactInterval: an interval of one number is not written as a range.
func TestExactInterval(t *testing.T) {
	r := slotsFixture().result
	exact := found(64, 64, 64, "throughput_gain")
	r.Limit, r.Limits["throughput_gain"] = &exact, exact
	v := newView(r, testWords(t, English), false)
	if d := v.verdict(); d.Interval != "95 % confident: exactly 64" {
		t.Errorf("interval %q", d.Interval)
	}
	if got := v.limitText(exact); got != "64" {
		t.Errorf("by criterion %q", got)
	}
	qps := fixtures()["qps"].result
	qps.QPS.Low, qps.QPS.High = number(40), number(40)
	if d := newView(qps, testWords(t, English), false).verdict(); d.Interval != "95 % confident: exactly 40" {
		t.Errorf("QPS: interval %q", d.Interval)
	}
}

// TestReadingOfACrash: the highest throughput may lie between the ladder's steps,
// and what a step completed before it was cut short is no throughput.
func TestReadingOfACrash(t *testing.T) {
	b := fixtures()["crash"]
	for i := range b.result.Steps {
		if s := &b.result.Steps[i]; s.Concurrency == 200 {
			s.Abandoned = "abandoned"
		}
	}
	v := newView(b.result, testWords(t, English), false)
	text := v.readThroughput(v.throughput())
	if !strings.Contains(text, "at 130") && !strings.Contains(text, "at 136") || strings.Contains(text, "changes") {
		t.Errorf("%q", text)
	}
}

// TestCancelledIsNoFailure: what the tool stopped itself is in no rate, and not
// among the failures.
func TestCancelledIsNoFailure(t *testing.T) {
	r := slotsFixture().result
	r.Steps[0].Failures = map[loadgen.Class]int{loadgen.Cancelled: 96}
	v := newView(r, testWords(t, English), false)
	if c := v.classes(); len(c) != 0 || filled(v.failureTable()) != nil {
		t.Errorf("failures of the classes %v", c)
	}
}

// TestCaveatsSayNothingTwice: what a search for a rate foretold stands among the
// facts, and a client that was the limit is described by the evidence.
func TestCaveatsSayNothingTwice(t *testing.T) {
	all := fixtures()
	d := newView(all["rate"].result, testWords(t, English), false).verdict()
	if strings.Contains(strings.Join(append(d.Caveats, d.Sentence), "\n"), "predicts") {
		t.Errorf("the prediction is said again: %q, %q", d.Sentence, d.Caveats)
	}
	qps := all["qps"].result
	qps.QPS.Reached, qps.QPS.Why, qps.Sentence = false, "the server is full", "20 req/s was not reached: the highest rate was 12 req/s; the server is full"
	if d := newView(qps, testWords(t, English), false).verdict(); strings.Contains(strings.Join(d.Caveats, "\n"), "full") || !strings.Contains(d.Sentence, "full") {
		t.Errorf("%q, %q", d.Sentence, d.Caveats)
	}
	client := all["client"].result
	why := "received data waited: p99 158.7 ms"
	client.Bottleneck = &diagnosis.Bottleneck{Kind: diagnosis.KindClient, Sentence: "client: at 50 it could not", Evidence: []string{why}}
	client.Warnings = []string{"at 50 requests in flight the client was at its own limit: " + why, "something else"}
	if d := newView(client, testWords(t, English), false).verdict(); len(d.Caveats) != 1 || d.Caveats[0] != "Something else." {
		t.Errorf("caveats %q", d.Caveats)
	}
	client.Bottleneck.Kind = diagnosis.KindSlots
	if d := newView(client, testWords(t, English), false).verdict(); len(d.Caveats) != 2 {
		t.Errorf("where the server is the limit: caveats %q", d.Caveats)
	}
}

// TestRatesAreNoConcurrencies: the loads of an open loop are arrival rates.
func TestRatesAreNoConcurrencies(t *testing.T) {
	v := newView(fixtures()["rate"].result, testWords(t, English), false)
	for _, table := range []*table{v.stepTable(), v.clientTable(), v.throughput().table(v)} {
		if table.Head[0] != "Arrival rate (req/s)" {
			t.Errorf("%s: the column of loads is headed %q", table.Caption, table.Head[0])
		}
	}
	if text := v.tradeoff().reading; strings.Contains(text, "concurrency") {
		t.Errorf("%q", text)
	}
}

// TestNothingOfAnEmptyCache: a server that counts no cache has no picture of it.
func TestNothingOfAnEmptyCache(t *testing.T) {
	b := slotsFixture()
	points := b.telemetry()
	v := newView(b.result, testWords(t, English), false)
	ids := func() string {
		var ids []string
		for _, c := range v.telemetryCharts(points) {
			ids = append(ids, c.id)
		}
		return strings.Join(ids, " ")
	}
	if got := ids(); !strings.Contains(got, "server-kv") {
		t.Fatalf("charts %s", got)
	}
	for i := range points {
		points[i].KVCache = number(0)
	}
	if got := ids(); strings.Contains(got, "server-kv") || !strings.Contains(got, "server-queue") {
		t.Errorf("charts %s", got)
	}
}

// TestUnstableHasNoLimitToCompare: what an unstable server held is no bound.
func TestUnstableHasNoLimitToCompare(t *testing.T) {
	a, b := slotsFixture().result, slotsFixture().result
	b.Verdict, b.Limit = sweep.Unstable, nil
	c, err := Compare([]Subject{{Name: "a", Result: a}, {Name: "b", Result: b}}, CompareOptions{FailIfWorse: number(.01)})
	if err != nil {
		t.Fatal(err)
	}
	row := rowOf(t, c, "limit")
	if row.Values[1].IsKnown() || row.Shown[1] != notKnown {
		t.Errorf("limit of an unstable server: %s", row.Shown[1])
	}
}

// TestSoakVerdicts: a figure that does not degrade may still not be steady.
func TestSoakVerdicts(t *testing.T) {
	r := fixtures()["soak"].result
	trend := func(metric, verdict string, degrades bool) sweep.SoakTrend {
		return sweep.SoakTrend{Metric: metric, Change: number(.02), SE: number(.1), Gate: .1, Degrades: degrades,
			Sentence: metric + " " + verdict + ": +2.0 % over the run (95 % interval -20.0 to +24.0 %, gate 10 %)"}
	}
	r.Soak.Trends = []sweep.SoakTrend{trend("mean TTFT", "degrading", true), trend("mean response time", "no clear trend", false),
		trend("request throughput", "too uneven to tell", false), trend("memory of the server", "steady", false)}
	for lang, want := range map[Language]string{English: "degrades|no clear trend|too uneven to tell|steady", Chinese: "退化|没有明显趋势|波动太大，无法判断|稳定"} {
		var got []string
		for _, row := range newView(r, testWords(t, lang), false).trendTable().Rows {
			got = append(got, row.Cells[len(row.Cells)-1].Text)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q", lang, got)
		}
	}
}

// TestKneeBesideLimit: a limit that is the knee rounded down is not drawn twice,
// and of a server that changed no curve is drawn.
func TestKneeBesideLimit(t *testing.T) {
	r := slotsFixture().result
	r.Curve = &analysis.Curve{Model: "slots", Knee: number(64.7), ToConcurrency: 100, Points: []analysis.CurvePoint{{Concurrency: 1, RequestThroughput: 1}, {Concurrency: 2, RequestThroughput: 2}}}
	drawn := func() (knee, fit bool) {
		v := newView(r, testWords(t, English), false)
		c := v.throughput()
		for _, m := range c.upright {
			knee = knee || strings.HasPrefix(m.text, "knee")
		}
		for _, s := range c.series {
			fit = fit || strings.HasPrefix(s.name, "fitted")
		}
		return knee, fit
	}
	if knee, fit := drawn(); knee || !fit {
		t.Errorf("beside the limit of 64: knee %t, fit %t", knee, fit)
	}
	r.Curve.Knee = number(91)
	if knee, _ := drawn(); !knee {
		t.Error("a knee elsewhere is not drawn")
	}
	r.Verdict = sweep.Unstable
	if knee, fit := drawn(); knee || fit {
		t.Errorf("of an unstable server: knee %t, fit %t", knee, fit)
	}
}

// TestReadingOfALoadRunTwice: the threshold lies between two loads, not between two
// runs of one.
func TestReadingOfALoadRunTwice(t *testing.T) {
	b := newBuild("twice", slots64).ladder(1, 50).probes(analysis.PhaseConfirm, 50)
	b.result.Steps[2].Whole.TTFT.Mean = number(1.5)
	b.result.Steps[2].Steady = nil
	text := newView(b.result, testWords(t, English), false).readTTFT()
	if !strings.Contains(text, "between 1 (") {
		t.Errorf("%q", text)
	}
}

// TestNoClaimsOfAnImport: files without steady states give no points to fit, which
// is no measurement of too few loads.
func TestNoClaimsOfAnImport(t *testing.T) {
	r := fixtures()["imported"].result
	r.Curve = &analysis.Curve{Refusals: []string{"no model is trusted: throughput is known at 0 different concurrencies, 6 are needed"}}
	if got := newView(r, testWords(t, English), false).refusals(); got != nil {
		t.Errorf("%q", got)
	}
}
