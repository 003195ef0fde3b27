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
		"TTFT " + v.w.say("stat.mean"), "E2E " + v.w.say("stat.mean"), v.w.say("col.perDay")}}
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
		x := v.at(n, func(s *analysis.Summary) analysis.Number { return s.RequestThroughput })
		tokens := v.at(n, func(s *analysis.Summary) analysis.Number { return s.OutputThroughput })
		if !x.IsKnown() {
			continue
		}
		cells := []cell{str(v.w.say(row.key)), num(row.n, whole(row.n)), num(x, perSecond(x, "req/s")), num(tokens, perSecond(tokens, "tok/s"))}
		for _, d := range []func(*analysis.Summary) analysis.Dist{func(s *analysis.Summary) analysis.Dist { return s.TTFT }, func(s *analysis.Summary) analysis.Dist { return s.E2E }} {
			m := v.at(n, func(s *analysis.Summary) analysis.Number { return d(s).Mean })
			cells = append(cells, num(m, seconds(m)))
		}
		perDay := number(x.Or(0) * 86400)
		cells = append(cells, num(perDay, roundFigure(perDay)))
		if priced {
			cost := CostPerMillion(o.PricePerHour, tokens)
			cells = append(cells, num(cost, figure(cost)))
		}
		t.Rows = append(t.Rows, tableRow{Step: -1, Cells: cells})
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}

func (v *view) limitNumber() analysis.Number {
	if v.r.Limit == nil {
		return analysis.Number{}
	}
	return v.r.Limit.Concurrency
}

// CostPerMillion returns the cost of a million output tokens: price per hour /
// (3600 x output tokens per second) x 1e6; unknown where either is.
func CostPerMillion(pricePerHour, tokensPerSecond analysis.Number) analysis.Number {
	p, priced := pricePerHour.Value()
	t, known := tokensPerSecond.Value()
	if !priced || !known || t <= 0 {
		return analysis.Number{}
	}
	return number(p / (3600 * t) * 1e6)
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
