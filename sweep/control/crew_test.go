package control_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep/control"
)

// two machines send the load, and one of them is too slow until it was relieved so often.
type two struct {
	control.Generator
	enough   int // reliefs that it takes; less than 0: the other one is as slow
	relieved []string
}

func (g *two) Workers() []control.Worker { return nil }

func (g *two) Relieve(names []string) bool {
	g.relieved = append(g.relieved, names...)
	return true
}

func (g *two) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	r, err := g.Generator.Run(ctx, l)
	part := func(name string, slow bool) {
		h := r.Health
		h.CPUShare, h.CPUSeconds = loadgen.Known(0.1), loadgen.Known(1)
		if slow {
			h.CPUShare = loadgen.Known(0.95)
		}
		r.Parts = append(r.Parts, loadgen.Part{Worker: name, Concurrency: l.Concurrency, Requests: l.Requests, Health: h})
	}
	part("quick", g.enough < 0)
	part("slow", g.enough < 0 || len(g.relieved) < g.enough)
	r.Health = loadgen.Together(r.Parts)
	return r, err
}

// A machine that is the limit gets less, and the load is sent again: the answer is that of
// the server. Where all of them are, or it does not help, this client was the limit.
func TestMachineThatIsTheLimit(t *testing.T) {
	for _, c := range []struct {
		name         string
		enough, want int // reliefs
		limited      bool
	}{{"less is enough", 2, 2, false}, {"nothing helps", 1 << 30, 3, true}, {"all are slow", -1, 0, true}} {
		t.Run(c.name, func(t *testing.T) {
			g := &two{enough: c.enough}
			w := worked(t, "slots")
			r := answerOf(t, w, 1, func(a *asking) {
				a.Config.Exact = false
				a.Config.Concurrency = []int{2}
				g.Generator, a.Generator = a.Generator, g
			})
			step := &r.Steps[0]
			if len(g.relieved) != c.want || slices.Contains(g.relieved, "quick") || (len(step.Client.Limits) > 0) != c.limited {
				t.Errorf("relieved %v; limits of the client: %v", g.relieved, step.Client.Limits)
			}
			if told := strings.Contains(strings.Join(r.Warnings, "\n"), "worker slow was the limit at 2 in flight"); told != (c.want > 0) {
				t.Errorf("warnings %q", r.Warnings)
			}
			if !c.limited && (step.NumPrompts != 20 || r.Spent.Requests != 60) {
				t.Errorf("%d requests count of %d", step.NumPrompts, r.Spent.Requests)
			}
		})
	}
}

// lossy loses a machine in its first loads: what the others sent is cut short.
type lossy struct {
	control.Generator
	losses int
}

type lost struct{}

func (lost) Error() string    { return "worker w was lost while the load was sent" }
func (lost) Incomplete() bool { return true }

func (g *lossy) Run(ctx context.Context, l loadgen.Load) (loadgen.Run, error) {
	r, err := g.Generator.Run(ctx, l)
	if g.losses--; g.losses >= 0 {
		r.Samples, r.End = r.Samples[:len(r.Samples)/2], loadgen.EndCancelled
		return r, lost{}
	}
	return r, err
}

// A load of which a part was lost is sent again, though the machines that were left were told
// to stop, as by an interruption; where it is lost each time that is an error.
func TestLoadWithAHole(t *testing.T) {
	for _, losses := range []int{1, 2, 1 << 30} {
		g := &lossy{losses: losses}
		r, err := resultOf(t, worked(t, "slots"), 1, func(a *asking) {
			a.Config.Exact = false
			a.Config.Concurrency = []int{2}
			g.Generator, a.Generator = a.Generator, g
		})
		if losses > 10 {
			if err == nil || !strings.Contains(err.Error(), "could not be sent whole in") || !strings.Contains(err.Error(), "worker w was lost") {
				t.Errorf("always lost: %v", err)
			}
			continue
		}
		if err != nil || !r.Complete || len(r.Steps) != 1 || r.Steps[0].Whole.Completed != 20 || !strings.Contains(strings.Join(r.Warnings, "\n"), "is sent again") {
			t.Errorf("lost %d times: %v, complete %v, steps %d, warnings %q", losses, err, r.Complete, len(r.Steps), r.Warnings)
		}
	}
}
