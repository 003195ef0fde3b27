package report

import (
	"math"

	"github.com/capfind/capfind/analysis"
)

// sizing says what one replica carries within the recommended band, taken from
// the steps around it; nil where there is no band or no step to take it from.
func (v *view) sizing(o Options) *table {
	rec := v.r.Recommendation
	if rec == nil || v.open || !rec.Low.IsKnown() || !rec.High.IsKnown() {
		return nil
	}
	t := &table{Caption: v.w.say("section.sizing"), Head: []string{v.w.say("col.setting"), v.w.say("col.load"), v.w.say("col.throughput"), v.w.say("col.output"),
		"TTFT " + v.w.say("stat.mean"), v.w.say("col.residence"), v.w.say("col.perDay")}}
	priced := o.PricePerHour.IsKnown()
	if priced {
		t.Head = append(t.Head, v.w.say("col.cost", o.currency()))
	}
	for _, row := range []struct {
		key string
		n   analysis.Number
	}{{"sizing.low", rec.Low}, {"sizing.high", rec.High}, {"sizing.burst", rec.BurstSafe}, {"sizing.limit", v.limitNumber()}} {
		n, ok := row.n.Value()
		if !ok || n < 1 {
			continue
		}
		plan := analysis.PlanReplicas(v.r.Steps, *rec, nil, analysis.Sizing{Concurrency: int(n), PricePerHour: o.PricePerHour.Or(0), Curve: v.r.Curve})
		x, tokens := plan.Replica.RequestThroughput, plan.Replica.OutputThroughput
		if !x.IsKnown() {
			continue
		}
		residence := plan.Replica.ResidenceSeconds
		ttft := v.ttftAt(n, residence)
		cells := []cell{str(v.w.say(row.key)), num(row.n, whole(row.n)), num(x, figure(x)), num(tokens, figure(tokens)),
			num(ttft, seconds(ttft)), num(residence, seconds(residence))}
		perDay := number(x.Or(0) * 86400)
		cells = append(cells, num(perDay, roundFigure(perDay)))
		if priced {
			cells = append(cells, num(plan.CostPerMillion, figure(plan.CostPerMillion)))
		}
		t.Rows = append(t.Rows, tableRow{Step: -1, Cells: cells})
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}

// replicas says how many replicas carry a request rate, for a series of rates
// around what one carries; nil where the result supports no plan.
func (v *view) replicas(o Options) *table {
	rec := v.r.Recommendation
	if rec == nil || v.open {
		return nil
	}
	z := analysis.DefaultSizing()
	z.PricePerHour, z.Currency, z.Curve = o.PricePerHour.Or(0), o.currency(), v.r.Curve
	one := analysis.PlanReplicas(v.r.Steps, *rec, nil, z)
	x, ok := one.Replica.RequestThroughput.Value()
	if !ok || x <= 0 {
		return nil
	}
	var demands []analysis.Demand
	for at := niceStep(x / 2); len(demands) < 6; at = niceStep(at * 1.01) {
		demands = append(demands, analysis.Demand{QPS: at})
	}
	t := &table{Caption: v.w.say("section.replicas", plain(z.Growth)),
		Head: []string{v.w.say("col.demand"), v.w.say("col.replicas"), v.w.say("col.loadEach"), v.w.say("col.inFlightEach")}}
	if z.PricePerHour > 0 {
		t.Head = append(t.Head, v.w.say("col.monthly", o.currency()))
	}
	for _, row := range analysis.PlanReplicas(v.r.Steps, *rec, demands, z).Rows {
		if row.Refusal != "" {
			continue
		}
		cells := []cell{str(plain(row.QPS.Or(0)) + " req/s"), num(row.Replicas, whole(row.Replicas)),
			num(row.LoadPerReplica, perSecond(row.LoadPerReplica, "req/s")), num(row.InFlightPerReplica, figure(row.InFlightPerReplica))}
		if z.PricePerHour > 0 {
			cells = append(cells, num(row.CostPerMonth, roundFigure(row.CostPerMonth)))
		}
		t.add(-1, cells...)
	}
	return filled(t)
}

func (v *view) limitNumber() analysis.Number {
	if v.r.Limit == nil {
		return analysis.Number{}
	}
	return v.r.Limit.Concurrency
}

// ttftAt is the mean TTFT at a load: of the time in system what is not spent on the
// answer, which hardly bends between two steps, while the wait before it may begin
// anywhere between them.
func (v *view) ttftAt(n float64, residence analysis.Number) analysis.Number {
	straight := v.at(n, func(s *analysis.Summary) analysis.Number { return s.TTFT.Mean })
	answer := v.at(n, func(s *analysis.Summary) analysis.Number {
		e2e, ok := s.E2E.Mean.Value()
		ttft, okTTFT := s.TTFT.Mean.Value()
		if !ok || !okTTFT {
			return analysis.Number{}
		}
		return number(e2e - ttft)
	})
	r, ok := residence.Value()
	if a, known := answer.Value(); ok && known && straight.IsKnown() && v.r.Curve != nil && v.r.Curve.Model != "" && r > a {
		return number(r - a)
	}
	return straight
}

// at interpolates a figure between the two measured steps around a load;
// unknown outside the tested range. Only steps that passed count, and those
// that broke a rule only as the upper neighbour.
func (v *view) at(n float64, take func(*analysis.Summary) analysis.Number) analysis.Number {
	below, above := math.Inf(-1), math.Inf(1)
	var low, high float64
	for i := range v.r.Steps {
		s := &v.r.Steps[i]
		y, ok := take(v.figures(s)).Value()
		if !ok || s.Abandoned != "" || s.ClientLimited() {
			continue
		}
		x := v.load(s)
		if x <= n && x > below {
			below, low = x, y
		}
		if x >= n && x < above {
			above, high = x, y
		}
	}
	switch {
	case math.IsInf(below, 0) || math.IsInf(above, 0):
		return analysis.Number{}
	case above == below:
		return number(low)
	}
	return number(low + (high-low)*(n-below)/(above-below))
}
