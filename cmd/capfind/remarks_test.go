package main

import (
	"strings"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

func TestHeldBackRemark(t *testing.T) {
	step := func(inFlight float64, failed int) []analysis.Step {
		return []analysis.Step{{Concurrency: 12, Whole: analysis.Summary{Completed: 192, Failed: failed}, Steady: &analysis.Summary{MeanInFlight: loadgen.Known(inFlight)}}}
	}
	if got := heldBackRemark(step(8, 8)); !strings.Contains(got, "at 12 requests in flight only 8.0 were there") {
		t.Errorf("8 of 12: %q", got)
	}
	for class, want := range map[loadgen.Class]string{loadgen.HTTP429: "fewer are refused", loadgen.HTTP5xx: "fewer are refused", loadgen.ConnectionReset: "the server had less to do"} {
		steps := step(8, 8)
		steps[0].Failures = map[loadgen.Class]int{class: 8}
		if got := heldBackRemark(steps); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", class, got, want)
		}
	}
	broke := step(8, 8)
	broke[0].Breaches = []analysis.Stop{{Rule: "success_rate"}}
	broke[0].Stop = &broke[0].Breaches[0]
	for name, steps := range map[string][]analysis.Step{"all there": step(11.9, 8), "nothing failed": step(8, 0), "a step that failed": broke} {
		if got := heldBackRemark(steps); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
