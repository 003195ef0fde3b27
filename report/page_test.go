package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/capfind/capfind/analysis"
)

// TestPrint prints the page: two to four pages for a sweep.
func TestPrint(t *testing.T) {
	parent := browser(t)
	slots := slotsFixture()
	b := open(t, parent, 1280, 900, render(t, slots, Options{Telemetry: slots.telemetry()}))
	var pdf []byte
	b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		pdf, _, err = cdppage.PrintToPDF().WithPreferCSSPageSize(true).WithPrintBackground(true).Do(ctx)
		return err
	}))
	if dir := os.Getenv("REPORT_SHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "slots.pdf"), pdf, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if n := bytes.Count(pdf, []byte("/Type /Page\n")); n < 2 || n > 4 {
		t.Errorf("%d printed pages", n)
	}
	// The printable width of A4 within the margins, in CSS pixels.
	b.run(emulation.SetEmulatedMedia().WithMedia("print"), emulation.SetDeviceMetricsOverride(695, 983, 1, false))
	b.shotOnce("print")
	var width float64
	b.eval(`document.documentElement.scrollWidth`, &width)
	if width > 696 {
		t.Errorf("the printed page is %v wide and would be scaled down or cut", width)
	}
}

// TestHover moves the pointer over a point: its value appears, and the step is marked
// in the other charts and in the table. Arrow keys do the same.
func TestHover(t *testing.T) {
	parent := browser(t)
	slots := slotsFixture()
	b := open(t, parent, 1280, 900, render(t, slots, Options{}))
	const at50 = `#c-ttft .b-judged .pt[data-x="50"]`
	b.run(chromedp.ScrollIntoView(at50))
	var spot struct{ X, Y float64 }
	b.eval(`(() => { const r = document.querySelector('`+at50+`').getBoundingClientRect(); return {X: r.x + r.width / 2, Y: r.y + r.height / 2}; })()`, &spot)
	b.run(input.DispatchMouseEvent(input.MouseMoved, spot.X-3, spot.Y), input.DispatchMouseEvent(input.MouseMoved, spot.X, spot.Y))
	var tip string
	b.eval(`document.getElementById("tip").innerText`, &tip)
	step := slots.result.Steps[5]
	if step.Concurrency != 50 {
		t.Fatal("the fixture's sixth step is not 50")
	}
	for _, want := range []string{"50", seconds(step.Verdict().TTFT.Mean), seconds(step.Verdict().TTFT.P95), "p95"} {
		if !strings.Contains(tip, want) {
			t.Errorf("the tooltip %q lacks %q", tip, want)
		}
	}
	var marked struct {
		Rows   []string
		Charts int
	}
	b.eval(`({Rows: [...document.querySelectorAll(".steps .b-judged tr.on")].map((r) => r.cells[0].innerText), Charts: new Set([...document.querySelectorAll(".b-judged .pt.on, .variant:not(.b-whole) .pt.on")].map((p) => p.closest("figure").id)).size})`, &marked)
	if len(marked.Rows) != 1 || marked.Rows[0] != "50" || marked.Charts < 5 {
		t.Errorf("linked highlighting: %+v", marked)
	}
	b.run(chromedp.Focus("#c-ttft .b-judged svg.chart"), chromedp.KeyEvent(kb.ArrowRight))
	var spoken string
	b.eval(`document.getElementById("live").textContent`, &spoken)
	if !strings.Contains(spoken, "TTFT") && !strings.Contains(spoken, "mean") {
		t.Errorf("the arrow key said %q", spoken)
	}
	b.clean()
}

// TestZoom draws a box over part of a chart: the axis follows, and Reset undoes it.
func TestZoom(t *testing.T) {
	parent := browser(t)
	slots := slotsFixture()
	b := open(t, parent, 1280, 900, render(t, slots, Options{}))
	const chart = "#c-throughput .b-judged svg.chart"
	b.run(chromedp.ScrollIntoView(chart))
	var r struct{ X, Y, W, H float64 }
	b.eval(`(() => { const r = document.querySelector("`+chart+`").getBoundingClientRect(); return {X: r.x, Y: r.y, W: r.width, H: r.height}; })()`, &r)
	labels := func() string {
		var s string
		b.eval(`[...document.querySelectorAll("`+chart+` .yt text")].map((t) => t.textContent).join(" ") + " / " + [...document.querySelectorAll("`+chart+` .xt>g")].filter((g) => g.style.display !== "none").map((g) => g.textContent).join(" ")`, &s)
		return s
	}
	before := labels()
	from, to := [2]float64{r.X + r.W*.5, r.Y + r.H*.3}, [2]float64{r.X + r.W*.95, r.Y + r.H*.6}
	left := func(p *input.DispatchMouseEventParams) *input.DispatchMouseEventParams {
		return p.WithButton(input.Left).WithButtons(1).WithClickCount(1)
	}
	b.run(left(input.DispatchMouseEvent(input.MousePressed, from[0], from[1])), left(input.DispatchMouseEvent(input.MouseMoved, to[0], to[1])),
		left(input.DispatchMouseEvent(input.MouseReleased, to[0], to[1])))
	zoomed := labels()
	if zoomed == before || strings.Contains(zoomed, "/ 1 ") {
		t.Errorf("zooming left the axes at %q", zoomed)
	}
	b.run(chromedp.Click("#c-throughput .reset"))
	if after := labels(); after != before {
		t.Errorf("after the reset: %q, before: %q", after, before)
	}
	b.clean()
}

