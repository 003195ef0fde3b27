package live

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/selftest"
	"github.com/capfind/capfind/sweep/control"
)

// The client's gate (loadgen/selftest) with nobody and with 20 who watch: the error
// of TTFT must not grow. Each is 100 streams of 50 tokens a second for 3 s.
func BenchmarkGateWithViewers(b *testing.B) {
	for _, c := range []struct {
		name    string
		viewers int
	}{{"nobody", 0}, {"20", 20}} {
		b.Run(c.name, func(b *testing.B) {
			if c.viewers > 0 {
				watched(b, c.viewers)
			}
			for b.Loop() {
				r, err := selftest.Run(context.Background(), selftest.Options{Points: []selftest.Point{{Streams: 100, Rate: 50}}, Duration: 3 * time.Second})
				if err != nil {
					b.Fatal(err)
				}
				row := r.Rows[0]
				b.ReportMetric(row.ErrorMean.Or(-1)*1e6, "µs-error-mean")
				b.ReportMetric(row.ErrorP99.Or(-1)*1e6, "µs-error-p99")
				b.ReportMetric(row.EventsPerSecond.Or(-1), "events/s")
				b.ReportMetric(row.CPUShare.Or(-1), "cpu-share")
				if !row.Honest {
					b.Errorf("the gate is broken: %s", row.Why)
				}
			}
		})
	}
}

// watched serves a page with a step under way to that many viewers.
func watched(b *testing.B, viewers int) {
	s, err := Start(Config{Listen: "127.0.0.1:0", Title: "bench", Command: "sweep"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	for n := 1; n < 200; n *= 2 {
		s.StepDone(step(n, n > 100))
	}
	s.StepStarted(control.StepPlan{Concurrency: 100, NumPrompts: 1000, Progress: &loadgen.Progress{}})
	for range viewers {
		answer, err := http.Get(s.URL() + "events")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { answer.Body.Close() })
		go io.Copy(io.Discard, answer.Body)
	}
}
