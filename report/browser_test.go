package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/capfind/capfind/analysis"
)

// need skips a test on a machine that lacks a tool, except in CI, where a
// skipped test would hide that nobody looks at the page any more.
func need(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is needed in CI: %v", what, err)
	}
	t.Skipf("%s is not here: %v", what, err)
}

// chromium starts one browser for all tests; TestMain stops it.
var chromium = sync.OnceValues(func() (context.Context, error) {
	var path string
	var err error
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "report-browser")
	if err != nil {
		return nil, err
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile), chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true))...)
	ctx, cancel := chromedp.NewContext(allocator)
	stopBrowser = func() error {
		cancel()
		stop()
		return os.RemoveAll(profile)
	}
	return ctx, chromedp.Run(ctx)
})

var stopBrowser = func() error { return nil }

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopBrowser(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the browser:", err)
	}
	os.Exit(code)
}

// browser is the browser that all tests share, each with tabs of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes long to start")
	}
	ctx, err := chromium()
	need(t, "Chromium", err)
	return ctx
}

// tab is one page in a browser, and what it did that it should not have done.
type tab struct {
	context.Context
	t *testing.T

	mu     sync.Mutex
	faults []string
}

func (b *tab) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// clean fails the test where the page asked for anything, or complained.
func (b *tab) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		b.t.Error(f)
	}
}

func (b *tab) run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.Context, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval runs an expression in the page.
func (b *tab) eval(expression string, to any) {
	b.t.Helper()
	b.run(chromedp.Evaluate(expression, to, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// open writes a page to a file and loads it in a tab of its own.
func open(t *testing.T, parent context.Context, width, height int64, html []byte, before ...chromedp.Action) *tab {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, html, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	// The first Run makes the tab, which lives as long as the context given
	// there: the time-out must be that of a context below it.
	if err := chromedp.Run(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(stop)
	b := &tab{Context: ctx, t: t}
	url := "file://" + path
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; u != url && !strings.HasPrefix(u, "data:") {
				b.fault("the page asked for %s", u)
			}
		case *runtime.EventConsoleAPICalled:
			b.fault("console: %s", e.Type)
		case *runtime.EventExceptionThrown:
			b.fault("exception: %s", e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			b.fault("log: %s", e.Entry.Text)
		case *cdppage.EventJavascriptDialogOpening:
			b.fault("dialog: %s", e.Message)
		}
	})
	b.run(network.Enable(), log.Enable(), emulation.SetDeviceMetricsOverride(width, height, 1, false))
	b.run(before...)
	b.run(chromedp.Navigate(url), chromedp.WaitReady("main"))
	return b
}

func render(t *testing.T, b *build, o Options) []byte {
	t.Helper()
	var page bytes.Buffer
	if err := HTML(&page, b.result, o); err != nil {
		t.Fatal(err)
	}
	return page.Bytes()
}

func comparisonPage(t *testing.T, lang Language) []byte {
	t.Helper()
	all := fixtures()
	c, err := Compare([]Subject{{Name: "H100 bf16", Result: all["slots"].result, PricePerHour: number(4)}, {Name: "A100 bf16", Result: all["decode"].result, PricePerHour: number(2)}},
		CompareOptions{Language: lang, FailIfWorse: number(.05)})
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := c.HTML(&page); err != nil {
		t.Fatal(err)
	}
	return page.Bytes()
}

// allPages are all states of the page, and the other pages there are.
func allPages(t *testing.T) map[string][]byte {
	t.Helper()
	pages := map[string][]byte{"compare": comparisonPage(t, English), "compare-zh": comparisonPage(t, Chinese)}
	for name, b := range fixtures() {
		pages[name] = render(t, b, Options{Telemetry: b.telemetry(), PricePerHour: number(2.5)})
	}
	slots := slotsFixture()
	pages["slots-zh"] = render(t, slots, Options{Language: Chinese, Telemetry: slots.telemetry()})
	return pages
}

// layout lists what does not fit: text over text within a chart, text outside its
// drawing, a page wider than the window. Text of one element in several pieces
// counts once; what is hidden does not count.
const layout = `(() => {
  const bad = [];
  for (const d of document.querySelectorAll("details")) d.open = true;
  if (document.documentElement.scrollWidth > innerWidth + 1) {
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll,pre,svg"));
    bad.push("the page is " + document.documentElement.scrollWidth + " wide in " + innerWidth + ": " + wide.slice(0, 3).map((e) => e.tagName + "." + e.className).join(" "));
  }
  for (const svg of document.querySelectorAll("svg.chart")) {
    const frame = svg.closest("figure").getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((e) => ({ text: e.textContent, box: e.getBoundingClientRect() })).filter((t) => t.box.width > 0);
    texts.forEach((a, i) => {
      if (a.box.left < frame.left || a.box.right > frame.right) bad.push(svg.dataset.id + ": " + a.text + " leaves the drawing");
      for (const b of texts.slice(i + 1)) {
        const x = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
        const y = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
        if (x > 1 && y > 3) bad.push(svg.dataset.id + ": " + a.text + " lies on " + b.text);
      }
    });
  }
  return bad;
})()`

// TestPagesInBrowser opens every page: nothing is asked for, nothing complained
// about, and everything fits, on a desk and on a phone.
func TestPagesInBrowser(t *testing.T) {
	parent := browser(t)
	for name, html := range allPages(t) {
		t.Run(name, func(t *testing.T) {
			b := open(t, parent, 1280, 900, html)
			for _, width := range []int64{1280, 900, 390} {
				b.run(emulation.SetDeviceMetricsOverride(width, 900, 1, false))
				var bad []string
				b.eval(layout, &bad)
				for _, s := range bad {
					t.Errorf("at %d: %s", width, s)
				}
			}
			b.shot(name)
			b.clean()
		})
	}
}

// shot leaves screenshots where somebody wants to look at them.
func (b *tab) shot(name string) {
	if os.Getenv("REPORT_SHOTS") == "" {
		return
	}
	dark := emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}})
	for _, v := range []struct {
		suffix string
		width  int64
		action chromedp.Action
	}{{"phone", 390, nil}, {"light", 1280, nil}, {"dark", 1280, dark}} {
		b.run(emulation.SetDeviceMetricsOverride(v.width, 900, 1, false), chromedp.Reload(), chromedp.WaitReady("main"))
		if v.action != nil {
			b.run(v.action)
		}
		b.shotOnce(name + "-" + v.suffix)
	}
}

