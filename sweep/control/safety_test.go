package control_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted counts what reaches a generator.
type counted struct {
	control.Generator
	runs     []loadgen.Load
	requests int
	tokens   int
	last     time.Time
}

func (c *counted) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	c.runs = append(c.runs, l)
	run, err := c.Generator.Run(ctx, l)
	for _, s := range run.Samples {
		if s.WasSent {
			c.requests++
			c.tokens += s.PromptTokens + s.OutputTokens
		}
	}
	c.last = time.Now()
	return run, err
}

// watched runs a sweep of a worked case under fake time and returns what was
// sent and heard beside the result.
func watched(t *testing.T, w simserver.Worked, set func(context.Context, *asking)) (r *sweep.Result, sent *counted, heard *ears) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c := against(w, 1)
		sent, heard = &counted{Generator: c.Generator}, &ears{}
		c.Generator, c.Observer = sent, heard
		set(ctx, c)
		var err error
		if r, err = c.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	})
	return r, sent, heard
}

func TestBudgetsAreKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		budget sweep.Budget
		within func(*counted, *sweep.Result) bool
	}{
		{"requests", sweep.Budget{MaxRequests: 400}, func(s *counted, _ *sweep.Result) bool { return s.requests <= 400 }},
		{"tokens", sweep.Budget{MaxTokens: 200_000}, func(s *counted, _ *sweep.Result) bool { return s.tokens <= 200_000 }},
		// The last answers run to their end after the last request was sent.
		{"time", sweep.Budget{MaxDuration: 90 * time.Second}, func(_ *counted, r *sweep.Result) bool { return r.Spent.Seconds <= 90+3 }},
		{"requests, in the middle of the search", sweep.Budget{MaxRequests: 3200}, func(s *counted, r *sweep.Result) bool { return s.requests <= 3200 && r.Search != nil }},
		// After 10 + 20 + 50 + 100 there is room for 200 requests, and not for as many conversations.
		{"requests, of conversations", sweep.Budget{MaxRequests: 400}, func(s *counted, _ *sweep.Result) bool { return s.requests == 180 }},
	} {
		r, sent, _ := watched(t, worked(t, "slots"), func(_ context.Context, ctl *asking) {
			ctl.Config.Budget = c.budget
			if strings.Contains(c.name, "conversations") {
				ctl.Workload.Turns = 3
			}
		})
		if !c.within(sent, r) {
			t.Errorf("%s: %d requests, %d tokens, %.0f s for a budget of %+v", c.name, sent.requests, sent.tokens, r.Spent.Seconds, c.budget)
		}
		if len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "budget") {
			t.Errorf("%s: no warning that the budget ended it: %q", c.name, r.Warnings)
		}
		if r.Spent.Requests != sent.requests || !r.Complete {
			t.Errorf("%s: spent %d requests by the result, %d by count; complete %v", c.name, r.Spent.Requests, sent.requests, r.Complete)
		}
	}
}

func TestDrainGivesAPartialResult(t *testing.T) {
	r, sent, _ := watched(t, worked(t, "slots"), func(_ context.Context, c *asking) {
		drain := make(chan struct{})
		c.Drain = drain
		time.AfterFunc(115*time.Second, func() { close(drain) }) // while 50 are in flight
	})
	if r.Complete || r.Verdict != sweep.Interrupted || r.Ladder.LastGood.Or(0) != 20 || len(r.Steps) != 5 {
		t.Errorf("complete %v, verdict %s, last good %v, %d steps: %s", r.Complete, r.Verdict, r.Ladder.LastGood, len(r.Steps), r.Sentence)
	}
	if last := sent.runs[len(sent.runs)-1]; last.Concurrency != 50 {
		t.Errorf("the load went on to %d in flight", last.Concurrency)
	}
}

func TestCancelEndsAtOnce(t *testing.T) {
	var began, ended time.Time
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		c := against(worked(t, "slots"), 1)
		time.AfterFunc(100*time.Second, func() { began = time.Now(); cancel() })
		r, err := c.Sweep(ctx)
		ended = time.Now()
		if err != nil || r.Complete || r.Verdict != sweep.Interrupted {
			t.Errorf("error %v, complete %v, verdict %s", err, r.Complete, r.Verdict)
		}
	})
	if d := ended.Sub(began); d > time.Second {
		t.Errorf("it took %v to end", d)
	}
}

