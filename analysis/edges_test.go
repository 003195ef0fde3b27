package analysis

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Waves in step: ten of them, one second each. The window is seconds 1 to 9 and
// holds eight waves, not nine, though both its ends fall on a dispatch.
func TestWindowCountsItsGaps(t *testing.T) {
	c := synth{n: 10, requests: 100, prefill: 100 * ms, decode: 900 * ms, tokens: 10}
	s := Summarize([]loadgen.Run{c.run()}, Options{})
	if s.Window.FromSeconds != 1 || s.Window.ToSeconds != 9 || s.Window.Requests != 80 {
		t.Errorf("%+v", s.Window)
	}
	near(t, "little", check(t, &s, "little").Value, 0, 1e-9)
}

// A server so quick that N requests are done before all workers have begun.
func TestWindowWaitsForAllWorkers(t *testing.T) {
	c := synth{n: 10, requests: 400, prefill: 10 * ms, decode: 90 * ms, tokens: 10, stagger: 2 * time.Second}
	s := Summarize([]loadgen.Run{c.run()}, Options{})
	if s.Window.FromSeconds < 2 {
		t.Errorf("the window begins at %g s, the last worker at 1.8 s", s.Window.FromSeconds)
	}
	near(t, "in flight", s.Steady.MeanInFlight, 10, 0.01)
}

func TestGoodputNeedsWhatItBounds(t *testing.T) {
	c := slots(5)
	r := c.run()
	for i := range r.Samples {
		r.Samples[i].Streamed = i%2 == 0 // every other one has no TTFT
	}
	s := Summarize([]loadgen.Run{r}, Options{Goodput: &Goodput{TTFT: time.Hour}})
	near(t, "goodput", loadgen.Known(s.Whole.RequestGoodput.Or(0)/s.Whole.RequestThroughput.Or(1)), 0.5, 1e-9)
}

func TestStandardErrorAllowsForNeighbours(t *testing.T) {
	// Mean 1.5, s^2 = 1.5/5 = 0.3; of the five pairs of neighbours four agree:
	// r1 = (4 x 0.25 - 0.25)/1.5 = 0.5.
	near(t, "alike", standardError([]float64{1, 1, 1, 2, 2, 2}), math.Sqrt(0.3/6*(1+2*0.5*5/6)), 1e-12)
	// Neighbours that alternate must not make it narrower.
	near(t, "alternating", standardError([]float64{1, 2, 1, 2, 1, 2}), math.Sqrt(0.3/6), 1e-12)
	if standardError([]float64{1, 2, 3, 4}).IsKnown() {
		t.Error("an error from four batches")
	}
}

func TestSmallTrendIsNoTrend(t *testing.T) {
	c := slots(20)
	c.cv, c.seed, c.stagger, c.drift = 0.01, 1, 2100*ms, 0.05
	s := Summarize([]loadgen.Run{c.run()}, Options{})
	v := check(t, &s, "e2e_trend")
	near(t, "change", v.Value, 0.04, 0.01)
	if !v.OK {
		t.Errorf("5 %% are within the gate: %s", v.Text)
	}
}

func TestFitKeepsItsCoefficientsPositive(t *testing.T) {
	got := Fit(exact(func(n float64) float64 { return 2 - 0.0005*n }, ladder...), FitOptions{})
	for name, v := range got.Parameters {
		if v < 0 {
			t.Errorf("%s model with %s = %g", got.Model, name, v)
		}
	}
}

func TestFitPrefersTheSimplerModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	linear := 0
	for range 50 {
		points := noisy(func(float64) float64 { return 2 }, []float64{1, 2, 5, 10, 20, 50, 80, 100}, 0.02, rng)
		if Fit(points, FitOptions{}).Model == modelLinear {
			linear++
		}
	}
	if linear < 42 {
		t.Errorf("a constant was seen as one in %d of 50", linear)
	}
}

// Two points side by side agree on a crossing that is further away than they are
// from each other: without a queue they would agree just as well.
func TestPredictionsWithoutALeverReachTheNearestPoint(t *testing.T) {
	p := func(n, v, at float64) CrossingPoint {
		return CrossingPoint{Concurrency: n, Value: v, SE: 0.02, Throughput: 30, Predicted: at, PredictedSE: 1, Dof: 20}
	}
	c := Cross([]CrossingPoint{p(50, 0.1, 70), p(88, 0.9, 91), p(95, 1.12, 91.2), p(96, 1.15, 91.2)}, 1, Between{})
	near(t, "levered", loadgen.Known(c.High.Or(0)-c.At.Or(0)), 1.2, 0.4)
	c = Cross([]CrossingPoint{p(40, 0.1, 60), p(99, 1.1, 95), p(100, 1.15, 95)}, 1, Between{})
	if c.High.Or(0)-c.At.Or(0) < 4 {
		t.Errorf("%v to %v around %v, the nearest point is 99", c.Low, c.High, c.At)
	}
}

func TestSuccessPointsAreThoseOfTheFullLoad(t *testing.T) {
	abandoned := Step{Concurrency: 66, VerdictBasis: BasisWhole, Abandoned: "lost", Whole: Summary{Completed: 230, Failed: 15}, Steady: &Summary{Completed: 100, Failed: 14}}
	short := Step{Concurrency: 2, VerdictBasis: BasisWhole, Whole: Summary{Completed: 20}, Steady: &Summary{Completed: 10}}
	limited := Step{Concurrency: 9, Client: Client{Limits: []string{"CPU"}}}
	got := SuccessPoints([]Step{abandoned, short, limited})
	if len(got) != 2 || got[0] != (Successes{66, 100, 14}) || got[1] != (Successes{2, 20, 0}) {
		t.Errorf("%+v", got)
	}
}

func TestCorrelationFactor(t *testing.T) {
	var x, alike, random []float64
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		x = append(x, float64(i))
		alike = append(alike, math.Sin(float64(i)/2))
		random = append(random, rng.NormFloat64())
	}
	if f := correlationFactor(x, alike, 0, 0); f < 2 {
		t.Errorf("a slow wave widens by %.2f only", f)
	}
	if f := correlationFactor(x, random, 0, 0); f > 1.6 {
		t.Errorf("noise widens by %.2f", f)
	}
}
