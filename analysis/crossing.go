package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

// CrossingPoint is a latency statistic measured at one load point.
type CrossingPoint struct {
	Concurrency float64
	Value       float64 // e.g. the mean TTFT, in seconds
	SE          float64 // its standard error, in the same unit
	Dof         float64 // degrees of freedom of the errors; 0 where unknown
	Requests    int     // that it rests on
	Throughput  float64 // requests/s; 0 where no queue relates it to the value
	Predicted   float64 // the crossing by this point alone, if a queue is what the value grows by; 0 where it says nothing
	PredictedSE float64
	Swing       float64 // share of Predicted that moves with the server's speed from run to run
	SharedSE    float64 // error of Predicted that all points have in common, which averaging leaves

	// The parts of the variances of Value and of Predicted that lie between runs,
	// and the degrees of freedom of that part, which all points share.
	between, predictedBetween, betweenDof float64
}

// Crossing is the concurrency at which a growing statistic meets its threshold.
type Crossing struct {
	At, Low, High Number // High is unknown where nothing bounds it
	Confidence    Number // 0.95; unknown where Low and High only bracket the answer
	Method        string // queue, regression, shown or bracket
	Note          string // why there is no crossing, or none with a confidence
}

// The ways in which a crossing is found.
const (
	crossQueue      = "queue"
	crossRegression = "regression"
	crossBracket    = "bracket"
	crossShown      = "shown" // by loads on either side of it
)

// Cross estimates where the statistic meets the threshold, with a 95 % interval.
//
// Latency over concurrency is flat until the server is full and then grows with
// the slope 1/X: every further request waits for one more to leave. So every
// point of a full server alone predicts the crossing, and where the predictions
// around it agree they are averaged. Where they do not, or the slope is plainly
// not 1/X, latency grows for another reason, and the straight stretch around the
// crossing is regressed on N and inverted, with Fieller's interval; where runs differ
// too much for that, the same in logarithms over all loads around it. With fewer
// points than either takes, the answer is a bracket: of loads that are beyond doubt on
// either side. What runs of one load differ by is part of every error.
func Cross(points []CrossingPoint, threshold float64, between Between) Crossing {
	c := crossByModel(points, threshold, between)
	low, high, ok := sureBracket(merge(points, between), threshold)
	switch {
	case !c.At.IsKnown():
		return c
	case ok && high <= closeBy*low:
		return c.within(low, high)
	case c.Confidence.IsKnown():
		return c
	}
	return c.doubted(low, high)
}

// doubted is a bracket whose ends are loads that have shown on which side of the
// threshold they lie: the neighbours between which it was met may have been on the
// other side by chance. An end that was not shown is unknown, the lower one 0.
func (c Crossing) doubted(low, high float64) Crossing {
	c.Low, c.High = loadgen.Known(low), Number{}
	if !math.IsInf(high, 1) {
		c.High = loadgen.Known(high)
	}
	return c
}

// closeBy is the ratio of neighbours up to which they are an interval; further apart
// they only say where to look.
const closeBy = 1.5

// within holds a crossing against what the loads around it have shown beyond doubt.
// Where a model's estimate lies outside, or there is none, what was shown is the
// answer: it stands whatever a model says.
func (c Crossing) within(low, high float64) Crossing {
	at := c.At.Or(0)
	if c.Confidence.IsKnown() && at >= low && at < high {
		return c
	}
	below := high - 1e-6 // the threshold was passed at high already
	return Crossing{At: loadgen.Known(min(max(at, low), below)), Low: loadgen.Known(low), High: loadgen.Known(below),
		Confidence: loadgen.Known(0.95), Method: crossShown}
}

// sure is how many standard errors a load must lie off the threshold to count as
// having shown on which side of it it is. Several loads are asked, of which the
// nearest that says so is taken: two errors would be wrong too often.
const sure = 2.5

// sureBracket returns the largest load that plainly meets the threshold and the
// smallest above it that plainly does not.
func sureBracket(pts []CrossingPoint, threshold float64) (low, high float64, ok bool) {
	high = math.Inf(1)
	for _, p := range slices.Backward(pts) {
		if p.Value-sure*p.SE > threshold {
			high = p.Concurrency
		}
	}
	for _, p := range pts {
		if p.Value+sure*p.SE <= threshold && p.Concurrency < high {
			low = p.Concurrency
		}
	}
	return low, high, low > 0 && !math.IsInf(high, 1)
}

