package analysis

import (
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// steadyTalk is a run of requests that follow each other, each with ten tokens,
// one every tenth of its length.
func steadyTalk(lengths ...time.Duration) loadgen.Run {
	run := loadgen.Run{Load: loadgen.Load{Concurrency: 1, Requests: len(lengths)}}
	for i, d := range lengths {
		at := run.Elapsed
		run.Elapsed += d
		run.Samples = append(run.Samples, loadgen.Sample{Index: i, Conversation: -1, CachedTokens: -1, Ready: at, Sent: at, WasSent: true, Streamed: true,
			FirstOutput: at + d/10, LastOutput: run.Elapsed, End: run.Elapsed, OutputEvents: 10, OutputTokens: 10, TokenSource: loadgen.TokensFromUsage})
	}
	return run
}

// TestPeakIsNeverBelowTheMean: a run of less than a second has no peak, and the
// part of a second at a run's end is neither a rate by itself nor left out.
func TestPeakIsNeverBelowTheMean(t *testing.T) {
	for _, c := range []struct {
		name    string
		lengths []time.Duration
		peak    float64 // 0: unknown
	}{
		{"below a second", []time.Duration{400 * ms, 500 * ms}, 0},
		{"a second and a tenth", []time.Duration{500 * ms, 400 * ms, 200 * ms}, 30 / 1.1},
		{"a busier end of less than a second", []time.Duration{1000 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms}, 100 / 1.9},
		{"two and a half", []time.Duration{1250 * ms, 250 * ms, 500 * ms, 500 * ms}, 31 / 1.25}, // the first request ends where the second stretch begins
	} {
		t.Run(c.name, func(t *testing.T) {
			w := Summarize([]loadgen.Run{steadyTalk(c.lengths...)}, Options{}).Whole
			if c.peak == 0 {
				if w.PeakOutputThroughput.IsKnown() {
					t.Errorf("peak %v", w.PeakOutputThroughput)
				}
				return
			}
			near(t, "peak", w.PeakOutputThroughput, c.peak, 1e-6)
			if w.PeakOutputThroughput.Or(0) < w.OutputThroughput.Or(0) {
				t.Errorf("peak %v below the mean %v", w.PeakOutputThroughput, w.OutputThroughput)
			}
		})
	}
}

// TestPeakOfAWindowThatCountsTooFew: a peak that Little's law contradicts is none.
func TestPeakOfAWindowThatCountsTooFew(t *testing.T) {
	if p := peakOver(loadgen.Known(280), 289); p.IsKnown() {
		t.Errorf("a peak of %v beside a mean of 289", p)
	}
	if p := peakOver(loadgen.Known(289-1e-9), 289); p.Or(0) != 289 {
		t.Errorf("a rounding error made a peak of %v", p)
	}
	if p := peakOver(Number{}, 0); p.IsKnown() {
		t.Errorf("unknown became %v", p)
	}
}
