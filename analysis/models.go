package analysis

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
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
	Residence   float64   // R = N/X, seconds; at the same mean length of answers for all points
	SE          float64   // its standard error; 0 where unknown
	Batches     []float64 // what varied, batch by batch, for the bootstrap: only its shape counts; may be nil
	Requests    int       // that it rests on
}

// FitOptions settle a fit.
type FitOptions struct {
	Gain      float64 // throughput gain per doubling that defines the knee; 0: 0.20
	Resamples int     // of the bootstrap; 0: 400
	Seed      uint64  // of the bootstrap: the same seed gives the same intervals
}

// curveData are the points of a curve, ready to fit.
type curveData struct {
	n, r, w []float64 // concurrency, time in system, weight 1/SE^2
	points  []CurveInput
	se      []float64 // standard errors
	wide    []float64 // the same, widened by what is not known of themselves
}

func newCurveData(points []CurveInput) *curveData {
	d := &curveData{points: points}
	d.se, d.wide = smoothedErrors(points)
	for i, p := range points {
		d.n = append(d.n, p.Concurrency)
		d.r = append(d.r, p.Residence)
		d.w = append(d.w, 1/(d.se[i]*d.se[i]))
	}
	return d
}

// smoothedErrors gives every point a standard error, never below 0.5 % of the
// value. wide are the errors to draw from: a normal deviate of that size is as
// wide as Student's t.
func smoothedErrors(points []CurveInput) (se, wide []float64) {
	rough := make([]roughError, len(points))
	for i, p := range points {
		rough[i] = roughError{p.SE / p.Residence, p.Requests, float64(max(len(p.Batches), minBatches) - 1)}
	}
	relative, dof := smoothErrors(rough)
	for i, p := range points {
		own := p.Residence * max(relative[i], relativeSE)
		se, wide = append(se, own), append(wide, own*studentT(dof[i])/studentT(math.Inf(1)))
	}
	return se, wide
}

// choose fits every model to the times in system r and takes the one with the
// smallest AICc (Hurvich and Tsai 1989), known errors: chi2 + 2k + 2k(k+1)/(n-k-1).
func (d *curveData) choose(r []float64) fitted {
	inf := math.Inf(1)
	candidates := []fitted{
		d.linear(r, fitted{name: modelLinear, s: inf, k: 1}, 1),
		d.linear(r, fitted{name: modelHyperbola, s: inf, k: 2}, 2),
		d.slots(r, 1),
		d.slots(r, 2),
		d.linear(r, fitted{name: modelUSL, s: inf, k: 3}, 3),
	}
	var best fitted
	for i, f := range candidates {
		n, k := float64(len(r)), float64(f.k)
		f.aicc = inf
		if n-k-1 > 0 {
			f.aicc = f.chi2 + 2*k + 2*k*(k+1)/(n-k-1)
		}
		// A hair's breadth is no reason to leave the simpler model.
		if i == 0 || f.aicc < best.aicc-1e-9 {
			best = f
		}
	}
	return best
}

// slots fits R = (a + b m) N/m with the first terms of a and b. For a given number of slots it is linear; the
// number is found on a grid over the tested range, then refined around the best
// of it. With all slots beyond the range it would be the hyperbola.
func (d *curveData) slots(r []float64, terms int) fitted {
	const steps, refinements = 60, 20
	low, high := d.n[0], d.n[len(d.n)-1]
	at := func(s float64) fitted { return d.linear(r, fitted{name: modelSlots, s: s, k: 1 + terms}, terms) }
	grid := make([]float64, 0, steps+len(d.n))
	for i := range steps {
		grid = append(grid, low*math.Pow(high/low, float64(i)/steps))
	}
	grid = append(grid, d.n...)
	slices.Sort(grid)
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

func better(a, b fitted) fitted {
	if b.chi2 < a.chi2 {
		return b
	}
	return a
}

// linear fits the first terms coefficients of f by weighted least squares under
// a, b, c >= 0. The constraint is met exactly: every set of coefficients that may
// be above zero is tried, and the best one without a negative is the solution.
func (d *curveData) linear(r []float64, f fitted, terms int) fitted {
	scale := d.n[len(d.n)-1] // keeps the columns of one size
	var gram [3][3]float64
	var proj [3]float64
	for i, n := range d.n {
		m := min(n, f.s)
		x := [3]float64{n / m, n / scale, n * m / (scale * scale)}
		for j := range terms {
			proj[j] += d.w[i] * x[j] * r[i]
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
		try.a, try.b, try.c = coef[0], coef[1]/scale, coef[2]/(scale*scale)
		try.chi2 = d.chi2(try, r)
		f = better(f, try)
	}
	return f
}

// solve finds the coefficients of a set of columns (bits) from the normal
// equations by Gauss's elimination; false where they are singular or a
// coefficient is negative. A bootstrap solves some hundred thousand systems of
// at most three unknowns, which is why they live on the stack here.
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

func (d *curveData) chi2(f fitted, r []float64) float64 {
	sum := 0.0
	for i, n := range d.n {
		e := r[i] - f.residence(n)
		sum += d.w[i] * e * e
	}
	return sum
}

// bootstrap draws every point anew from its own batches, fits and chooses again,
// and returns the sorted knees and peaks; infinite where a draw has none.
// misfit is chi2 per degree of freedom of the fit to the points themselves: where
// it is above 1 the batches understate how much the points scatter, and all
// errors are drawn wider by its root (Birge 1932).
func (d *curveData) bootstrap(o FitOptions, elasticity, misfit float64) (knees, peaks []float64) {
	birge := math.Sqrt(max(1, misfit))
	rng := rand.New(rand.NewPCG(o.Seed, 0xb007))
	r := make([]float64, len(d.r))
	for range o.Resamples {
		for i := range r {
			r[i] = d.r[i] + birge*d.wide[i]*resampled(rng, d.points[i].Batches)
		}
		f := d.choose(r)
		knees = append(knees, f.knee(elasticity))
		peaks = append(peaks, f.peak())
	}
	slices.Sort(knees)
	slices.Sort(peaks)
	return knees, peaks
}

// resampled is the mean of batches drawn with replacement, in standard errors
// from their mean; a normal deviate where there are too few batches to draw from.
func resampled(rng *rand.Rand, batches []float64) float64 {
	if len(batches) >= minBatches {
		mean, std := stat.PopMeanStdDev(batches, nil)
		if std > 0 {
			sum := 0.0
			for range batches {
				sum += batches[rng.IntN(len(batches))] - mean
			}
			return sum / std / math.Sqrt(float64(len(batches)))
		}
	}
	return rng.NormFloat64()
}
