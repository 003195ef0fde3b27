package fleet

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// instant answers at once, with the gaps of an answer of 64 tokens.
type instant struct{ gaps []uint32 }

func (d instant) Do(_ context.Context, began time.Time, first loadgen.Sample, emit func(*loadgen.Sample)) error {
	s := first
	s.WasSent, s.Streamed, s.OutputEvents, s.OutputTokens, s.Gaps = true, true, 64, 64, d.gaps
	s.Sent = time.Since(began)
	s.FirstOutput, s.LastOutput, s.End = s.Sent, s.Sent, s.Sent
	emit(&s)
	return nil
}

// BenchmarkIntake is how many samples a second a hub takes in from workers that have
// nothing else to do, all in this process, and how much memory that takes.
func BenchmarkIntake(b *testing.B) {
	h, err := Open(b.Context(), Config{Listen: "127.0.0.1:0", Dir: b.TempDir(), Token: token, Workers: 4, JoinTimeout: time.Minute}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	gaps := make([]uint32, 63)
	for i := range gaps {
		gaps[i] = uint32(30000 + 17*i%900)
	}
	for i := range 4 {
		go Work(b.Context(), WorkerConfig{Name: fmt.Sprintf("w%d", i), URL: h.Address(), Token: token,
			Prepare: func(context.Context, []byte) (Generator, float64, error) {
				return loadgen.NewEngine(instant{gaps}), 0, nil
			}})
	}
	if err := h.Gather(b.Context()); err != nil {
		b.Fatal(err)
	}
	const requests = 200_000
	for range b.N {
		began := time.Now()
		r, err := h.Run(b.Context(), loadgen.Load{Concurrency: 64, Requests: requests})
		if err != nil || len(r.Samples) != requests {
			b.Fatal(err, len(r.Samples))
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(requests/time.Since(began).Seconds(), "samples/s")
		b.ReportMetric(float64(m.Sys)/(1<<20), "MiB")
	}
}
