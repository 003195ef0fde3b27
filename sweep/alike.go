package sweep

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
)

// A trace is a sample of the traffic that it was recorded from: another one of the same
// kind has its rushes elsewhere, and fits more often or less often. How much is simulated:
// traces of the same kind are drawn, and sent past a server that serves as the measured
// runs did.
const (
	likeTraces   = 40  // that are drawn, at most
	leastTraces  = 12  // and at least
	longerTraces = 15  // likewise, of longer ones
	longer       = 10  // times as long
	likeCost     = 2e7 // requests that are simulated at most, all of them together
	likeMost     = 1.4 // logarithm of the largest ratio between the speeds of two traces
	likeHalvings = 7   // of that, to find the speed of a trace
)

// alike draws traces of the same kind as the traffic, and finds how quickly they could be
// sent.
type alike struct {
	f       FindHeadroom
	curve   *service
	speed   float64 // of the traffic itself
	limit   float64 // what is felt of it at that speed
	felt    func([]float64) float64
	waiting bool // it is of the time before they are served
	work    []float32
	draw    *rand.Rand
	starts  []int32
	members map[int32][]int32
	block   int
	traces  int
}

// alike is nil where too little was measured, and where the requests are so many that
// another trace of them would differ by next to nothing.
func (f FindHeadroom) alike(steps []analysis.Step, speed float64, rule string) *alike {
	n := len(f.Traffic.At)
	k := &alike{f: f, curve: serviceOf(steps), speed: speed, felt: f.felt(rule), draw: rand.New(rand.NewPCG(f.Traffic.Seed, uint64(n)))}
	k.starts, k.members = f.Traffic.sessions()
	if f.Speedup == MoreSessions {
		n *= 4 * int(math.Ceil(speed)) // they are put together anew for every speed
	}
	k.traces = min(likeTraces, int(likeCost/float64(likeHalvings*n)))
	if k.curve == nil || k.curve.rate[k.curve.top] <= 0 || len(k.starts) < 4 || k.traces < leastTraces {
		return nil
	}
	k.waiting = strings.Contains(rule, RuleTTFT)
	k.work = f.Traffic.work(steps)
	k.block = int(math.Round(math.Sqrt(float64(len(k.starts)))))
	k.limit = k.at(f.Traffic, k.work, speed)
	return k
}

// work is how much of the server each request takes, 1 on average: of the time of a request
// at the slowest speed, what passes until the first token is taken to go with the length of
// the prompt, and the rest with that of the answer.
func (t *Traffic) work(steps []analysis.Step) []float32 {
	slow := &steps[0]
	for i := range steps {
		if steps[i].Speed.Or(0) < slow.Speed.Or(0) {
			slow = &steps[i]
		}
	}
	share := float32(1) // an answer in one piece
	if first, ok := slow.Whole.TTFT.Mean.Value(); ok {
		share = float32(min(1, first/slow.Whole.E2E.Mean.Or(first)))
	}
	out := make([]float32, len(t.At))
	for i := range out {
		prompt, answer := float32(1), float32(1)
		if t.Prompts != nil {
			prompt = t.Prompts[i]
		}
		if t.Answers != nil {
			answer = t.Answers[i]
		}
		out[i] = share*prompt + (1-share)*answer
	}
	return out
}

func (k *alike) at(t *Traffic, work []float32, speed float64) float64 {
	return k.felt(k.curve.times(t.Arrivals(speed, k.f.Speedup), work, k.waiting))
}

// ratios are the logarithms of the speeds of so many traces, each so many times as long
// as the traffic, over its own; ascending.
func (k *alike) ratios(traces, times int) []float64 {
	out := make([]float64, traces)
	for i := range out {
		other, work := k.redrawn(times)
		low, high := -likeMost, likeMost
		for range likeHalvings {
			mid := (low + high) / 2
			if k.at(other, work, k.speed*math.Exp(mid)) <= k.limit {
				low = mid
			} else {
				high = mid
			}
		}
		out[i] = (low + high) / 2
	}
	slices.Sort(out)
	return out
}

// spread is by how much the speeds of traces of the same kind differ: the standard
// deviation of their logarithms, times what makes 95 % of it.
func (k *alike) spread() float64 {
	r := k.ratios(k.traces, 1)
	// Of the middle two thirds: the ends may be those of the search.
	sd := (r[k.traces*5/6] - r[k.traces/6]) / 2 / 0.967
	return sd * analysis.StudentT(float64(len(k.starts))/float64(k.block)-1)
}

// felt is the statistic of the response times that a requirement is on.
func (f FindHeadroom) felt(rule string) func([]float64) float64 {
	statistic := "p95"
	switch {
	case rule == RuleTTFT:
		statistic = f.Rules.TTFTStatistic
	case strings.HasPrefix(rule, "p") || strings.HasPrefix(rule, "mean"):
		statistic, _, _ = strings.Cut(rule, "_")
	}
	share, ok := map[string]float64{"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}[statistic]
	if rule == RuleGoodput {
		share, ok = f.Rules.MinGoodput, true
	}
	return func(x []float64) float64 {
		if ok {
			slices.Sort(x)
			return x[min(len(x)-1, int(share*float64(len(x))))]
		}
		sum := 0.0
		for _, v := range x {
			sum += v
		}
		return sum / float64(len(x))
	}
}

// sessions are the numbers of the requests that begin a session, and the requests of
// each. One outside sessions is one of its own.
func (t *Traffic) sessions() (starts []int32, members map[int32][]int32) {
	members = make(map[int32][]int32)
	for i, r := range t.roots() {
		if r == int32(i) {
			starts = append(starts, r)
		}
		members[r] = append(members[r], int32(i))
	}
	return starts, members
}

// redrawn is another trace of the same kind: so many times its sessions, in blocks of
// neighbours that are drawn with replacement, each with the time to the next as it was
// recorded. A rush that is longer than a block is torn apart.
func (k *alike) redrawn(times int) (out *Traffic, work []float32) {
	type request struct {
		at      time.Duration
		session int
		number  int32
	}
	t, n := k.f.Traffic, len(k.starts)
	var all []request
	now := time.Duration(0)
	typical := t.At[k.starts[n-1]] / time.Duration(n-1)
	for taken := 0; taken < times*n; {
		from := k.draw.IntN(n)
		for j := 0; j < k.block && taken < times*n; j, taken = j+1, taken+1 {
			i := (from + j) % n
			r := k.starts[i]
			for _, m := range k.members[r] {
				all = append(all, request{now + t.At[m] - t.At[r], taken, m})
			}
			if i+1 < n {
				now += t.At[k.starts[i+1]] - t.At[r]
			} else {
				now += typical // what came after the last one is not known
			}
		}
	}
	slices.SortStableFunc(all, func(a, b request) int { return cmp.Compare(a.at, b.at) })
	out = &Traffic{Seed: t.Seed}
	latest := make(map[int]int32)
	for i, r := range all {
		out.At = append(out.At, r.at)
		work = append(work, k.work[r.number])
		if t.Before == nil {
			continue
		}
		before := int32(-1)
		if b, ok := latest[r.session]; ok {
			before = b
		}
		out.Before, latest[r.session] = append(out.Before, before), int32(i)
	}
	return out, work
}