func TestDeadServerIsLeftAlone(t *testing.T) {
	w := worked(t, "crash")
	w.Config.RestartAfter = 0 // never
	r, sent, heard := watched(t, w, func(_ context.Context, c *asking) {})
	if last := sent.runs[len(sent.runs)-1]; last.Concurrency != 200 {
		t.Errorf("a run of %d in flight after the server died at 200", last.Concurrency)
	}
	if len(r.Crashes) != 1 || r.Crashes[0].RecoveredSeconds.IsKnown() || r.Crashes[0].InFlight.Or(0) != 137 {
		t.Errorf("crashes %+v, want one with 137 in flight, not recovered", r.Crashes)
	}
	// It may have died of anything: nothing above 100 is known, and it can be gone on with.
	if r.Verdict != sweep.Interrupted || r.Complete || r.Limit != nil || r.Ladder.LastGood.Or(0) != 100 || !strings.Contains(r.Sentence, "at 200 the server died") {
		t.Errorf("verdict %s, limit %v: %s; want nothing above 100", r.Verdict, r.Limit, r.Sentence)
	}
	if text := strings.Join(heard.notices, "\n"); !strings.Contains(text, "waiting up to") {
		t.Errorf("nobody was told of the wait: %s", text)
	}
}

func TestFailingStepIsSpared(t *testing.T) {
	r, sent, heard := watched(t, worked(t, "rate_limit"), func(_ context.Context, c *asking) { c.Config.Exact = false })
	bad := r.Steps[len(r.Steps)-1]
	if bad.Abandoned == "" || bad.Runs != 2 {
		t.Errorf("runs %d, abandoned %q: want a second run and a reason", bad.Runs, bad.Abandoned)
	}
	if n := bad.Whole.Completed + bad.Whole.Failed; n > 200 {
		t.Errorf("%d requests were spent on a lost step of 500", n)
	}
	if len(heard.plans) != 7 || heard.plans[6].Attempt != 2 {
		t.Errorf("plans heard: %+v", heard.plans)
	}
	_ = sent
}

// outage is a generator in front of a server that goes away for a while.
type outage struct {
	control.Generator
	from, to time.Time
}

func (o *outage) away() bool { now := time.Now(); return now.After(o.from) && now.Before(o.to) }

func (o *outage) Ready(context.Context) error {
	if o.away() {
		return errors.New("connection refused")
	}
	return nil
}

func (o *outage) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	if !o.away() {
		return o.Generator.Run(ctx, l)
	}
	run := loadgen.Run{Load: l, Started: time.Now(), End: loadgen.EndComplete}
	for i := range l.Concurrency {
		s := loadgen.Sample{Index: i, PromptIndex: l.FirstPrompt + i, End: time.Millisecond, Class: loadgen.ConnectionRefused, Message: "connection refused"}
		run.Samples = append(run.Samples, s)
		if l.OnSample(&s) {
			run.End = loadgen.EndStopped
			break
		}
	}
	time.Sleep(time.Millisecond)
	return run, nil
}

func TestServerThatIsGoneForAMinute(t *testing.T) {
	r, _, heard := watched(t, worked(t, "slots"), func(_ context.Context, c *asking) {
		o := &outage{Generator: c.Generator, from: time.Now().Add(50 * time.Second), to: time.Now().Add(110 * time.Second)}
		c.Generator, c.Health = o, o
	})
	if r.Verdict != sweep.LimitFound || r.Limit.Concurrency.Or(0) != 64 {
		t.Errorf("verdict %s: %s; want the limit as without the outage", r.Verdict, r.Sentence)
	}
	if len(r.Crashes) != 1 || r.Crashes[0].RecoveredSeconds.Or(0) < 20 {
		t.Errorf("crashes %+v; heard %q", r.Crashes, heard.notices)
	}
}

func TestAnswersThatAreNotStreamed(t *testing.T) {
	e := &plainAnswers{}
	bubble(t, func(t *testing.T) {
		c := against(worked(t, "slots"), 1)
		e.Generator = c.Generator
		c.Generator, c.Config.Exact = e, false
		c.Stop.MaxTTFT = 3 * time.Second
		r, err := c.Sweep(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if r.Ladder.StoppedBy != sweep.RuleTTFT || !strings.Contains(r.Ladder.Sentence, "NOT STREAMED") || len(r.Warnings) == 0 {
			t.Errorf("stopped by %s: %s; warnings %q", r.Ladder.StoppedBy, r.Ladder.Sentence, r.Warnings)
		}
	})
}

// plainAnswers turns streams into answers in one piece.
type plainAnswers struct{ control.Generator }

func (p *plainAnswers) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	run, err := p.Generator.Run(ctx, l)
	for i := range run.Samples {
		run.Samples[i].Streamed = false
	}
	return run, err
}

