package analysis

import (
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

func TestNoLengthsNoControl(t *testing.T) {
	c := slots(20)
	c.cv, c.seed, c.stagger = 0.3, 1, 2100*ms
	s := Summarize([]loadgen.Run{c.run()}, Options{})
	got := newLengthControl([]Step{s}).apply(s.Steady, 20)
	near(t, "throughput", loadgen.Known(got.throughput), s.Steady.RequestThroughput.Or(0), 1e-9)
	var none lengthControl
	if d, e := none.scales(100, 10, 1); d != 1 || e != 1 {
		t.Errorf("scales %g, %g without lengths", d, e)
	}
	if newLengthControl(nil).tokens != 0 {
		t.Error("lengths of nothing")
	}
}

// Half the steps drew answers a fifth longer than the others: at the common
// length all of them have the same throughput.
func TestLengthControlBringsStepsTogether(t *testing.T) {
	run := func(tokens int) Step {
		c := slots(64)
		c.tokens, c.stagger = tokens, 2100*ms
		c.decode = time.Duration(tokens-1) * 20 * ms
		return Summarize([]loadgen.Run{c.run()}, Options{})
	}
	steps := []Step{run(91), run(111)}
	control := newLengthControl(steps)
	near(t, "common length", loadgen.Known(control.tokens), 101, 1e-9)
	for i := range steps {
		v := control.apply(steps[i].Steady, 64)
		near(t, "throughput", loadgen.Known(v.throughput), 64/2.1, 0.2)
		near(t, "decode", loadgen.Known(v.decode), 2, 0.01)
	}
}
