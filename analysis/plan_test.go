package analysis

import (
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

// measured is a step of the slots case with 100 output tokens a request.
func measured(n int, x float64) Step {
	s := Step{Concurrency: n, VerdictBasis: BasisWhole}
	s.Whole = Summary{Completed: 10, OutputTokens: 1000, RequestThroughput: loadgen.Known(x)}
	return s
}

func TestPlanByHand(t *testing.T) {
	// Service 2 s, so X = N/2. The band of a limit of 50 is 35-40, burst-safe 39.
	steps := []Step{measured(10, 5), measured(20, 10), measured(50, 25)}
	rec := Recommendation{Low: loadgen.Known(35), High: loadgen.Known(40), BurstSafe: loadgen.Known(45)}
	z := Sizing{Growth: 1.5, Spare: 1, PricePerHour: 3}
	p := PlanReplicas(steps, rec, []Demand{
		{QPS: 100},                       // 150 grown / 20 = 7.5 -> 8, and 1 spare
		{Users: 1000, ThinkSeconds: 38},  // 1000/40 = 25/s, 37.5 grown / 20 -> 2, and 1
		{Concurrency: 80},                // 80/2 = 40/s, 60 grown / 20 = 3 exactly, and 1
		{Users: 10, QPS: 3},              // two at once
		{},                               // nothing
		{QPS: -1},                        // nonsense
		{Users: 100, ThinkSeconds: -0.5}, // nonsense
	}, z)
	if len(p.Refusals) > 0 {
		t.Fatal(p.Refusals)
	}
	near(t, "in flight per replica", p.Replica.Concurrency, 40, 0)
	near(t, "requests/s of a replica", p.Replica.RequestThroughput, 20, 1e-9)
	near(t, "tokens/s of a replica", p.Replica.OutputThroughput, 2000, 1e-9)
	near(t, "time in system", p.Replica.ResidenceSeconds, 2, 1e-9)
	near(t, "cost per million tokens, full", p.CostPerMillion, 3/(3600*2000.0)*1e6, 1e-9) // 0.4167
	want := []struct{ qps, inFlight, replicas, each, held, hour, month, million float64 }{
		{100, 200, 9, 18.75, 37.5, 27, 27 * 730, 27 / (3600 * 10000.0) * 1e6},
		{25, 50, 3, 18.75, 37.5, 9, 9 * 730, 9 / (3600 * 2500.0) * 1e6},
		{40, 80, 4, 20, 40, 12, 12 * 730, 12 / (3600 * 4000.0) * 1e6},
	}
	for i, w := range want {
		r := p.Rows[i]
		near(t, "qps", r.QPS, w.qps, 1e-9)
		near(t, "in flight", r.InFlight, w.inFlight, 1e-9)
		near(t, "replicas", r.Replicas, w.replicas, 0)
		near(t, "load per replica", r.LoadPerReplica, w.each, 1e-9)
		near(t, "in flight per replica", r.InFlightPerReplica, w.held, 1e-6)
		near(t, "cost per hour", r.CostPerHour, w.hour, 1e-9)
		near(t, "cost per month", r.CostPerMonth, w.month, 1e-6)
		near(t, "cost per million", r.CostPerMillion, w.million, 1e-9)
		if r.Refusal != "" || !r.BurstSafe || r.Spare != 1 {
			t.Errorf("row %d: %+v", i, r)
		}
	}
	for _, r := range p.Rows[3:] {
		if r.Refusal == "" || r.Replicas.IsKnown() {
			t.Errorf("%+v is answered: %+v", r.Demand, r)
		}
	}
	text := strings.Join(p.Assumptions, "; ")
	for _, s := range []string{"40 requests in flight", "multiplied by 1.5", "1 spare", "$3 an hour"} {
		if !strings.Contains(text, s) {
			t.Errorf("assumptions %q do not say %q", text, s)
		}
	}
}

// 32 slots of 146 ms: steps at 20 and at 50 lie either side of the knee, and a straight
// line between them would take a third off what a replica does there.
func TestPlanKnowsTheKneeBetweenTwoSteps(t *testing.T) {
	steps := []Step{measured(20, 20/0.146), measured(50, 32/0.146)}
	rec := Recommendation{Low: loadgen.Known(28), High: loadgen.Known(32)}
	curve := &Curve{Model: modelSlots, Parameters: map[string]float64{"a": 0.146, "slots": 32}, FromConcurrency: 20, ToConcurrency: 50}
	for _, c := range []struct {
		curve *Curve
		at    int
		x     float64
	}{
		{curve, 32, 32 / 0.146},
		{curve, 25, 25 / 0.146},
		{curve, 40, 32 / 0.146},
		{&Curve{}, 32, 32 / (0.146 + 12.0/30*(50*0.146/32-0.146))}, // nothing claimed: a straight line
	} {
		p := PlanReplicas(steps, rec, nil, Sizing{Concurrency: c.at, Curve: c.curve})
		near(t, "requests/s of a replica", p.Replica.RequestThroughput, c.x, 1e-6)
		near(t, "time in system", p.Replica.ResidenceSeconds, float64(c.at)/c.x, 1e-6)
	}
}

func TestPlanWithAQueueAndSmallLimits(t *testing.T) {
	// Time in system 2 s up to 20, 4 s at 40: 3 s in between.
	steps := []Step{measured(10, 5), measured(20, 10), measured(40, 10)}
	p := PlanReplicas(steps, Recommendation{High: loadgen.Known(30), BurstSafe: loadgen.Known(99)}, []Demand{{QPS: 10}}, Sizing{Growth: 1})
	near(t, "time in system", p.Replica.ResidenceSeconds, 3, 1e-9)
	near(t, "requests/s", p.Replica.RequestThroughput, 10, 1e-9)
	near(t, "replicas", p.Rows[0].Replicas, 1, 0)
	if p.Rows[0].CostPerHour.IsKnown() || p.CostPerMillion.IsKnown() {
		t.Error("costs without a price")
	}
	// Two runs of one step count as one point, their times averaged.
	p = PlanReplicas(append(steps, measured(20, 5)), Recommendation{High: loadgen.Known(20)}, []Demand{{QPS: 10}}, Sizing{})
	near(t, "time in system of both", p.Replica.ResidenceSeconds, 3, 1e-9)
	if p.Rows[0].BurstSafe {
		t.Error("burst-safe without a figure for it")
	}
	// Below a limit of 16 the burst-safe figure is what is planned with.
	p = PlanReplicas([]Step{measured(1, .5), measured(10, 5)}, Recommendation{High: loadgen.Known(8), BurstSafe: loadgen.Known(6)}, []Demand{{QPS: 3}}, Sizing{Growth: 1})
	near(t, "in flight per replica", p.Replica.Concurrency, 6, 0)
	near(t, "replicas", p.Rows[0].Replicas, 1, 0)
	if !strings.Contains(p.Assumptions[0], "burst-safe figure, for it is below 8") {
		t.Errorf("%q", p.Assumptions[0])
	}
}

func TestPlanRefuses(t *testing.T) {
	rec := Recommendation{High: loadgen.Known(40)}
	off := measured(50, 25)
	off.Validity = []Check{{Check: "little"}}
	bad := measured(50, 25)
	bad.Stop = &Stop{}
	limited := measured(50, 25)
	limited.Client.Limits = []string{"CPU"}
	rate := measured(50, 25)
	rate.RequestRate = loadgen.Known(25)
	cases := []struct {
		name   string
		steps  []Step
		rec    Recommendation
		z      Sizing
		reason string
	}{
		{"nothing recommended", []Step{measured(50, 25)}, Recommendation{}, Sizing{}, "recommends no concurrency"},
		{"beyond the range", []Step{measured(1, .5), measured(20, 10)}, rec, Sizing{}, "40 in flight per replica is above 20"},
		{"asked beyond the range", []Step{measured(1, .5), measured(20, 10)}, Recommendation{High: loadgen.Known(10)}, Sizing{Concurrency: 60}, "60 in flight per replica is above 20"},
		{"below the range", []Step{measured(50, 25)}, rec, Sizing{}, "below 50"},
		{"invalid step", []Step{measured(20, 10), off}, rec, Sizing{}, "the steps at [50] passed, but their figures do not hold"},
		{"failed step", []Step{measured(20, 10), bad}, rec, Sizing{}, "above 20"},
		{"client limited", []Step{measured(20, 10), limited}, rec, Sizing{}, "above 20"},
		{"open loop", []Step{measured(20, 10), rate}, rec, Sizing{}, "above 20"},
		{"no steps", nil, rec, Sizing{}, "no step passed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := PlanReplicas(c.steps, c.rec, []Demand{{QPS: 1}}, c.z)
			if text := strings.Join(p.Refusals, "; "); !strings.Contains(text, c.reason) || len(p.Rows) > 0 {
				t.Errorf("refusals %q with %d rows, want %q", text, len(p.Rows), c.reason)
			}
		})
	}
}
