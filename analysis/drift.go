package analysis

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/loadgen"
)

// driftGate is the shift between two runs of the same step, as a share, below
// which a server counts as unchanged.
const driftGate = 0.05

// DriftTest compares two runs of the same step.
type DriftTest struct {
	Shift    Number // of the throughput, share of the first
	SE       Number
	Drifting bool // the shift is above 5 % and 2 standard errors
	Text     string
}

// Drift tests whether a server still does at a step what it did before: whether
// the throughput has shifted by more than 5 % and by more than 2 standard errors
// (Student's t for the fewer of the batches that these come from). In a closed loop this is the same as a shift of the time in system. Answers of
// different lengths are allowed for.
func Drift(before, after *Step) DriftTest {
	a, b := &before.Whole, &after.Whole
	if before.Steady != nil && after.Steady != nil {
		a, b = before.Steady, after.Steady
	}
	control := newLengthControl([]Step{*before, *after})
	u, v := control.apply(a, float64(before.Concurrency)), control.apply(b, float64(after.Concurrency))
	x, y := u.throughput, v.throughput
	if !u.known || !v.known || x <= 0 {
		return DriftTest{Text: fmt.Sprintf("too few requests at %d to tell whether the server has changed", after.Concurrency)}
	}
	sx, sy := x*max(u.relativeSE(), relativeSE), y*max(v.relativeSE(), relativeSE)
	shift, se := y/x-1, math.Hypot(sx, sy)/x
	dof := max(1, float64(min(len(a.Batches), len(b.Batches))-1))
	d := DriftTest{Shift: loadgen.Known(shift), SE: loadgen.Known(se)}
	d.Drifting = math.Abs(shift) > driftGate && math.Abs(shift) > max(2, studentT(dof))*se
	verb := "is unchanged"
	if d.Drifting {
		verb = "has changed"
	}
	d.Text = fmt.Sprintf("the server %s at %d: throughput %.3g then %.3g req/s, %+.1f %% +- %.1f %%", verb, after.Concurrency, x, y, 100*shift, 100*2*se)
	return d
}
