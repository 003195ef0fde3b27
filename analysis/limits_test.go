package analysis

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

// searched is what a search leaves behind: ladder steps and probes of a server.
func searched(seed uint64, cv float64, probes ...int) []Step {
	var steps []Step
	for i, n := range append([]int{1, 2, 5, 10, 20, 50, 100}, probes...) {
		c := slots(n)
		if i >= 7 {
			c.requests = 4 * n
		}
		c.cv, c.seed, c.stagger = cv, seed*100+uint64(i), 2100*ms
		steps = append(steps, Summarize([]loadgen.Run{c.run()}, Options{Phase: PhaseLadder}))
	}
	return steps
}

func TestLatencyLimitOfAQueue(t *testing.T) {
	skipStatistics(t)
	const truth, runs = 64 + 64*0.9/2.1, 60
	for _, cv := range []float64{0.1, 0.3, 0.5} {
		var estimates []float64
		covered, widths := 0, 0.0
		for seed := range uint64(runs) {
			points := LatencyPoints(searched(seed, cv, 91, 92), "ttft", "mean", 1)
			c := Cross(points, 1, Between{})
			if !c.At.IsKnown() || !c.Confidence.IsKnown() {
				t.Fatalf("no crossing: %+v", c)
			}
			estimates = append(estimates, c.At.Or(0))
			widths += (c.High.Or(0) - c.Low.Or(0)) / 2 / runs
			if c.Low.Or(0) <= truth && truth <= c.High.Or(0) {
				covered++
			}
		}
		d := Describe(estimates)
		t.Logf("variation %.1f: truth %.2f, mean %.2f, %.2f-%.2f, covered %d of %d, half width %.2f", cv, truth, d.Mean.Or(0), d.Min.Or(0), d.Max.Or(0), covered, runs, widths)
		near(t, "mean estimate", d.Mean, truth, 0.6)
		if covered < runs*9/10 {
			t.Errorf("variation %.1f: covered %d of %d", cv, covered, runs)
		}
	}
}

func TestOneOverloadedStepPredictsTheLimit(t *testing.T) {
	c := slots(100)
	c.stagger = 2100 * ms
	points := LatencyPoints([]Step{Summarize([]loadgen.Run{c.run()}, Options{})}, "ttft", "mean", 1)
	near(t, "prediction", loadgen.Known(points[0].Predicted), 91.43, 0.5)
	c = slots(5)
	c.requests = 20
	points = LatencyPoints([]Step{Summarize([]loadgen.Run{c.run()}, Options{})}, "ttft", "mean", 1)
	if points[0].Predicted != 0 {
		t.Error("a step without a steady window predicts nothing")
	}
}

// Answers whose lengths vary by half: without control of the lengths the same
// steps put the limit wrong by several times as much.
func TestTTFTLimitDespiteAnswersOfAllLengths(t *testing.T) {
	skipStatistics(t)
	const truth, runs = 64 + 64*0.9/2.1, 40
	covered, within := 0, 0
	for seed := range uint64(runs) {
		var steps []Step
		for i, n := range []int{1, 2, 5, 10, 20, 50, 100, 91, 92} {
			c := slots(n)
			if i >= 7 {
				c.requests = 4 * n
			}
			c.lengthCV, c.seed, c.stagger = 0.5, 100*seed+uint64(i), 2100*ms
			steps = append(steps, Summarize([]loadgen.Run{c.run()}, Options{}))
		}
		c := Cross(LatencyPoints(steps, "ttft", "mean", 1), 1, Between{})
		if c.Low.Or(0) <= truth && truth <= c.High.Or(0) {
			covered++
		}
		if c.At.Or(0) > truth-1 && c.At.Or(0) < truth+1 {
			within++
		}
	}
	t.Logf("within 1 in %d, covered %d of %d", within, covered, runs)
	if covered < runs*9/10 || within < runs*95/100 {
		t.Errorf("within 1 in %d, covered %d of %d", within, covered, runs)
	}
}

