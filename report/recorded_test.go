package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// replayed is the result of a search for how many times recorded traffic fits.
func replayed() *sweep.Result {
	step := func(speed, late float64, phase analysis.Phase, stop *analysis.Stop) analysis.Step {
		s := analysis.Step{Concurrency: 4096, Phase: phase, Runs: 1, NumPrompts: 155, Speed: number(speed), RequestRate: number(3 * speed), VerdictBasis: analysis.BasisWhole, Stop: stop}
		s.Whole.TTFT = analysis.Dist{Mean: number(late / 2), P95: number(late), N: 155}
		s.Whole.Completed, s.Whole.SuccessRate, s.Whole.RequestThroughput = 155, number(1), number(3*speed)
		for i := range 20 {
			s.Series = append(s.Series, analysis.Slice{AtSeconds: float64(i) + 0.5, InFlight: number(2 * speed), ArrivalRate: number(3 * speed), RequestRate: number(3 * speed),
				TTFTDue: number(late), E2EDue: number(2 * late), Completed: 3})
		}
		return s
	}
	broke := &analysis.Stop{Rule: "p95_ttft", Sentence: "p95_ttft: p95 TTFT 700 ms is above 500 ms at 1.6 x the recorded traffic (4.800 req/s on average)"}
	r := &sweep.Result{SchemaVersion: 1, Command: "replay", Complete: true, Config: map[string]any{"stop": map[string]any{
		"max_ttft": "0s", "ttft_statistic": "mean", "slo": []any{map[string]any{"metric": "ttft", "statistic": "p95", "max": "500ms"}}}}}
	r.Verdict, r.Sentence = sweep.LimitFound, "the server carries 1.52 x the recorded traffic (95 % CI 1.47-1.58; 4.560 req/s on average), bound by "+broke.Sentence
	r.Steps = []analysis.Step{step(1, 0.1, analysis.PhaseLadder, nil), step(2, 3, analysis.PhaseLadder, broke), step(1.5, 0.45, analysis.PhaseProbe, nil),
		step(1.6, 0.7, analysis.PhaseProbe, broke), step(1.4, 0.3, analysis.PhaseProbe, nil)}
	h := &sweep.HeadroomAnswer{Speed: number(1.52), Low: number(1.47), High: number(1.58), Confidence: number(0.95), SLO: "p95_ttft", Rate: number(4.56), Speedup: sweep.Closer,
		Piece: sweep.Piece{FromSeconds: 40, Seconds: 60, Requests: 155, Of: 287, OfSeconds: 150},
		Queue: []sweep.Simulated{{Speed: 1, Peak: 9, Mean: 2.5, AtSeconds: 70.5}, {Speed: 1.5, Peak: 31, Mean: 6.25, AtSeconds: 52}, {Speed: 2, Peak: 120, Mean: 44, AtSeconds: 40, Beyond: true}}}
	for i := range 75 {
		h.Arrivals = append(h.Arrivals, sweep.Arrived{AtSeconds: float64(2*i) + 1, Rate: 1.5})
	}
	r.Headroom = h
	return r
}

func section(page, from, to string) string {
	_, rest, _ := strings.Cut(page, from)
	part, _, _ := strings.Cut(rest, to)
	return part
}

