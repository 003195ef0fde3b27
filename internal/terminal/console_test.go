package terminal

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// Reading a data set is not shown at first, then with what is left of it.
func TestReadingIsShown(t *testing.T) {
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name  string
		quiet bool
		want  string
	}{
		{"shown", false, "  reading big.jsonl: 300 MB of 1.2 GB, about 9 s left\n  reading big.jsonl: 1.2 GB of 1.2 GB\n"},
		{"quiet", true, ""},
	} {
		var out bytes.Buffer
		c := New(&out, tt.quiet, "sweep")
		c.now = func() time.Time { return now }
		read := c.Reading("big.jsonl")
		for _, at := range []struct {
			after time.Duration
			bytes int64
		}{{time.Second, 1e8}, {2 * time.Second, 3e8}, {time.Second, 4e8}, {9 * time.Second, 1.2e9}} {
			now = now.Add(at.after)
			read(at.bytes, 1.2e9)
		}
		if got := out.String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What takes a while is named after a while, and never once it is over.
func TestDuring(t *testing.T) {
	for _, tt := range []struct {
		takes time.Duration
		quiet bool
		want  string
	}{{time.Second, false, ""}, {3 * time.Second, false, "  rendering x\n"}, {3 * time.Second, true, ""}} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			failed := errors.New("failed")
			c := New(&out, tt.quiet, "sweep")
			err := c.During("rendering x", func() error { time.Sleep(tt.takes); return failed })
			time.Sleep(time.Minute)
			if out.String() != tt.want || err != failed {
				t.Errorf("after %v: %q, want %q (%v)", tt.takes, out.String(), tt.want, err)
			}
		})
	}
}