// TestNumbersEqualResult reads the step table from the page and holds every exact
// figure against the result, on both bases.
func TestNumbersEqualResult(t *testing.T) {
	parent := browser(t)
	slots := slotsFixture()
	b := open(t, parent, 1280, 900, render(t, slots, Options{}))
	for _, basis := range []string{"judged", "whole"} {
		b.run(chromedp.Click(`label[for="basis-`+basis+`"]`, chromedp.NodeVisible))
		var rows [][]string
		b.eval(`[...document.querySelectorAll(".steps .variant")].filter((v) => v.offsetParent).flatMap((v) => [...v.querySelectorAll("tbody tr")]).map((r) => [...r.cells].map((c) => (c.querySelector("data") || {value: ""}).value))`, &rows)
		if len(rows) != len(slots.result.Steps) {
			t.Fatalf("%s: %d rows for %d steps", basis, len(rows), len(slots.result.Steps))
		}
		for i, row := range rows {
			s := &slots.result.Steps[i]
			f := s.Verdict()
			if basis == "whole" {
				f = &s.Whole
			}
			want := map[int]analysis.Number{0: number(float64(s.Concurrency)), 2: number(float64(f.Completed + f.Failed)), 3: f.SuccessRate, 4: f.RequestThroughput,
				5: f.Efficiency, 6: f.OutputThroughput, 7: f.TTFT.Mean, 11: f.TPOT.Mean, 12: f.E2E.Mean}
			for column, n := range want {
				var got float64
				if err := json.Unmarshal([]byte(row[column]), &got); err != nil || math.Abs(got-n.Or(-1)) > 1e-12 {
					t.Errorf("%s, step %d, column %d: %q, want %v", basis, s.Concurrency, column, row[column], n)
				}
			}
		}
	}
	b.clean()
}

// TestHostileNameStaysText: a model, server or prompt file can be called
// anything.
func TestHostileNameStaysText(t *testing.T) {
	parent := browser(t)
	hostile := fixtures()["hostile"]
	b := open(t, parent, 1280, 900, render(t, hostile, Options{Title: hostileName}))
	var got struct {
		Title  string
		Images int
		Links  int
		Bold   int
	}
	b.eval(`({Title: document.querySelector("h1").textContent, Images: document.images.length, Links: document.querySelectorAll("a[href^=javascript]").length, Bold: document.querySelectorAll("main b").length})`, &got)
	if got.Title != hostileName || got.Images != 0 || got.Links != 0 || got.Bold != 0 {
		t.Errorf("%+v", got)
	}
	b.clean()
	var md bytes.Buffer
	if err := Markdown(&md, hostile.result, Options{Title: hostileName}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<img", "<b>", "</script", "\n# heading"} {
		if strings.Contains(strings.ReplaceAll(md.String(), "```", ""), bad) && !insideCode(md.String(), bad) {
			t.Errorf("the Markdown contains %q", bad)
		}
	}
}

// insideCode reports whether every occurrence lies in a fenced block.
func insideCode(md, s string) bool {
	for i, part := range strings.Split(md, "```") {
		if i%2 == 0 && strings.Contains(part, s) {
			return false
		}
	}
	return true
}

// TestWithoutScript: the page is readable, and its switch works, where no script
// runs.
func TestWithoutScript(t *testing.T) {
	parent := browser(t)
	slots := slotsFixture()
	b := open(t, parent, 1280, 900, render(t, slots, Options{}), emulation.SetScriptExecutionDisabled(true))
	shown := func(selector string) bool {
		t.Helper()
		ctx, cancel := context.WithTimeout(b.Context, 2*time.Second)
		defer cancel()
		err := chromedp.Run(ctx, chromedp.WaitVisible(selector, chromedp.ByQuery))
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	}
	if !shown("#verdict .number strong") || !shown("#c-ttft .b-judged svg.chart") {
		t.Error("verdict or chart is not shown")
	}
	b.run(chromedp.Click(`label[for="basis-whole"]`, chromedp.NodeVisible))
	if !shown("#c-ttft .b-whole svg.chart") {
		t.Error("the switch does nothing")
	}
}
