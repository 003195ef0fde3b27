package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/browsertest"
)

// chromium starts one browser for all tests; TestMain stops it.
var chromium = sync.OnceValues(func() (context.Context, error) {
	ctx, stop, err := browsertest.Start()
	stopBrowser = stop
	return ctx, err
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
	browsertest.Need(t, "Chromium", err)
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
	queue := slots.telemetry() // of a server that counts nothing but its requests
	for i := range queue {
		queue[i] = analysis.TelemetryPoint{At: queue[i].At, Running: queue[i].Running, Waiting: queue[i].Waiting, KVCache: number(0)}
	}
	pages["lone"] = render(t, slots, Options{Telemetry: queue})
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
  const line = 1.6 * parseFloat(getComputedStyle(document.body).fontSize);
  for (const p of document.querySelectorAll(".subtitle .part")) {
    if (p.textContent.length < 28 && p.getBoundingClientRect().height > 1.5 * line) bad.push("broken within: " + p.textContent);
  }
  for (const c of document.querySelectorAll(".prose code")) {
    if (c.getClientRects().length > 1) bad.push("broken within: " + c.textContent);
  }
  for (const f of document.querySelectorAll("figure")) {
    if (innerWidth >= 1200 && f.getBoundingClientRect().width > 0.6 * innerWidth) bad.push("a lone chart fills the page: " + f.id);
  }
  for (const s of document.querySelectorAll(".steps .scroll")) {
    if (innerWidth >= 1200 && s.scrollWidth > s.clientWidth + 1) bad.push("the step table is " + s.scrollWidth + " wide in " + s.clientWidth);
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
			for _, width := range []int64{1280, 900, 375} {
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
	browsertest.Need(t, "axe-core in .ci/cache (.ci/run fetches it)", err)
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
