package sweep_test

import (
	"math"
	"testing"

	"github.com/capfind/capfind/sweep"
)

func BenchmarkHeadroomDecision(b *testing.B) {
	f := sweep.FindHeadroom{Traffic: evenly(400), Concurrency: 4096, Rules: halfSecond}
	var h sweep.History
	for i := range 10 {
		o, _ := f.Next(h)
		if o == nil {
			break
		}
		h.Steps = append(h.Steps, ran(o, 0.5*math.Pow(o.Speed/2.6, 2)*(1+0.3*math.Sin(float64(7*i))), 0.1))
	}
	b.Logf("%d steps", len(h.Steps))
	for b.Loop() {
		f.Next(h)
	}
}