// A prefill that grows with N and no queue: the slope is far from 1/X.
func TestLatencyLimitWithoutAQueue(t *testing.T) {
	const truth, runs = 490, 200
	rng := rand.New(rand.NewPCG(1, 1))
	point := func(n float64) CrossingPoint {
		v := 0.020 + 0.002*n
		se := 0.01 * v
		return CrossingPoint{Concurrency: n, Value: v + se*rng.NormFloat64(), SE: se, Throughput: n / decodeR(n), Dof: 10,
			Predicted: n - n/decodeR(n)*(v-1), PredictedSE: 0.005 * n}
	}
	covered := 0
	var estimates []float64
	for range runs {
		var points []CrossingPoint
		for _, n := range []float64{50, 100, 200, 500, 480, 492} {
			points = append(points, point(n))
		}
		c := Cross(points, 1, Between{})
		if c.At.IsKnown() { // noise may leave every step below the threshold
			estimates = append(estimates, c.At.Or(0))
		}
		if c.Confidence.IsKnown() && c.Low.Or(0) <= truth && truth <= c.High.Or(math.Inf(1)) {
			covered++
		}
	}
	d := Describe(estimates)
	t.Logf("truth %d, mean %.1f, %.1f-%.1f, covered %d of %d", truth, d.Mean.Or(0), d.Min.Or(0), d.Max.Or(0), covered, runs)
	near(t, "mean estimate", d.Mean, truth, 2)
	if covered < runs*90/100 {
		t.Errorf("covered %d of %d", covered, runs)
	}
}

func TestCrossWithoutAnAnswer(t *testing.T) {
	p := func(n, v float64) CrossingPoint {
		return CrossingPoint{Concurrency: n, Value: v, SE: 0.01 * v, Throughput: 30, Predicted: n - 30*(v-1), PredictedSE: 0.3, Dof: 8}
	}
	cases := []struct {
		name   string
		points []CrossingPoint
		note   string
		known  bool
	}{
		{"nothing", nil, "nothing was measured", false},
		{"never", []CrossingPoint{p(1, .1), p(100, .5)}, "not reached up to 100", false},
		{"always", []CrossingPoint{p(1, 1.5), p(100, 3)}, "at 1 already", false},
		{"one step each side", []CrossingPoint{p(50, .1), p(200, 4.5)}, "only bracketed between 50 and 200", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Cross(c.points, 1, Between{})
			if !strings.Contains(got.Note, c.note) || got.At.IsKnown() != c.known || got.Confidence.IsKnown() {
				t.Errorf("%+v", got)
			}
		})
	}
	l := LatencyLimit(cases[1].points, 1, "ttft", Between{})
	near(t, "at least", l.AtLeast, 100, 0)
	if l.Reached() || l.BoundBy != "ttft" {
		t.Errorf("%+v", l)
	}
	l = LatencyLimit([]CrossingPoint{p(50, .1), p(91, 0.99), p(100, 1.28), p(95, 1.115)}, 1, "ttft", Between{})
	near(t, "rounded down", l.Concurrency, 91, 0)
}

func TestSuccessLimit(t *testing.T) {
	skipStatistics(t)
	// fail is the true failure rate; where it is 5 % is the truth.
	limiter := func(k, perExcess float64) func(float64) float64 {
		return func(n float64) float64 { o := max(0, n-k) * perExcess; return o / (1 + o) }
	}
	cases := []struct {
		name  string
		fail  func(float64) float64
		truth float64
		ns    []float64
	}{
		// 12 requests/s, service 2.5 s, reject 10 ms and hold 0.5 s: one excess
		// user is refused 1/0.51 times a second against 12 successes.
		{"rate limiter", limiter(30, 1/0.51/12), 30 + 0.51*12/19, []float64{10, 20, 28, 30, 31, 32, 35, 50}},
		{"error rate", func(n float64) float64 { return min(1, n/2000) }, 100, []float64{20, 50, 80, 100, 120, 200}},
		{"logistic", func(n float64) float64 { o := math.Pow(n/120, 3) / 19; return o / (1 + o) }, 120, []float64{50, 100, 110, 130, 150, 200}},
		{"cliff", func(n float64) float64 {
			if n > 136.5 {
				return 1
			}
			return 0
		}, 136.5, []float64{50, 100, 125, 134, 136, 137, 139, 150, 200}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			const runs = 20
			rng := rand.New(rand.NewPCG(5, 6))
			covered, resolved := 0, 0
			var estimates []float64
			for range runs {
				var pts []Successes
				for _, n := range c.ns {
					s := Successes{Concurrency: n}
					for range int(10 * n) {
						if rng.Float64() < c.fail(n) {
							s.Failed++
						} else {
							s.Completed++
						}
					}
					pts = append(pts, s)
				}
				got := SuccessCrossing(pts, 0.95)
				if got.Confidence.IsKnown() {
					resolved++
				}
				estimates = append(estimates, got.At.Or(0))
				// As whole requests in flight, the way a limit is told.
				if math.Floor(got.Low.Or(0)) <= math.Floor(c.truth) && math.Floor(c.truth) <= math.Floor(got.High.Or(0)) {
					covered++
				}
			}
			d := Describe(estimates)
			t.Logf("truth %.1f, mean %.2f, %.1f-%.1f, resolved %d, covered %d of %d", c.truth, d.Mean.Or(0), d.Min.Or(0), d.Max.Or(0), resolved, covered, runs)
			near(t, "mean estimate", d.Mean, c.truth, 0.03*c.truth)
			if covered < runs*9/10 || resolved < runs*8/10 {
				t.Errorf("resolved %d, covered %d of %d", resolved, covered, runs)
			}
		})
	}
}