func TestClientLimitIsNotTheServers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := against(worked(t, "slots"), 1)
		c.Generator = &busyClient{c.Generator}
		r, err := c.Sweep(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != sweep.ClientLimited || r.Limit != nil || r.Recommendation != nil {
			t.Errorf("verdict %s, limit %v: %s", r.Verdict, r.Limit, r.Sentence)
		}
	})
}

// busyClient is a client machine that is at its limit from 100 in flight on.
type busyClient struct{ control.Generator }

func (b *busyClient) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	run, err := b.Generator.Run(ctx, l)
	if l.Concurrency >= 100 {
		run.Health.CPUShare = loadgen.Known(0.97)
	}
	return run, err
}

func TestFirstStepThatFails(t *testing.T) {
	r := answerOf(t, worked(t, "slots"), 1, func(c *asking) { c.Stop.MaxTTFT = 50 * time.Millisecond })
	if r.Verdict != sweep.FailedAtFirstStep || r.Limit != nil || !strings.Contains(r.Sentence, "mean TTFT 100 ms is above 50 ms") {
		t.Errorf("verdict %s: %s", r.Verdict, r.Sentence)
	}
}

func TestLimitThatIsNotReached(t *testing.T) {
	r := answerOf(t, worked(t, "slots"), 1, func(c *asking) { c.Config.Concurrency = sweep.Steps{1, 2, 5, 10, 20, 50} })
	if r.Verdict != sweep.NotReached || r.Limit != nil || r.Recommendation == nil || !strings.Contains(r.Sentence, "no limit up to 50") {
		t.Errorf("verdict %s: %s", r.Verdict, r.Sentence)
	}
}

func TestFurtherRequirementHasALimitOfItsOwn(t *testing.T) {
	r := answerOf(t, worked(t, "decode"), 1, func(c *asking) {
		c.Stop.MinThroughputGain = 0
		c.Config.Concurrency = sweep.Steps{1, 2, 5, 10, 20, 50, 100, 200}
		c.Stop.SLO = []sweep.SLO{{Name: "pace", Metric: "tpot", Max: 30 * time.Millisecond}}
	})
	// 8 ms + 0.2 ms N reaches 30 ms at N = 110.
	l := r.Limits["pace"]
	if r.Verdict != sweep.LimitFound || r.Limit.BoundBy != "pace" || l.Concurrency.Or(0) < 109 || l.Concurrency.Or(0) > 111 {
		t.Errorf("verdict %s: %s; want pace at 110", r.Verdict, r.Sentence)
	}
}

func TestTelemetryStopsTheLadder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := against(worked(t, "slots"), 1)
		full := &fullCache{}
		c.Telemetry = full
		c.Observer = full
		c.Config.Exact = false
		r, err := c.Sweep(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if r.Ladder.StoppedBy != sweep.RuleResources || r.Ladder.FirstBad.Or(0) != 20 || !strings.Contains(r.Ladder.Sentence, "KV cache usage 99 % has reached 95 % with 4 preemptions") {
			t.Errorf("stopped by %s at %v: %s", r.Ladder.StoppedBy, r.Ladder.FirstBad, r.Ladder.Sentence)
		}
		if !slices.Equal(full.begun, full.planned) {
			t.Errorf("heard of loads that began at %v, want each of %v once", full.begun, full.planned)
		}
	})
}

// fullCache is telemetry of a server whose cache is full from 20 in flight on.
type fullCache struct {
	ears
	at             int
	planned, begun []int // concurrencies of the runs
}

func (f *fullCache) StepStarted(p control.StepPlan) {
	f.at = p.Concurrency
	f.planned = append(f.planned, f.at)
}

func (f *fullCache) Begin() { f.begun = append(f.begun, f.at) }

func (f *fullCache) Window(from, to time.Time) (analysis.Telemetry, bool) {
	t := analysis.Telemetry{KVCacheMax: loadgen.Known(0.3), Preemptions: loadgen.Known(0)}
	if f.at >= 20 {
		t.KVCacheMax, t.Preemptions = loadgen.Known(0.99), loadgen.Known(4)
	}
	return t, to.After(from)
}

// scripted answers at once; the prompts in fails are refused.
type scripted struct{ fails map[int]bool }

func (g *scripted) Run(_ context.Context, l loadgen.Load) (loadgen.Run, error) {
	run := loadgen.Run{Load: l, Started: time.Now(), End: loadgen.EndComplete}
	for i := range l.Requests {
		sent := time.Duration(i/l.Concurrency) * time.Second
		s := loadgen.Sample{
			Index: i, PromptIndex: l.FirstPrompt + i, Conversation: -1, Ready: sent, Intended: sent, Sent: sent, End: sent + time.Second,
			FirstOutput: sent + 100*time.Millisecond, LastOutput: sent + time.Second, OutputEvents: 10, OutputTokens: 10, Streamed: true, WasSent: true,
		}
		if g.fails[s.PromptIndex] {
			s.Class, s.Status, s.OutputEvents = loadgen.HTTP5xx, 500, 0
		}
		run.Samples = append(run.Samples, s)
		run.Elapsed = s.End
		if l.OnSample(&s) {
			run.End = loadgen.EndStopped
			break
		}
	}
	time.Sleep(run.Elapsed)
	return run, nil
}

