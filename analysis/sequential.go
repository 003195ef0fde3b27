package analysis

import "math"

// SPRT is Wald's sequential probability ratio test of a success rate: it stops
// as soon as the rate is plainly above or plainly below a threshold.
type SPRT struct {
	perFailure, perSuccess, bound float64
	llr                           float64
}

// Outcome of a sequential test.
type Outcome int

// The outcomes of a sequential test.
const (
	Undecided Outcome = iota
	Above             // the rate is above the threshold
	Below             // the rate is below the threshold
)

// NewSPRT tests a success rate against a threshold (a share of 1): the failure
// rate is taken to be either 0.6 or 1.4 times what the threshold allows, for
// 95 % p0 = 0.97 against p1 = 0.93, with errors of 5 % either way. A failure then
// adds 0.847 to the log likelihood ratio, a success takes off 0.042, and the
// test ends at +-2.944.
func NewSPRT(threshold float64) *SPRT {
	allowed := max(1-threshold, 1e-3) // "no failure at all" cannot be tested
	q0, q1 := 0.6*allowed, min(1.4*allowed, 0.999)
	const alpha = 0.05
	return &SPRT{
		perFailure: math.Log(q1 / q0),
		perSuccess: math.Log((1 - q1) / (1 - q0)),
		bound:      math.Log((1 - alpha) / alpha),
	}
}

// Add counts one more request and returns the outcome so far. Once decided it
// stays decided.
func (t *SPRT) Add(success bool) Outcome {
	if t.Outcome() != Undecided {
		return t.Outcome()
	}
	if success {
		t.llr += t.perSuccess
	} else {
		t.llr += t.perFailure
	}
	return t.Outcome()
}

// AddCounts counts requests whose order is not known.
func (t *SPRT) AddCounts(completed, failed int) {
	t.llr += float64(completed)*t.perSuccess + float64(failed)*t.perFailure
}

// Outcome returns the outcome so far.
func (t *SPRT) Outcome() Outcome {
	switch {
	case t.llr >= t.bound:
		return Below
	case t.llr <= -t.bound:
		return Above
	}
	return Undecided
}
