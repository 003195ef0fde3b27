package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/capfind/capfind/loadgen"
)

// Curve is a fitted model of throughput over concurrency, or why there is none.
// The models are those of the mean time in system R = N/X:
//
//	linear     R = a
//	hyperbola  R = a + b N
//	usl        R = a + b N + c N^2   (Gunther, "Guerrilla Capacity Planning")
//	slots      R = (a + b m) N/m, m = min(N, S)
//
// Parameters hold a, b, c, slots as the model has them, in seconds per request,
// and for the first three lambda = 1/(a+b+c) in requests/s, sigma = (b+c) lambda
// and kappa = c lambda.
type Curve struct {
	Model           string             `json:"model"` // usl, hyperbola, linear, slots; empty where none is trusted
	Parameters      map[string]float64 `json:"parameters"`
	Chi2PerDof      Number             `json:"chi2_per_dof"`
	AICc            Number             `json:"aicc"`
	PeakAt          Number             `json:"peak_at"` // concurrency from which throughput is highest, where claimed
	PeakLow         Number             `json:"peak_low"`
	PeakHigh        Number             `json:"peak_high"` // null beside a known peak: above what was tested
	Knee            Number             `json:"knee"`      // largest concurrency with elasticity >= log2(1+gain)
	KneeLow         Number             `json:"knee_low"`
	KneeHigh        Number             `json:"knee_high"`   // null beside a known knee: above what was tested
	KneeBeyond      bool               `json:"knee_beyond"` // no knee: throughput still gains enough at the largest concurrency, and by the lower end of the interval at knee_low
	LeftOut         []string           `json:"left_out"`    // points that were disturbed, and how it shows
	Disturbed       []float64          `json:"-"`           // their loads, those of a cold server apart
	Refusals        []string           `json:"refusals"`    // claims not made, and why
	Points          []CurvePoint       `json:"points"`      // the fitted curve, for drawing
	FromConcurrency float64            `json:"from_concurrency"`
	ToConcurrency   float64            `json:"to_concurrency"`
}

// CurvePoint is one point of a fitted curve.
type CurvePoint struct {
	Concurrency       float64 `json:"concurrency"`
	RequestThroughput float64 `json:"request_throughput"`
}

const (
	minDistinct  = 6   // concurrencies, below which nothing is claimed, unless fewer are asked for
	maxChi2      = 3.0 // per degree of freedom, above which no model is trusted
	curvePoints  = 81
	neverClaimed = "no model is trusted"
)

// Fit chooses a model by AICc and says where its knee and its peak are, with 95 %
// intervals by the profile of all models' likelihoods, so that the choice between
// them is part of the interval. What the points cannot support it refuses in words:
// a good R^2 alone protects from nothing (the USL fits exact data of a 64-slot
// server with R^2 = 0.992 and puts the peak at 137).
func Fit(points []CurveInput, o FitOptions) Curve {
	if o.Gain <= 0 {
		o.Gain = 0.20
	}
	points = usable(points)
	c := Curve{}
	if len(points) > 0 {
		c.span(points)
	}
	if n := distinct(points); n < o.fewest() {
		c.refuse("%s: throughput is known at %d different concurrencies, %d are needed", neverClaimed, n, o.fewest())
		return c
	}
	points, best := c.settle(points, o)
	c.span(points)
	data := newCurveData(points, o)
	reduced := best.reduced(len(points))
	c.Chi2PerDof, c.AICc = loadgen.Known(reduced), loadgen.Known(best.aicc)
	if reduced > maxChi2 {
		c.LeftOut = nil // leaving points out did not help
		c.refuse("%s: the best (%s) misses the points by chi2/dof = %.1f, more than %.0f", neverClaimed, best.name, reduced, maxChi2)
		return c
	}
	c.Model, c.Parameters = best.name, best.parameters()
	c.draw(best)
	c.claim(best, data, o)
	return c
}

func (c *Curve) span(sorted []CurveInput) {
	c.FromConcurrency, c.ToConcurrency = sorted[0].Concurrency, sorted[len(sorted)-1].Concurrency
}

// settle leaves out what plainly was disturbed: the first points where they are
// slower than ones with more in flight (the server was still warming up), and,
// where no model holds, up to a quarter of the points if they are slower than
// one that holds for all others (a neighbour, a replica that was not up yet). A
// disturbance makes a server slower; a point that is quicker than a model speaks
// against the model, and so does one that was slow each time. It returns the points
// kept and the model chosen for them.
func (c *Curve) settle(points []CurveInput, o FitOptions) ([]CurveInput, fitted) {
	for !o.KeepAll && distinct(points) > o.fewest() && warming(points, o) {
		p := points[0]
		c.LeftOut = append(c.LeftOut, fmt.Sprintf("%s: %.3g s per request, more than with more in flight: the server was still warming up", number(p.Concurrency), p.Residence))
		points = points[1:]
	}
	best := newCurveData(points, o).choose()
	if o.KeepAll {
		return points, best
	}
	for left := len(points) / 4; left > 0 && best.reduced(len(points)) > maxChi2; left-- {
		worst, next := -1, best
		for i := range points {
			rest := slices.Delete(slices.Clone(points), i, i+1)
			if distinct(rest) < o.fewest() || repeats(points[i], rest) {
				continue
			}
			if f := newCurveData(rest, o).choose(); f.chi2 < next.chi2 && points[i].Residence > f.residence(points[i].Concurrency) {
				worst, next = i, f
			}
		}
		if worst < 0 {
			break
		}
		p := points[worst]
		c.LeftOut = append(c.LeftOut, fmt.Sprintf("%s: %.3g s per request where %.3g would fit the others: something disturbed it",
			number(p.Concurrency), p.Residence, next.residence(p.Concurrency)))
		c.Disturbed = append(c.Disturbed, p.Concurrency)
		points, best = slices.Delete(slices.Clone(points), worst, worst+1), next
	}
	return points, best
}

