package sweep_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// trial is a server that the search is tried on many times.
type trial struct {
	simserver.Worked
	ladder  sweep.Steps // nil: the guide's
	truths  []float64   // limits that may be claimed; nil: as computed
	outside bool        // of what the search knows: "unstable" is a right answer too
	none    bool        // it has no limit within the ladder
	search  int         // requests where success falls slowly; 0: the default
}

const searchRunsVar = "CAPFIND_SEARCH_RUNS"

// BenchmarkSearch prints how exact the search is: each server is swept many
// times under fake time, with another seed each time. CAPFIND_SEARCH_RUNS says
// how often (20), CAPFIND_SEARCH_CASE which (a part of the name; all).
//
// "within" is the share of the limits claimed that are within 2 % or 1 of the
// truth, "covered" the share whose 95 % interval holds it, "extra" the median of
// the requests beyond the ladder. "wrong" counts the claims of a limit where there
// is none, of none where there is one, and the intervals that miss the truth by
// more than 2 % or 1.
//
// Where errors grow slowly no method gets within 2 % on a few thousand requests:
// with the failure rate q at the limit and its slope q' there, n requests cannot
// tell it to less than sqrt(q (1-q)/n)/q' (Cramer and Rao). At q = 0.05 and
// q' = 0.002 that is 2 in flight at 3,000 requests, and 0.5 at 47,500.
func BenchmarkSearch(b *testing.B) {
	runs := 20
	if v, err := strconv.Atoi(os.Getenv(searchRunsVar)); err == nil {
		runs = v
	}
	for range b.N {
		fmt.Printf("\n%-34s %8s %8s %11s %7s %9s %7s %6s  %s\n",
			"server", "truth", "median", "5-95 %", "within", "covered", "extra", "wrong", "verdicts")
		for _, t := range trials() {
			if strings.Contains(t.Name, os.Getenv("CAPFIND_SEARCH_CASE")) {
				fmt.Println(t.row(runs))
			}
		}
	}
}

// sweeps runs the trial under fake time. synctest wants a test to hang on to,
// which a benchmark has to make for itself.
func (tr trial) sweeps(runs int) []*sweep.Result {
	results := make([]*sweep.Result, runs)
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: tr.Name, F: func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := against(tr.Worked, uint64(i+1))
						if tr.ladder != nil {
							c.Config.Concurrency = tr.ladder
						}
						if tr.search > 0 {
							c.Config.SearchRequests = tr.search
						}
						r, err := c.Sweep(context.Background())
						if err != nil {
							t.Fatal(err)
						}
						results[i] = r
					})
				}}})
			}
		})
	}
	for i := range runs {
		next <- i
	}
	close(next)
	wait.Wait()
	return results
}