// Once all is done nothing runs at any rate, and nothing is left.
func TestProgressLine(t *testing.T) {
	p := &loadgen.Progress{}
	plan := control.StepPlan{Concurrency: 8, NumPrompts: 80, Progress: p}
	line := func() string { return byConcurrency.progressLine(plan, 4*time.Second) }
	p.Sent.Store(60)
	p.InFlight.Store(20)
	p.Succeeded.Store(40)
	if got, want := line(), "8             40/80 done, 20 in flight, 10.00 req/s, 0 tok/s, about 4 s left, 4 s so far"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.Sent.Store(80)
	p.InFlight.Store(0)
	p.Succeeded.Store(80)
	if got, want := line(), "8             80/80 done, 0 in flight, working it out"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFitCutsAtCommas(t *testing.T) {
	const line = "8  3/80 done, 8 in flight, 14.92 req/s"
	for columns, want := range map[int]string{
		100: line, len(line) + 1: line, len(line): "8  3/80 done, 8 in flight", 20: "8  3/80 done", 8: "8  3/80", 1: "",
	} {
		if got := fit(line, columns); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for v, want := range map[float64]string{
		0.00042: "0.42 ms", 0.000997: "1.0 ms", 0.001003: "1.0 ms", 0.0207: "20.7 ms", 0.09996: "100 ms", 1.2: "1200 ms", 9.9997: "10.0 s", 12.34: "12.3 s",
	} {
		if got := Seconds(loadgen.Known(v)); got != want {
			t.Errorf("%v s is written %q, want %q", v, got, want)
		}
	}
}

// A gain of nothing has no sign, and a narrow terminal gets the columns that the
// guide prints; anything else gets them all.
func TestStepTable(t *testing.T) {
	step := func(n int, rate float64) analysis.Step {
		s := analysis.Step{Concurrency: n, Phase: analysis.PhaseLadder, VerdictBasis: analysis.BasisWhole}
		s.Whole.RequestThroughput, s.Whole.SuccessRate, s.Whole.Completed = loadgen.Known(rate), loadgen.Known(1), 10*n
		return s
	}
	steps := []analysis.Step{step(20, 21.77), step(50, 21.7699)}
	whole := byConcurrency.stepTable(steps, unlimited)
	if strings.Contains(whole, "-0 %") || !strings.Contains(whole, " +0 %") || !strings.Contains(whole, "p95 TTFT") {
		t.Errorf("whole table:\n%s", whole)
	}
	// An answer in one piece has a response time, and no first token.
	embedding := step(20, 21.77)
	embedding.Whole.E2E = analysis.Describe(slices.Repeat([]float64{0.25}, 60))
	if got := byConcurrency.stepTable([]analysis.Step{embedding}, unlimited); strings.Count(got, "E2E 250 ms") != 2 {
		t.Errorf("not streamed:\n%s", got)
	}
	longest := 0
	for line := range strings.Lines(whole) {
		longest = max(longest, len(strings.TrimRight(line, "\n")))
	}
	if got := byConcurrency.stepTable(steps, longest+1); got != whole {
		t.Errorf("a table of %d columns was cut for %d:\n%s", longest, longest+1, got)
	}
	for _, columns := range []int{longest, 60} {
		got := byConcurrency.stepTable(steps, columns)
		for line := range strings.Lines(got) {
			if len(line) > columns {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
		if strings.Contains(got, "p95") || !strings.Contains(got, "mean TTFT") {
			t.Errorf("narrow table:\n%s", got)
		}
	}
}

// A run that did not come to its end says how to go on, whatever it has.
func TestUnfinishedAnswer(t *testing.T) {
	for steps, want := range map[int]string{0: "ended before the first step was finished", 1: "after one step", 3: "after 3 steps"} {
		r := &sweep.Result{Command: "sweep", Answer: sweep.Answer{Verdict: sweep.Interrupted, Steps: make([]analysis.Step, steps)}}
		text := answerText(r, style{}, 60, "results/x")
		for _, want := range []string{want, "Go on with  capfind sweep --resume results/x\n", "Report      results/x/report.html\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%d steps: %q is not in\n%s", steps, want, text)
			}
		}
	}
	low := &analysis.Recommendation{Low: loadgen.Known(1), High: loadgen.Known(1)}
	if text := answerText(&sweep.Result{Command: "sweep", Answer: sweep.Answer{Recommendation: low}}, style{}, 60, "d"); strings.Contains(text, "Production") {
		t.Errorf("a ladder that was cut short recommends:\n%s", text)
	}
	if text := answerText(&sweep.Result{Command: "sweep", Answer: sweep.Answer{Recommendation: low}, Complete: true}, style{}, 60, "d"); !strings.Contains(text, "set it to 1 request in flight\n") {
		t.Errorf("one request:\n%s", text)
	}
	if text := answerText(&sweep.Result{Command: "sweep", Complete: true}, style{}, 60, "results/x"); strings.Contains(text, "--resume") {
		t.Errorf("a complete run goes on:\n%s", text)
	}
}

// What fails at any load is not cured by less of it, and nobody is told to go below
// one request at a time.
func TestNextAfterTheFirstStep(t *testing.T) {
	step := func(concurrency int, failures map[loadgen.Class]int) analysis.Step {
		return analysis.Step{Concurrency: concurrency, Failures: failures, FailureExamples: map[loadgen.Class]string{loadgen.HTTP4xx: "HTTP 400: no such field"}}
	}
	for _, tt := range []struct {
		command    string
		step       analysis.Step
		want, miss string
	}{
		{"sweep", step(10, nil), "begin with fewer requests", "any load"},
		{"sweep", step(10, map[loadgen.Class]int{loadgen.HTTP429: 5, loadgen.HTTP4xx: 2}), "begin with fewer requests", "any load"},
		{"sweep", step(10, map[loadgen.Class]int{loadgen.HTTP429: 2, loadgen.HTTP4xx: 5}), "http_4xx fails at any load, so change what is sent and not how much: HTTP 400: no such field", "fewer"},
		{"sweep", step(1, nil), "one request at a time is too much", "fewer"},
		{"rate", step(4096, nil), "begin with lower rates (--rates)", "fewer"},
	} {
		r := &sweep.Result{Command: tt.command, Complete: true, Answer: sweep.Answer{Verdict: sweep.FailedAtFirstStep, Steps: []analysis.Step{tt.step}}}
		if got := next(r); !strings.Contains(got, tt.want) || strings.Contains(got, tt.miss) {
			t.Errorf("%s at %d, %v: %q", tt.command, tt.step.Concurrency, tt.step.Failures, got)
		}
	}
}

// A verdict that is no answer yet says what to do; one that is does not.
func TestNextStep(t *testing.T) {
	for _, tt := range []struct {
		command string
		verdict sweep.Verdict
		want    string
	}{
		{"sweep", sweep.ClientLimited, "capfind selftest"},
		{"sweep", sweep.Unstable, "measure again"},
		{"sweep", sweep.FailedAtFirstStep, "--concurrency"},
		{"sweep", sweep.NotReached, "--concurrency"},
		{"rate", sweep.NotReached, "--rates"},
		{"replay", sweep.NotReached, "busier recording"},
		{"replay", sweep.FailedAtFirstStep, "a few of the recorded requests"},
		{"sweep", sweep.LimitFound, ""},
		{"run", sweep.NotMet, ""},
	} {
		text := answerText(&sweep.Result{Command: tt.command, Answer: sweep.Answer{Verdict: tt.verdict}, Complete: true}, style{}, 100, "d")
		if tt.want == "" && strings.Contains(text, "Next ") || !strings.Contains(text, tt.want) {
			t.Errorf("%s, %s: %q is not in\n%s", tt.command, tt.verdict, tt.want, text)
		}
	}
}
