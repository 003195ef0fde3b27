package analysis

import (
	"cmp"
	"math"
	"slices"
)

// The models of a curve, simplest first: of two that explain the points equally
// well the first is taken.
const (
	modelLinear    = "linear"
	modelHyperbola = "hyperbola"
	modelSlots     = "slots"
	modelUSL       = "usl"
)

// fitted is one model with its parameters: R(N) = (a + b m + c m^2) N/m with
// m = min(N, s), s infinite without slots.
type fitted struct {
	name       string
	a, b, c, s float64
	k          int // free parameters
	chi2, aicc float64
}

func (f fitted) residence(n float64) float64 {
	m := min(n, f.s)
	return (f.a + f.b*m + f.c*m*m) * n / m
}

// reduced is chi2 per degree of freedom of a fit to n points.
func (f fitted) reduced(n int) float64 { return f.chi2 / float64(n-f.k) }

func (f fitted) parameters() map[string]float64 {
	p := map[string]float64{"a": f.a}
	if f.name != modelLinear {
		p["b"] = f.b
	}
	if f.name == modelSlots {
		p["slots"] = f.s
		return p
	}
	if f.name == modelUSL {
		p["c"] = f.c
	}
	lambda := 1 / (f.a + f.b + f.c)
	p["lambda"], p["sigma"], p["kappa"] = lambda, (f.b+f.c)*lambda, f.c*lambda
	return p
}

// knee is the largest N whose elasticity d ln X/d ln N = (a - c N^2)/R is at
// least e: the root of (1+e) c N^2 + e b N - (1-e) a = 0, and with slots not
// above them, for past them throughput is flat.
func (f fitted) knee(e float64) float64 {
	root := math.Inf(1)
	q, l, free := (1+e)*f.c, e*f.b, (1-e)*f.a
	switch {
	case q > 0:
		// The stable form of the quadratic formula: no difference of near equals.
		root = 2 * free / (l + math.Sqrt(l*l+4*q*free))
	case l > 0:
		root = free / l
	}
	return min(root, f.s)
}

// peak is where throughput is highest: sqrt(a/c), or with slots where they are
// all taken; infinite where it never falls.
func (f fitted) peak() float64 {
	if f.c > 0 {
		return min(math.Sqrt(f.a/f.c), f.s)
	}
	return f.s
}

// CurveInput is one measured load point of a curve.
type CurveInput struct {
	Concurrency float64
	Residence   float64 // R = N/X, seconds; at the same mean length of answers for all points
	SE          float64 // its standard error; 0 where unknown
	Dof         float64 // degrees of freedom of the error; 0 where unknown
	Requests    int     // that it rests on
}

// FitOptions settle a fit.
type FitOptions struct {
	Gain    float64    // throughput gain per doubling that defines the knee; 0: 0.20
	Between Between    // by how much runs of one load differ
	KeepAll bool       // leave nothing out
	Fewest  int        // different loads that a curve takes; 0: 6
	Slots   *SlotsSeen // how many requests run at once, where it shows by itself; nil: it does not
}

// fewest is how many different loads a curve takes.
func (o *FitOptions) fewest() int { return cmp.Or(o.Fewest, minDistinct) }

// curveData are the points of a curve, ready to fit.
type curveData struct {
	n, r, w []float64 // concurrency, time in system, weight 1/SE^2
	points  []CurveInput
	se      []float64 // standard errors, what lies between runs included
	dof     float64   // that the errors rest on
	slots   *SlotsSeen
	sums    sums
}

func newCurveData(points []CurveInput, o FitOptions) *curveData {
	d := &curveData{points: points, slots: o.Slots}
	rough := make([]roughError, len(points))
	for i, p := range points {
		rough[i] = roughError{p.SE / p.Residence, p.Requests, max(p.Dof, minBatches-1)}
	}
	relative, dof := smoothErrors(rough)
	var within, between, own float64
	for i, p := range points {
		a, b := relative[i]*relative[i]*p.Residence*p.Residence, o.Between.variance(p.Residence)
		a = max(a, relativeSE*relativeSE*p.Residence*p.Residence-b)
		within, between, own = within+a/(a+b), between+b/(a+b), own+dof[i]
		d.n, d.r = append(d.n, p.Concurrency), append(d.r, p.Residence)
		d.se, d.w = append(d.se, math.Sqrt(a+b)), append(d.w, 1/(a+b))
	}
	d.dof = sharedDof(between/max(within+between, 1e-12), own, o.Between.Dof)
	d.sum()
	return d
}