func (tr trial) row(runs int) string {
	// A worker of this client holds after an error, which leaves fewer in flight.
	tr.Rules.ErrorHold = loadgen.ErrorHoldDefault
	truth := tr.Truth()
	wants := tr.truths
	if wants == nil && !tr.none {
		wants = []float64{float64(truth.Limit.N)}
	}
	var limits, extra []float64
	within, covered, claimed, wrong := 0, 0, 0, 0
	verdicts := map[string]int{}
	for i, r := range tr.sweeps(runs) {
		word := string(r.Verdict)
		if r.Limit != nil {
			word += " " + r.Limit.BoundBy
		}
		verdicts[word]++
		if r.Search != nil {
			extra = append(extra, float64(r.Search.Requests))
		}
		ok, miss := false, false
		if r.Limit != nil {
			claimed++
			at, low, high := r.Limit.Concurrency.Or(0), r.Limit.Low.Or(0), r.Limit.High.Or(math.Inf(1))
			limits = append(limits, at)
			hit, cover, close := false, false, false
			for _, w := range wants {
				exact := max(1, 0.02*w)
				hit = hit || math.Abs(at-w) <= exact
				cover = cover || low <= w && w <= high
				close = close || low-exact <= w && w <= high+exact
			}
			if hit {
				within++
			}
			if cover {
				covered++
			}
			ok, miss = close, !cover
		}
		switch {
		case tr.none && r.Verdict == sweep.LimitFound, !tr.none && r.Verdict == sweep.LimitFound && !ok,
			!tr.none && !tr.outside && r.Verdict != sweep.LimitFound:
			wrong++
			miss = true
		}
		{
			if miss && os.Getenv("CAPFIND_SEARCH_VERBOSE") != "" {
				fmt.Printf("   seed %d: %s | %s\n", i+1, r.Sentence, r.Ladder.Sentence)
				for k, s := range r.Steps {
					fmt.Printf("      %d %s n=%d ok=%d bad=%d %s\n", k, s.Phase, s.Concurrency, s.Whole.Completed, s.Whole.Failed, s.Abandoned)
				}
				if r.Search != nil {
					fmt.Printf("      %s\n", strings.Join(r.Search.Notes, "\n      "))
				}
				if r.Curve != nil {
					fmt.Printf("      curve %s %v chi2 %v knee %v %v-%v %v\n", r.Curve.Model, r.Curve.Parameters, r.Curve.Chi2PerDof, r.Curve.Knee, r.Curve.KneeLow, r.Curve.KneeHigh, r.Curve.Refusals)
				}
			}
		}
	}
	var words []string
	for w, n := range verdicts {
		words = append(words, fmt.Sprintf("%d %s", n, w))
	}
	slices.Sort(words)
	want := "none"
	if len(wants) > 0 {
		want = strings.Trim(strings.ReplaceAll(fmt.Sprint(wants), " ", "/"), "[]")
	}
	share := func(n int) string {
		if claimed == 0 {
			return "-"
		}
		return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(claimed))
	}
	return fmt.Sprintf("%-34s %8s %8s %11s %7s %9s %7s %6d  %s", tr.Name, want, quant(limits, .5),
		quant(limits, .05)+"-"+quant(limits, .95), share(within), share(covered), quant(extra, .5), wrong, strings.Join(words, ", "))
}

func quant(v []float64, q float64) string {
	if len(v) == 0 {
		return "-"
	}
	slices.Sort(v)
	return strconv.FormatFloat(v[int(q*float64(len(v)-1)+0.5)], 'f', 0, 64)
}

// randomRate are the limits of the rate limiter where lengths vary: arrivals are
// random then, and empty its bucket before the mean rate does. Counted over 20,000
// requests a load: at c = 0.5 success is 98.7 % with 29 in flight and 93.8 % with
// 30, at c = 1 it is 96.6 % with 28 and 93.4 % with 29.
var randomRate = map[string][]float64{"rate_limit c=0.5": {29}, "rate_limit c=1.0": {28}}