// The page of a replay shows what was recorded and sent, what would pile up, and by
// the minute whether the requirement held.
func TestReplayedPage(t *testing.T) {
	for lang, want := range map[Language][]string{
		English: {"The recorded traffic", "Arrivals as recorded", "sent", "Requests in the server, simulated", "Simulated, not measured", "seen in the runs", "beyond the runs: uncertain"},
		Chinese: {"所记录的流量", "所记录的到达", "已发送", "模拟所得，并非实测", "多于任何一次运行：不确定"},
	} {
		var b bytes.Buffer
		if err := HTML(&b, replayed(), Options{Language: lang}); err != nil {
			t.Fatal(err)
		}
		part := section(b.String(), `aria-labelledby="h-recorded"`, "</section>")
		for _, text := range want {
			if !strings.Contains(part, text) {
				t.Errorf("%s: no %q", lang, text)
			}
		}
		for _, figure := range []string{">9<", ">2.50<", ">31<", ">120<", ">70.5 s<"} {
			if !strings.Contains(strings.ReplaceAll(part, "\u202f", " "), figure) {
				t.Errorf("%s: no %s in %s", lang, figure, section(part, "<table", "</table>"))
			}
		}
	}
	var b bytes.Buffer
	if err := HTML(&b, replayed(), Options{Language: English}); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(section(b.String(), `aria-labelledby="h-recorded"`, "</section>"), "<tr>")
	if last := rows[len(rows)-1]; !strings.Contains(last, ">120<") || !strings.Contains(last, "uncertain") || strings.Contains(rows[len(rows)-2], "uncertain") {
		t.Errorf("rows %q", rows[len(rows)-2:])
	}
	if steps := section(b.String(), `aria-labelledby="h-steps"`, "</section>"); !strings.Contains(steps, "Output (tok/s)") || strings.Contains(steps, "Efficiency") {
		t.Error("throughput per unit of the cap is shown")
	}
	if c := newView(replayed(), testWords(t, English), false).ttft(); c == nil || len(c.across) != 1 || c.across[0].at != 500 || c.across[0].text != "p95 TTFT ≤ 500 ms" {
		t.Errorf("TTFT over speed: %+v", c)
	}
	times := section(b.String(), `aria-labelledby="h-time"`, "</section>")
	if n := strings.Count(times, "<details open>"); n != 2 {
		t.Errorf("%d steps are open", n)
	}
	for _, text := range []string{"TTFT from when it was due, p95", "Response time from when it was due, p95", "p95 TTFT ≤ 500 ms"} {
		if n := strings.Count(times, text); n < 4 {
			t.Errorf("%q %d times", text, n)
		}
	}
	// At 1.5 x a second of the run is 1.5 s of the trace, from 40 s on; all twenty hold.
	for _, text := range []string{"time since the first recorded request (s)", "Each point is 1.5 s of the trace. p95 TTFT ≤ 500 ms held in 20 of 20.", "p95 TTFT ≤ 500 ms held in 0 of 20.", "Each point is 1.6 s of the trace.<"} {
		if !strings.Contains(times, text) {
			t.Errorf("no %q", text)
		}
	}
	c := newView(replayed(), testWords(t, English), false).timeChart(2, stepPanels[0])
	if p := c.series[0].points; p[0].x != 40.75 || p[19].x != 69.25 || c.x.min != 40 || c.x.ticks[0].at != 40 {
		t.Errorf("from %v to %v, axis %+v", p[0].x, p[19].x, c.x)
	}
	sessions := replayed()
	sessions.Config["replay"] = map[string]any{"speedup": "sessions"}
	if p := newView(sessions, testWords(t, English), false).timeChart(2, stepPanels[0]).series[0].points; p[0].x != 40.5 || p[19].x != 59.5 {
		t.Errorf("more sessions: from %v to %v", p[0].x, p[19].x)
	}
	sessions.Steps[2].Runs = 2
	if c := newView(sessions, testWords(t, English), false).timeChart(2, stepPanels[0]); c.series[0].points[0].x != 0.5 || !strings.Contains(c.x.label, "the step began") {
		t.Errorf("two runs: from %v, %s", c.series[0].points[0].x, c.x.label)
	}
	if strings.Contains(times, "1.4 x") {
		t.Error("a probe that tells nothing has its own charts")
	}
	known := replayed()
	known.Headroom.Queue = known.Headroom.Queue[:2]
	if q := newView(known, testWords(t, English), false).queueTable(); len(q.Head) != 4 || len(q.Rows[0].Cells) != 4 {
		t.Errorf("all was seen in the runs, and it is said of each: %q", q.Head)
	}
	all := replayed()
	all.Headroom.Piece.Of, all.Headroom.Queue, all.Headroom.Arrivals = 155, nil, all.Headroom.Arrivals[:3]
	b.Reset()
	if err := HTML(&b, all, Options{Language: English}); err != nil {
		t.Fatal(err)
	}
	if part := section(b.String(), `aria-labelledby="h-recorded"`, "</section>"); !strings.Contains(part, "All of it was sent") || strings.Contains(part, "Simulated") {
		t.Error(part)
	}
	all.Headroom.Arrivals = nil
	if v := newView(all, testWords(t, English), false); v.recorded() != nil {
		t.Error("a section of nothing")
	}
}

// Times are labelled in the unit that their ticks are round in.
func TestTimeAxis(t *testing.T) {
	w := testWords(t, English)
	for _, c := range []struct {
		from, end          float64
		label, first, last string
		ticks              int
	}{
		{0, 0.4, "time since start (s)", "0", "0.4", 5}, {0, 25, "time since start (s)", "0", "25", 6}, {0, 100, "time since start (s)", "0", "90", 7},
		{0, 600, "time since start (min)", "0", "10", 6}, {3000, 3600, "time since start (min)", "50", "60", 6}, {0, 6 * 3600, "time since start (h)", "0", "6", 7},
		{0, 30 * 86400, "time since start (d)", "0", "30", 7}, {0, 0, "time since start (s)", "0", "0", 1},
	} {
		a := w.timeAxis("axis.time", c.from, c.end)
		last := len(a.ticks) - 1
		if a.label != c.label || last < 0 || a.ticks[0].text != c.first || a.ticks[last].text != c.last || len(a.ticks) != c.ticks || a.min != c.from || a.max <= c.end && c.end > 0 {
			t.Errorf("from %v to %v: %+v", c.from, c.end, a)
		}
	}
}
