package control_test

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

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// trial is a server that the search is tried on many times.
type trial struct {
	simserver.Worked
	ladder  sweep.Steps  // nil: the guide's
	truths  []span       // limits that may be claimed; nil: as computed
	outside bool         // of what the search knows: "unstable" is a right answer too
	none    bool         // it has no limit within the ladder
	search  int          // requests where success falls slowly; 0: the default
	effort  sweep.Effort // empty: the guide's
}

// span is a range of right answers: one, where low and high are the same.
type span struct{ low, high float64 }

func exactly(n float64) span { return span{n, n} }

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
	runs := runsAsked(20)
	for range b.N {
		head()
		for _, t := range append(trials(), uneven()...) {
			if strings.Contains(t.Name, os.Getenv("CAPFIND_SEARCH_CASE")) {
				t.effort = sweep.Effort(os.Getenv("CAPFIND_SEARCH_EFFORT"))
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
						c.Stop.MaxTTFT, c.Stop.MinThroughputGain = tr.Rules.MaxTTFT, tr.Rules.MinGain
						c.Workload.SharedPrefix = tr.Rules.Workload.Prefixes > 0
						if tr.ladder != nil {
							c.Config.Concurrency = tr.ladder
						}
						if tr.search > 0 {
							c.Config.SearchRequests = tr.search
						}
						if tr.effort != "" {
							c.Config.Effort = tr.effort
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

// answers are what many sweeps of one server said.
type answers []sweep.Answer

func (tr trial) row(runs int) string {
	var all answers
	for _, r := range tr.sweeps(runs) {
		all = append(all, r.Answer)
	}
	return tr.score(all)
}

// wanted are the limits that may be claimed.
func (tr trial) wanted() []span {
	if tr.truths != nil || tr.none {
		return tr.truths
	}
	// A worker of this client holds after an error, which leaves fewer in flight.
	tr.Rules.ErrorHold = loadgen.ErrorHoldDefault
	l := tr.Truth().Limit
	return []span{{float64(l.Low), float64(l.High)}}
}

// score is a row of the table.
func (tr trial) score(all answers) string {
	wants := tr.wanted()
	var limits, extra, widths []float64
	within, covered, wrong := 0, 0, 0
	verdicts := map[string]int{}
	for i := range all {
		a := &all[i]
		word := string(a.Verdict)
		if a.Limit != nil {
			word += " " + a.Limit.BoundBy
		}
		verdicts[word]++
		if a.Search != nil {
			extra = append(extra, float64(a.Search.Requests))
		}
		hit, cover, close := held(a.Limit, wants)
		if a.Limit != nil {
			at, low, high := a.Limit.Concurrency.Or(0), a.Limit.Low.Or(0), a.Limit.High.Or(math.Inf(1))
			limits, widths = append(limits, at), append(widths, (high-low)/2/at)
		}
		if hit {
			within++
		}
		if cover {
			covered++
		}
		miss := a.Limit != nil && !close || a.Limit == nil && !tr.none && !tr.outside
		if miss {
			wrong++
		}
		if v := os.Getenv("CAPFIND_SEARCH_VERBOSE"); v == "all" || v != "" && (miss || a.Limit != nil && !cover) {
			tell(i+1, a)
		}
	}
	var words []string
	for w, n := range verdicts {
		words = append(words, fmt.Sprintf("%d %s", n, w))
	}
	slices.Sort(words)
	want := "none"
	for i, w := range wants {
		text := fmt.Sprintf("%.0f", w.low)
		if w.high != w.low {
			text += fmt.Sprintf("-%.0f", w.high)
		}
		want = map[bool]string{true: text, false: want + "/" + text}[i == 0]
	}
	share := func(n, of int) string {
		if of == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
	}
	width := "-"
	if len(widths) > 0 {
		slices.Sort(widths)
		width = fmt.Sprintf("%.1f %%", 100*widths[len(widths)/2])
	}
	return fmt.Sprintf("%-36s %7s %8s %7s %11s %7s %7s %9s %7s %6d  %s", tr.Name, want, share(len(limits), len(all)), quant(limits, .5),
		quant(limits, .05)+"-"+quant(limits, .95), width, share(within, len(limits)), share(covered, len(limits)), quant(extra, .5), wrong, strings.Join(words, ", "))
}

// held reports whether a limit is within 2 % or 1 of one that may be claimed, whether
// its interval holds one, and whether that comes as close.
func held(l *analysis.Limit, wants []span) (hit, cover, close bool) {
	if l == nil {
		return false, false, false
	}
	at, low, high := l.Concurrency.Or(0), l.Low.Or(0), l.High.Or(math.Inf(1))
	for _, w := range wants {
		exact := max(1, 0.02*w.low)
		hit = hit || at >= w.low-exact && at <= w.high+exact
		cover = cover || low <= w.high && w.low <= high
		close = close || low-exact <= w.high && w.low <= high+exact
	}
	return hit, cover, close
}

// covered is how many intervals hold the truth.
func (tr trial) covered(all answers) int {
	n := 0
	for i := range all {
		if _, cover, _ := held(all[i].Limit, tr.wanted()); cover {
			n++
		}
	}
	return n
}

const tableHead = "%-36s %7s %8s %7s %11s %7s %7s %9s %7s %6s  %s\n"

func head() {
	fmt.Printf("\n"+tableHead, "server", "truth", "answered", "median", "5-95 %", "+-", "within", "covered", "extra", "wrong", "verdicts")
}

// tell prints how an answer came about.
func tell(seed int, a *sweep.Answer) {
	fmt.Printf("   seed %d: %s | %s\n", seed, a.Sentence, a.Ladder.Sentence)
	for k, s := range a.Steps {
		at, se := math.NaN(), math.NaN()
		if s.Level != nil {
			l := s.Level.ForLength(100, 0)
			e, _ := l.SE(func(b analysis.LevelBatch) float64 { return b.Residence })
			at, se = l.Mean().Residence, e.Or(math.NaN())
		}
		fmt.Printf("      %d %s %s n=%d ok=%d bad=%d R=%s, at 100 tokens %.3f +-%.3f, TTFT=%s T=%.1f %s\n", k, s.Phase, s.Purpose, s.Concurrency, s.Whole.Completed, s.Whole.Failed, s.Whole.MeanResidenceSeconds.Format(3), at, se, s.Whole.TTFT.Mean.Format(3), s.Whole.DurationSeconds.Or(0), s.Abandoned)
	}
	for _, w := range a.Warnings {
		fmt.Println("      !", w)
	}
	if a.Search != nil {
		fmt.Printf("      spread %s %s\n", a.Search.RunSpread.Format(3), strings.Join(a.Search.Notes, "\n      "))
	}
	fmt.Printf("      limits %+v\n", a.Limits)
	if c := a.Curve; c != nil {
		fmt.Printf("      curve %s %v chi2 %v knee %v %v-%v %v\n", c.Model, c.Parameters, c.Chi2PerDof, c.Knee, c.KneeLow, c.KneeHigh, c.Refusals)
	}
}

// BenchmarkDecisions is the same with drawn steps, a thousand sweeps of each server:
// no load, no clock, nothing but the decisions. CAPFIND_SEARCH_LADDER gives the ratio
// of a ladder's steps, instead of the guide's.
func BenchmarkDecisions(b *testing.B) {
	runs := runsAsked(1000)
	for range b.N {
		head()
		for _, t := range append(trials(), uneven()...) {
			if !strings.Contains(t.Name, os.Getenv("CAPFIND_SEARCH_CASE")) {
				continue
			}
			if !t.outside && !t.none {
				t.truths = nil // the drawn steps are those of the closed form
			}
			t.effort = sweep.Effort(os.Getenv("CAPFIND_SEARCH_EFFORT"))
			if ratio, err := strconv.ParseFloat(os.Getenv("CAPFIND_SEARCH_LADDER"), 64); err == nil {
				t.ladder = fineLadder(ratio)
			}
			if len(t.Truth().OutOfModel) == 0 {
				fmt.Println(t.score(t.drawn(runs)))
			}
		}
	}
}

// fineLadder is a ladder to 1000 on which each step is so many times the one before, or
// one more.
func fineLadder(ratio float64) sweep.Steps {
	steps := sweep.Steps{1}
	for n := 1.0; n < 1000; {
		n = min(max(n*ratio, n+1), 1000)
		steps = append(steps, int(math.Round(n)))
	}
	return slices.Compact(steps)
}

// drawn are the answers of sweeps with drawn steps.
func (tr trial) drawn(runs int) answers {
	tr.Rules.ErrorHold = loadgen.ErrorHoldDefault // as the real client does
	all := make(answers, runs)
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				q := sweep.FindLimit{Config: sweep.Default(), Rules: sweep.DefaultStopRules(), Band: sweep.DefaultBand()}
				q.Rules.MaxTTFT, q.Rules.MinThroughputGain = tr.Rules.MaxTTFT, tr.Rules.MinGain
				if tr.ladder != nil {
					q.Config.Concurrency = tr.ladder
				}
				if tr.search > 0 {
					q.Config.SearchRequests = tr.search
				}
				if tr.effort != "" {
					q.Config.Effort = tr.effort
				}
				all[i] = newDrawn(tr, uint64(i+1)).sweep(q)
			}
		})
	}
	for i := range runs {
		next <- i
	}
	close(next)
	wait.Wait()
	return all
}

