package live

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/browsertest"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
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

// viewer is a page in a real browser.
type viewer struct {
	t   *testing.T
	ctx context.Context
}

// run fails, and does not hang, where the browser does not answer.
func (v viewer) run(actions ...chromedp.Action) {
	v.t.Helper()
	done := make(chan error, 1)
	go func() { done <- chromedp.Run(v.ctx, actions...) }()
	select {
	case err := <-done:
		if err != nil {
			v.t.Fatal(err)
		}
	case <-time.After(15 * time.Second):
		v.t.Fatalf("the browser has not done in 15 s: %v", actions)
	}
}

// shows waits until something is true of the page.
func (v viewer) shows(expression string) {
	v.t.Helper()
	ok := false
	for end := time.Now().Add(6 * time.Second); !ok; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			var text string
			v.run(chromedp.Evaluate(`document.body.innerText`, &text))
			v.t.Fatalf("the page never came to: %s\n%s", expression, text)
		}
		v.run(chromedp.Evaluate(expression, &ok))
	}
}

// fits holds that nothing reaches beyond a width, but inside what scrolls by itself.
// The page's own word for its width is no help: it grows with what does not fit.
func (v viewer) fits(width int) {
	v.t.Helper()
	var wide []string
	v.run(chromedp.Evaluate(fmt.Sprintf(`[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll,svg,.skip") && e.getBoundingClientRect().right > %d + 1).map(e => e.tagName + "#" + e.id)`, width), &wide))
	if len(wide) > 0 {
		v.t.Errorf("wider than %d: %v", width, wide)
	}
}

func measuring(s *Server, concurrency int) {
	p := &loadgen.Progress{}
	p.InFlight.Store(7)
	s.StepStarted(control.StepPlan{Concurrency: concurrency, NumPrompts: 10, Progress: p, IfHeld: &sweep.Order{Concurrency: 2 * concurrency},
		Workers: func() []control.Worker {
			return []control.Worker{{Name: "load-1", Share: 4, InFlight: 4}, {Name: "load-2", Share: 4, InFlight: 3, Trouble: "not heard of for 5s"}}
		}})
}

// In a real browser, on a phone's width, the page follows the steps, survives a reload,
// becomes the report, and holds it when the server is gone.
func TestPageInBrowser(t *testing.T) {
	v := viewer{t, chromium(t)}
	s := started(t, Config{})
	measuring(s, 8)
	v.run(chromedp.EmulateViewport(390, 844), chromedp.Navigate(s.URL()))
	v.shows(`document.getElementById("now").textContent === "measuring 8 requests in flight"`)
	v.shows(`document.getElementById("bracket-text").textContent === "not known yet" && document.getElementById("inside").hidden`)
	v.shows(`document.getElementById("next").textContent === "next, if it holds: 16 requests in flight"`)
	v.shows(`document.getElementById("in_flight").textContent === "7"`)
	v.shows(`[...document.querySelectorAll("#worker-rows td")].map(e => e.textContent).join() === "load-1,4,4,well,load-2,4,3,not heard of for 5s"`)
	v.fits(390)
	s.StepDone(step(8, false))
	v.shows(`document.getElementById("bracket-text").textContent === "above 8"`)
	s.StepDone(step(16, true))
	v.shows(`document.getElementById("bracket-text").textContent === "between 8 and 16"`)
	v.shows(`document.querySelectorAll("#charts svg.chart").length === 2`)
	v.shows(`document.getElementById("events").textContent.includes("16 requests in flight: too slow")`)
	s.Notice(`<img src=x onerror="document.title='broken'">`)
	v.shows(`document.getElementById("events").textContent.includes("<img")`)
	v.fits(390)
	v.run(chromedp.Reload())
	v.shows(`document.getElementById("bracket-text").textContent === "between 8 and 16" && document.querySelectorAll("#charts svg.chart").length === 2`)
	s.Finish([]byte("<!doctype html><title>report</title><p id=verdict>90"), "over")
	s.Close()
	v.shows(`document.getElementById("verdict")?.textContent === "90"`)
}

// Where there is no report the page says how it ended, and goes on saying so.
func TestPageWithoutReport(t *testing.T) {
	v := viewer{t, chromium(t)}
	s := started(t, Config{})
	v.run(chromedp.Navigate(s.URL()))
	v.shows(`document.getElementById("now").textContent === "preparing"`)
	s.Finish(nil, "the measurement ended: no server there")
	s.Close()
	v.shows(`document.getElementById("now").textContent === "the measurement ended: no server there"`)
	v.shows(`document.getElementById("link").textContent.startsWith("Over after")`)
}

