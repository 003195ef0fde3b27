package sweep

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

func judgeGain(before, cur *analysis.Step, rules StopRules) *analysis.Stop {
	growth := analysis.Gain(before, cur)
	gain, ok := growth.Gain.Value()
	asked := rules.gainAsked(before.Concurrency, cur.Concurrency)
	if !ok || asked <= 0 || gain >= asked {
		return nil
	}
	low, high := before.Whole.RequestThroughput, cur.Whole.RequestThroughput
	if growth.Basis == analysis.BasisSteady {
		low, high = before.Steady.RequestThroughput, cur.Steady.RequestThroughput
	}
	sentence := fmt.Sprintf("throughput gain %s from %d to %d requests in flight (%s to %s req/s) is below %s",
		signedPercent(gain), before.Concurrency, cur.Concurrency, figure(low.Or(0)), figure(high.Or(0)), percent(asked))
	if even, ok := growth.PerDoubling.Value(); ok && cur.Concurrency != 2*before.Concurrency {
		sentence += fmt.Sprintf("; that is %s per doubling", signedPercent(even))
	}
	if asked != rules.MinThroughputGain {
		sentence += fmt.Sprintf("; %s is asked of a doubling", percent(rules.MinThroughputGain))
	}
	return &analysis.Stop{
		Rule: RuleGain, Metric: "throughput gain", Unit: "share",
		Value: loadgen.Known(gain), Threshold: loadgen.Known(asked), Sentence: sentence,
	}
}

// gainBase returns the step that the throughput gain of cur is taken over: the last of
// prev with a lower concurrency, or nil. Where steps stand close together it is the nearest
// that is half a doubling below, or the farthest there is: between closer ones chance is
// more than a gain, and a server that fills its batches up gains on a stair.
func gainBase(prev []analysis.Step, cur *analysis.Step) *analysis.Step {
	var base *analysis.Step
	for i := len(prev) - 1; i >= 0; i-- {
		from, to := float64(prev[i].Concurrency), float64(cur.Concurrency)
		switch {
		case from >= to:
			continue
		case base != nil && to > 2*from:
			return base
		}
		base = &prev[i]
		if to >= math.Sqrt2*from {
			return base
		}
	}
	return base
}

// gainAsked is the throughput gain that is asked of a step over another one. The guide's
// steps are a doubling apart or more, and of them it is the rule's own. Of steps that stand
// closer it is as much less as keeps it the same for a doubling, (1+g)^log2(to/from) - 1:
// from 5 to 6 requests in flight no server gains more than 20 %. A quick ladder leaps, and
// of a leap it is as much more.
func (r StopRules) gainAsked(from, to int) float64 {
	if from < 1 || to == 2*from || to > 2*from && !r.eachDoubling {
		return r.MinThroughputGain
	}
	return math.Pow(1+r.MinThroughputGain, math.Log2(float64(to)/float64(from))) - 1
}