// choose fits every model and takes the one with the smallest AICc (Hurvich and
// Tsai 1989), known errors: chi2 + 2k + 2k(k+1)/(n-k-1). Where the slots were seen
// to be taken only models with slots are left.
func (d *curveData) choose() fitted {
	inf := math.Inf(1)
	candidates := []fitted{d.slotted(1), d.slotted(2)}
	if d.slots == nil {
		candidates = []fitted{
			d.linear(fitted{name: modelLinear, s: inf, k: 1}, 1),
			d.linear(fitted{name: modelHyperbola, s: inf, k: 2}, 2),
			candidates[0], candidates[1],
			d.linear(fitted{name: modelUSL, s: inf, k: 3}, 3),
		}
	}
	var best fitted
	for i, f := range candidates {
		f.aicc = f.chi2 + d.penalty(f.k)
		// A hair's breadth is no reason to leave the simpler model.
		if i == 0 || f.aicc < best.aicc-1e-9 {
			best = f
		}
	}
	return best
}

// KneeAhead is where throughput would stop growing by gain a doubling if the time in
// system went on rising in a straight line, R = a + b N: a guess at where to measure
// next, from loads too few for a claim. False where fewer than three loads are known, or
// nothing rises.
func KneeAhead(points []CurveInput, o FitOptions) (float64, bool) {
	points = usable(points)
	if distinct(points) < 3 {
		return 0, false
	}
	f := newCurveData(points, o).linear(fitted{name: modelHyperbola, s: math.Inf(1), k: 2}, 2)
	knee := f.knee(math.Log2(1 + o.Gain))
	return knee, !math.IsInf(knee, 1)
}

// penalty is what AICc asks of k free parameters; infinite where the points are
// too few for them.
func (d *curveData) penalty(k int) float64 {
	n, p := float64(len(d.n)), float64(k)
	if n-p-1 <= 0 {
		return math.Inf(1)
	}
	return 2*p + 2*p*(p+1)/(n-p-1)
}

// slotted fits R = (a + b m) N/m with the first terms of a and b. For a given
// number of slots it is linear; the number is found on a grid over the tested
// range, then refined around the best of it. With all slots beyond the range it
// would be the hyperbola.
func (d *curveData) slotted(terms int) fitted {
	const steps, refinements = 60, 20
	low, high := d.n[0], d.n[len(d.n)-1]
	at := func(s float64) fitted { return d.withSlots(s, terms) }
	grid := make([]float64, 0, steps+len(d.n))
	stride, measured := math.Pow(high/low, 1.0/steps), d.n
	for i, s := 0, low; i < steps; i, s = i+1, s*stride {
		for len(measured) > 0 && measured[0] <= s {
			grid, measured = append(grid, measured[0]), measured[1:]
		}
		grid = append(grid, s)
	}
	grid = append(grid, measured...)
	best, bestAt := fitted{chi2: math.Inf(1)}, 0
	for i, s := range grid {
		if f := at(s); f.chi2 < best.chi2 && s < high {
			best, bestAt = f, i
		}
	}
	if math.IsInf(best.chi2, 1) {
		return at(high)
	}
	left, right := grid[max(bestAt-1, 0)], grid[min(bestAt+1, len(grid)-1)]
	for range refinements {
		third := (right - left) / 3
		if f, g := at(left+third), at(right-third); f.chi2 < g.chi2 {
			right -= third
			best = better(best, f)
		} else {
			left += third
			best = better(best, g)
		}
	}
	return best
}

// sums are what a fit with slots takes of the points in order of their concurrency:
// of the first k of them the sums of w, w r and w n, and of all those of w n^2, w n r
// and w r^2.
type sums struct {
	w, wr, wn, wnn, wnr []float64
	allNN, allNR, allRR float64
}

func (d *curveData) sum() {
	t := &d.sums
	for _, v := range []*[]float64{&t.w, &t.wr, &t.wn, &t.wnn, &t.wnr} {
		*v = append(make([]float64, 0, len(d.n)+1), 0)
	}
	for i, n := range d.n {
		w, r := d.w[i], d.r[i]
		t.w, t.wr, t.wn = append(t.w, t.w[i]+w), append(t.wr, t.wr[i]+w*r), append(t.wn, t.wn[i]+w*n)
		t.wnn, t.wnr = append(t.wnn, t.wnn[i]+w*n*n), append(t.wnr, t.wnr[i]+w*n*r)
		t.allRR += w * r * r
	}
	k := len(d.n)
	t.allNN, t.allNR = t.wnn[k], t.wnr[k]
}

