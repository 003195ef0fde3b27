package live

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/capfind/capfind/internal/browsertest"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep/control"
)

// chromium is a browser for one test, which is skipped without one, except in CI.
func chromium(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes long to start")
	}
	ctx, stop, err := browsertest.Start()
	t.Cleanup(func() { stop() })
	browsertest.Need(t, "Chromium", err)
	ctx, end := context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(end)
	return ctx
}

// In a real browser, on a phone's width, the page follows the steps, becomes the report, and
// holds it when the server is gone.
func TestPageInBrowser(t *testing.T) {
	ctx := chromium(t)
	s := started(t, "127.0.0.1:0")
	run := func(actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(expression string) {
		t.Helper()
		ok := false
		for end := time.Now().Add(8 * time.Second); !ok; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				var charts string
				run(chromedp.InnerHTML("#charts", &charts))
				t.Fatalf("the page never came to: %s; its charts: %s", expression, charts)
			}
			run(chromedp.Evaluate(expression, &ok))
		}
	}
	p := &loadgen.Progress{}
	p.InFlight.Store(7)
	s.StepStarted(control.StepPlan{Concurrency: 8, NumPrompts: 10, Progress: p})
	run(chromedp.EmulateViewport(390, 844), chromedp.Navigate(s.URL()))
	shows(`document.getElementById("now").textContent === "measuring 8 requests in flight"`)
	shows(`document.getElementById("in_flight").textContent === "7"`)
	s.StepDone(step(8, false))
	shows(`document.getElementById("bracket-text").textContent === "above 8"`)
	s.StepDone(step(16, true))
	shows(`document.getElementById("bracket-text").textContent === "between 8 and 16"`)
	shows(`document.querySelectorAll("#charts svg.chart").length === 2`)
	shows(`document.getElementById("events").textContent.includes("16 requests in flight: too slow")`)
	shows(`document.documentElement.scrollWidth <= innerWidth`)
	s.Notice(`<img src=x onerror="document.title='broken'">`)
	shows(`document.getElementById("events").textContent.includes("<img")`)
	s.Finish([]byte("<!doctype html><title>report</title><p id=verdict>90"), "over")
	s.Close()
	var text string
	run(chromedp.Text("#verdict", &text))
	if strings.TrimSpace(text) != "90" {
		t.Errorf("the page at the end: %q", text)
	}
}