func crossByModel(points []CrossingPoint, threshold float64, between Between) Crossing {
	pts := merge(points, between)
	if len(pts) == 0 {
		return Crossing{Note: "nothing was measured"}
	}
	good, bad, ok := bracket(pts, threshold)
	switch {
	case bad < 0:
		return Crossing{Note: fmt.Sprintf("not reached up to %s", number(pts[len(pts)-1].Concurrency))}
	case !ok:
		return Crossing{Note: fmt.Sprintf("above the threshold at %s already, the smallest concurrency measured", number(pts[0].Concurrency))}
	}
	start := pivot(pts[good], pts[bad], threshold)
	stretch := straight(pts, threshold, start, 0.2*threshold)
	if growing(pts[:good+1], pts[bad]) {
		start = chord(pts[good], pts[bad], threshold)
	} else if queueing(stretch, pts[bad].Throughput) {
		c, levered, ok := queueCrossing(merge(smoothPredictions(points, start), between), start)
		if ok && (levered || len(stretch) > 2) {
			return c
		}
		if ok {
			return c.unlessSlow(stretch)
		}
	}
	if stretch := straight(pts, threshold, start, math.Inf(1)); len(stretch) > 2 && !queueing(stretch, pts[bad].Throughput) {
		if c, ok := fitLine(stretch).invert(threshold); ok {
			return c
		}
	}
	if c, ok := powerCrossing(pts, start, threshold); ok {
		return c
	}
	return bracketCrossing(start, pts[good], pts[bad])
}

// merge gives every point the errors between runs too, sorts them and joins those
// of the same concurrency, weighted by 1/SE^2.
func merge(points []CrossingPoint, between Between) []CrossingPoint {
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b CrossingPoint) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	sum, count := map[float64]float64{}, map[float64]float64{}
	for _, p := range points {
		sum[p.Concurrency], count[p.Concurrency] = sum[p.Concurrency]+p.Value, count[p.Concurrency]+1
	}
	var out []CrossingPoint
	for _, p := range sorted {
		if p.Dof <= 0 {
			p.Dof = minBatches - 1
		}
		p.betweenDof = between.Dof
		p.SE, p.between = joined(p.SE, between.variance(sum[p.Concurrency]/count[p.Concurrency]))
		p.SE = max(p.SE, relativeSE*math.Abs(p.Value), 1e-9)
		p.PredictedSE, p.predictedBetween = joined(p.PredictedSE, between.variance(p.Swing*p.Predicted))
		p.PredictedSE = max(p.PredictedSE, 0.001*p.Concurrency)
		last := len(out) - 1
		if last < 0 || out[last].Concurrency != p.Concurrency {
			out = append(out, p)
			continue
		}
		q := &out[last]
		w, v := 1/(q.SE*q.SE), 1/(p.SE*p.SE)
		q.Value = (w*q.Value + v*p.Value) / (w + v)
		q.SE = math.Sqrt(1 / (w + v))
		q.Dof += p.Dof
		q.Requests += p.Requests
		q.mergePrediction(p)
	}
	return out
}

// joined is a standard error with what lies between runs, and the share of the
// latter in its square.
func joined(within, between float64) (se, share float64) {
	v := within*within + between
	if v == 0 {
		return 0, 0
	}
	return math.Sqrt(v), between / v
}

// bracket finds the neighbours between which the isotonic fit passes the
// threshold; bad is -1 where it never does, ok false where it does at once.
func bracket(pts []CrossingPoint, threshold float64) (good, bad int, ok bool) {
	values, weights := make([]float64, len(pts)), make([]float64, len(pts))
	for i, p := range pts {
		values[i], weights[i] = p.Value, 1/(p.SE*p.SE)
	}
	for i, v := range Isotonic(values, weights) {
		if v > threshold {
			return i - 1, i, i > 0
		}
	}
	return len(pts) - 1, -1, false
}

// mergePrediction joins what two runs at the same concurrency predict.
func (p *CrossingPoint) mergePrediction(other CrossingPoint) {
	if other.Predicted <= 0 {
		return
	}
	if p.Predicted <= 0 {
		p.Predicted, p.PredictedSE, p.SharedSE, p.Throughput = other.Predicted, other.PredictedSE, other.SharedSE, other.Throughput
		return
	}
	w, v := 1/(p.PredictedSE*p.PredictedSE), 1/(other.PredictedSE*other.PredictedSE)
	p.Predicted = (w*p.Predicted + v*other.Predicted) / (w + v)
	p.Throughput = (w*p.Throughput + v*other.Throughput) / (w + v)
	p.PredictedSE = math.Sqrt(1 / (w + v))
}

// pivot is a first guess between a good and a bad point.
func pivot(good, bad CrossingPoint, threshold float64) float64 {
	if n := bad.Predicted; n > good.Concurrency && n < bad.Concurrency {
		return n
	}
	return chord(good, bad, threshold)
}

func chord(good, bad CrossingPoint, threshold float64) float64 {
	share := (threshold - good.Value) / (bad.Value - good.Value)
	return good.Concurrency + min(max(share, 0), 1)*(bad.Concurrency-good.Concurrency)
}