// BenchmarkEfforts prints what a sweep costs and how good its answer is, by how much
// effort was asked for: requests and seconds of a whole sweep, medians, beside those of
// the guide's on the same server. First with drawn steps, on every server whose steady
// state is known in closed form; then with the real client under fake time, on those of
// them that it meets in the search's own bench: short runs are what a drawn step flatters.
func BenchmarkEfforts(b *testing.B) {
	for range b.N {
		fmt.Print("\ndrawn steps")
		all := append(trials(), uneven()...)
		for i := range all {
			if !all[i].outside && !all[i].none {
				all[i].truths = nil // the drawn steps are those of the closed form
			}
		}
		efforts(all, runsAsked(100), trial.drawn)
		fmt.Print("\nreal client")
		efforts(trials(), runsAsked(20), func(t trial, runs int) answers {
			var all answers
			for _, r := range t.sweeps(runs) {
				all = append(all, r.Answer)
			}
			return all
		})
	}
}

// runsAsked is how many sweeps of each server were asked for.
func runsAsked(otherwise int) int {
	if v, err := strconv.Atoi(os.Getenv(searchRunsVar)); err == nil {
		return v
	}
	return otherwise
}

func efforts(all []trial, runs int, sweeps func(trial, int) answers) {
	const format = "%-42s %8s %9s %9s %7s %7s %8s %8s\n"
	fmt.Printf("\n"+format, "server", "truth", "effort", "requests", "of it", "time", "within", "covered")
	for _, t := range all {
		if !strings.Contains(t.Name, os.Getenv("CAPFIND_SEARCH_CASE")) || t.search > 0 || len(t.Truth().OutOfModel) > 0 || t.outside || t.none {
			continue
		}
		var base cost
		for _, effort := range []sweep.Effort{sweep.EffortGuide, sweep.EffortQuick, sweep.EffortThorough} {
			if only := os.Getenv("CAPFIND_SEARCH_EFFORT"); only != "" && only != string(effort) && effort != sweep.EffortGuide {
				continue
			}
			t.effort = effort
			answers := sweeps(t, runs)
			if os.Getenv("CAPFIND_SEARCH_VERBOSE") == string(effort) {
				tell(1, &answers[0])
			}
			c := t.cost(answers)
			if effort == sweep.EffortGuide {
				base = c
			}
			fmt.Printf(format, t.Name, fmt.Sprint(t.wanted()[0].low), effort, fmt.Sprintf("%.0f", c.requests), ratio(c.requests, base.requests), ratio(c.seconds, base.seconds),
				fmt.Sprintf("%.1f %%", c.within), fmt.Sprintf("%.1f %%", c.covered))
		}
	}
}

