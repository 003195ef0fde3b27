package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/loadgen"
)

// Successes counts how requests fared at one load point.
type Successes struct {
	Concurrency       float64
	Completed, Failed int
}

func (s Successes) total() float64 { return float64(s.Completed + s.Failed) }

// SuccessCrossing estimates the concurrency at which the success rate falls to
// the threshold (a share of 1), with a 95 % interval by profile likelihood: all
// N* at which the best curve through (N*, threshold) is not rejected by the
// failures counted around it. Two kinds of curve are tried, each with one more
// free parameter:
//
//   - logistic: the log odds of failure grow with ln N (servers that tire);
//   - hinge: the odds of failure are 0 up to some K and grow linearly past it
//     (rate limiters and full queues: each request above K is turned away, held
//     back and sent again).
//
// A steep curve of either kind is a cliff, and its interval then is the gap
// between the last good and the first bad step. Failures come in bursts: where
// the points scatter by more than independent ones would, the interval is
// widened by as much. The interval may reach beyond what was measured, the
// estimate may not. Where the interval stays wider than a factor of 2, the answer
// is a bracket that says so, not a guess.
func SuccessCrossing(points []Successes, threshold float64) Crossing {
	pts := mergeSuccesses(points)
	if len(pts) == 0 {
		return Crossing{Note: "nothing was measured"}
	}
	good, bad := successBracket(pts, threshold)
	if bad == 0 {
		return Crossing{Note: fmt.Sprintf("below the threshold at %s already, the smallest concurrency measured", number(pts[0].Concurrency))}
	}
	low, high := pts[good].Concurrency, pts[max(bad, good)].Concurrency
	p := newProfile(pts, math.Sqrt(low*high), threshold)
	at, from, to, closed := p.interval()
	resolved := closed && to <= 2*from
	switch top := pts[len(pts)-1].Concurrency; {
	case resolved && at <= top:
		return Crossing{At: loadgen.Known(at), Low: loadgen.Known(from), High: loadgen.Known(to),
			Confidence: loadgen.Known(0.95), Method: crossRegression}
	case bad < 0:
		return Crossing{Note: fmt.Sprintf("not reached up to %s", number(top))}
	}
	// Of neighbours on a slope either may be the lucky one: the bracket is no
	// narrower than what the failures around it allow.
	low, high = min(low, from), max(high, to)
	return Crossing{At: loadgen.Known(low), Low: loadgen.Known(low), High: loadgen.Known(high), Method: crossBracket,
		Note: fmt.Sprintf("cannot be resolved between %s and %s: too few failures were seen around it", number(low), number(high))}
}

func mergeSuccesses(points []Successes) []Successes {
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b Successes) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	var out []Successes
	for _, p := range sorted {
		if p.total() == 0 {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].Concurrency == p.Concurrency {
			out[last].Completed += p.Completed
			out[last].Failed += p.Failed
			continue
		}
		out = append(out, p)
	}
	return out
}

// successBracket finds the neighbours between which the isotonic fit of the
// failure rate passes the threshold; bad is -1 where it never does.
func successBracket(pts []Successes, threshold float64) (good, bad int) {
	values, weights := make([]float64, len(pts)), make([]float64, len(pts))
	for i, p := range pts {
		values[i], weights[i] = float64(p.Failed)/p.total(), p.total()
	}
	for i, v := range Isotonic(values, weights) {
		if v > 1-threshold {
			return i - 1, i
		}
	}
	return len(pts) - 1, -1
}

// profile is the likelihood of the failures around a crossing as a function of
// where it lies.
type profile struct {
	pts      []Successes
	ln       []float64 // of their concurrencies
	odds     float64   // of failure, at the threshold
	from, to float64   // range of the crossings tried
}

func newProfile(pts []Successes, around, threshold float64) *profile {
	p := &profile{odds: (1 - threshold) / threshold}
	for _, s := range pts {
		if s.Concurrency >= around/crossingReach && s.Concurrency <= around*crossingReach {
			p.pts = append(p.pts, s)
		}
	}
	if len(p.pts) == 0 { // a bracket wider than the reach has nothing inside it
		p.pts = pts
	}
	for _, s := range p.pts {
		p.ln = append(p.ln, math.Log(s.Concurrency))
	}
	p.from, p.to = p.pts[0].Concurrency/profileBeyond, p.pts[len(p.pts)-1].Concurrency*profileBeyond
	return p
}

// The search over a profile. The steepest logistic rises from 1 % to 99 % within
// a ten-thousandth of N: a cliff between any two whole concurrencies.
const (
	profileCrossings = 60 // tried a round
	profileRounds    = 3  // each round looks closer at where the last one's interval lay
	profileShapes    = 24 // tried before the best is refined
	steepest         = 1e5
	shallowest       = 0.3
	sameLikelihood   = 0.01 // no data tells such a difference
	profileBeyond    = 1.5  // how far an interval may reach beyond what was measured, as a factor
)

