package simserver

import (
	"math"
	"testing"
	"time"
)

// TestWorkedCases holds the closed forms against the table worked out by hand.
func TestWorkedCases(t *testing.T) {
	type row struct {
		success, ttft, gain, limit int // 0: not reached
		gainAt                     float64
		by                         string
		ladder                     LadderTruth
	}
	want := map[string]row{
		"slots":      {0, 91, 64, 64, 64, ByGain, LadderTruth{50, 100, ByTTFT, 1.281}},
		"decode":     {0, 490, 108, 108, 108.9, ByGain, LadderTruth{100, 200, ByGain, 0.163}},
		"rate_limit": {30, 0, 30, 30, 30, BySuccess, LadderTruth{20, 50, BySuccess, 0.006}},
		"crash":      {136, 136, 0, 136, 0, BySuccess, LadderTruth{100, 200, BySuccess, 0}},
		"queue_cap":  {48, 0, 32, 32, 32, ByGain, LadderTruth{20, 50, BySuccess, 0.051}},
		"usl":        {0, 143, 37, 37, 37.4, ByGain, LadderTruth{50, 100, ByGain, -0.087}},
	}
	cases := Cases()
	if len(cases) != len(want) {
		t.Fatalf("%d cases, want %d", len(cases), len(want))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if p := c.Config.Validate(); p != nil {
				t.Fatalf("config: %v", p)
			}
			w, got := want[c.Name], c.Truth()
			for _, b := range []struct {
				name string
				got  Bound
				want int
			}{{"success", got.SuccessRate, w.success}, {"ttft", got.TTFT, w.ttft}, {"gain", got.ThroughputGain, w.gain}, {"limit", got.Limit, w.limit}} {
				if b.got.N != b.want || b.got.Reached != (b.want > 0) {
					t.Errorf("%s: %+v, want %d", b.name, b.got, b.want)
				}
			}
			if got.BoundBy != w.by {
				t.Errorf("bound by %s, want %s", got.BoundBy, w.by)
			}
			if math.Abs(got.ThroughputGain.At-w.gainAt) > 0.05 {
				t.Errorf("gain ends at %v, want %v", got.ThroughputGain.At, w.gainAt)
			}
			ladder := got.Ladder
			ladder.Value = math.Round(ladder.Value*1000) / 1000
			if ladder != w.ladder {
				t.Errorf("ladder %+v, want %+v", ladder, w.ladder)
			}
			if got.OutOfModel != nil {
				t.Errorf("out of model: %v", got.OutOfModel)
			}
		})
	}
}

// TestHoldRaisesSuccess checks rho (s + (d+h)/19), the limit of success under a
// rate limiter whose clients hold after an error.
func TestHoldRaisesSuccess(t *testing.T) {
	c, _ := Case("rate_limit")
	for _, hold := range []time.Duration{0, 500 * time.Millisecond, 5 * time.Second} {
		r := c.Rules
		r.ErrorHold = hold
		want := 12 * (2.5 + (0.010+hold.Seconds())/19)
		if got := TruthOf(c.Config, r).SuccessRate.At; math.Abs(got-want) > 1e-4 {
			t.Errorf("hold %v: success ends at %v, want %v", hold, got, want)
		}
	}
}

func TestTimeScaleMovesNoLimit(t *testing.T) {
	for _, c := range Cases() {
		a, b := c.Truth(), c.Scaled(10).Truth()
		if a.Limit.N != b.Limit.N || a.BoundBy != b.BoundBy || a.Ladder.FirstBad != b.Ladder.FirstBad {
			t.Errorf("%s: %+v by %s, ten times as fast %+v by %s", c.Name, a.Limit, a.BoundBy, b.Limit, b.BoundBy)
		}
	}
}

// Scaled returns the same case k times as fast: the limits are the same, every
// time is divided by k.
func (w Worked) Scaled(k float64) Worked {
	w.Config.TimeScale = k
	for _, d := range []*time.Duration{&w.Rules.MaxTTFT, &w.Rules.ErrorHold} {
		*d = time.Duration(float64(*d) / k)
	}
	return w
}
