package control_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
	"github.com/capfind/capfind/sweep/store"
)

// borne answers an open loop at once: up to most requests a second as quickly as
// it should, beyond that far too late.
type borne struct {
	most  float64
	loads []loadgen.Load
}

func (g *borne) Run(_ context.Context, l loadgen.Load) (loadgen.Run, error) {
	g.loads = append(g.loads, l)
	ttft, e2e := 100*time.Millisecond, 2*time.Second
	if !l.OpenLoop() { // by Little's law
		e2e = max(e2e, time.Duration(float64(l.Concurrency)/g.most*float64(time.Second)))
	}
	if l.Rate > g.most {
		ttft, e2e = 5*time.Second, 20*time.Second
	}
	run := loadgen.Run{Load: l, Started: time.Now(), End: loadgen.EndComplete}
	for i := range l.Requests {
		sent := e2e * time.Duration(i/l.Concurrency)
		if l.OpenLoop() {
			sent = time.Duration(float64(i) / l.Rate * float64(time.Second))
		}
		s := loadgen.Sample{
			Index: i, PromptIndex: l.FirstPrompt + i, Conversation: -1, Ready: sent, Intended: sent, Sent: sent, End: sent + e2e,
			FirstOutput: sent + ttft, LastOutput: sent + e2e, OutputEvents: 10, OutputTokens: 10, Streamed: true, WasSent: true,
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

func (g *borne) rates() []float64 {
	var rates []float64
	for _, l := range g.loads {
		rates = append(rates, l.Rate)
	}
	return rates
}

// rateOf searches the arrival rate of a server that bears so much.
func rateOf(t *testing.T, most float64, exact bool, q sweep.RateConfig) (*sweep.Result, *borne) {
	t.Helper()
	g := &borne{most: most}
	var r *sweep.Result
	bubble(t, func(t *testing.T) {
		c := &asking{Controller: control.Controller{Generator: g, Config: sweep.Default()}, Stop: sweep.DefaultStopRules(), Band: sweep.DefaultBand()}
		c.Config.Exact, c.Config.Repeat = exact, false
		var err error
		if r, err = c.Rate(context.Background(), q); err != nil {
			t.Fatal(err)
		}
	})
	return r, g
}

// A sweep foretells about 25 req/s: the search begins at 10, goes down from there
// where that is too much already, and up where it is not.
func TestRateBeginsWhereASweepForetells(t *testing.T) {
	closed := answerOf(t, worked(t, "slots"), 9, nil)
	for _, c := range []struct {
		most float64
		want []float64
	}{
		{4, []float64{10, 5, 2}},
		{12, []float64{10, 20}},
		{1000, []float64{10, 20, 50, 100, 200, 500, 1000}},
		{0.5, []float64{10, 5, 2, 1}},
	} {
		_, g := rateOf(t, c.most, false, sweep.RateConfig{Closed: closed})
		if !slices.Equal(g.rates(), c.want) {
			t.Errorf("a server that bears %v req/s was asked for %v, want %v", c.most, g.rates(), c.want)
		}
	}
}

// Without a sweep, short closed loops say where to begin: their throughput is about what
// the server bears.
func TestRateBeginsWhereALookSays(t *testing.T) {
	for _, c := range []struct {
		most  float64
		looks int
		want  []float64
	}{
		{12, 2, []float64{5, 10, 20}},
		{125, 4, []float64{50, 100, 200}},
		{3, 1, []float64{1, 2, 5}},
		{0.5, 1, []float64{1}},
		{1000, 4, []float64{100, 200, 500, 1000}},
	} {
		r, g := rateOf(t, c.most, false, sweep.RateConfig{Look: true})
		var rates []float64
		looks := 0
		for _, l := range g.loads {
			if l.OpenLoop() {
				rates = append(rates, l.Rate)
			} else if looks++; l.Requests != 2*l.Concurrency || len(rates) > 0 {
				t.Errorf("a look of %d requests at %d in flight after %v", l.Requests, l.Concurrency, rates)
			}
		}
		if !slices.Equal(rates, c.want) || looks != c.looks || len(r.Steps) != looks+len(rates) {
			t.Errorf("a server that bears %v req/s was looked at %d times and asked for %v, want %d and %v: %s", c.most, looks, rates, c.looks, c.want, r.Sentence)
		}
	}
}

// A step lasts for twenty responses as long as those of a step that held, and for
// no multiple of how long they took where the queue had grown without end; a probe
// near the limit has twice as many.
func TestRateStepsAreLongEnough(t *testing.T) {
	r, g := rateOf(t, 25, true, sweep.RateConfig{Rates: []float64{1, 5, 20, 50}})
	// 60 at least, half a minute's worth, 200 at most, unless twenty responses of
	// 2 s take more.
	for i, want := range []int{60, 200, 800, 2000} {
		if got := g.loads[i].Requests; got != want {
			t.Errorf("%d requests at %v req/s, want %d", got, g.loads[i].Rate, want)
		}
	}
	for _, l := range g.loads[4:] {
		if want := 2 * int(math.Ceil(20*l.Rate*2)); l.Requests < want-4 || l.Requests > want+4 {
			t.Errorf("probe of %d requests at %v req/s, want %d", l.Requests, l.Rate, want)
		}
	}
	if len(g.loads) < 5 {
		t.Errorf("no probe between 20 and 50: %s", r.Sentence)
	}
}

// The interval is what the luck of n arrivals may hide: 1.96 / sqrt(n) on either
// side, n being all that were sent, 50 % at most.
func TestRateIntervalIsTheLuckOfTheArrivals(t *testing.T) {
	r, _ := rateOf(t, 12, false, sweep.RateConfig{Rates: []float64{10, 20}, Requests: 400})
	a := r.Rate
	near := func(what string, got loadgen.Number, want float64) {
		t.Helper()
		if v, ok := got.Value(); !ok || math.Abs(v-want) > 1e-9 {
			t.Errorf("%s %v, want %v", what, got, want)
		}
	}
	near("rate", a.Rate, 10)
	near("low", a.Low, 10*(1-1.96/20))
	// The second step is sent for twenty of the first one's responses.
	n := float64(r.Steps[1].Whole.Completed + r.Steps[1].Whole.Failed)
	near("high", a.High, 20*(1+1.96/math.Sqrt(n)))

	r, _ = rateOf(t, 12, false, sweep.RateConfig{Rates: []float64{10, 20}, Requests: 9})
	near("low of nine arrivals", r.Rate.Low, 5)
}

// failingJournal takes steps, but the result only so often.
type failingJournal struct{ *store.Store }

func (f failingJournal) Save(r *sweep.Result) error {
	if len(r.Steps) > 0 {
		return errors.New("disk full")
	}
	return f.Store.Save(r)
}

// A result that cannot be stored ends the sweep as what it is, and tells what was
// lost: who drives the controller gives advice by it.
func TestResultThatCannotBeStoredEndsTheSweep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store, err := store.Create(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		e := newEngine(workedCases[3].model, 1)
		c := controllerFor(e)
		c.Journal = failingJournal{store}
		_, err = c.Sweep(context.Background())
		var lost *control.StoreError
		if !errors.As(err, &lost) || lost.What != "the result" || err.Error() != "storing the result: disk full" {
			t.Errorf("the sweep ends with %v", err)
		}
		if len(e.runs) != 1 {
			t.Errorf("%d runs, want none after the one that could not be stored", len(e.runs))
		}
	})
}
