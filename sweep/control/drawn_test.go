package control_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// drawn is a server of which steps are drawn instead of measured: its steady state in
// closed form, with the noise of requests within a run and of a speed that wanders
// from run to run.
type drawn struct {
	w      simserver.Worked
	rng    *rand.Rand
	share  float64 // relative standard deviation of the speed
	corr   float64 // its correlation time, seconds
	points map[int]simserver.Point
	now    float64 // seconds since the start
	speed  float64 // logarithm of the slowness at now
}

func newDrawn(t trial, seed uint64) *drawn {
	d := &drawn{w: t.Worked, rng: rand.New(rand.NewPCG(seed, 99)), points: map[int]simserver.Point{}}
	d.share, d.corr = t.Config.Wander.Share, t.Config.Wander.Time.Seconds()
	d.speed = d.share * d.rng.NormFloat64()
	return d
}

// slowness is the mean factor on all times over the next stretch: a stationary
// Ornstein-Uhlenbeck process in the logarithm.
func (d *drawn) slowness(seconds float64) float64 {
	if d.share == 0 {
		d.now += seconds
		return 1
	}
	const pieces = 6
	keep := math.Exp(-seconds / pieces / d.corr)
	sum := 0.0
	for range pieces {
		sum += math.Exp(d.speed - d.share*d.share/2)
		d.speed = keep*d.speed + d.share*math.Sqrt(1-keep*keep)*d.rng.NormFloat64()
	}
	d.now += seconds
	return sum / pieces
}

// sweep asks the strategy until it has the answer.
func (d *drawn) sweep(q sweep.FindLimit) sweep.Answer {
	var h sweep.History
	for {
		order, answer := q.Next(h)
		if order == nil {
			return answer
		}
		h.Steps = append(h.Steps, d.measure(order, &h))
	}
}

// measure draws an order's runs.
func (d *drawn) measure(o *sweep.Order, h *sweep.History) analysis.Step {
	p := d.point(o.Concurrency)
	total := sweep.Runs{}
	completed, failed := 0, 0
	for next := o; ; {
		if !p.Alive {
			h.Crashes = append(h.Crashes, sweep.Crash{Step: len(h.Steps), Concurrency: o.Concurrency, InFlight: loadgen.Known(float64(d.w.Config.CrashAt)), RecoveredSeconds: loadgen.Known(d.w.Config.RestartAfter.Seconds())})
		}
		good, bad, why := d.requests(next, p)
		completed, failed = completed+good, failed+bad
		step := d.state(o, p, completed).Step(o, completed, failed)
		step.Runs, step.Abandoned = total.Made+1, why
		total.Step = &step
		total.Made++
		again, drop := o.Again(total)
		if again == nil {
			return step
		}
		if drop {
			completed, failed = 0, 0
		}
		next = again
	}
}

// point is the steady state of a load at this moment.
func (d *drawn) point(n int) simserver.Point {
	if !d.w.Config.Stationary() {
		return simserver.PointAt(d.w.Config, d.w.Rules, n, time.Duration(d.now*float64(time.Second)))
	}
	p, ok := d.points[n]
	if !ok {
		p = simserver.PointOf(d.w.Config, d.w.Rules, n)
		d.points[n] = p
	}
	return p
}

// requests draws how the requests of a run fare, as long as it is not abandoned.
func (d *drawn) requests(o *sweep.Order, p simserver.Point) (good, bad int, why string) {
	if !p.Alive {
		return 0, min(o.Requests, o.Concurrency), "abandoned: the server died"
	}
	if p.Success > 1-1e-9 {
		return o.Requests, 0, ""
	}
	var test *analysis.SPRT
	if o.Abandon.Sequential {
		test = analysis.NewSPRT(o.Rules.MinSuccessRate)
		test.AddCounts(o.Abandon.Completed, o.Abandon.Failed)
	}
	for range o.Requests {
		ok := d.rng.Float64() < p.Success
		if ok {
			good++
		} else {
			bad++
		}
		if test != nil {
			test.Add(ok)
		}
		a := o.Abandon
		settled := test != nil && test.Outcome() == analysis.Below && (a.Patience == 0 || float64(bad) > a.Patience*float64(good+bad) || a.PastCliff && good+bad >= 2*o.Concurrency)
		if a.Allowed >= 0 && bad > a.Allowed || settled {
			return good, bad, "abandoned: lost"
		}
	}
	return good, bad, ""
}

