package analysis

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

// The worked cases: time in system over concurrency, in seconds.
func slotsR(n float64) float64  { return 2.1 * n / math.Min(n, 64) }
func decodeR(n float64) float64 { return 2.060 + 0.053*n }
func uslR(n float64) float64    { return (1 + 0.02*(n-1) + 3e-4*n*(n-1)) / 2 }

// bandR has 32 slots whose step time grows with those in use.
func bandR(n float64) float64 {
	m := math.Min(n, 32)
	return (1 + 0.02*m) * n / m
}

func exact(f func(float64) float64, ns ...float64) []CurveInput {
	var in []CurveInput
	for _, n := range ns {
		in = append(in, CurveInput{Concurrency: n, Residence: f(n), Requests: int(10 * n)})
	}
	return in
}

var ladder = []float64{1, 2, 5, 10, 20, 50, 100, 200}

func TestFitRecoversExactData(t *testing.T) {
	cases := []struct {
		name       string
		f          func(float64) float64
		model      string
		parameters map[string]float64
		knee, peak float64 // 0: none
	}{
		{"slots", slotsR, modelSlots, map[string]float64{"a": 2.1, "b": 0, "slots": 64}, 64, 64},
		{"decode", decodeR, modelHyperbola, map[string]float64{"a": 2.06, "b": 0.053}, 108.93, 0},
		{"usl", uslR, modelUSL, map[string]float64{"lambda": 2, "sigma": 0.02, "kappa": 3e-4}, 37.4, 57.2},
		{"slots with a growing step time", bandR, modelSlots, map[string]float64{"a": 1, "b": 0.02, "slots": 32}, 32, 32},
		{"endless", func(float64) float64 { return 1.5 }, modelLinear, map[string]float64{"a": 1.5}, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Fit(exact(c.f, ladder...), FitOptions{})
			if got.Model != c.model {
				t.Fatalf("model %q (%v), want %q", got.Model, got.Refusals, c.model)
			}
			for k, want := range c.parameters {
				near(t, k, loadgen.Known(got.Parameters[k]), want, 1e-3*want+1e-6)
			}
			claimed := func(what string, n Number, want float64) {
				if want == 0 && n.IsKnown() {
					t.Errorf("a %s at %v is claimed", what, n)
				}
				if want > 0 {
					near(t, what, n, want, 0.01*want)
				}
			}
			claimed("knee", got.Knee, c.knee)
			claimed("peak", got.PeakAt, c.peak)
			near(t, "throughput at 37", got.Throughput(37), 37/c.f(37), 0.01*37/c.f(37))
			if got.Throughput(300).IsKnown() {
				t.Error("a throughput beyond what was measured")
			}
		})
	}
}

func TestFitRefuses(t *testing.T) {
	steep := func(n float64) float64 { return 1 + 0.0005*n }
	jagged := exact(slotsR, ladder...)
	for i := range jagged {
		jagged[i].SE = 0.01 * jagged[i].Residence
		jagged[i].Residence *= 1 + 0.15*float64(i%2)
	}
	kinked := exact(func(n float64) float64 { return 2 + 0.01*n + 1e-6*n*n }, ladder...)
	for i := range kinked {
		kinked[i].SE = 0.05 * kinked[i].Residence
	}
	cases := []struct {
		name    string
		points  []CurveInput
		refusal string
		model   bool
	}{
		{"five concurrencies", exact(slotsR, 1, 2, 5, 10, 100, 100), "5 different", false},
		{"nothing", nil, "0 different", false},
		{"no model", jagged, "chi2/dof", false},
		{"knee beyond the range", exact(steep, ladder...), "knee > 200", true},
		{"no fall in sight", exact(decodeR, ladder...), "peak > 200", true},
		{"peak beyond the range", exact(uslR, 1, 2, 5, 10, 20, 40, 50), "peak > 50", true},
		{"always flat", exact(func(n float64) float64 { return n }, ladder...), "knee < 1", true},
		{"kappa within its error", kinked, "no peak", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Fit(c.points, FitOptions{})
			if text := strings.Join(got.Refusals, "; "); !strings.Contains(text, c.refusal) {
				t.Errorf("refusals %q, want %q", text, c.refusal)
			}
			if (got.Model != "") != c.model || (len(got.Points) > 0) != c.model {
				t.Errorf("model %q with %d points", got.Model, len(got.Points))
			}
			if !c.model && (got.Knee.IsKnown() || got.PeakAt.IsKnown()) {
				t.Errorf("knee %v and peak %v without a model", got.Knee, got.PeakAt)
			}
		})
	}
}

// noisy measures a curve with eight batches a point, each off by its own error.
func noisy(f func(float64) float64, ns []float64, relative float64, rng *rand.Rand) []CurveInput {
	var in []CurveInput
	for _, n := range ns {
		p := CurveInput{Concurrency: n, Requests: 400}
		var batches []float64
		for range 8 {
			batches = append(batches, f(n)*(1+relative*math.Sqrt(8)*rng.NormFloat64()))
		}
		d := Describe(batches)
		p.Dof = 7
		p.Residence = d.Mean.Or(0)
		p.SE = d.Std.Or(0) / math.Sqrt(7)
		in = append(in, p)
	}
	return in
}

