package simserver

import (
	"math"
	"strings"
	"time"
)

// Rules are the stop rules whose true limits are wanted, and what is asked of
// the server meanwhile.
type Rules struct {
	MinSuccess float64       // share of 1
	MaxTTFT    time.Duration // of the mean; 0: no rule
	MinGain    float64       // throughput gain per doubling, share of 1; 0: no rule
	ErrorHold  time.Duration // how long a client holds after an error; the guide's script does not
	Workload   Workload
	Ladder     []int // steps; nil: the guide's
}

// GuideRules returns the guide's criteria for a workload.
func GuideRules(w Workload) Rules {
	return Rules{MinSuccess: 0.95, MaxTTFT: time.Second, MinGain: 0.20, Workload: w}
}

var guideLadder = []int{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}

// The names of the rules, as in limit.bound_by of a result.
const (
	BySuccess   = "success_rate"
	ByTTFT      = "ttft"
	ByGain      = "throughput_gain"
	ByResources = "resources"
)

// Bound is the largest concurrency that still meets a rule.
type Bound struct {
	Reached bool    // false: the rule is met at any concurrency the server survives
	At      float64 // where the curve crosses the threshold
	N       int     // the largest whole concurrency that meets the rule

	// Low and High are the least and the largest right answer, both N but for the
	// gain of a server whose throughput goes up and down (batches that are padded) or
	// has several bends (replicas): there the differences between some N are smaller
	// than any measurement shows.
	Low, High int
}

// Truth is what a measurement of the server has to find, in a steady closed
// loop without think time.
type Truth struct {
	SuccessRate, TTFT, ThroughputGain, Resources Bound

	Limit   Bound // the smallest of them
	BoundBy string
	When    string // which state of a server that changes the truth is about; empty where it does not
	Ladder  LadderTruth
	// OutOfModel lists the settings that the formulas do not cover; where it is
	// not empty the truth is that of the server without them.
	OutOfModel []string
}

// LadderTruth is what the guide's ladder says, read literally on steady steps.
type LadderTruth struct {
	LastGood, FirstBad int     // 0 where there is none
	StoppedBy          string  // rule; empty where every step passed
	Value              float64 // of that rule's metric at FirstBad: share, seconds, or gain
}

// TruthOf returns the true limits of a server under the given rules. Formulas:
// with m = min(n, S) running, s(m) = p(m) + (L-1) t(m), throughput X = m/s(m),
// TTFT = (n-m) s(m)/m + p(m); the gain rule is the elasticity
// d ln X / d ln N = (A - C N^2)/(A + B N + C N^2) >= log2(1+g) of s = A + B N + C N^2
// (Gunther, Guerrilla Capacity Planning; the Universal Scalability Law has this form).
// A server that changes is taken in its later state; When says which that is.
func TruthOf(cfg Config, r Rules) Truth {
	m := newModel(cfg, r, laterState(cfg))
	t := Truth{OutOfModel: m.outside, When: strings.Join(m.when, " and ")}
	t.SuccessRate = m.largest(func(p Point) bool { return p.Success >= r.MinSuccess })
	if r.MaxTTFT > 0 {
		t.TTFT = m.largest(func(p Point) bool { return p.Alive && p.TTFT <= r.MaxTTFT.Seconds() })
	}
	if r.MinGain > 0 {
		e := math.Log2(1 + r.MinGain)
		if m.smooth() {
			t.ThroughputGain = bound(min(m.servers.stations[0].elastic(e), m.full(), m.limited()), m.mostAlive())
		} else {
			t.ThroughputGain = m.worth(e)
		}
	}
	t.Resources = m.resources()
	t.Limit, t.BoundBy = t.binding()
	t.Ladder = m.climb(r)
	return t
}

// binding returns the smallest limit; of equals the first in the guide's order.
// Where one has several right answers, so has the limit.
func (t Truth) binding() (Bound, string) {
	var least Bound
	var by string
	low, high := math.MaxInt, math.MaxInt
	for _, c := range []struct {
		name string
		Bound
	}{{BySuccess, t.SuccessRate}, {ByTTFT, t.TTFT}, {ByGain, t.ThroughputGain}, {ByResources, t.Resources}} {
		if !c.Reached {
			continue
		}
		low, high = min(low, c.Low), min(high, c.High)
		if by == "" || c.N < least.N {
			least, by = c.Bound, c.name
		}
	}
	if by != "" {
		least.Low, least.High = low, high
	}
	return least, by
}

// bound makes a Bound of a crossing, unless the server dies before it.
func bound(at, alive float64) Bound {
	if math.IsInf(at, 1) || at > alive {
		return Bound{}
	}
	n := whole(at)
	return Bound{Reached: true, At: at, N: n, Low: n, High: n}
}

// whole rounds down, forgiving rounding errors of the formulas.
func whole(x float64) int { return int(math.Floor(x*(1+1e-9) + 1e-9)) }

// climb walks the ladder as the guide says, first broken rule first.
func (m *model) climb(r Rules) LadderTruth {
	ladder := r.Ladder
	if ladder == nil {
		ladder = guideLadder
	}
	var out LadderTruth
	var before Point
	for i, n := range ladder {
		p := m.at(float64(n))
		rule, value := m.broken(p, r)
		if gain := p.Throughput/before.Throughput - 1; rule == "" && i > 0 && r.MinGain > 0 && gain < r.MinGain {
			rule, value = ByGain, gain
		}
		if rule != "" {
			out.FirstBad, out.StoppedBy, out.Value = n, rule, value
			return out
		}
		out.LastGood, before = n, p
	}
	return out
}

func (m *model) broken(p Point, r Rules) (string, float64) {
	switch {
	case p.Success < r.MinSuccess:
		return BySuccess, p.Success
	case r.MaxTTFT > 0 && p.TTFT > r.MaxTTFT.Seconds():
		return ByTTFT, p.TTFT
	}
	return "", 0
}
