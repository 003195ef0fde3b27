package control

import (
	"math"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// A server with 10 slots of 2 s: the response time that is expected is about the one that
// comes, and what it is where nothing tells better.
func TestResponseAtALoad(t *testing.T) {
	step := func(n int) analysis.Step {
		r := 2 * math.Max(1, float64(n)/10)
		return analysis.Step{Concurrency: n, VerdictBasis: analysis.BasisWhole, Whole: analysis.Summary{
			Completed: 10 * n, RequestThroughput: loadgen.Known(float64(n) / r), E2E: analysis.Dist{Mean: loadgen.Known(r)}}}
	}
	refused := step(30)
	refused.Whole.Completed, refused.Whole.Failed, refused.Whole.E2E.Mean = 3, 300, loadgen.Known(0.01)
	for _, c := range []struct {
		name  string
		steps []analysis.Step
		n     int
		want  float64
	}{
		{"nothing measured", nil, 5, 0},
		{"refusals only", []analysis.Step{refused}, 30, 0},
		{"one load below", []analysis.Step{step(2)}, 5, 2},
		{"two loads below with room", []analysis.Step{step(2), step(5)}, 10, 2},
		{"two loads below without", []analysis.Step{step(20), step(50)}, 100, 20},
		{"a knee between them", []analysis.Step{step(5), step(20)}, 100, 4 + 80*2./15},
		{"a knee between them: no more than throughput lets expect", []analysis.Step{step(19), step(20)}, 50, 10},
		{"between two", []analysis.Step{step(50), step(20)}, 30, 6},
		{"one load above", []analysis.Step{step(50)}, 20, 10},
		{"beside refusals", []analysis.Step{step(20), refused, step(50)}, 30, 6},
	} {
		if got := responseAt(c.steps, c.n); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v s at %d, want %v", c.name, got, c.n, c.want)
		}
	}
	s := &session{Controller: &Controller{Response: 3 * time.Second, Config: sweep.Default()}}
	if got := s.staggerOver(5); got != 3*time.Second {
		t.Errorf("before anything was measured: %v", got)
	}
	s.h.Steps = []analysis.Step{step(20), step(50)}
	if got := s.staggerOver(100); got != 20*time.Second {
		t.Errorf("after two steps: %v", got)
	}
	s.Config.Start = loadgen.StartBurst
	if got := s.staggerOver(100); got != 0 {
		t.Errorf("a burst: %v", got)
	}
}
