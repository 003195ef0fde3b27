package analysis

import (
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

// powerCrossing regresses ln V on ln N over the loads around the crossing: what runs
// differ by is a share, the same for all of them, and a power is close to any growth
// over so short a stretch. Where the loads lie off it by more than their errors, it says
// nothing.
func powerCrossing(pts []CrossingPoint, around, threshold float64) (Crossing, bool) {
	var logs []CrossingPoint
	above, below := byDistance(pts, around, crossingReach)
	for _, p := range slices.Concat(above, below) {
		if p.Value > 0 {
			p.SE /= p.Value
			p.Concurrency, p.Value = math.Log(p.Concurrency), math.Log(p.Value)
			logs = append(logs, p)
		}
	}
	if len(logs) < minOnPower {
		return Crossing{}, false
	}
	l := leastSquares(logs)
	if l.widened > maxChi2 {
		return Crossing{}, false
	}
	c, ok := l.invert(math.Log(threshold))
	if !ok {
		return Crossing{}, false
	}
	exp := func(n Number) Number { return loadgen.Known(math.Exp(n.Or(0))) }
	c.At, c.Low, c.High = exp(c.At), exp(c.Low), exp(c.High)
	if c.High.Or(0) > profileBeyond*pts[len(pts)-1].Concurrency {
		c.High = Number{} // further out than anything that was measured says
	}
	return c, true
}

// minOnPower is how many loads the power takes: two parameters, and as many to tell
// whether it fits.
const minOnPower = 4

// straight collects the stretch around the crossing on which the statistic grows
// along one line: outwards, above first, until a point misses the line through
// those before it, or lies so far out that the line's own error there is above
// unsure. Where a queue is what it grows by, a point that far out may lie before
// the server is full.
func straight(pts []CrossingPoint, threshold, around, unsure float64) []CrossingPoint {
	var stretch []CrossingPoint
	above, below := byDistance(pts, around, crossingReach)
	for _, side := range [][]CrossingPoint{above, below} {
		for _, p := range side {
			if len(stretch) >= 2 {
				l := fitLine(stretch)
				se := math.Sqrt(l.variance(p.Concurrency))
				if se > unsure || math.Abs(p.Value-l.at(p.Concurrency)) > 3*math.Hypot(p.SE, se)+0.02*threshold {
					break
				}
			}
			stretch = append(stretch, p)
		}
	}
	return stretch
}

// growing reports whether a point lies where the line through those before it puts it:
// then the statistic grows with the load all along, as a prefill does, and nothing has
// begun to queue.
func growing(before []CrossingPoint, p CrossingPoint) bool {
	if len(before) < 3 {
		return false
	}
	l := fitLine(before)
	at := l.at(p.Concurrency)
	return l.slope > 0 && at > 0.5*p.Value && math.Abs(p.Value-at) <= 3*math.Sqrt(p.SE*p.SE+l.variance(p.Concurrency))+0.1*p.Value
}

// line is a straight line fitted with known errors, V = mid + slope (N - center).
type line struct {
	center, mid, slope float64
	midVar, slopeVar   float64
	widened            float64 // by how much the points' scatter raised the variances
	dof                float64
}

// fitLine is a straight line through points whose runs differ by a share: of the value
// there, not of what each has happened to measure, or the low ones would count the most
// and pull the line down. Fitted twice, the second time with the errors that the first
// line gives.
func fitLine(pts []CrossingPoint) line {
	l := leastSquares(pts)
	even := slices.Clone(pts)
	for i := range even {
		p := &even[i]
		at := l.at(p.Concurrency)
		if p.between == 0 || p.Value <= 0 || at <= 0 {
			continue
		}
		scale := at / p.Value
		within, between := p.SE*p.SE*(1-p.between), p.SE*p.SE*p.between*scale*scale
		p.SE, p.between = joined(math.Sqrt(within), between)
	}
	return leastSquares(even)
}

// leastSquares is the line with weights 1/SE^2; errors are widened where the points
// scatter by more than theirs.
func leastSquares(pts []CrossingPoint) line {
	var l line
	var w, phi, runs float64
	for _, p := range pts {
		v := 1 / (p.SE * p.SE)
		w += v
		phi, runs = phi+v*p.between, p.betweenDof
		l.center += v * p.Concurrency
		l.mid += v * p.Value
		l.dof += p.Dof
	}
	l.center /= w
	l.mid /= w
	l.dof = sharedDof(phi/w, l.dof, runs)
	var sxx, sxy, chi2 float64
	for _, p := range pts {
		v, d := 1/(p.SE*p.SE), p.Concurrency-l.center
		sxx += v * d * d
		sxy += v * d * (p.Value - l.mid)
	}
	l.slope = sxy / sxx
	for _, p := range pts {
		e := (p.Value - l.at(p.Concurrency)) / p.SE
		chi2 += e * e
	}
	widen := 1.0
	if len(pts) > 2 {
		widen = max(1, chi2/float64(len(pts)-2))
	}
	l.widened = widen
	l.midVar, l.slopeVar = widen/w, widen/sxx
	return l
}

func (l line) at(n float64) float64 { return l.mid + l.slope*(n-l.center) }

func (l line) variance(n float64) float64 {
	return l.midVar + l.slopeVar*(n-l.center)*(n-l.center)
}

// invert solves the line for the threshold. The interval is Fieller's: all N
// whose distance from the threshold is within t standard errors, the roots of
// (mid + slope d - T)^2 = t^2 (midVar + slopeVar d^2).
func (l line) invert(threshold float64) (Crossing, bool) {
	q := StudentT(l.dof)
	off := l.mid - threshold
	a := l.slope*l.slope - q*q*l.slopeVar
	b := l.slope * off
	root := b*b - a*(off*off-q*q*l.midVar)
	if l.slope <= 0 || a <= 0 || root < 0 {
		return Crossing{}, false // the slope itself is not known to be above 0
	}
	return Crossing{
		At:         loadgen.Known(l.center - off/l.slope),
		Low:        loadgen.Known(l.center + (-b-math.Sqrt(root))/a),
		High:       loadgen.Known(l.center + (-b+math.Sqrt(root))/a),
		Confidence: loadgen.Known(0.95), Method: crossRegression,
	}, true
}