func ratio(a, b float64) string { return fmt.Sprintf("%.2f", a/b) }

// cost is what many sweeps cost and gave.
type cost struct{ requests, seconds, within, covered float64 }

func (tr trial) cost(all answers) cost {
	var requests, seconds []float64
	var c cost
	share := map[sweep.Effort]float64{sweep.EffortQuick: 0.05, sweep.EffortThorough: 0.01}[tr.effort]
	if share == 0 {
		share = 0.02
	}
	for i := range all {
		n, t := 0.0, 0.0
		for k := range all[i].Steps {
			w := &all[i].Steps[k].Whole
			n, t = n+float64(w.Completed+w.Failed+w.Cancelled), t+w.DurationSeconds.Or(0)
		}
		requests, seconds = append(requests, n), append(seconds, t)
		if l := all[i].Limit; l != nil {
			for _, w := range tr.wanted() {
				if at, near := l.Concurrency.Or(0), max(1, share*w.low); at >= w.low-near && at <= w.high+near {
					c.within += 100 / float64(len(all))
					break
				}
			}
		}
	}
	slices.Sort(requests)
	slices.Sort(seconds)
	c.requests, c.seconds = requests[len(requests)/2], seconds[len(seconds)/2]
	c.covered = 100 * float64(tr.covered(all)) / float64(len(all))
	return c
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
var randomRate = map[string][]span{"rate_limit c=0.5": {exactly(29)}, "rate_limit c=1.0": {exactly(28)}}

// randomTurns are the limits behind a balancer that deals requests out in turn: as
// answers differ in length one replica fills up before the fluid model has it full, and
// throughput bends less sharply. From the throughput of steps of 600 requests for each
// in flight: behind the three with a slow one the mean elasticity is 0.72 from 56 to 64
// and 0.25 from 60 to 68, with a small one 0.55 from 34 to 38 and 0.20 from 36 to 40.
var randomTurns = map[string][]span{
	"one of 3 slow, round_robin, 28 slots":  {{62, 65}},
	"one of 3 small, round_robin, 28 slots": {{37, 38}},
}

// uneven are the servers outside of textbooks.
func uneven() []trial {
	var all []trial
	for _, w := range simserver.Uneven() {
		all = append(all, trial{Worked: w, truths: randomTurns[w.Name]})
	}
	return all
}

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
	limits := func(n ...float64) func(*trial) {
		return func(t *trial) {
			t.outside = true
			for _, v := range n {
				t.truths = append(t.truths, exactly(v))
			}
		}
	}
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
