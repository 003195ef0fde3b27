// Package diagnosis names what saturates a server, from the steps of a sweep.
// Like analysis it is pure.
package diagnosis

import (
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/analysis"
)

// Diagnose names what saturates, from the steps, the server's telemetry in them
// where there is any, and the shape of the curves. Failures are looked into first
// where the success rate is what binds, queues and slopes otherwise.
func Diagnose(steps []analysis.Step, c Context) Bottleneck {
	d := newFigures(steps, c)
	b := d.kind(steps)
	b.Shares = d.shares(d.lastGood(), b.Kind)
	// A step that was cut short shows how the overload began, not how it is.
	if s := d.full; s != nil && b.Shares != nil && s.Abandoned == "" && float64(s.Concurrency) >= 1.1*float64(b.Shares.Concurrency) {
		b.Overload = d.shares(s, b.Kind)
	}
	return b
}

func (d *figures) kind(steps []analysis.Step) Bottleneck {
	if b, ok := d.client(steps); ok {
		return b
	}
	failures := []func() (Bottleneck, bool){d.crash, d.noRoom, d.turnedAway, d.errorRate}
	shapes := []func() (Bottleneck, bool){d.kvCache, d.frontEnd, d.slots, d.prefill, d.memoryBandwidth, d.slowAlone, d.unstreamed}
	order := append(failures, shapes...)
	by := binding(d.Limits, d.bad)
	if by != "success_rate" {
		order = append(shapes, failures...)
	}
	for _, look := range order {
		if b, ok := look(); ok {
			return b
		}
	}
	if by == "" && d.good != nil {
		return Bottleneck{Kind: KindNone, Sentence: fmt.Sprintf("nothing saturates up to %s", inFlight(d.good.Concurrency))}
	}
	return Bottleneck{Kind: KindUnknown, Sentence: "what saturates cannot be told from these figures"}
}

// lastGood is the largest step that passed and does not lie above the smallest
// limit; for want of one the largest that passed, or the most loaded that answers.
func (d *figures) lastGood() *analysis.Step {
	top := math.Inf(1)
	for _, l := range d.Limits {
		top = min(top, l.Concurrency.Or(math.Inf(1)))
	}
	for _, s := range slices.Backward(d.steps) {
		if s.Passed() && float64(s.Concurrency) <= top {
			return s
		}
	}
	if d.good != nil {
		return d.good
	}
	return d.full
}

// binding is the criterion of the smallest limit; of equals the success rate, for
// what is turned away explains a throughput that stands still. Without limits it
// is what stopped the first bad step.
func binding(limits map[string]analysis.Limit, bad *analysis.Step) string {
	name, at := "", math.Inf(1)
	for criterion, l := range limits {
		n, ok := l.Concurrency.Value()
		if !ok {
			continue
		}
		if n < at || n == at && (criterion == "success_rate" || name != "success_rate" && criterion < name) {
			name, at = criterion, n
		}
	}
	if name == "" && bad != nil && bad.Stop != nil {
		return bad.Stop.Rule
	}
	return name
}

// client blames this machine where it could not make the load and nothing that it
// did measure failed above what passed: then the server was never at its limit.
func (d *figures) client(steps []analysis.Step) (Bottleneck, bool) {
	if d.bad != nil {
		return Bottleneck{}, false
	}
	for i := range steps {
		s := &steps[i]
		if s.ClientLimited() && (d.good == nil || s.Concurrency > d.good.Concurrency) {
			return Bottleneck{Kind: KindClient, Evidence: s.Client.Limits,
				Sentence: fmt.Sprintf("client: at %d this machine could not make the load, so the server's own limit was not seen", s.Concurrency)}, true
		}
	}
	return Bottleneck{}, false
}

// inFlight writes a concurrency with its noun.
func inFlight(n int) string {
	if n == 1 {
		return "1 request in flight"
	}
	return fmt.Sprintf("%d requests in flight", n)
}