// All of it is reached by Tab, shows where it is, and keeps what was unfolded and the
// focus when new curves come. In the dark it is dark.
func TestPageByKeyboard(t *testing.T) {
	v := viewer{t, chromium(t)}
	s := started(t, Config{})
	s.StepDone(step(8, false))
	s.StepDone(step(16, false))
	v.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}), chromedp.Navigate(s.URL()))
	v.shows(`document.querySelectorAll("#charts svg.chart").length === 2`)
	v.shows(`getComputedStyle(document.body).backgroundColor === "rgb(14, 17, 22)"`)
	var stops []string
	for range 4 {
		var at string
		v.run(chromedp.KeyEvent(kb.Tab), chromedp.Evaluate(`(() => { const e = document.activeElement, o = getComputedStyle(e);
			return (e.id || e.className || e.tagName) + (o.outlineStyle === "none" || o.outlineWidth === "0px" ? " unseen" : ""); })()`, &at))
		stops = append(stops, at)
		if at == "SUMMARY" && len(stops) == 2 {
			v.run(chromedp.KeyEvent(kb.Enter))
			v.shows(`document.querySelector("#charts details").open`)
			s.StepDone(step(32, false))
			v.shows(`document.getElementById("charts").textContent.includes("32")`)
			v.shows(`document.querySelector("#charts details").open && document.activeElement === document.querySelector("#charts summary")`)
			v.run(chromedp.KeyEvent(" "))
			v.shows(`!document.querySelector("#charts details").open`)
		}
	}
	if got := strings.Join(stops, ", "); got != "skip, SUMMARY, SUMMARY, events" {
		t.Errorf("Tab leads to %s", got)
	}
}

// known are the words that are no English on a Chinese page.
var known = regexp.MustCompile(`\b(TTFT|TPOT|token|req|mean|p50|min|demo)\b`)

// The Chinese page has nothing left in English.
func TestPageInChinese(t *testing.T) {
	v := viewer{t, chromium(t)}
	s := started(t, Config{Language: report.Chinese})
	v.run(chromedp.Navigate(s.URL()))
	s.Notice("the server answers again")
	s.Notice("stopping: nothing more is sent, what is in flight may finish; once more ends at once")
	s.Notice("success rate 90 % (9 of 10 requests) is below 95 % at 8 requests in flight; running the step once more")
	s.StepDone(step(8, false))
	bad := step(16, true)
	bad.Stop.Sentence = "mean TTFT 1.2 s is above 1 s at 16 requests in flight"
	s.StepDone(bad)
	s.Expect(loadgen.Known(1000))
	for _, p := range []analysis.Phase{analysis.PhaseLadder, analysis.PhaseProbe, analysis.PhaseConfirm, analysis.PhasePoint} {
		for attempt := range 2 {
			s.StepStarted(control.StepPlan{Concurrency: 12, Phase: p, NumPrompts: 10, Progress: &loadgen.Progress{}, Attempt: attempt + 1})
			s.Notice(s.now)
			s.Notice(s.next)
		}
	}
	s.StepStarted(control.StepPlan{Concurrency: 12, RequestRate: loadgen.Known(3), NumPrompts: 10, Progress: &loadgen.Progress{}, IfHeld: &sweep.Order{Rate: 4},
		Workers: func() []control.Worker { return []control.Worker{{Name: "w", Share: 12}} }})
	v.shows(`document.querySelectorAll("#charts svg.chart").length === 2 && !document.getElementById("workers").hidden`)
	v.shows(`document.documentElement.lang === "zh"`)
	var texts []string
	v.run(chromedp.Evaluate(`[document.body.textContent.replace(/"use strict"[^]*/, ""), ...[...document.querySelectorAll("[aria-label],[title]")].map(e => (e.getAttribute("aria-label") || "") + " " + (e.getAttribute("title") || ""))]`, &texts))
	for _, text := range texts {
		if left := regexp.MustCompile(`[A-Za-z]{3,}`).FindAllString(known.ReplaceAllString(text, ""), -1); len(left) > 0 {
			t.Errorf("left in English: %v in %q", left, text)
		}
	}
}