// byDistance orders the points around a concurrency as they are taken up: those
// above it first, where the queue is sure to stand, then those below, either way
// outwards and no further than a factor of reach.
func byDistance(pts []CrossingPoint, around, reach float64) (above, below []CrossingPoint) {
	for _, p := range pts {
		if p.Concurrency >= around && p.Concurrency <= around*reach {
			above = append(above, p)
		}
	}
	for _, p := range slices.Backward(pts) {
		if p.Concurrency < around && p.Concurrency >= around/reach {
			below = append(below, p)
		}
	}
	return above, below
}

// crossingReach is how far from the crossing, as a factor, a point may lie and
// still have a say.
const crossingReach = 3.0

// queueing reports whether nothing speaks against a queue: the slope along the
// stretch, where it is known at all, is that of one, 1/X. A stretch of two points
// proves nothing, for one of them may lie before the server is full.
func queueing(stretch []CrossingPoint, throughput float64) bool {
	if throughput <= 0 {
		return false
	}
	if len(stretch) < 3 {
		return true
	}
	l, want := fitLine(stretch), 1/throughput
	se := math.Sqrt(l.slopeVar)
	return se > 0.3*want || math.Abs(l.slope-want) <= 3*se+0.3*want
}

// smoothPredictions steadies the errors of the predictions of a full server.
func smoothPredictions(pts []CrossingPoint, around float64) []CrossingPoint {
	out := slices.Clone(pts)
	var full []int
	var errors []roughError
	for i, p := range out {
		// Before the server is full the error is of another kind.
		if p.Predicted > 0 && p.Concurrency >= 0.8*around {
			full = append(full, i)
			errors = append(errors, roughError{p.PredictedSE / p.Predicted, p.Requests, p.Dof})
		}
	}
	relative, dof := smoothErrors(errors)
	for k, i := range full {
		out[i].PredictedSE, out[i].Dof = relative[k]*out[i].Predicted, dof[k]
	}
	return out
}

// queueCrossing averages the points' own predictions, as long as they agree
// within three standard errors. If there were no queue each would predict about
// its own concurrency: agreement counts where the points lie further apart than
// that, and else the answer is no more exact than the nearest of them is close. levered
// says that three points or more lie so far apart.
func queueCrossing(pts []CrossingPoint, around float64) (c Crossing, levered, ok bool) {
	var sum, weight, dof, shared, phi, runs float64
	var taken []float64
	add := func(p CrossingPoint) bool {
		if p.Predicted <= 0 {
			return false
		}
		v := p.PredictedSE * p.PredictedSE
		if weight > 0 && math.Abs(p.Predicted-sum/weight) > 3*math.Sqrt(v+1/weight)+relativeSE*around {
			return false
		}
		sum += p.Predicted / v
		weight += 1 / v
		dof += p.Dof
		phi += p.predictedBetween / v
		runs = p.betweenDof
		shared = max(shared, p.SharedSE)
		taken = append(taken, p.Concurrency)
		return true
	}
	above, below := byDistance(pts, around, crossingReach)
	for _, side := range [][]CrossingPoint{above, below} {
		for _, p := range side {
			if !add(p) {
				break
			}
		}
	}
	if len(taken) < 2 {
		return Crossing{}, false, false
	}
	at, half := sum/weight, StudentT(sharedDof(phi/weight, dof, runs))*math.Sqrt(1/weight+shared*shared)
	levered = len(taken) > 2
	if slices.Max(taken)-slices.Min(taken) < 3*half {
		levered = false
		nearest := math.Inf(1)
		for _, n := range taken {
			nearest = min(nearest, math.Abs(n-at))
		}
		half = max(half, nearest)
	}
	return Crossing{At: loadgen.Known(at), Low: loadgen.Known(at - half), High: loadgen.Known(at + half),
		Confidence: loadgen.Known(0.95), Method: crossQueue}, levered, true
}

// unlessSlow widens a crossing by a queue where the stretch around it is too short to
// prove one: if the statistic grows with the load itself, no queue, its own error moves
// the crossing by as large a share.
func (c Crossing) unlessSlow(stretch []CrossingPoint) Crossing {
	if len(stretch) == 0 {
		return c
	}
	weight, dof := 0.0, 0.0
	for _, p := range stretch {
		weight += p.Value * p.Value / (p.SE * p.SE)
		dof += sharedDof(p.between, p.Dof, p.betweenDof)
	}
	at := c.At.Or(0)
	half := StudentT(dof) * at / math.Sqrt(weight)
	c.Low, c.High = loadgen.Known(min(c.Low.Or(at), at-half)), loadgen.Known(max(c.High.Or(at), at+half))
	return c
}

// bracketCrossing says between which points the crossing lies where they support
// no more; the estimate is only where to look next.
func bracketCrossing(at float64, good, bad CrossingPoint) Crossing {
	return Crossing{At: loadgen.Known(at), Low: loadgen.Known(good.Concurrency), High: loadgen.Known(bad.Concurrency), Method: crossBracket,
		Note: fmt.Sprintf("only bracketed between %s and %s: too few points near the crossing", number(good.Concurrency), number(bad.Concurrency))}
}
