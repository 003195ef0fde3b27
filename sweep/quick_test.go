package sweep

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/analysis"
)

// ordered are the loads that a sweep asks for, with the numbers of their requests and what
// the search measures them for.
func ordered(q FindLimit, server func(o *Order) analysis.Step) (got []string, answer Answer) {
	var h History
	for {
		o, a := q.Next(h)
		if o == nil {
			return got, a
		}
		h.Steps = append(h.Steps, server(o))
		got = append(got, strings.TrimSpace(fmt.Sprintf("%dx%d %s", o.Concurrency, o.Requests, o.Purpose)))
	}
}

// How much is sent to a server of so many slots. What a probe needs depends on whether each
// of its requests counts to its end, and on how much their lengths vary.
func TestWhatQuickSends(t *testing.T) {
	const ladder = "1x5, 10x30, 20x50, 100x250, "
	for _, tt := range []struct {
		name   string
		slots  float64
		spread float64
		slo    SLO
		want   string
	}{
		{name: "one load above the knee is measured", slots: 40, want: ladder + "40x100 throughput_gain, 50x125 throughput_gain"},
		{name: "the ladder went above the knee, and not far", slots: 57, want: ladder + "57x143 throughput_gain"},
		{name: "the tail is cut, and answers vary", slots: 40, spread: 0.9, want: ladder + "40x140 throughput_gain, 50x175 throughput_gain"},
		{name: "each request counts", slots: 40, slo: SLO{Metric: metricE2E, Max: 100 * time.Second}, want: ladder + "40x100 throughput_gain, 50x125 throughput_gain"},
		{name: "each request counts, and answers vary", slots: 40, spread: 0.5, slo: SLO{Metric: metricE2E, Max: 100 * time.Second}, want: ladder + "40x125 throughput_gain, 50x157 throughput_gain"},
	} {
		q := atEffort(EffortQuick)
		if tt.slo.Metric != "" {
			q.Rules.SLO = []SLO{tt.slo}
		}
		got, _ := ordered(q, func(o *Order) analysis.Step {
			r := max(1, float64(o.Concurrency)/tt.slots)
			return LoadState{Residence: r, TTFT: min(0.9, r-0.99), Tokens: 100, Spread: tt.spread}.Step(o, o.Requests, 0)
		})
		if got := strings.Join(got, ", "); got != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, got, tt.want)
		}
	}
}

// Where runs differ, by how much is what the width of the answer rests on: a step of the
// ladder is run again before anything is measured for the knee.
func TestQuickRepeatsEarly(t *testing.T) {
	k := 0.0
	got, answer := ordered(atEffort(EffortQuick), func(o *Order) analysis.Step {
		k++
		r := (1 + 0.01*float64(o.Concurrency)) * (1 + 0.02*math.Sin(2*k))
		return LoadState{Residence: r, TTFT: 0.01, Tokens: 100}.Step(o, o.Requests, 0)
	})
	repeat := slices.Index(got, "20x50 repeat")
	probe := slices.IndexFunc(got, func(s string) bool { return strings.HasSuffix(s, RuleGain) })
	knee := (1/math.Log2(1.2) - 1) / 0.01 // of R = 1 + 0.01 N
	if repeat < 0 || probe < repeat || answer.Limit.Low.Or(knee+1) > knee || answer.Limit.High.Or(0) < knee {
		t.Errorf("%v: limit %+v of %.0f", got, answer.Limit, knee)
	}
}

// The edge of a server that turns away what it cannot serve is looked for where it was seen
// to serve; a quick sweep begins a little below, for a load that holds is needed anyway.
func TestEdgeNearWhatWasServed(t *testing.T) {
	for _, tt := range []struct {
		edge   int
		served float64 // as Little's law says
		effort Effort
		want   []int
		at     float64
	}{
		{48, 48, EffortQuick, []int{47, 48, 49}, 48},
		{48, 48.9, EffortQuick, []int{48, 49}, 48},
		{75, 75, EffortQuick, []int{73, 75, 76}, 75},
		{200, 209, EffortQuick, []int{209}, 200},
		{48, 48, EffortGuide, []int{48, 49}, 48},
	} {
		q := atEffort(tt.effort)
		var probes []int
		_, answer := ordered(q, func(o *Order) analysis.Step {
			failed := 0
			l := LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}
			if o.Concurrency > tt.edge {
				failed, l.Served = o.Requests/2, tt.served
			}
			if o.Purpose == RuleSuccess {
				probes = append(probes, o.Concurrency)
			}
			return l.Step(o, o.Requests-failed, failed)
		})
		if l := answer.Limit; !slices.Equal(probes, tt.want) || l == nil || l.Concurrency.Or(0) != tt.at || l.Low.Or(999) > float64(tt.edge) || l.High.Or(0) < float64(tt.edge) {
			t.Errorf("%s, %d, of which %.1f show: %v, limit %+v, want %v and %v", tt.effort, tt.edge, tt.served, probes, l, tt.want, tt.at)
		}
	}
}

// Where throughput alone stopped a quick ladder, chance may have: it looks half as far again.
func TestHowHighIsProbed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		effort Effort
		ttft   float64
		failed int
		want   int
	}{
		{"throughput", EffortQuick, 0.1, 0, 150},
		{"throughput, guide", EffortGuide, 0.1, 0, 100},
		{"throughput and TTFT", EffortQuick, 1.5, 0, 100},
		{"requests failed", EffortQuick, 0.1, 100, 99},
	} {
		q := atEffort(tt.effort)
		var h History
		for o, _ := q.Next(h); onLadder(o); o, _ = q.Next(h) {
			l, failed := LoadState{Residence: 1, TTFT: 0.1, Tokens: 100}, 0
			if o.Concurrency >= 100 {
				l, failed = LoadState{Residence: 4, TTFT: tt.ttft, Tokens: 100}, tt.failed
			}
			h.Steps = append(h.Steps, l.Step(o, o.Requests-failed, failed))
		}
		if got := q.read(h).ceiling(); got != tt.want {
			t.Errorf("%s: up to %d, want %d", tt.name, got, tt.want)
		}
	}
}

// A step whose throughput is not known says nothing of how near a limit is.
func TestNothingIsNearWhereNothingIsKnown(t *testing.T) {
	for known, want := range map[bool]bool{true: true, false: false} {
		q := atEffort(EffortQuick)
		var h History
		for _, n := range []int{1, 10} {
			o := q.read(h).order(n, 100, analysis.PhaseLadder)
			s := LoadState{Residence: math.Sqrt(float64(n)), TTFT: 0.1, Tokens: 100}.Step(o, 100, 0)
			if n == 10 && !known {
				s.Level = nil
			}
			h.Steps = append(h.Steps, s)
		}
		if got := q.read(h).nearing(); got != want {
			t.Errorf("throughput known %v: nearing %v", known, got)
		}
	}
}
