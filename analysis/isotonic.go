package analysis

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/loadgen"
)

// Isotonic returns the best fit to values by weighted least squares that never
// falls: the pool adjacent violators algorithm (Ayer et al. 1955).
func Isotonic(values, weights []float64) []float64 {
	type block struct {
		mean, weight float64
		size         int
	}
	var blocks []block
	for i, v := range values {
		blocks = append(blocks, block{v, weights[i], 1})
		for n := len(blocks); n > 1 && blocks[n-2].mean > blocks[n-1].mean; n = len(blocks) {
			a, b := blocks[n-2], blocks[n-1]
			w := a.weight + b.weight
			blocks = append(blocks[:n-2], block{(a.mean*a.weight + b.mean*b.weight) / w, w, a.size + b.size})
		}
	}
	out := make([]float64, 0, len(values))
	for _, b := range blocks {
		for range b.size {
			out = append(out, b.mean)
		}
	}
	return out
}

// Violation is a measured time that contradicts monotonicity.
type Violation struct {
	Concurrency float64
	Value       float64 // seconds
	Expected    float64 // what the isotonic fit has there
	Errors      float64 // how many standard errors lie between
}

func (v Violation) String() string {
	return fmt.Sprintf("%s at %s, %s would fit the other steps (%.1f standard errors)", millis(loadgen.Known(v.Value)), number(v.Concurrency), millis(loadgen.Known(v.Expected)), v.Errors)
}

// violationGate is the share of a value below which no deviation counts.
const violationGate = 0.05

// Violations holds points that ought never to fall with concurrency against
// their isotonic fit and returns those that miss it by more than 2 standard
// errors and 5 %. Of many points some miss by 2 by chance, so the bound grows
// with their number to keep one false alarm in twenty for all of them together
// (Bonferroni).
func Violations(points []CrossingPoint) []Violation {
	pts := mergeByConcurrency(points)
	values, weights := make([]float64, len(pts)), make([]float64, len(pts))
	for i, p := range pts {
		values[i], weights[i] = p.Value, 1/(p.SE*p.SE)
	}
	var out []Violation
	for i, fit := range Isotonic(values, weights) {
		p := pts[i]
		bound := max(2, distuv.StudentsT{Sigma: 1, Nu: p.Dof}.Quantile(1-0.025/float64(len(pts))))
		off := math.Abs(p.Value - fit)
		if off > bound*p.SE && off > violationGate*math.Abs(fit) {
			out = append(out, Violation{p.Concurrency, p.Value, fit, off / p.SE})
		}
	}
	return out
}
