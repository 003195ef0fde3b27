package analysis

import (
	"math"
)

// SlotsSeen is how many requests a server runs at once, as it shows where others
// wait for them.
type SlotsSeen struct {
	At     float64
	SE     float64
	Source string // "metrics" or "queue"
	Steps  int    // loads that it was seen at
}

// Waiting is what one load says of the slots: of n requests in flight the share
// that is not waiting is in a slot.
type Waiting struct {
	Concurrency float64
	Residence   float64 // mean time in system, seconds
	TTFT        float64 // mean
	Batches     []LevelBatch
	Running     Number // by the server's metrics: most that ran at once
	Queued      Number // and waited, on average
}

const (
	queueShare = 0.10 // of the time in system spent waiting, from which a queue says how many are served
	belowSlots = 0.9  // share of the slots up to which nothing waits
	slotsApart = 1.15 // ratio of the loads that must agree
)

// SeeSlots finds the slots of a server from loads at which requests wait. Its own
// metrics say so, or the share of the time in system that is spent before the first
// token beyond a prefill's own: by Little's law N (1 - W/R) of N requests in flight
// are being served. Time cancels in that share, so that a server whose speed
// wanders from run to run shows its slots all the same. At least two loads must
// agree that lie some way apart: a prefill that grows with the load looks like a
// queue too, but one of which ever more requests are served. It returns nil where
// nothing shows.
func SeeSlots(loads []Waiting) *SlotsSeen {
	if s := slotsByMetrics(loads); s != nil {
		return s
	}
	var seen *SlotsSeen
	guess := math.Inf(1)
	for range 4 { // the prefill is that of the loads below the slots, which it takes to find them
		p0, p1 := prefillLine(loads, guess)
		s := slotsByQueue(loads, func(n float64) float64 { return p0 + p1*min(n, guess) })
		if s == nil {
			return nil
		}
		if math.Abs(s.At-guess) < 1e-3*s.At {
			return s
		}
		seen, guess = s, s.At
	}
	return seen
}

// WaitsBelow reports whether at loads up to a concurrency requests wait for a tenth of
// their time in system or more, beyond a prefill that goes on in a line as over the
// loads of at most half as many; where none was measured nothing tells a wait from the
// prefill. Two runs must show it: one may have been disturbed.
func WaitsBelow(loads []Waiting, concurrency float64) bool {
	seen := 0
	for _, l := range loads {
		if l.Concurrency > concurrency || l.Concurrency < 4 {
			continue
		}
		p0, p1 := prefillLine(loads, (l.Concurrency/2+1)/belowSlots)
		if p0+p1 > 0 && l.TTFT-p0-p1*l.Concurrency > queueShare*l.Residence {
			seen++
		}
	}
	return seen >= 2
}

func slotsByMetrics(loads []Waiting) *SlotsSeen {
	low, high := math.Inf(1), 0.0
	var from, to float64
	steps := 0
	for _, l := range loads {
		if r, ok := l.Running.Value(); ok && l.Queued.Or(0) >= 1 && r >= 1 {
			low, high = min(low, r), max(high, r)
			if steps == 0 {
				from, to = l.Concurrency, l.Concurrency
			}
			from, to = min(from, l.Concurrency), max(to, l.Concurrency)
			steps++
		}
	}
	// What grows with the load are no slots.
	if steps < 2 || high > low+max(1, 0.02*low) || to < slotsApart*from {
		return nil
	}
	return &SlotsSeen{At: high, SE: max(0.5*(high-low), relativeSE*high), Source: "metrics", Steps: steps}
}

// prefillLine fits TTFT = p0 + p1 N, both >= 0, to the loads below a number of
// slots; as nothing is known of them at first, to the smallest two then.
func prefillLine(loads []Waiting, slots float64) (p0, p1 float64) {
	var n, t []float64
	least, second := math.Inf(1), math.Inf(1)
	for _, l := range loads {
		if l.Concurrency < least {
			least, second = l.Concurrency, least
		} else if l.Concurrency > least && l.Concurrency < second {
			second = l.Concurrency
		}
	}
	for _, l := range loads {
		if l.TTFT > 0 && (l.Concurrency < belowSlots*slots && !math.IsInf(slots, 1) || math.IsInf(slots, 1) && l.Concurrency <= second) {
			n, t = append(n, l.Concurrency), append(t, l.TTFT)
		}
	}
	if len(n) == 0 {
		return 0, 0
	}
	// Weights 1/T^2: the errors of times are relative.
	var sw, sn, st, snn, snt float64
	for i := range n {
		w := 1 / (t[i] * t[i])
		sw, sn, st, snn, snt = sw+w, sn+w*n[i], st+w*t[i], snn+w*n[i]*n[i], snt+w*n[i]*t[i]
	}
	det := sw*snn - sn*sn
	if det > 1e-12*sw*snn {
		p1 = (sw*snt - sn*st) / det
		p0 = (st - p1*sn) / sw
	}
	switch {
	case det <= 1e-12*sw*snn || p1 < 0:
		return st / sw, 0
	case p0 < 0:
		return 0, snt / snn
	}
	return p0, p1
}

// slotsByQueue averages what the loads with a queue say, where they agree.
func slotsByQueue(loads []Waiting, prefill func(float64) float64) *SlotsSeen {
	var sum, weight, from, to, chi2 float64
	var at, se []float64
	for _, l := range loads {
		wait := l.TTFT - prefill(l.Concurrency)
		if wait < queueShare*l.Residence || l.Residence <= 0 {
			continue
		}
		s := l.Concurrency * (1 - wait/l.Residence)
		e := math.Hypot(waitingSE(l, prefill(l.Concurrency)), 2*relativeSE*s)
		at, se = append(at, s), append(se, e)
		sum, weight = sum+s/(e*e), weight+1/(e*e)
		if len(at) == 1 {
			from = l.Concurrency
			to = from
		}
		from, to = min(from, l.Concurrency), max(to, l.Concurrency)
	}
	if len(at) < 2 || to < slotsApart*from {
		return nil
	}
	mean := sum / weight
	for i := range at {
		chi2 += (at[i] - mean) * (at[i] - mean) / (se[i] * se[i])
	}
	reduced := chi2 / float64(len(at)-1)
	if reduced > maxChi2 {
		return nil
	}
	return &SlotsSeen{At: mean, SE: math.Sqrt(max(1, reduced) / weight), Source: "queue", Steps: len(at)}
}

// waitingSE is the standard error of N (1 - W/R) by batch means.
func waitingSE(l Waiting, prefill float64) float64 {
	level := Level{Batches: l.Batches}
	se, _ := level.SE(func(b LevelBatch) float64 {
		return l.Concurrency * (1 - (b.TTFT-prefill)/max(b.Residence, 1e-9))
	})
	return se.Or(0.05 * l.Concurrency)
}
