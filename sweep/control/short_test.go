package control_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/control"
)

// nature is what the recorded traffic of a test is like.
type nature struct {
	name    string
	shape   float64 // of the gaps between sessions
	heavy   float64 // spread of the requests' work
	session int     // requests of each; 0: there are none
	speedup sweep.Speedup
}

var natures = []nature{
	{"random", 1, 0, 0, sweep.Closer},
	{"bursty", 0.3, 0, 0, sweep.Closer},
	{"heavy-tailed", 1, 0.9, 0, sweep.Closer},
	{"sessions", 1, 0.3, 3, sweep.MoreSessions},
}

// trace is one recording of such traffic.
func (k nature) trace(n int, rate float64, rng *rand.Rand) *sweep.Traffic {
	type request struct {
		at      float64
		session int
	}
	var all []request
	begins, each := 0.0, max(1, k.session)
	for c := range n / each {
		at := begins
		for range each {
			all = append(all, request{at, c})
			at += 1 + 2*rng.Float64()
		}
		begins += gamma(rng, k.shape) / k.shape * float64(each) / rate
	}
	slices.SortStableFunc(all, func(a, b request) int { return cmp.Compare(a.at, b.at) })
	t, latest := &sweep.Traffic{Seed: rng.Uint64()}, map[int]int32{}
	for i, r := range all {
		t.At = append(t.At, seconds(r.at))
		t.Answers = append(t.Answers, float32(math.Exp(k.heavy*rng.NormFloat64()-k.heavy*k.heavy/2)))
		if k.session > 0 {
			before := int32(-1)
			if b, ok := latest[r.session]; ok {
				before = b
			}
			t.Before, latest[r.session] = append(t.Before, before), int32(i)
		}
	}
	return t
}

// asked is one search of a short trace, and the true speeds.
type asked struct {
	h                     *sweep.HeadroomAnswer
	again, others, longer float64 // where this trace, others like it, and ones ten times as long hold as often as not
}

func (k nature) search(tb testing.TB, n int, seed uint64, longer bool) asked {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	s := &shop{slots: 8, service: 0.4, between: 0.01, rng: rng}
	rate := 3 + 4*rng.Float64()
	one := k.trace(n, rate, rng)
	truth := func(traces, times int) float64 {
		var like []*sweep.Traffic
		for range traces {
			like = append(like, k.trace(times*n, rate, rng))
		}
		return s.truth(like, k.speedup, 0.5, 1)
	}
	out := asked{again: s.truth([]*sweep.Traffic{one}, k.speedup, 0.5, 101), others: truth(101, 1)}
	if longer {
		out.longer = truth(31, 10)
	}
	s.work = one.Answers
	rules := sweep.StopRules{SLO: []sweep.SLO{{Metric: "ttft", Statistic: "p95", Max: 500 * time.Millisecond}}}
	r, err := (&control.Controller{Generator: s}).Answer(context.Background(), "replay", sweep.FindHeadroom{Traffic: one, Speedup: k.speedup, Concurrency: 4096, Rules: rules})
	if err != nil || r.Verdict != sweep.LimitFound || r.Headroom.Again == nil {
		tb.Fatalf("%s: %v, %+v", k.name, err, r.Answer)
	}
	out.h = r.Headroom
	return out
}

func within(x, low, high float64) int {
	if low <= x && x <= high {
		return 1
	}
	return 0
}

// A short trace is a small sample of its traffic: the interval holds where others of the
// same kind would come to in at least 93 % of the answers, and Again where this very one
// does.
func TestHeadroomOfShortTraces(t *testing.T) {
	again, others, all := 0, 0, 0
	for _, k := range natures {
		for seed := range uint64(15) {
			d := k.search(t, 30, seed, false)
			all++
			again += within(d.again, d.h.Again.Low, d.h.Again.High)
			others += within(d.others, d.h.Low.Or(0), d.h.High.Or(0))
			if s, low, high := d.h.Speed.Or(0), d.h.Low.Or(0), d.h.High.Or(0); low > d.h.Again.Low || high < d.h.Again.High || s < low || s > high || k.speedup == sweep.Closer && (d.h.Longer.Or(0) <= 0 || low >= d.h.Longer.Or(0)) {
				t.Errorf("%s, %d: %v (%v-%v), again %+v, longer %s", k.name, seed, s, low, high, *d.h.Again, d.h.Longer)
			}
		}
	}
	t.Logf("of %d: again %d, others %d", all, again, others)
	if float64(again) < 0.93*float64(all) || float64(others) < 0.93*float64(all) {
		t.Errorf("of %d answers %d hold where the trace, sent again, comes to, and %d where others do", all, again, others)
	}
}

// How often the intervals of short traces hold the truth, and how wide they are.
func BenchmarkSearchShortTraces(b *testing.B) {
	const each = 25
	for range b.N {
		fmt.Printf("\n%-14s %9s %7s %7s %7s  %s\n", "traffic", "requests", "again", "others", "longer", "high/low, median")
		for _, n := range []int{30, 60, 100, 200} {
			for _, k := range natures {
				again, others, longer, widths := 0, 0, 0, []float64{}
				for seed := range uint64(each) {
					d := k.search(b, n, seed, true)
					again += within(d.again, d.h.Again.Low, d.h.Again.High)
					others += within(d.others, d.h.Low.Or(0), d.h.High.Or(0))
					longer += within(d.longer, d.h.Low.Or(0), d.h.High.Or(0))
					widths = append(widths, d.h.High.Or(0)/d.h.Low.Or(1))
				}
				slices.Sort(widths)
				fmt.Printf("%-14s %9d %4d/%d %4d/%d %4d/%d  %.2f\n", k.name, n, again, each, others, each, longer, each, widths[each/2])
			}
		}
	}
}