// repeats reports whether one of the others is a run of the same load that was about as
// slow.
func repeats(p CurveInput, others []CurveInput) bool {
	return slices.ContainsFunc(others, func(q CurveInput) bool {
		return q.Concurrency == p.Concurrency && math.Abs(q.Residence/p.Residence-1) < 0.05
	})
}

// warming reports whether the first point is slower than at least three later
// ones, by 10 % and three standard errors. One alone might be the odd one itself.
func warming(points []CurveInput, o FitOptions) bool {
	data := newCurveData(points, o)
	quicker := 0
	for i := 1; i < len(points); i++ {
		off := points[0].Residence - points[i].Residence
		if points[i].Concurrency > points[0].Concurrency && off > 0.1*points[i].Residence && off > 3*math.Hypot(data.se[0], data.se[i]) {
			quicker++
		}
	}
	return quicker >= 3
}

func (c *Curve) refuse(format string, args ...any) {
	c.Refusals = append(c.Refusals, fmt.Sprintf(format, args...))
}

// usable drops points without a time and sorts by concurrency.
func usable(points []CurveInput) []CurveInput {
	out := slices.DeleteFunc(slices.Clone(points), func(p CurveInput) bool {
		return !(p.Residence > 0) || !(p.Concurrency > 0) || math.IsInf(p.Residence, 0)
	})
	slices.SortStableFunc(out, func(a, b CurveInput) int { return cmp.Compare(a.Concurrency, b.Concurrency) })
	return out
}

func distinct(sorted []CurveInput) int {
	n := 0
	for i := range sorted {
		if i == 0 || sorted[i].Concurrency != sorted[i-1].Concurrency {
			n++
		}
	}
	return n
}

// draw fills in the fitted curve at points equally far apart on a log axis.
func (c *Curve) draw(f fitted) {
	ratio := c.ToConcurrency / c.FromConcurrency
	for i := range curvePoints {
		n := c.FromConcurrency * math.Pow(ratio, float64(i)/(curvePoints-1))
		c.Points = append(c.Points, CurvePoint{Concurrency: n, RequestThroughput: n / f.residence(n)})
	}
}

// Throughput is the fitted throughput in requests/s at a concurrency within the
// tested range; unknown outside it and without a model.
func (c *Curve) Throughput(n float64) Number {
	if c.Model == "" || n < c.FromConcurrency || n > c.ToConcurrency {
		return Number{}
	}
	p := c.Parameters
	f := fitted{name: c.Model, a: p["a"], b: p["b"], c: p["c"], s: p["slots"]}
	if f.name != modelSlots {
		f.s = math.Inf(1)
	}
	return loadgen.Known(n / f.residence(n))
}

// Slots is how many requests run at once by a curve with slots; unknown by any
// other, and without a curve.
func (c *Curve) Slots() Number {
	if c == nil || c.Model != modelSlots {
		return Number{}
	}
	return loadgen.Known(c.Parameters["slots"])
}

// claim states knee and peak, or why not.
func (c *Curve) claim(best fitted, data *curveData, o FitOptions) {
	p := newKneeProfile(data, best, math.Log2(1+o.Gain), c.ToConcurrency)
	top := c.ToConcurrency
	knee := best.knee(p.elasticity)
	switch {
	case knee > top:
		c.KneeBeyond = true
		low, _ := p.interval(p.atKnee, top*profileReach)
		c.KneeLow = loadgen.Known(min(low, top))
		c.refuse("no knee: throughput still gains %.0f %% a doubling at %s, the largest concurrency measured (knee > %s)", 100*o.Gain, number(top), number(top))
	case knee < c.FromConcurrency:
		c.refuse("no knee: throughput gains less than %.0f %% a doubling from the smallest concurrency on (knee < %s)", 100*o.Gain, number(c.FromConcurrency))
	default:
		c.Knee = loadgen.Known(knee)
		c.KneeLow, c.KneeHigh = ends(p.interval(p.atKnee, knee))(top)
	}
	peak := best.peak()
	switch {
	case best.name == modelLinear || best.name == modelHyperbola:
		c.refuse("no peak: throughput still grows at %s, the largest concurrency measured (peak > %s)", number(top), number(top))
		return
	case peak > top:
		c.refuse("no peak: it would lie at %.0f, beyond %s, the largest concurrency measured (peak > %s)", peak, number(top), number(top))
		return
	}
	low, high := p.interval(p.atPeak, peak)
	if math.IsInf(high, 1) {
		what := "throughput past it may still grow"
		if best.name == modelUSL {
			what = "the 95 % interval of kappa touches 0"
		}
		c.refuse("no peak: a fall after %.0f is not certain (%s)", peak, what)
		return
	}
	c.PeakAt = loadgen.Known(peak)
	c.PeakLow, c.PeakHigh = ends(low, high)(top)
}

// ends are the ends of an interval; the upper one is unknown where it lies above
// what was tested.
func ends(low, high float64) func(top float64) (Number, Number) {
	return func(top float64) (Number, Number) {
		if high > top {
			return loadgen.Known(low), Number{}
		}
		return loadgen.Known(low), loadgen.Known(high)
	}
}
