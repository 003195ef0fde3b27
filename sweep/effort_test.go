package sweep

import (
	"math"
	"slices"
	"testing"

	"github.com/capfind/capfind/analysis"
)

func TestLaddersOfAnEffort(t *testing.T) {
	for _, tt := range []struct {
		effort Effort
		steps  Steps
		want   []int
	}{
		{"", Default().Concurrency, Default().Concurrency},
		{EffortGuide, Steps{1, 2, 3}, []int{1, 2, 3}},
		{EffortThorough, Steps{1, 2, 3}, []int{1, 2, 3}},
		{EffortQuick, Default().Concurrency, []int{1, 5, 20, 100, 200, 500, 1000}},
		{EffortQuick, Steps{1, 2, 5, 10}, []int{1, 5, 10}},
	} {
		c := Default()
		c.Effort, c.Concurrency = tt.effort, tt.steps
		if got := c.rungs(); !slices.Equal(got, tt.want) {
			t.Errorf("%s, %v: %v, want %v", tt.effort, tt.steps, got, tt.want)
		}
	}
	c := Config{Effort: EffortQuick, Concurrency: Default().Concurrency}
	if got := c.rungAbove(5, true); got != 10 {
		t.Errorf("near a limit it goes from 5 to %d", got)
	}
	if got, want := c.gainOver(0.2, 5, 20), 0.44; math.Abs(got-want) > 1e-9 {
		t.Errorf("from 5 to 20 a gain of %v is asked for, want %v", got, want)
	}
	if got := (Config{}).gainOver(0.2, 5, 20); got != 0.2 {
		t.Errorf("the guide asks for %v whatever the leap", got)
	}
}

// A server with 40 slots: a step further up costs less where throughput bends already.
func TestQuickLeapsWhereNothingIsNear(t *testing.T) {
	q := FindLimit{Config: Default(), Rules: DefaultStopRules(), Band: DefaultBand()}
	q.Config.Effort = EffortQuick
	for _, tt := range []struct {
		slots float64
		want  []int
	}{{40, []int{1, 5, 20, 100}}, {12, []int{1, 5, 20, 50}}, {3, []int{1, 5, 10}}} {
		var h History
		var got []int
		for {
			o, _ := q.Next(h)
			if o == nil || o.Phase != analysis.PhaseLadder {
				break
			}
			n := float64(o.Concurrency)
			r := max(1, n/tt.slots)
			h.Steps = append(h.Steps, LoadState{Residence: r, TTFT: r - 0.99, Tokens: 100}.Step(o, o.Requests, 0))
			got = append(got, o.Concurrency)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v slots: %v, want %v", tt.slots, got, tt.want)
		}
	}
}