func TestFitUnderNoise(t *testing.T) {
	skipStatistics(t)
	const runs = 60
	cases := []struct {
		name       string
		f          func(float64) float64
		ns         []float64
		noise      float64
		knee, peak float64 // 0: must not be claimed
	}{
		{"slots, 1 %", slotsR, []float64{1, 2, 5, 10, 20, 50, 60, 70, 100, 200}, 0.01, 64, 64},
		{"slots, 3 %", slotsR, []float64{1, 2, 5, 10, 20, 50, 60, 70, 100, 200}, 0.03, 64, 64},
		{"decode, 1 %", decodeR, []float64{1, 2, 5, 10, 20, 50, 100, 120, 200}, 0.01, 108.93, 0},
		{"decode, 3 %", decodeR, []float64{1, 2, 5, 10, 20, 50, 100, 120, 200}, 0.03, 108.93, 0},
		{"usl, 1 %", uslR, []float64{1, 2, 5, 10, 20, 35, 40, 50, 100}, 0.01, 37.4, 57.2},
		{"usl, 3 %", uslR, []float64{1, 2, 5, 10, 20, 35, 40, 50, 100}, 0.03, 37.4, 57.2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, 2))
			kneeHit, kneeClaims, peakHit, peakClaims, refused := 0, 0, 0, 0, 0
			var estimates []float64
			models := map[string]int{}
			for range runs {
				got := Fit(noisy(c.f, c.ns, c.noise, rng), FitOptions{})
				models[got.Model]++
				if got.Model == "" {
					refused++
				}
				if got.Knee.IsKnown() {
					kneeClaims++
					estimates = append(estimates, got.Knee.Or(0))
					if got.KneeLow.Or(0) <= c.knee && c.knee <= got.KneeHigh.Or(math.Inf(1)) {
						kneeHit++
					}
				}
				if got.PeakAt.IsKnown() {
					peakClaims++
					if got.PeakLow.Or(0) <= c.peak && c.peak <= got.PeakHigh.Or(math.Inf(1)) {
						peakHit++
					}
				}
			}
			d := Describe(estimates)
			t.Logf("models %v; knee %.1f, estimates %.1f-%.1f (median %.1f), claimed %d, covered %d; peak %.1f claimed %d, covered %d",
				models, c.knee, d.Min.Or(0), d.Max.Or(0), d.P50.Or(0), kneeClaims, kneeHit, c.peak, peakClaims, peakHit)
			if kneeClaims < runs*9/10 || float64(kneeHit) < 0.9*float64(kneeClaims) {
				t.Errorf("knee: claimed in %d, covered in %d of %d", kneeClaims, kneeHit, runs)
			}
			if c.peak == 0 && peakClaims > runs/20 {
				t.Errorf("a peak was claimed %d times where there is none", peakClaims)
			}
			if c.peak > 0 && float64(peakHit) < 0.9*float64(peakClaims) {
				t.Errorf("peak: claimed in %d, covered in %d", peakClaims, peakHit)
			}
		})
	}
}

// Batches that agree with each other while the points scatter more, as where a
// server is at times slower for a whole step: the interval must still cover.
func TestFitWidensForWhatBatchesDoNotShow(t *testing.T) {
	skipStatistics(t)
	rng := rand.New(rand.NewPCG(3, 4))
	claims, hits := 0, 0
	for range 150 {
		points := noisy(slotsR, []float64{1, 2, 5, 10, 20, 50, 60, 70, 100, 200}, 0.01, rng)
		for k := range points {
			points[k].Residence *= 1 + 0.012*rng.NormFloat64()
		}
		if got := Fit(points, FitOptions{}); got.Knee.IsKnown() {
			claims++
			if got.KneeLow.Or(0) <= 64 && 64 <= got.KneeHigh.Or(math.Inf(1)) {
				hits++
			}
		}
	}
	t.Logf("claimed %d, covered %d", claims, hits)
	// By the batches' own errors 81 % are covered. From ten points their scatter is
	// only known roughly, so that it is not 95 % here.
	if claims < 100 || float64(hits) < 0.86*float64(claims) {
		t.Errorf("knee: claimed in %d, covered in %d", claims, hits)
	}
}

func TestFitIsDeterministic(t *testing.T) {
	points := noisy(uslR, ladder, 0.02, rand.New(rand.NewPCG(3, 4)))
	a, b := Fit(points, FitOptions{}), Fit(points, FitOptions{})
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the same points and seed gave %+v and %+v", a, b)
	}
}

func TestFitLeavesOutWhatWasDisturbed(t *testing.T) {
	ns := []float64{1, 2, 5, 10, 20, 50, 58, 70, 100, 200}
	with := func(factor map[float64]float64) []CurveInput {
		in := exact(slotsR, ns...)
		for i := range in {
			in[i].SE = 0.01 * in[i].Residence
			if f := factor[in[i].Concurrency]; f > 0 {
				in[i].Residence *= f
			}
		}
		return in
	}
	cases := []struct {
		name   string
		factor map[float64]float64
		left   int
		model  bool
	}{
		{"undisturbed", nil, 0, true},
		{"warm-up", map[float64]float64{1: 3, 2: 3, 5: 1.6}, 3, true},
		{"a neighbour", map[float64]float64{50: 1.3}, 1, true},
		{"a neighbour twice", map[float64]float64{10: 1.4, 70: 1.3}, 2, true},
		{"one too quick", map[float64]float64{20: 0.7}, 0, false},
		{"too many", map[float64]float64{10: 1.4, 50: 1.3, 70: 1.3, 100: 1.2}, 0, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Fit(with(c.factor), FitOptions{})
			if len(got.LeftOut) != c.left || (got.Model != "") != c.model {
				t.Fatalf("model %q, left out %q, %v", got.Model, got.LeftOut, got.Refusals)
			}
			if c.model {
				near(t, "knee", got.Knee, 64, 1)
			}
		})
	}
}
