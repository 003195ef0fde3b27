package sweep

import "math"

// Effort is how much a sweep spends on how exact an answer.
type Effort string

// The efforts.
const (
	EffortGuide    Effort = "guide"    // the guide's ladder, literally, and the limit to 2 %
	EffortQuick    Effort = "quick"    // few and short steps, and the limit to about 5 %
	EffortThorough Effort = "thorough" // the guide's ladder, and the limit to 1 %, from loads that are repeated in turn
)

var efforts = []string{string(EffortGuide), string(EffortQuick), string(EffortThorough)}

// pace is what an effort comes to.
type pace struct {
	ladder     float64 // requests of a step of the ladder per request in flight, where it is frugal
	leap       float64 // ratio of two steps of the ladder, between leapFrom and leapTo, that are worth measuring both, where it is frugal
	loads      int     // different ones that a curve takes
	waves      float64 // requests of a probe per request in flight, where answers are of one length
	leastProbe int     // fewest requests of a probe
	slope      float64 // fewest requests of a probe where success falls slowly, or a bucket of tokens may have been full
	showsAbove float64 // how many times a knee a load may be that shows throughput above it
	near       float64 // how close to an answer is close enough, as a share
	kneeEnough float64 // how many times that the interval of a knee may span to either side: the curve bends slowly there, and each tenth less takes as many requests again
	probes     int     // bounds the search for the knee, or for a time
	budget     float64 // of the search, as a share of search_requests
	repeats    int     // loads to repeat where a limit is claimed, come what may
	others     int     // probes for a time that does not bind
	unseen     float64 // by how much runs of one load are taken to differ, as a share, while none was repeated
	mood       float64 // the same of the hours that it does not see, for the interval of a time's limit
	frugal     bool    // measure nothing that cannot alter the answer; the knee first, for mostly it binds
}

// leapFrom and leapTo are the concurrencies between which a quick ladder leaps: below, steps
// cost little and show the curve; from the upper one on, one that is too high by far costs
// more than one in between.
const (
	leapFrom = 20
	leapTo   = 100
)

var paces = map[Effort]pace{
	EffortGuide:    {loads: 6, waves: 4, leastProbe: leastProbe, slope: 400, showsAbove: 1.6, near: 0.02, kneeEnough: 1.25, probes: 6, budget: 1, repeats: 1, others: 2},
	EffortQuick:    {ladder: 2.5, leap: 10, loads: 5, waves: 2.5, leastProbe: 24, slope: 300, showsAbove: 1.8, near: 0.05, kneeEnough: 2.5, probes: 3, budget: 0.2, unseen: 0.019, mood: 0.04, frugal: true},
	EffortThorough: {loads: 6, waves: 6, leastProbe: 2 * leastProbe, slope: 800, showsAbove: 1.6, near: 0.01, kneeEnough: 1.25, probes: 10, budget: 4, repeats: 4, others: 2},
}

// pace is that of the effort asked for.
func (c Config) pace() pace {
	if p, ok := paces[c.Effort]; ok {
		return p
	}
	return paces[EffortGuide]
}

// rungs are the steps of the ladder that are measured where nothing is near.
func (c Config) rungs() []int {
	var out []int
	for n := c.rungAbove(0, false); n > 0; n = c.rungAbove(n, false) {
		out = append(out, n)
	}
	return out
}

// rungAbove is the step of the ladder to measure after one; 0 after the last. A quick
// ladder leaps, but where a limit is near.
func (c Config) rungAbove(n int, near bool) int {
	p := c.pace()
	for i, m := range c.Concurrency {
		last := i == len(c.Concurrency)-1
		if m > n && (last || n == 0 || near || !p.frugal || n > 1 && m <= leapFrom || m >= leapTo || float64(m) >= p.leap*float64(n)) {
			return m
		}
	}
	return 0
}

// near is how close to an answer is close enough: a share of it, or one request.
func (c Config) near(n float64) float64 { return max(1, c.pace().near*n) }

// searchRequests is what may be spent on a success rate that falls slowly.
func (c Config) searchRequests() int {
	return int(math.Round(c.pace().budget * float64(c.SearchRequests)))
}
