package sweep

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

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
	for {
		c := h.curve()
		n, again := h.suspect()
		if !misfit(&c) || !again {
			break
		}
		if _, err := h.rerun(ctx, n, 6, nil, "no curve goes through the steps: was this one typical?"); err != nil {
			return err
		}
	}
	for range maxKneeProbes {
		n, why := h.kneeGuess()
		if n == 0 {
			return nil
		}
		if _, err := h.probe(ctx, n, h.kneeWaves(), analysis.PhaseProbe, why); err != nil {
			return err
		}
	}
	return nil
}

// kneeWaves is longer where the service times vary for a reason other than the
// answers' lengths, so that only more requests tell.
func (h *hunt) kneeWaves() float64 {
	c := h.curve()
	knee, ok := c.Knee.Value()
	if ok && (c.KneeHigh.Or(math.Inf(1))-c.KneeLow.Or(0))/2 > 3*near(knee) {
		return 2 * h.waves()
	}
	return h.waves()
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
	if n := free(1.1, 1.6, 1.25); n > 0 {
		return n, fmt.Sprintf("above %.0f, where throughput seems to stop growing", knee)
	}
	half := (c.KneeHigh.Or(math.Inf(1)) - c.KneeLow.Or(0)) / 2
	if half <= near(knee) {
		return 0, ""
	}
	for _, f := range []float64{0.55, 1.2, 0.8, 0.9} {
		if n := int(math.Round(min(f*knee, top))); n >= 1 && !h.tried(n) {
			return n, fmt.Sprintf("around %.0f, where throughput seems to stop growing", knee)
		}
	}
	return 0, ""
}

// misfit reports whether a curve was refused because no model goes through the
// points.
func misfit(c *analysis.Curve) bool {
	chi2, ok := c.Chi2PerDof.Value()
	return ok && c.Model == "" && chi2 > 0
}

// suspect is the step of the ladder to repeat where no model goes through the
// points: first those that met the server while it was cold, which are cheap, then
// the last that held.
func (h *hunt) suspect() (int, bool) {
	repeated := func(n int) bool {
		for i := range h.r.Steps {
			if s := &h.r.Steps[i]; s.Phase == analysis.PhaseConfirm && s.Concurrency == n {
				return true
			}
		}
		return false
	}
	for _, n := range h.Config.Concurrency {
		if (n <= 10 || n == h.last) && n <= h.last && !repeated(n) {
			return n, true
		}
	}
	return 0, false
}

// kneeBracket is what the throughputs of the steps alone say of the knee: it
// lies above the last stretch over which throughput gains enough and below the
// end of the first over which it does not, beyond two standard errors where they
// allow it. A stretch's gain is its mean elasticity, ln(X2/X1) / ln(N2/N1).
func (h *hunt) kneeBracket() (low, high float64, ok bool) {
	points := curveInputs(h.r.Steps, curveSuccess)
	slices.SortStableFunc(points, func(a, b analysis.CurveInput) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	for _, sure := range []float64{2, 0} {
		if low, high, ok := bracketKnee(points, math.Log2(1+h.Stop.MinThroughputGain), sure); ok {
			return low, high, true
		}
	}
	return 0, 0, false
}

func bracketKnee(points []analysis.CurveInput, want, sure float64) (low, high float64, ok bool) {
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if a.Concurrency == b.Concurrency {
			continue
		}
		width := math.Log(b.Concurrency / a.Concurrency)
		e := math.Log(b.Concurrency/b.Residence*a.Residence/a.Concurrency) / width
		se := math.Hypot(a.SE/a.Residence, b.SE/b.Residence) / width
		if e-sure*se > want {
			low = a.Concurrency
		}
		if e+sure*se < want {
			return low, b.Concurrency, low > 0 && low < b.Concurrency
		}
	}
	return 0, 0, false
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