// state is the load's state over a run of so many requests. All that differs from
// request to request is the length of its answer, as it is on the simulated server:
// it makes its decode time, and the wait of those behind it.
func (d *drawn) state(o *sweep.Order, p simserver.Point, requests int) sweep.LoadState {
	spread, tokens := d.w.Config.LengthSpread, float64(d.w.Rules.Workload.OutputLen)
	perToken := p.TPOT
	if spread == 0 || d.w.Config.USL.Lambda > 0 {
		perToken = 0
	}
	wait := 0.0
	if d.w.Config.Slots > 0 {
		wait = max(0, p.TTFT-d.point(1).TTFT)
	}
	each := 1 / max(p.Throughput, 1e-9)
	d.slowness(float64(min(2*o.Concurrency, requests)) * each) // warming up and draining
	return sweep.LoadState{
		Residence: p.E2E, TTFT: p.TTFT, Served: p.Throughput * p.E2E, Tokens: tokens, PerToken: perToken, Spread: spread,
		Vary: func(b analysis.LevelBatch) analysis.LevelBatch {
			share := spread / math.Sqrt(float64(b.Requests))
			longer := max(share*d.rng.NormFloat64(), -0.9) * (tokens - 1)
			queued := wait * max(share*d.rng.NormFloat64(), -0.9)
			f := d.slowness(float64(b.Requests) * each)
			if !d.w.Config.Stationary() { // it may have changed since the run began
				f *= d.point(o.Concurrency).E2E / p.E2E
			}
			b.OutputTokens += longer
			b.TTFT = f * (b.TTFT + queued)
			b.Decode = f * (b.Decode + perToken*longer)
			b.Residence = b.TTFT + b.Decode
			return b
		},
	}
}

// BenchmarkSpreads prints by how much the time in system at a load, at one length of
// answers as the search reads it, differs from run to run, drawn and with the real
// client: the drawn steps stand for measured ones only as far as the two are alike.
func BenchmarkSpreads(b *testing.B) {
	const runs, load = 16, 50
	for range b.N {
		fmt.Printf("\nstandard deviation of the time in system at %d in flight, %d runs\n%-34s %8s %8s\n", load, runs, "server", "drawn", "engine")
		for _, t := range trials() {
			if !strings.HasPrefix(t.Name, "slots c=") && !strings.HasPrefix(t.Name, "decode c=") && !strings.HasPrefix(t.Name, "crash c=") {
				continue
			}
			measured := make(answers, runs)
			for i, r := range t.sweeps(runs) {
				measured[i] = r.Answer
			}
			fmt.Printf("%-34s %6.2f %% %6.2f %%\n", t.Name, 100*differ(t.drawn(runs), load), 100*differ(measured, load))
		}
	}
}

// differ is the standard deviation of the logarithm of that time at the ladder's load.
func differ(all answers, load int) float64 {
	var logs []float64
	for _, a := range all {
		for i := range a.Steps {
			if s := &a.Steps[i]; s.Phase == analysis.PhaseLadder && s.Concurrency == load && s.Level != nil {
				logs = append(logs, math.Log(s.Level.ForLength(128, 0).Mean().Residence))
			}
		}
	}
	return stat.StdDev(logs, nil)
}

// On a ladder whose steps stand closer than the guide's, no step fails because it cannot
// gain 20 % over the one before.
func TestFineLadders(t *testing.T) {
	const runs = 6
	seen := 0
	for _, tr := range trials() {
		if !slices.Contains([]string{"slots c=0.5", "decode c=0.5", "long prefill c=0.5", "no limit to 100 c=0.5"}, tr.Name) {
			continue
		}
		seen++
		for _, ratio := range []float64{1.05, 1.2, 1.5} {
			tr.ladder = fineLadder(ratio)
			all, found := tr.drawn(runs), 0
			for i := range all {
				if all[i].Limit != nil {
					found++
				}
			}
			want := runs
			if tr.none {
				want = 0
			}
			if covered := tr.covered(all); found != want || covered < want-1 {
				t.Errorf("%s, steps %g apart: %d limits of %d, %d cover the truth\n%s", tr.Name, ratio, found, runs, covered, tr.score(all))
			}
		}
	}
	if seen != 4 {
		t.Errorf("%d servers were tried", seen)
	}
}
