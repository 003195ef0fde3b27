package sweep

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Speedup is how recorded traffic becomes more of it.
type Speedup string

// The ways to make more of recorded traffic.
const (
	Closer       Speedup = "closer"   // the same requests closer together
	MoreSessions Speedup = "sessions" // more sessions, each at its own pace: nobody thinks more quickly
)

// besides is how far from the original another session of its kind begins, at most:
// near enough that it falls into the same rush, and far enough that people who know
// nothing of each other do not ask at the same moment.
const besides = 30 * time.Second

// mostSent bounds the requests that more sessions come to: 100 MB of times.
const mostSent = 4_000_000

// MostSpeed is the highest speed at which traffic of so many requests can be sent.
func MostSpeed(how Speedup, requests int) float64 {
	if how == MoreSessions {
		return mostSent / float64(requests)
	}
	return mostSpeed
}

// Arrivals is the traffic at a speed: a pure function of the traffic, its seed, the
// speed and the way.
//
// As more sessions, a speed of 2.3 is every session twice, and three in ten once more:
// a request outside sessions is one of its own. Which ones is drawn by the seed, and a
// higher speed has all the sessions of a lower one, at the same times: between two
// speeds nothing differs but what was added. Sessions are added until their requests
// are the share asked for, to within half a session.
func (t *Traffic) Arrivals(speed float64, how Speedup) *loadgen.Arrivals {
	if how != MoreSessions {
		return &loadgen.Arrivals{At: t.At, Before: t.Before, Speed: speed}
	}
	e := expansion{t: t, roots: t.roots()}
	for copied := 0; float64(copied) < speed; copied++ {
		e.add(copied, min(1, speed-float64(copied)))
	}
	return e.arrivals(speed)
}

// takes is how many numbers of prompts the traffic takes at a speed: a multiple of its
// length, so that every request finds its own prompt, and every copy one of its own.
func (t *Traffic) takes(speed float64, how Speedup) int {
	if how != MoreSessions {
		return len(t.At)
	}
	return max(1, int(math.Ceil(speed))) * len(t.At)
}

// roots are the first requests of the sessions that the requests belong to.
func (t *Traffic) roots() []int32 {
	roots := make([]int32, len(t.At))
	for i := range roots {
		roots[i] = int32(i)
		if t.Before != nil && t.Before[i] >= 0 {
			roots[i] = roots[t.Before[i]]
		}
	}
	return roots
}

// expansion is traffic of which sessions are taken, some of them several times.
type expansion struct {
	t     *Traffic
	roots []int32
	out   []sent
}

// sent is a request of the expansion.
type sent struct {
	at     time.Duration
	copied int
	number int32 // in the recorded traffic
}

// add takes sessions once more, as many as hold a share of all requests.
func (e *expansion) add(copied int, share float64) {
	sizes := make([]int, len(e.roots))
	for _, r := range e.roots {
		sizes[r]++
	}
	draw := rand.New(rand.NewPCG(e.t.Seed, uint64(copied)))
	var firsts []int32
	for i, r := range e.roots {
		if r == int32(i) {
			firsts = append(firsts, r)
		}
	}
	draw.Shuffle(len(firsts), func(i, j int) { firsts[i], firsts[j] = firsts[j], firsts[i] })
	want, have := share*float64(len(e.roots)), 0.0
	const left = time.Duration(math.MinInt64)
	shifts := make([]time.Duration, len(e.roots))
	fill(shifts, left)
	for _, r := range firsts {
		size := float64(sizes[r])
		if share < 1 && have+size/2 > want && (have > 0 || copied > 0) {
			break
		}
		have += size
		shifts[r] = e.beside(draw, copied, e.t.At[r])
	}
	for i, r := range e.roots {
		if shifts[r] != left {
			e.out = append(e.out, sent{e.t.At[i] + shifts[r], copied, int32(i)})
		}
	}
}

// beside is how much later than at its own time a copy of a session begins. What would
// lie outside of the traffic is mirrored at its ends.
func (e *expansion) beside(draw *rand.Rand, copied int, at time.Duration) time.Duration {
	if copied == 0 {
		return 0
	}
	span := e.t.Span()
	most := min(besides, span/10)
	to := at + time.Duration((2*draw.Float64()-1)*float64(most))
	if to < 0 {
		to = -to
	}
	if to > span {
		to = 2*span - to
	}
	return to - at
}

// arrivals puts the requests in the order in which they are due.
func (e *expansion) arrivals(speed float64) *loadgen.Arrivals {
	slices.SortFunc(e.out, func(a, b sent) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.number, b.number), cmp.Compare(a.copied, b.copied))
	})
	n := len(e.t.At)
	a := &loadgen.Arrivals{Speed: speed, OwnPace: true}
	places := make([]int32, e.t.takes(speed, MoreSessions)) // by prompt
	for i, s := range e.out {
		prompt := s.copied*n + int(s.number)
		places[prompt] = int32(i)
		a.At, a.Prompts = append(a.At, s.at), append(a.Prompts, int32(prompt))
		if e.t.Before == nil {
			continue
		}
		before := int32(-1)
		if b := e.t.Before[s.number]; b >= 0 {
			before = places[s.copied*n+int(b)] // it is earlier in the same session
		}
		a.Before = append(a.Before, before)
	}
	return a
}