// One failure in twenty requests is 95 %, wherever among them it comes: the first
// run is cut short by it, and the second makes up for what was not sent.
func TestRepeatMakesUpForWhatWasCutShort(t *testing.T) {
	for _, c := range []struct {
		fails   map[int]bool
		verdict sweep.Verdict
	}{
		{map[int]bool{0: true}, sweep.NotReached},
		{map[int]bool{4: true}, sweep.NotReached},
		{map[int]bool{4: true, 20: true}, sweep.FailedAtFirstStep},
	} {
		bubble(t, func(t *testing.T) {
			ctl := &asking{Controller: control.Controller{Generator: &scripted{c.fails}, Config: sweep.Default()}, Stop: sweep.DefaultStopRules(), Band: sweep.DefaultBand()}
			ctl.Config.Concurrency, ctl.Config.Exact = sweep.Steps{1}, false
			r, err := ctl.Sweep(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			whole := r.Steps[0].Whole
			if r.Verdict != c.verdict || r.Steps[0].Runs != 2 || c.verdict == sweep.NotReached && whole.Completed+whole.Failed != 20 {
				t.Errorf("failures at %v: verdict %s after %d and %d; %s", c.fails, r.Verdict, whole.Completed, whole.Failed, r.Sentence)
			}
		})
	}
}

func TestTokensAreCountedAsTheyCome(t *testing.T) {
	_, sent, _ := watched(t, worked(t, "slots"), func(_ context.Context, c *asking) {
		c.Workload = sweep.Workload{} // lengths unknown beforehand
		c.Config.Budget.MaxTokens = 3000
	})
	if sent.tokens > 3000+613 {
		t.Errorf("%d tokens for a budget of 3000 and requests of 613", sent.tokens)
	}
}

func TestServerThatChangesForGood(t *testing.T) {
	w := worked(t, "slots")
	// The ladder ends after some 210 s.
	w.Config.NoisyNeighbour = simserver.NoisyNeighbour{Share: 0.3, Start: 215 * time.Second, For: time.Hour}
	r := answerOf(t, w, 1, nil)
	// Slots do not care how quick they are.
	if len(r.Search.Changes) != 1 || math.Abs(r.Search.Changes[0].AtSeconds-215) > 20 || math.Abs(r.Search.Changes[0].Ratio-1/0.7) > 0.05 {
		t.Errorf("changes %+v", r.Search.Changes)
	}
	if r.Verdict != sweep.LimitFound || r.Limit.Low.Or(99) > 64 || r.Limit.High.Or(0) < 64 {
		t.Errorf("verdict %s: %s", r.Verdict, r.Sentence)
	}
	t.Log(r.Sentence, r.Warnings, r.Search.Notes)
}

// relapse stretches the answers of every run at a concurrency but the first; busy
// says whether the client was at its limit then.
type relapse struct {
	control.Generator
	at   int
	busy bool
	seen bool
}

func (g *relapse) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	run, err := g.Generator.Run(ctx, l)
	if l.Concurrency != g.at {
		return run, err
	}
	if g.seen {
		for i := range run.Samples {
			s := &run.Samples[i]
			late := (s.End - s.Sent) / 2
			s.LastOutput, s.End = s.LastOutput+late, s.End+late
		}
		if g.busy {
			run.Health.CPUShare = loadgen.Known(0.97)
		}
	}
	g.seen = true
	return run, err
}

// A step that takes longer when it is repeated speaks of a server that changed, but
// not where this client was too busy to tell.
func TestBusyClientIsNoChangeOfTheServer(t *testing.T) {
	for _, busy := range []bool{false, true} {
		r := answerOf(t, worked(t, "slots"), 1, func(c *asking) {
			c.Generator = &relapse{Generator: c.Generator, at: 20, busy: busy}
		})
		if r.Search.Drift == busy || r.Verdict != sweep.LimitFound || strings.Contains(strings.Join(r.Warnings, "\n"), "the client was at its own limit") != busy {
			t.Errorf("busy %v: verdict %s, doubts %q, warnings %q", busy, r.Verdict, r.Search.Doubts, r.Warnings)
		}
	}
}
