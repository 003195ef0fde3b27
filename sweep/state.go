package sweep

import (
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
)

// Change is a moment at which the server became another one: quicker or slower for
// good, as far as was seen.
type Change struct {
	Step        int     `json:"step"`        // index of the first step since
	AtSeconds   float64 `json:"at_seconds"`  // its beginning, since the beginning of the first step
	Concurrency int     `json:"concurrency"` // the load at which it showed
	Ratio       float64 `json:"ratio"`       // of the mean response time there, after to before
	Sentence    string  `json:"sentence"`
}

// A change is told from runs that differ: those before a moment agree among
// themselves, those after it do, and the two lie this far apart.
const (
	changeErrors = 5.0  // standard errors of their difference
	changeShift  = 0.10 // share of the time in system
)

// changed looks for a moment since the last change at which the server changed once
// more: a load that was run before it, and at least twice since. Where everything but
// the runs before it lies on one curve, those were disturbed and nothing has changed:
// they are left out.
func (e *evidence) changed() (Change, bool) {
	if e.repeats() == 0 {
		return Change{}, false
	}
	runs := e.repeated()
	for i := range runs {
		before, after := e.sides(runs, i)
		if runs[i].Value == 0 || len(before) == 0 || len(after) < 2 {
			continue
		}
		ratio := mean(runs, after) / mean(runs, before)
		off := math.Abs(math.Log(ratio))
		if off < changeShift {
			continue
		}
		if off < changeErrors*withinSE(runs, before, after) {
			continue
		}
		moment, scatter := e.split(before[len(before)-1]+1, after[0])
		if off < changeErrors*contrastSE(runs, before, after, moment, scatter) {
			continue
		}
		if !othersToo(runs, e.steps[i].Concurrency, moment, ratio) && e.onOneCurve(func(k int) bool { return !slices.Contains(before, k) }) {
			for _, k := range before {
				e.levels[k] = nil
			}
			e.odd = append(e.odd, fmt.Sprintf("at %d requests in flight the mean response time was %s once and %s when it was run again: something disturbed the first of these runs, and it was left out",
				e.steps[i].Concurrency, millis(mean(runs, before)), millis(mean(runs, after))))
			e.curved, e.spreadB, e.slotsIn = nil, nil, nil
			return e.changed()
		}
		c := Change{Step: e.since + moment, Concurrency: e.steps[i].Concurrency, Ratio: ratio}
		c.AtSeconds = e.all[c.Step].StartedAt.Sub(e.all[0].StartedAt).Seconds()
		word := "slower"
		if ratio < 1 {
			word = "quicker"
		}
		c.Sentence = fmt.Sprintf("the server became %s about %.0f s after the start: at %d requests in flight the mean response time was %s before and %s after (%s); the limit is that since then",
			word, c.AtSeconds, c.Concurrency, millis(mean(runs, before)), millis(mean(runs, after)), signedPercent(ratio-1))
		return c, true
	}
	return Change{}, false
}

// othersToo reports whether another load became quicker or slower as well at a moment.
func othersToo(runs []analysis.Repeated, n, moment int, ratio float64) bool {
	for i, r := range runs {
		if r.Value == 0 || i < moment || r.Concurrency == float64(n) {
			continue
		}
		for _, q := range runs[:moment] {
			if q.Value > 0 && q.Concurrency == r.Concurrency && math.Abs(math.Log(r.Value/q.Value)) > suspectShift && (r.Value > q.Value) == (ratio > 1) {
				return true
			}
		}
	}
	return false
}

// repeats counts the runs of loads that were run before.
func (e *evidence) repeats() int {
	n := 0
	seen := map[int]bool{}
	for i := range e.steps {
		if e.levels[i] == nil {
			continue
		}
		if seen[e.steps[i].Concurrency] {
			n++
		}
		seen[e.steps[i].Concurrency] = true
	}
	return n
}

// sides are the runs of the same load as run i: those before it, and it and those
// after.
func (e *evidence) sides(runs []analysis.Repeated, i int) (before, after []int) {
	for j := range runs {
		switch {
		case runs[j].Value == 0 || runs[j].Concurrency != runs[i].Concurrency:
		case j < i:
			before = append(before, j)
		default:
			after = append(after, j)
		}
	}
	return before, after
}

func mean(runs []analysis.Repeated, which []int) float64 {
	sum := 0.0
	for _, j := range which {
		sum += math.Log(runs[j].Value)
	}
	return math.Exp(sum / float64(len(which)))
}

// split is the first step after a change that lies between two steps: that before
// which all loads lie on one curve, and from which on they do on another, best of all.
// scatter is by how much they miss them all the same, as a share.
func (e *evidence) split(from, upto int) (moment int, scatter float64) {
	moment, scatter = upto, math.Inf(1)
	for first := from; first <= upto; first++ {
		sum, dof := 0.0, 0.0
		for _, keep := range []func(int) bool{func(i int) bool { return i < first }, func(i int) bool { return i >= first }} {
			s := analysis.ScatterOf(e.curveInputs(keep), e.fitOptions(analysis.Between{}))
			sum, dof = sum+s.Dof*s.Relative*s.Relative, dof+s.Dof
		}
		if dof >= 2 && math.Sqrt(sum/dof) < scatter {
			moment, scatter = first, math.Sqrt(sum/dof)
		}
	}
	if math.IsInf(scatter, 1) {
		return moment, 0
	}
	return moment, scatter
}

// contrastSE is the error that the logarithm of the ratio of the two sides would have
// on one and the same server. By how much its runs differ is taken from the repeats on
// either side of the moment, and from how far the loads lie off a curve there.
func contrastSE(runs []analysis.Repeated, before, after []int, moment int, scatter float64) float64 {
	var sided []analysis.Repeated
	for j, r := range runs {
		if r.Value > 0 {
			if j >= moment {
				r.Concurrency = -r.Concurrency // a load of its own
			}
			sided = append(sided, r)
		}
	}
	tau := max(analysis.SpreadBetween(sided, analysis.Scatter{}).Tau, scatter)
	return math.Hypot(withinSE(runs, before, after), tau*math.Sqrt(1/float64(len(before))+1/float64(len(after))))
}

// withinSE is the same if the runs differed by what lies within them alone.
func withinSE(runs []analysis.Repeated, before, after []int) float64 {
	within := 0.0
	for _, side := range [][]int{before, after} {
		sum := 0.0
		for _, j := range side {
			sum += runs[j].SE * runs[j].SE / (runs[j].Value * runs[j].Value)
		}
		within += sum / float64(len(side)*len(side))
	}
	return math.Sqrt(within)
}

// onOneCurve reports whether the steps that keep wants lie on the curve of one server.
func (e *evidence) onOneCurve(keep func(i int) bool) bool {
	const oneCurve = 0.03 // scatter around it, as a share
	o := e.fitOptions(analysis.Between{})
	o.KeepAll = true
	s := analysis.ScatterOf(e.curveInputs(keep), o)
	return s.Dof >= 3 && s.Relative <= oneCurve
}
