package analysis

import "math"

// kneeProfile is how well any of the models fits with its knee, or its peak, held
// at a given concurrency. All models have a say, so that an interval allows for the
// choice between them: a simpler one than the chosen at the lower price that AICc
// asks for its parameters, a richer one, which may be the true one, at half of what it
// asks more.
type kneeProfile struct {
	data       *curveData
	elasticity float64 // that defines the knee
	least      float64 // chi2 and penalty of the best fit
	price      float64 // penalty of the best fit
	allowed    float64 // by how much more an admissible one may have
	top        float64 // largest concurrency measured
}

// profileReach is how far beyond what was measured a knee is looked for; what is
// admissible there has no upper end.
const profileReach = 1.25

// newKneeProfile prepares the profile around the best fit. The allowed drop is
// chi2's 3.84 with Student's quantile in its place, for the errors are estimates
// themselves, and wider where the points scatter around the curve by more than
// their errors say (Birge 1932).
func newKneeProfile(d *curveData, best fitted, elasticity, top float64) *kneeProfile {
	t := StudentT(d.dof)
	birge := max(1, best.reduced(len(d.n)))
	return &kneeProfile{data: d, elasticity: elasticity, least: best.aicc, price: d.penalty(best.k), allowed: t * t * birge, top: top}
}

// interval returns the outermost concurrencies around an estimate at which the
// profile is not rejected: two models may each have a stretch of their own. high is
// infinite where no end was found.
func (p *kneeProfile) interval(at func(float64) float64, estimate float64) (low, high float64) {
	const strides = 60
	admissible := func(n float64) bool { return at(n) <= p.least+p.allowed }
	edge := func(bound float64) float64 {
		inside, outside := estimate, bound
		for i := range strides {
			n := bound * math.Pow(estimate/bound, float64(i)/strides)
			if admissible(n) {
				inside = n
				break
			}
			outside = n
		}
		if inside == bound {
			return bound
		}
		for range 20 {
			mid := math.Sqrt(inside * outside)
			if admissible(mid) {
				inside = mid
			} else {
				outside = mid
			}
		}
		return inside
	}
	low, high = edge(p.data.n[0]), edge(p.top*profileReach)
	if high >= p.top*profileReach {
		high = math.Inf(1)
	}
	return low, high
}

// cost is a fit's chi2 and what its parameters cost.
func (p *kneeProfile) cost(f fitted) float64 {
	price := p.data.penalty(f.k)
	if price > p.price {
		price = min((price+p.price)/2, p.price+mostExtra)
	}
	return f.chi2 + price
}

// mostExtra is the most that a richer model costs more: with few points AICc's price
// rules it out whatever they say.
const mostExtra = 2.0

// atKnee is the best chi2 and penalty of any model whose knee is at n.
func (p *kneeProfile) atKnee(n float64) float64 {
	d, e := p.data, p.elasticity
	kappa := (1 - e) / (e * n) // b of a model without c, for every a
	least := math.Inf(1)
	try := func(f fitted, mixes [3]mix, terms int) {
		least = min(least, p.cost(d.mixed(f, mixes, terms)))
	}
	// All slots taken at the knee, b no more than would put it below them.
	try(fitted{name: modelSlots, s: n, k: 2}, [3]mix{{a: 1}}, 1)
	try(fitted{name: modelSlots, s: n, k: 3}, [3]mix{{a: 1}, {a: 1, b: kappa}}, 2)
	if d.slots != nil {
		if n < d.slots.At {
			try(fitted{name: modelSlots, s: d.slots.At, k: 3}, [3]mix{{a: 1, b: kappa}}, 1)
		}
		return least
	}
	// The knee below the slots, or none.
	for _, s := range d.n {
		if s > n {
			try(fitted{name: modelSlots, s: s, k: 3}, [3]mix{{a: 1, b: kappa}}, 1)
		}
	}
	try(fitted{name: modelHyperbola, s: math.Inf(1), k: 2}, [3]mix{{a: 1, b: kappa}}, 1)
	try(fitted{name: modelUSL, s: math.Inf(1), k: 3}, [3]mix{{a: 1, b: kappa}, {a: (1 + e) * n * n / (1 - e), c: 1}}, 2)
	return least
}

// atPeak is the same for the concurrency of highest throughput.
func (p *kneeProfile) atPeak(n float64) float64 {
	d := p.data
	least := math.Inf(1)
	for terms := 1; terms <= 2; terms++ {
		least = min(least, p.cost(d.withSlots(n, terms)))
	}
	if d.slots == nil {
		f := fitted{name: modelUSL, s: math.Inf(1), k: 3}
		least = min(least, p.cost(d.mixed(f, [3]mix{{b: 1}, {a: n * n, c: 1}}, 2)))
		if n > p.top { // any that never falls has its peak out there
			for terms, k := range []int{1, 2} {
				least = min(least, p.cost(d.linear(fitted{name: modelHyperbola, s: math.Inf(1), k: k}, terms+1)))
			}
		}
	}
	return least
}
