package analysis

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/capfind/capfind/loadgen"
)

// Violation is a measured time that contradicts monotonicity.
type Violation struct {
	Concurrency float64
	Value       float64 // seconds
	Expected    float64 // what the isotonic fit has there
	Errors      float64 // how many standard errors lie between
}

func (v Violation) String() string {
	return fmt.Sprintf("%s at %s, %s would fit the other steps (%.1f standard errors)", loadgen.Known(v.Value).Millis(), number(v.Concurrency), loadgen.Known(v.Expected).Millis(), v.Errors)
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