func trials() []trial {
	var all []trial
	for _, w := range simserver.Cases() {
		for _, c := range []float64{0, 0.3, 0.5, 1} {
			v := w
			v.Config.LengthSpread = c
			v.Name = fmt.Sprintf("%s c=%.1f", w.Name, c)
			all = append(all, trial{Worked: v, truths: randomRate[v.Name]})
		}
	}
	add := func(name string, output int, set func(*simserver.Config), more func(*trial)) {
		c := simserver.Default()
		c.Slots, c.StepTime, c.Prefill, c.LengthSpread = 0, 20*time.Millisecond, 100*time.Millisecond, 0.5
		set(&c)
		t := trial{Worked: simserver.Worked{Name: name, Config: c, Rules: simserver.GuideRules(simserver.Workload{InputLen: 512, OutputLen: output})}}
		if more != nil {
			more(&t)
		}
		all = append(all, t)
	}
	none := func(steps ...int) func(*trial) {
		return func(t *trial) { t.ladder, t.none = steps, true }
	}
	limits := func(n ...float64) func(*trial) { return func(t *trial) { t.truths, t.outside = n, true } }
	add("8 slots c=0.5", 101, func(c *simserver.Config) { c.Slots = 8 }, nil)
	add("23 slots, slower when full c=0.5", 101, func(c *simserver.Config) { c.Slots, c.StepTimePerRequest = 23, 200*time.Microsecond }, nil)
	add("300 slots c=0.5", 101, func(c *simserver.Config) { c.Slots = 300 }, nil)
	add("long prefill c=0.5", 101, func(c *simserver.Config) {
		c.StepTime, c.PrefillPerRequest = 40*time.Millisecond, 12*time.Millisecond
	}, nil)
	add("errors grow slowly c=0.5", 101, func(c *simserver.Config) {
		c.ErrorRate = simserver.ErrorRate{PerRequest: 0.002, From: 20, After: 50 * time.Millisecond}
	}, nil)
	add("the same, 60,000 requests", 101, func(c *simserver.Config) {
		c.ErrorRate = simserver.ErrorRate{PerRequest: 0.002, From: 20, After: 50 * time.Millisecond}
	}, func(t *trial) { t.search = 60_000 })
	add("errors grow quickly c=0.5", 101, func(c *simserver.Config) {
		c.ErrorRate = simserver.ErrorRate{PerRequest: 0.02, From: 60, After: 50 * time.Millisecond}
	}, nil)
	add("no limit to 100 c=0.5", 101, func(c *simserver.Config) {}, none(1, 2, 5, 10, 20, 50, 100))
	add("no limit to 50, memory bound c=0.5", 256, func(c *simserver.Config) {
		c.StepTime, c.StepTimePerRequest, c.Prefill = 8*time.Millisecond, 200*time.Microsecond, 20*time.Millisecond
	}, none(1, 2, 5, 10, 20, 50))
	add("no limit to 50, 1 % errors c=0.5", 101, func(c *simserver.Config) { c.ErrorRate = simserver.ErrorRate{Base: 0.01} }, none(1, 2, 5, 10, 20, 50))
	add("no limit to 50, 2 % errors c=0.5", 101, func(c *simserver.Config) { c.ErrorRate = simserver.ErrorRate{Base: 0.02} }, none(1, 2, 5, 10, 20, 50))
	add("autoscaler 32 to 64 slots", 101, func(c *simserver.Config) {
		c.Slots, c.Autoscaler = 32, simserver.Autoscaler{Factor: 2, At: 40, After: 20 * time.Second}
	}, limits(64))
	add("autoscaler up and down", 101, func(c *simserver.Config) {
		c.Slots, c.Autoscaler = 32, simserver.Autoscaler{Factor: 2, At: 40, After: 20 * time.Second, DownAfter: 30 * time.Second}
	}, limits(32, 64))
	for _, start := range []time.Duration{30, 60, 100, 140} {
		add(fmt.Sprintf("64 slots, neighbour for 10 s at %d", start), 101, func(c *simserver.Config) {
			c.Slots, c.NoisyNeighbour = 64, simserver.NoisyNeighbour{Share: 0.5, Start: start * time.Second, For: 10 * time.Second}
		}, limits(64))
	}
	add("neighbour every minute", 101, func(c *simserver.Config) {
		c.Slots, c.NoisyNeighbour = 64, simserver.NoisyNeighbour{Share: 0.5, Start: 20 * time.Second, For: 10 * time.Second, Every: time.Minute}
	}, limits(64))
	add("64 slots, slow first 50", 101, func(c *simserver.Config) {
		c.Slots, c.Warmup = 64, simserver.Warmup{Requests: 50, Factor: 3}
	}, limits(64))
	add("bimodal requests", 101, func(c *simserver.Config) {
		c.Slots, c.Bimodal = 64, simserver.Bimodal{Share: 0.2, Factor: 3}
	}, limits(64))
	add("bimodal server", 101, func(c *simserver.Config) {
		c.Slots, c.Bimodal = 64, simserver.Bimodal{Share: 0.3, Factor: 2, Dwell: 5 * time.Second}
	}, limits(64))
	return all
}
