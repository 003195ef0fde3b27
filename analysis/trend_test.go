package analysis

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// wobble is a series around 1 with a linear change over its length and noise
// that remembers the share phi of its last value.
func wobble(rng *rand.Rand, n int, change, noise, phi float64) Series {
	s := Series{Metric: "e2e", Tests: 3}
	e := noise * rng.NormFloat64()
	for i := range n {
		e = phi*e + math.Sqrt(1-phi*phi)*noise*rng.NormFloat64()
		s.At = append(s.At, float64(i)*10)
		s.Values = append(s.Values, (1+change*float64(i)/float64(n-1))*(1+e))
	}
	return s
}

func TestTrendInCorrelatedNoise(t *testing.T) {
	const runs = 200
	for _, c := range []struct{ noise, phi float64 }{{0.02, 0}, {0.10, 0}, {0.05, 0.5}, {0.05, 0.8}, {0.15, 0.5}} {
		rng := rand.New(rand.NewPCG(8, 8))
		alarms, caught := 0, 0
		for range runs {
			if wobble(rng, 120, 0, c.noise, c.phi).Test().Degrading {
				alarms++
			}
			if wobble(rng, 120, 0.2, c.noise, c.phi).Test().Degrading {
				caught++
			}
		}
		t.Logf("noise %.0f %%, correlation %.1f: false alarms %.1f %%, +20 %% caught in %.1f %%", 100*c.noise, c.phi, 100*float64(alarms)/runs, 100*float64(caught)/runs)
		if alarms > runs*5/100 {
			t.Errorf("noise %.2f, correlation %.1f: %d false alarms of %d", c.noise, c.phi, alarms, runs)
		}
		if c.noise <= 0.05 && c.phi <= 0.5 && caught < runs*95/100 {
			t.Errorf("noise %.2f, correlation %.1f: caught %d of %d", c.noise, c.phi, caught, runs)
		}
	}
}

// A change of nothing within +-50 % is not "steady".
func TestUnevenIsNotSteady(t *testing.T) {
	const uneven, steady = "too uneven to tell", "steady"
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		for _, c := range []struct {
			noise float64
			want  string
		}{{0.01, steady}, {1.5, ""}} {
			s := wobble(rng, 24, 0, c.noise, 0)
			test := s.Test()
			wide := test.High.Or(0)-test.Low.Or(0) > 0.4
			if said := strings.Contains(test.Sentence, steady); wide && said || c.want == steady && !said {
				t.Errorf("noise %v: %s", c.noise, test.Sentence)
			}
			if small := math.Abs(test.Change.Or(0)) <= 0.1; wide && small && !test.Degrading && !strings.Contains(test.Sentence, uneven) {
				t.Errorf("noise %v: %s", c.noise, test.Sentence)
			}
		}
	}
}

func TestTrendWords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	up := wobble(rng, 60, 0.3, 0.01, 0)
	if x := up.Test(); !x.Degrading || !strings.HasPrefix(x.Sentence, "e2e degrading: +30") || x.Low.Or(1) > 0.3 || x.High.Or(0) < 0.3 {
		t.Errorf("%+v", x)
	}
	up.HigherOK = true
	if x := up.Test(); x.Degrading {
		t.Errorf("more throughput is no degradation: %+v", x)
	}
	failures := Series{Metric: "failures", Absolute: true, Gate: 0.01}
	for i := range 40 {
		failures.At = append(failures.At, float64(i))
		failures.Values = append(failures.Values, 0.001*float64(i)+0.0005*float64(i%3))
	}
	if x := failures.Test(); !x.Degrading {
		t.Errorf("failures from 0 to 4 %%: %+v", x)
	}
	if x := (Series{Metric: "ttft", Values: make([]float64, 40), At: failures.At}).Test(); x.Degrading || x.Change.IsKnown() || x.Sentence == "" {
		t.Errorf("all zero: %+v", x)
	}
	if x := (Series{Metric: "ttft", Values: []float64{1, 2}, At: []float64{1, 2}}).Test(); x.Degrading || !strings.Contains(x.Sentence, "2 slices, 12 are needed") {
		t.Errorf("too short: %+v", x)
	}
}
