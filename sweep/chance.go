package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/analysis"
)

// errCleared ends a search because the step that stopped the ladder did so by
// chance: the ladder goes on.
var errCleared = errors.New("the ladder was stopped by chance")

// confirmGain runs the step before the failing one again as well: a gain is a
// ratio, and of two steps of a few requests each either may be the odd one. Where
// answers are of very different lengths, twenty requests at a time say little of
// throughput: one ladder in ten is stopped by such a chance.
func (h *hunt) confirmGain(ctx context.Context, bad *analysis.Step) error {
	if _, err := h.rerun(ctx, h.last, h.waves(), nil, "the step before it, over which the gain was taken"); err != nil {
		return err
	}
	x := map[int]float64{}
	for i := range h.r.Steps {
		if l := level(h.r.Steps, i); l != nil {
			n := h.r.Steps[i].Concurrency
			x[n] = float64(n) / l.Mean().Residence
		}
	}
	from, to := x[h.last], x[bad.Concurrency]
	if from <= 0 || to/from-1 < h.Stop.MinThroughputGain {
		return nil
	}
	if h.byChance(to / from) {
		return h.clear(fmt.Sprintf("with more requests the gain is %s", signedPercent(to/from-1)))
	}
	h.doubt("the ladder stopped at %d (%s), but run again both steps gave a gain of %s", bad.Concurrency, bad.Stop.Sentence, signedPercent(to/from-1))
	return nil
}

// byChance reports whether the gain that stopped the ladder is within three
// standard errors of the ratio of throughputs that was found since; by Little's
// law the relative error of a throughput is that of the mean time in system. It is
// taken from the runs since: ten short answers in a row look like little spread.
// Where the lengths were too odd even for that, the gain at equal lengths tells.
func (h *hunt) byChance(ratio float64) bool {
	bad := firstBad(h.r.Steps)
	spread, variance := 0.0, 0.0
	atEqualLengths := float64(bad.Concurrency) / float64(h.last)
	for i := range h.r.Steps {
		s := &h.r.Steps[i]
		if s.Concurrency != h.last && s.Concurrency != bad.Concurrency {
			continue
		}
		d, l := s.Verdict().E2E, level(h.r.Steps, i)
		switch {
		case l == nil || d.N == 0:
			return false // limited by the client, or hardly anything succeeded
		case s.Phase == analysis.PhaseConfirm:
			spread = max(spread, d.Std.Or(0)/d.Mean.Or(1))
			continue
		case s.Phase == analysis.PhaseLadder && s.Concurrency == h.last:
			atEqualLengths *= l.Mean().Residence
		case s.Phase == analysis.PhaseLadder:
			atEqualLengths /= l.Mean().Residence
		}
		variance += 1 / float64(d.N)
	}
	likely := func(x float64) bool {
		return x > 0 && math.Abs(math.Log(x/ratio)) <= 3*spread*math.Sqrt(variance)
	}
	return likely(1+bad.Stop.Value.Or(0)) || likely(atEqualLengths)
}

// clear takes back that the ladder's last step broke a rule: found is what the
// same loads gave since.
func (h *hunt) clear(found string) error {
	bad := firstBad(h.r.Steps)
	h.warn("by chance the ladder stopped at %d and went on later: %s (%s)", bad.Concurrency, found, bad.Stop.Sentence)
	n := bad.Concurrency
	for i := range h.r.Steps {
		// For a gain the run that was to confirm it was held against the same odd step.
		if s := &h.r.Steps[i]; s.Concurrency == n && len(s.Breaches) == 1 {
			s.Cleared, s.Stop, s.Breaches = s.Stop, nil, []analysis.Stop{}
		}
	}
	h.soFar()
	if err := h.save(); err != nil {
		return err
	}
	return errCleared
}

// failedByChance reports whether a step that failed for its success rate alone and
// the same step run again, which passed, differ by no more than chance would make
// them in one case of a thousand: G test of two counts, chi-square distributed with
// one degree of freedom (Sokal and Rohlf, "Biometry").
func failedByChance(bad, again *analysis.Step) bool {
	if len(bad.Breaches) != 1 || !breaks(bad, RuleSuccess) {
		return false
	}
	g, total := 0.0, 0.0
	var rows, columns [2]float64
	counts := [2][2]int{{bad.Whole.Completed, bad.Whole.Failed}, {again.Whole.Completed, again.Whole.Failed}}
	for i, row := range counts {
		for j, n := range row {
			rows[i] += float64(n)
			columns[j] += float64(n)
			total += float64(n)
		}
	}
	for i, row := range counts {
		for j, n := range row {
			if n > 0 {
				g += 2 * float64(n) * math.Log(float64(n)*total/(rows[i]*columns[j]))
			}
		}
	}
	return g < distuv.ChiSquared{K: 1}.Quantile(0.999)
}

// unclear restores what clear took back. A resumed run comes to it again by itself.
func unclear(steps []analysis.Step) {
	for i := range steps {
		if s := &steps[i]; s.Cleared != nil {
			s.Stop, s.Breaches, s.Cleared = s.Cleared, []analysis.Stop{*s.Cleared}, nil
		}
	}
}