// withSlots fits a, and b where terms is 2, for a number of slots: the columns are
// max(1, N/s) and N, so that the sums of the points below and above s are all that it
// takes. A search tries some hundred thousand numbers.
func (d *curveData) withSlots(s float64, terms int) fitted {
	t := &d.sums
	k, found := slices.BinarySearch(d.n, s)
	for found && k < len(d.n) && d.n[k] == s {
		k++
	}
	aboveNN, aboveNR := t.allNN-t.wnn[k], t.allNR-t.wnr[k]
	g11, g12, g22 := t.w[k]+aboveNN/(s*s), t.wn[k]+aboveNN/s, t.allNN
	p1, p2 := t.wr[k]+aboveNR/s, t.allNR
	f := fitted{name: modelSlots, s: s, k: 1 + terms, a: p1 / g11}
	if terms == 2 {
		if det := g11*g22 - g12*g12; det > 1e-12*g11*g22 {
			a, b := (p1*g22-p2*g12)/det, (p2*g11-p1*g12)/det
			switch {
			case b >= 0 && a >= 0:
				f.a, f.b = a, b
			case b >= 0:
				f.a, f.b = 0, p2/g22
			}
		}
	}
	f.chi2 = max(0, t.allRR-2*(f.a*p1+f.b*p2)+f.a*f.a*g11+2*f.a*f.b*g12+f.b*f.b*g22) + d.slotsOff(s)
	return f
}

func better(a, b fitted) fitted {
	if b.chi2 < a.chi2 {
		return b
	}
	return a
}

// linear fits the first terms coefficients of f by weighted least squares under
// a, b, c >= 0. The constraint is met exactly: every set of coefficients that may
// be above zero is tried, and the best one without a negative is the solution.
func (d *curveData) linear(f fitted, terms int) fitted {
	return d.mixed(f, [3]mix{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, terms)
}

// mix is how much of a, b and c one unit of a coefficient brings.
type mix struct{ a, b, c float64 }

// mixed fits coefficients >= 0 of the first terms mixes.
func (d *curveData) mixed(f fitted, mixes [3]mix, terms int) fitted {
	var gram [3][3]float64
	var proj, scale [3]float64
	top := d.n[len(d.n)-1] // keeps the columns of one size
	for j, x := range mixes[:terms] {
		scale[j] = 1 / (x.a + x.b*top + x.c*top*top)
	}
	for i, n := range d.n {
		m := min(n, f.s)
		var x [3]float64
		for j, q := range mixes[:terms] {
			x[j] = scale[j] * (q.a + q.b*m + q.c*m*m) * n / m
		}
		for j := range terms {
			proj[j] += d.w[i] * x[j] * d.r[i]
			for k := j; k < terms; k++ {
				gram[j][k] += d.w[i] * x[j] * x[k]
			}
		}
	}
	f.chi2 = math.Inf(1)
	for set := 1; set < 1<<terms; set++ {
		coef, ok := solve(&gram, &proj, set)
		if !ok {
			continue
		}
		try := f
		try.a, try.b, try.c = 0, 0, 0
		for j, q := range mixes[:terms] {
			v := coef[j] * scale[j]
			try.a, try.b, try.c = try.a+v*q.a, try.b+v*q.b, try.c+v*q.c
		}
		try.chi2 = d.chi2(try)
		f = better(f, try)
	}
	return f
}

// solve finds the coefficients of a set of columns (bits) from the normal
// equations by Gauss's elimination; false where they are singular or a
// coefficient is negative. A search solves some hundred thousand systems of at
// most three unknowns, which is why they live on the stack here.
func solve(gram *[3][3]float64, proj *[3]float64, set int) (coef [3]float64, ok bool) {
	var columns [3]int
	size := 0
	for j := range 3 {
		if set&(1<<j) != 0 {
			columns[size] = j
			size++
		}
	}
	var a [3][4]float64
	for j := range size {
		for k := range size {
			a[j][k] = gram[min(columns[j], columns[k])][max(columns[j], columns[k])]
		}
		a[j][size] = proj[columns[j]]
	}
	for j := range size {
		// The matrix is symmetric and positive definite: the diagonal is the pivot.
		if pivot := gram[columns[j]][columns[j]]; a[j][j] <= 1e-12*pivot {
			return coef, false
		}
		for i := j + 1; i < size; i++ {
			f := a[i][j] / a[j][j]
			for k := j; k <= size; k++ {
				a[i][k] -= f * a[j][k]
			}
		}
	}
	for j := size - 1; j >= 0; j-- {
		v := a[j][size]
		for k := j + 1; k < size; k++ {
			v -= a[j][k] * coef[columns[k]]
		}
		v /= a[j][j]
		if v < 0 {
			return coef, false
		}
		coef[columns[j]] = v
	}
	return coef, true
}

// chi2 is by how much a model misses the points, and the slots where they were
// seen, in squared standard errors.
func (d *curveData) chi2(f fitted) float64 {
	sum := 0.0
	for i, n := range d.n {
		e := d.r[i] - f.residence(n)
		sum += d.w[i] * e * e
	}
	return sum + d.slotsOff(f.s)
}

// slotsOff is by how much a number of slots misses the one that was seen, in squared
// standard errors.
func (d *curveData) slotsOff(s float64) float64 {
	if d.slots == nil {
		return 0
	}
	e := math.Log(s/d.slots.At) / (d.slots.SE / d.slots.At)
	return e * e
}