// shotOnce leaves one screenshot of the page as it stands.
func (b *tab) shotOnce(name string) {
	dir := os.Getenv("REPORT_SHOTS")
	if dir == "" {
		return
	}
	var png []byte
	b.run(chromedp.FullScreenshot(&png, 100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// TestAccessible runs axe over the pages, light and dark.
func TestAccessible(t *testing.T) {
	axe, err := os.ReadFile(filepath.Join("..", ".ci", "cache", "axe.min.js"))
	need(t, "axe-core in .ci/cache (.ci/run fetches it)", err)
	parent := browser(t)
	pages := allPages(t)
	for _, name := range []string{"slots", "queue", "compare"} {
		t.Run(name, func(t *testing.T) {
			b := open(t, parent, 1280, 900, pages[name])
			b.run(chromedp.Evaluate(string(axe), nil), chromedp.Evaluate(`for (const d of document.querySelectorAll("details")) d.open = true`, nil))
			for _, scheme := range []string{"light", "dark"} {
				b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
				var background string
				b.eval(`getComputedStyle(document.body).backgroundColor`, &background)
				if dark := background == "rgb(14, 17, 22)"; dark != (scheme == "dark") {
					t.Errorf("background %s in %s", background, scheme)
				}
				var found string
				b.eval(`axe.run({resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.map((v) => [v.id, v.help, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + n.failureSummary)])))`, &found)
				if found != "[]" {
					t.Errorf("%s: %s", scheme, found)
				}
			}
		})
	}
}

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