// interval returns the most likely crossing and the ends of the 95 % interval;
// closed is false where an end lies too far beyond what was measured.
func (p *profile) interval() (at, low, high float64, closed bool) {
	low, high = p.from, p.to
	for round := 1; ; round++ {
		var n, like [profileCrossings + 1]float64
		best := math.Inf(-1)
		var curve chance
		for i := range n {
			n[i] = low * math.Pow(high/low, float64(i)/profileCrossings)
			l, c := p.best(n[i])
			like[i] = l
			if l > best {
				best, curve = l, c
			}
		}
		drop := p.allowedDrop(curve)
		first, last := span(like[:], best-sameLikelihood)
		left, right := span(like[:], best-drop)
		at = math.Sqrt(n[first] * n[last])
		if round == profileRounds {
			return at, n[left], n[right], n[left] > p.from && n[right] < p.to
		}
		// The next round starts one point further out, where it is sure to be rejected.
		low, high = n[max(left-1, 0)], n[min(right+1, profileCrossings)]
	}
}

// span returns the first and the last index of a value that is at least bound.
func span(v []float64, bound float64) (first, last int) {
	first = -1
	for i := range v {
		if v[i] >= bound {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	return max(first, 0), last
}

// chance is a curve of failure probability over concurrency, of which the logarithm
// is given as well.
type chance func(n, ln float64) float64

// logistic is the log odds that grow by shape per unit of ln N.
func (p *profile) logistic(crossing, shape float64) chance {
	at := math.Log(crossing)
	return func(_, ln float64) float64 {
		odds := p.odds * math.Exp(shape*(ln-at))
		if math.IsInf(odds, 1) {
			return 1
		}
		return odds / (1 + odds)
	}
}

// hinge is the odds that are 0 up to the share 1/shape of the crossing below it
// and grow linearly from there.
func (p *profile) hinge(crossing, shape float64) chance {
	knee := crossing * (1 - min(1, 1/shape))
	return func(n, _ float64) float64 {
		odds := p.odds * max(0, n-knee) / (crossing - knee)
		return odds / (1 + odds)
	}
}

// best is the highest log likelihood of any curve through a crossing, and that
// curve.
func (p *profile) best(crossing float64) (like float64, curve chance) {
	like = math.Inf(-1)
	for _, kind := range []func(crossing, shape float64) chance{p.logistic, p.hinge} {
		curveAt := func(x float64) chance { return kind(crossing, shallowest*math.Exp(x*math.Log(steepest/shallowest))) }
		bestAt, top := 0.0, math.Inf(-1)
		for i := range profileShapes + 1 {
			x := float64(i) / profileShapes
			if l := p.logLikelihood(curveAt(x), top); l > top {
				bestAt, top = x, l
			}
		}
		left, right := max(bestAt-1.0/profileShapes, 0), min(bestAt+1.0/profileShapes, 1)
		for range 16 {
			a, b := left+(right-left)/3, right-(right-left)/3
			la := p.logLikelihood(curveAt(a), math.Inf(-1))
			if la > p.logLikelihood(curveAt(b), la) {
				right = b
			} else {
				left = a
			}
		}
		c := curveAt((left + right) / 2)
		if l := p.logLikelihood(c, like); l > like {
			like, curve = l, c
		}
	}
	return like, curve
}

// stray is the chance of a failure that has nothing to do with the load, so that
// a single one below a hinge does not rule the hinge out.
const stray = 1e-4

// logLikelihood of the failures under a curve; where it is below least, any value
// below it.
func (p *profile) logLikelihood(c chance, least float64) float64 {
	sum := 0.0
	for i, s := range p.pts {
		q := min(max(c(s.Concurrency, p.ln[i]), stray), 1-stray)
		if s.Failed > 0 {
			sum += float64(s.Failed) * math.Log(q)
		}
		if s.Completed > 0 {
			sum += float64(s.Completed) * math.Log(1-q)
		}
		if sum < least { // no term is above 0
			break
		}
	}
	return sum
}

// allowedDrop is how far the log likelihood may fall within the 95 % interval:
// half of chi2's 3.84, widened by the points' scatter around the best curve
// (Pearson's chi2 per degree of freedom) where that is above 1.
func (p *profile) allowedDrop(c chance) float64 {
	chi2 := 0.0
	for i, s := range p.pts {
		q := min(max(c(s.Concurrency, p.ln[i]), stray), 1-stray)
		e := float64(s.Failed) - s.total()*q
		chi2 += e * e / (s.total() * q * (1 - q))
	}
	dof := float64(len(p.pts) - 2)
	if dof < 1 || chi2 <= dof {
		return distuv.ChiSquared{K: 1}.Quantile(0.95) / 2
	}
	t := StudentT(max(dof, 4))
	return t * t / 2 * chi2 / dof
}
