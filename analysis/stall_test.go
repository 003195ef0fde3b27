package analysis

import (
	"math"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Ten requests in flight of one second each, and a second and a half in which the
// client stood still: nothing that is said of the server shows it.
func TestStallIsCutOut(t *testing.T) {
	run := loadgen.Run{Load: loadgen.Load{Concurrency: 10, Requests: 300}}
	stall := loadgen.Stall{From: 9500 * time.Millisecond, To: 11 * time.Second}
	free := make([]time.Duration, 10)
	for w := range free {
		free[w] = time.Duration(w) * 100 * time.Millisecond
	}
	for i := range 300 {
		w := i % 10
		at := free[w]
		end := at + time.Second
		x := loadgen.Sample{Index: i, Conversation: -1, Ready: at, Intended: at, Sent: at, WasSent: true, Streamed: true,
			FirstOutput: at + 200*time.Millisecond, OutputEvents: 5, OutputTokens: 5}
		if at < stall.To && end > stall.From {
			end, x.Stalled = max(end, stall.To), true // it is read when the client runs again
		}
		x.LastOutput, x.End, free[w] = end, end, end
		run.Samples, run.Elapsed = append(run.Samples, x), max(run.Elapsed, end)
	}
	run.Stalls = []loadgen.Stall{stall}
	s := Summarize([]loadgen.Run{run}, Options{})
	near(t, "throughput", s.Steady.RequestThroughput, 10, 0.1)
	near(t, "TTFT", s.Steady.TTFT.Mean, 0.2, 1e-9)
	near(t, "E2E", s.Steady.E2E.Mean, 1, 1e-9)
	near(t, "success", s.Whole.SuccessRate, 1, 0)
	near(t, "stalled", s.Client.StalledShare, 10.0/300, 1e-9)
	if s.ClientLimited() || s.Whole.Completed != 300 {
		t.Errorf("limits %v, %d completed", s.Client.Limits, s.Whole.Completed)
	}
	// More than a fifth of the requests: the rest do not stand for the load.
	for i := range run.Samples {
		run.Samples[i].Stalled = i%4 == 0
	}
	if s := Summarize([]loadgen.Run{run}, Options{}); !s.Client.Spoilt || !s.ClientLimited() || math.Abs(s.Client.StalledShare.Or(0)-0.25) > 0.01 {
		t.Errorf("spoilt %v, share %v, limits %q", s.Client.Spoilt, s.Client.StalledShare, s.Client.Limits)
	}
}