func TestSuccessWithoutAnAnswer(t *testing.T) {
	cases := []struct {
		name  string
		pts   []Successes
		note  string
		known bool
	}{
		{"never", []Successes{{10, 100, 0}, {100, 990, 10}}, "not reached up to 100", false},
		{"always", []Successes{{10, 80, 20}, {100, 500, 500}}, "at 10 already", false},
		{"far apart", []Successes{{10, 100, 0}, {100, 500, 500}}, "cannot be resolved between 10 and 100", true},
		{"nothing", nil, "nothing was measured", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := SuccessCrossing(c.pts, 0.95)
			if !strings.Contains(got.Note, c.note) || got.At.IsKnown() != c.known || got.Confidence.IsKnown() {
				t.Errorf("%+v", got)
			}
		})
	}
	pts := []Successes{{136, 1360, 0}, {137, 0, 4}, {100, 1000, 0}}
	l := SuccessLimit(pts, SuccessCrossing(pts, 0.95), 0.95)
	near(t, "cliff", l.Concurrency, 136, 0)
	near(t, "cliff, low", l.Low, 136, 0)
	near(t, "cliff, high", l.High, 136, 0)
}

func TestSPRT(t *testing.T) {
	test := NewSPRT(0.95)
	near(t, "per failure", loadgen.Known(test.perFailure), 0.847, 5e-4)
	near(t, "per success", loadgen.Known(test.perSuccess), -0.042, 5e-4)
	near(t, "bound", loadgen.Known(test.bound), 2.944, 5e-4)
	for i, want := range []Outcome{Undecided, Undecided, Undecided, Below, Below} {
		if got := test.Add(i == 4); got != want {
			t.Errorf("after %d failures in a row: %v, want %v", i+1, got, want)
		}
	}
	// 70 successes take it across: 70 x 0.0421 = 2.947.
	test = NewSPRT(0.95)
	took := 1
	for test.Add(true) == Undecided {
		took++
	}
	if test.Outcome() != Above || took != 70 {
		t.Errorf("outcome %v after %d successes", test.Outcome(), took)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		p    float64
		want Outcome
	}{{0.97, Above}, {0.93, Below}} {
		wrong := 0
		for range 2000 {
			test := NewSPRT(0.95)
			for test.Add(rng.Float64() < c.p) == Undecided {
			}
			if test.Outcome() != c.want {
				wrong++
			}
		}
		if wrong > 2000*6/100 {
			t.Errorf("at %.2f: wrong %d of 2000 times", c.p, wrong)
		}
	}
}

func TestIsotonic(t *testing.T) {
	got := Isotonic([]float64{1, 3, 2, 4, 3, 3, 8}, []float64{1, 1, 1, 2, 1, 1, 1})
	want := []float64{1, 2.5, 2.5, 3.5, 3.5, 3.5, 8}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-12 {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestGainLimit(t *testing.T) {
	for _, c := range []struct {
		name       string
		f          func(float64) float64
		want, more float64 // limit, or at least
	}{{"slots", slotsR, 64, 0}, {"decode", decodeR, 108, 0}, {"usl", uslR, 37, 0},
		{"endless", func(float64) float64 { return 2 }, 0, 200}} {
		l := GainLimit(Fit(exact(c.f, ladder...), FitOptions{}))
		if c.want > 0 {
			near(t, c.name, l.Concurrency, c.want, 0)
			continue
		}
		near(t, c.name, l.AtLeast, c.more, 0.02*c.more) // as sure as the points are exact
		if l.Reached() || l.Note == "" {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
	if l := GainLimit(Fit(nil, FitOptions{})); l.Reached() || l.AtLeast.IsKnown() || !strings.Contains(l.Note, "no model") {
		t.Errorf("without points: %+v", l)
	}
}
