package sweep

import (
	"context"
	"fmt"
	"math"

	"github.com/capfind/capfind/analysis"
)

// curve fits throughput over concurrency to all steps so far.
func (s *session) curve() analysis.Curve {
	n := len(s.r.Steps)
	c, ok := s.fits[n]
	if !ok {
		c = analysis.Fit(curveInputs(s.r.Steps, curveSuccess), analysis.FitOptions{Gain: s.Stop.MinThroughputGain, Seed: s.Seed})
		s.fits[n] = c
	}
	return c
}

// curveSuccess is the success rate below which throughput is shaped by failures
// rather than by the concurrency.
const curveSuccess = 0.99

// knee finds where throughput stops growing enough, with probes near it until
// its interval is narrow.
func (h *hunt) knee(ctx context.Context) error {
	if h.Stop.MinThroughputGain <= 0 {
		return nil
	}
	for range maxKneeProbes {
		n, why := h.kneeGuess()
		if n == 0 {
			return nil
		}
		if _, err := h.probe(ctx, n, h.waves(), analysis.PhaseProbe, why); err != nil {
			return err
		}
	}
	return nil
}

// kneeGuess is where to measure next for the knee; 0 where enough is known: two
// probes near it, one of them above, and a narrow interval.
func (h *hunt) kneeGuess() (int, string) {
	c := h.curve()
	knee, ok := c.Knee.Value()
	if !ok {
		return h.widerCurve(&c)
	}
	top := float64(h.ceiling())
	free := func(low, high, want float64) int {
		for i := range h.r.Steps {
			if n := float64(h.r.Steps[i].Concurrency) / knee; n >= low && n <= high && level(h.r.Steps, i) != nil {
				return 0
			}
		}
		n := int(math.Round(min(want*knee, top)))
		if n < 1 || h.tried(n) || float64(n) < low*knee {
			return 0
		}
		return n
	}
	if n := free(0.9, 1.1, 1); n > 0 {
		return n, fmt.Sprintf("throughput seems to stop growing at %.0f", knee)
	}
	if n := free(1.1, 1.45, 1.25); n > 0 {
		return n, fmt.Sprintf("above %.0f, where throughput seems to stop growing", knee)
	}
	half := (c.KneeHigh.Or(math.Inf(1)) - c.KneeLow.Or(0)) / 2
	if half <= near(knee) {
		return 0, ""
	}
	if n := free(0.65, 0.9, 0.8); n > 0 {
		return n, fmt.Sprintf("below %.0f, where throughput seems to stop growing", knee)
	}
	return 0, ""
}

// widerCurve adds points where the ladder stopped for lack of gain and no curve
// could be fitted to tell where.
func (h *hunt) widerCurve(c *analysis.Curve) (int, string) {
	bad := firstBad(h.r.Steps)
	if bad == nil || !breaks(bad, RuleGain) {
		return 0, ""
	}
	for _, f := range []float64{0.5, 0.25, 0.75} {
		n := int(math.Round(float64(h.last) * math.Pow(float64(h.broken)/float64(h.last), f)))
		if n > h.last && n < h.broken && n <= h.ceiling() && !h.tried(n) {
			return n, "for a curve of throughput that tells where the gain ends"
		}
	}
	return 0, ""
}
