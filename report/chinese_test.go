package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// swept is the result of a real sweep of a simulated server, under fake time.
func swept(t *testing.T, name string, set func(*simserver.Config, *sweep.FindLimit)) *sweep.Result {
	t.Helper()
	w, ok := simserver.Case(name)
	if !ok {
		t.Fatalf("no worked case %q", name)
	}
	q := &sweep.FindLimit{Config: sweep.Default(), Rules: sweep.DefaultStopRules(), Band: sweep.DefaultBand()}
	w.Config.Seed = 5
	if set != nil {
		set(&w.Config, q)
	}
	var r *sweep.Result
	synctest.Test(t, func(t *testing.T) {
		doer := w.Doer()
		c := control.Controller{Generator: loadgen.NewEngine(doer), Health: doer, Config: q.Config, Seed: 5}
		var err error
		if r, err = c.Answer(context.Background(), "sweep", q); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

var (
	invisible = regexp.MustCompile(`(?s)<(script|style|code|pre)\b.*?</(script|style|code|pre)>`)
	readable  = regexp.MustCompile(`>([^<>]+)<|(?:aria-label|title)="([^"]*)"`)
	english   = regexp.MustCompile(`[A-Za-z]{3,} [a-z]{2,} [a-z]{2,}`)
)

// TestChinesePagesAreChinese renders real results and looks for sentences left in
// English. What a server said is English, and stays.
func TestChinesePagesAreChinese(t *testing.T) {
	noGain := func(_ *simserver.Config, c *sweep.FindLimit) { c.Rules.MinThroughputGain = 0 }
	restless := func(c *simserver.Config, _ *sweep.FindLimit) {
		c.Bimodal = simserver.Bimodal{Share: 0.3, Factor: 2, Dwell: 5 * time.Second}
	}
	for _, x := range []struct {
		name, kind string
		set        func(*simserver.Config, *sweep.FindLimit)
	}{{"slots", "", nil}, {"slots", "without gain", noGain}, {"slots", "unstable", restless}, {"decode", "", nil}, {"rate_limit", "", nil}, {"crash", "", nil},
		{"queue_cap", "without gain", noGain}, {"usl", "", nil}} {
		t.Run(strings.TrimSpace(x.name+" "+x.kind), func(t *testing.T) {
			r := swept(t, x.name, x.set)
			var page, md bytes.Buffer
			if err := HTML(&page, r, Options{Language: Chinese}); err != nil {
				t.Fatal(err)
			}
			if err := Markdown(&md, r, Options{Language: Chinese}); err != nil {
				t.Fatal(err)
			}
			texts := textsOf(page.String(), md.String())
			quoted := map[string]bool{}
			for i := range r.Steps {
				for _, example := range r.Steps[i].FailureExamples {
					quoted[example] = true
				}
			}
			for _, text := range texts {
				for q := range quoted {
					text = strings.ReplaceAll(strings.ReplaceAll(text, q, ""), escapeMarkdown(q), "")
				}
				if english.MatchString(text) {
					t.Errorf("left in English: %q", strings.TrimSpace(text))
				}
			}
		})
	}
}

// textsOf lists what a reader sees of a page and of its Markdown.
func textsOf(page, markdown string) []string {
	texts := strings.Split(markdown, "\n")
	for _, m := range readable.FindAllStringSubmatch(invisible.ReplaceAllString(page, ""), -1) {
		texts = append(texts, html.UnescapeString(m[1]+m[2]))
	}
	return texts
}

// TestChineseBesides looks for sentences left in English on the pages of more than
// one result, and for words of the dictionary that nobody has said in Chinese.
func TestChineseBesides(t *testing.T) {
	a, b := swept(t, "slots", nil), swept(t, "decode", nil)
	o := CompareOptions{Language: Chinese, FailIfWorse: number(.05)}
	b.Target.Model, b.StartedAt = a.Target.Model, a.StartedAt.Add(time.Hour)
	subjects := []Subject{{Name: "a", Result: a, PricePerHour: number(2)}, {Name: "b", Result: b}}
	comparison, err := Compare(subjects, o)
	if err != nil {
		t.Fatal(err)
	}
	run := nightly(3, 1, "v", 512)
	run.Result.Command = "replay"
	torn := nightly(4, 1, "v", 512)
	torn.Result.Complete = false
	for name, p := range map[string]interface {
		HTML(io.Writer) error
		Markdown(io.Writer) error
	}{"comparison": comparison, "history": mustHistory(t, o, append(subjects, run, torn)...)} {
		var page, md bytes.Buffer
		if err := errors.Join(p.HTML(&page), p.Markdown(&md)); err != nil {
			t.Fatal(err)
		}
		for _, text := range textsOf(page.String(), md.String()) {
			if english.MatchString(text) {
				t.Errorf("%s: left in English: %q", name, strings.TrimSpace(text))
			}
		}
	}
	words := regexp.MustCompile(`[a-z]{4,}`)
	han := regexp.MustCompile(`\p{Han}`)
	for key, text := range testWords(t, Chinese).text {
		plain := verb.ReplaceAllString(text, "")
		if words.MatchString(strings.NewReplacer("token", "", "capfind", "").Replace(plain)) && !han.MatchString(plain) && !strings.HasSuffix(key, ".formula") {
			t.Errorf("%s: not in Chinese: %q", key, text)
		}
	}
}

// TestSaidOnce holds that the first screen says nothing twice: the sentence below
// the figure does not repeat it, and no caveat repeats the evidence.
func TestSaidOnce(t *testing.T) {
	all := fixtures()
	for state, b := range all {
		v := newView(b.result, testWords(t, English), false)
		d := v.verdict()
		if d.Number != "" && strings.Contains(d.Sentence, "CI") {
			t.Errorf("%s: the interval is said again: %q", state, d.Sentence)
		}
		seen := map[string]bool{d.Sentence: true}
		lines := append([]string{}, d.Caveats...)
		if y := v.why(); y != nil {
			lines = append(append(append(lines, y.Cause), y.Evidence...), y.Paragraphs...)
		}
		for _, s := range lines {
			if seen[s] {
				t.Errorf("%s: %q is said twice", state, s)
			}
			seen[s] = true
		}
	}
	slots := newView(all["slots"].result, testWords(t, English), false).verdict().Sentence
	if want := "Up to 64, more requests at once bring more throughput; beyond, doubling their number brings less than 20 % more."; slots != want {
		t.Errorf("slots: %q", slots)
	}
	// A quick ladder's leap is asked for more than a doubling: what is said is said of a doubling.
	leapt := *all["slots"].result
	leapt.Config = map[string]any{"stop": map[string]any{"min_throughput_gain": 0.2}}
	leapt.Steps = append(slices.Clone(leapt.Steps), analysis.Step{Concurrency: 100, Breaches: []analysis.Stop{{Rule: "throughput_gain", Threshold: loadgen.Known(0.53)}}})
	slices.Reverse(leapt.Steps)
	if got := newView(&leapt, testWords(t, English), false).threshold("throughput_gain"); got.Or(0) != 0.2 {
		t.Errorf("after a leap a gain of %v", got)
	}
	crash := all["crash"].result
	crash.Crashes = []sweep.Crash{{Concurrency: 140, Sentence: "the server died"}, {Concurrency: 140, Sentence: "the server died"}}
	crash.Warnings = []string{"the server died, and was back after 2 s"}
	if y := newView(crash, testWords(t, English), false).why(); strings.Contains(strings.Join(y.Paragraphs, " "), "died") {
		t.Errorf("what stands among the caveats stands here too: %q", y.Paragraphs)
	}
}

// TestUnstableIsShort holds that doubts about a restless server are listed by kind
// and do not fill the first screen.
func TestUnstableIsShort(t *testing.T) {
	r := swept(t, "slots", nil)
	change := "the server became slower about %d s after the start: at 20 requests in flight the mean response time was 2100 ms before and 3000 ms after (+42.9 %%); the limit is that since then"
	r.Verdict, r.Limit = sweep.Unstable, nil
	for i := range 6 {
		r.Search.Doubts = append(r.Search.Doubts, fmt.Sprintf(change, 100*i))
	}
	d := newView(r, testWords(t, English), false).verdict()
	if len(d.Sentence) > 150 {
		t.Errorf("the sentence: %q", d.Sentence)
	}
	if n := len(r.Search.Doubts) + len(r.Warnings); len(d.Caveats) == 0 || len(d.Caveats) > n {
		t.Errorf("%d caveats of %d doubts and warnings", len(d.Caveats), n)
	}
	for _, c := range d.Caveats {
		if !strings.HasSuffix(c, ".") || c[:1] != strings.ToUpper(c[:1]) {
			t.Errorf("not a sentence: %q", c)
		}
	}
}
