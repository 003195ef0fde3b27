package analysis

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A time that grows with the load on a server whose runs differ, independently: the
// interval holds the truth, and there is one although no straight line is known to rise.
func TestCrossWhereRunsDiffer(t *testing.T) {
	skipStatistics(t)
	const truth, runs = 58.0, 400
	for tau, least := range map[float64]int{0.05: 395, 0.15: 388, 0.3: 235} {
		rng := rand.New(rand.NewPCG(5, 5))
		covered, claimed := 0, 0
		for range runs {
			var points []CrossingPoint
			for _, n := range []float64{20, 50, 100, 54, 62, 47, 70, 58} {
				v := (0.02 + 0.98*n/truth) * math.Exp(tau*rng.NormFloat64())
				points = append(points, CrossingPoint{Concurrency: n, Value: v, SE: 0.01 * v, Dof: 8})
			}
			c := Cross(points, 1, Between{Tau: tau, Dof: 8})
			if c.Confidence.IsKnown() {
				claimed++
			}
			if c.Low.Or(0) <= truth && truth <= c.High.Or(math.Inf(1)) {
				covered++
			}
		}
		t.Logf("%.2f: covered %d, with a confidence %d, of %d", tau, covered, claimed, runs)
		if covered < runs*93/100 || claimed < least {
			t.Errorf("%.2f: covered %d, with a confidence %d, of %d", tau, covered, claimed, runs)
		}
	}
}

// Neighbours that met and passed the threshold by chance are no bracket where runs
// differ: only loads beyond doubt are.
func TestBracketBeyondDoubt(t *testing.T) {
	p := func(n, v float64) CrossingPoint {
		return CrossingPoint{Concurrency: n, Value: v, SE: 0.01 * v, Dof: 8}
	}
	points := []CrossingPoint{p(10, 0.5), p(50, 0.96), p(51, 1.02)}
	c := Cross(points, 1, Between{Tau: 0.15, Dof: 4})
	if c.Confidence.IsKnown() || c.Low.Or(0) != 10 || c.High.IsKnown() {
		t.Errorf("runs that differ: %+v", c)
	}
	if c = Cross(append(points, p(100, 1.9)), 1, Between{Tau: 0.15, Dof: 4}); c.High.IsKnown() && c.High.Or(0) < 60 {
		t.Errorf("with a load beyond doubt above: %+v", c)
	}
	if c = Cross(points, 1, Between{Tau: 0.005, Dof: 4}); c.Low.Or(0) != 50 || c.High.Or(0) > 51 {
		t.Errorf("runs that agree: %+v", c)
	}
}

// Errors that are a share of what was measured would give the low ones the most weight,
// and put the crossing too high.
func TestCrossingIsNotPulledByLowRuns(t *testing.T) {
	skipStatistics(t)
	const truth, tau, runs = 58.0, 0.12, 2000
	rng := rand.New(rand.NewPCG(8, 8))
	sum, n := 0.0, 0.0
	for range runs {
		var points []CrossingPoint
		for _, load := range []float64{30, 40, 50, 54, 58, 58, 62, 70, 90} {
			v := load / truth * (1 + tau*rng.NormFloat64())
			points = append(points, CrossingPoint{Concurrency: load, Value: v, SE: 0.01 * v, Dof: 8})
		}
		if l := fitLine(merge(points, Between{Tau: tau, Dof: 8})); l.slope > 0 {
			sum, n = sum+l.center+(1-l.mid)/l.slope, n+1
		}
	}
	if mean := sum / n; math.Abs(mean/truth-1) > 0.012 {
		t.Errorf("the mean of %.0f crossings is %.2f, want %.0f", n, mean, truth)
	} else {
		t.Logf("the mean of %.0f crossings is %.2f", n, mean)
	}
}
