package analysis

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/capfind/capfind/loadgen"
)

// Describe returns the distribution of values, which it sorts. Without values
// every figure is unknown. Standard errors are those of independent values, that
// of the mean is left unknown.
func Describe(values []float64) Dist {
	if len(values) == 0 {
		return Dist{}
	}
	slices.Sort(values)
	mean, std := stat.PopMeanStdDev(values, nil)
	return Dist{
		Mean: loadgen.Known(mean), Std: loadgen.Known(std),
		Min: loadgen.Known(values[0]), Max: loadgen.Known(values[len(values)-1]),
		P50: loadgen.Known(quantile(values, 0.50)), P90: loadgen.Known(quantile(values, 0.90)),
		P95: loadgen.Known(quantile(values, 0.95)), P99: loadgen.Known(quantile(values, 0.99)),
		P50SE: quantileSE(values, 0.50), P90SE: quantileSE(values, 0.90),
		P95SE: quantileSE(values, 0.95), P99SE: quantileSE(values, 0.99),
		N: len(values),
	}
}

// describeGaps is Describe for chunk gaps, which come in microseconds and by
// the million.
func describeGaps(micros []uint32) Dist {
	if len(micros) == 0 {
		return Dist{}
	}
	slices.Sort(micros)
	sum, squares := 0.0, 0.0
	for _, g := range micros {
		sum += float64(g)
	}
	mean := sum / float64(len(micros))
	for _, g := range micros {
		squares += (float64(g) - mean) * (float64(g) - mean)
	}
	known := func(us float64) Number { return loadgen.Known(us / 1e6) }
	return Dist{
		Mean: known(mean), Std: known(math.Sqrt(squares / float64(len(micros)))),
		Min: known(float64(micros[0])), Max: known(float64(micros[len(micros)-1])),
		P50: known(quantile(micros, 0.50)), P90: known(quantile(micros, 0.90)),
		P95: known(quantile(micros, 0.95)), P99: known(quantile(micros, 0.99)),
		N: len(micros),
	}
}

// quantile interpolates linearly between the order statistics around
// (n-1) p, as numpy.percentile does by default and so vLLM. gonum's LinInterp is
// another definition. The values must be sorted and at least one.
func quantile[T float64 | uint32](sorted []T, p float64) float64 {
	h := p * float64(len(sorted)-1)
	i := int(h)
	low, high := float64(sorted[i]), float64(sorted[min(i+1, len(sorted)-1)])
	return low + (h-float64(i))*(high-low)
}

// MinSamples is how many samples a percentile needs to mean something: enough
// that the largest of them lies above it with 95 % confidence, 1 - q^n >= 0.95.
// 59 for p95, 299 for p99. percentile is out of 100; 0 needs one sample.
func MinSamples(percentile float64) int {
	q := percentile / 100
	if q <= 0 {
		return 1
	}
	if q >= 1 {
		return math.MaxInt
	}
	return int(math.Ceil(math.Log(0.05) / math.Log(q)))
}

// Percentile returns the stored percentile (50, 90, 95 or 99), unknown where
// there are fewer than MinSamples samples or it is not one of these.
func (d Dist) Percentile(percentile float64) Number {
	if d.N < MinSamples(percentile) {
		return Number{}
	}
	return d.stored(percentile)
}

// StatisticSE returns the standard error of the figure with the given name;
// unknown where it was not estimated.
func (d Dist) StatisticSE(name string) Number {
	switch name {
	case "mean":
		return d.SE
	case "p50":
		return d.P50SE
	case "p90":
		return d.P90SE
	case "p95":
		return d.P95SE
	case "p99":
		return d.P99SE
	}
	return Number{}
}

// correlate takes the standard error of the mean by batch means and fills in
// those of the percentiles, which Describe has left as if requests were
// independent: they are widened by as much as the mean's is.
func (d *Dist) correlate(se Number) {
	d.SE = se
	v, known := se.Value()
	independent := d.Std.Or(0) / math.Sqrt(float64(max(d.N, 1)))
	for _, p := range []*Number{&d.P50SE, &d.P90SE, &d.P95SE, &d.P99SE} {
		switch {
		case !known:
			*p = Number{}
		case independent > 0:
			*p = loadgen.Known(p.Or(0) * max(1, v/independent))
		}
	}
}

// quantileSE is half the distance between the order statistics one binomial
// standard deviation either side of the quantile (Woodruff 1952).
func quantileSE(sorted []float64, p float64) Number {
	delta := math.Sqrt(p * (1 - p) / float64(len(sorted)))
	return loadgen.Known((quantile(sorted, min(p+delta, 1)) - quantile(sorted, max(p-delta, 0))) / 2)
}

func (d Dist) stored(percentile float64) Number {
	switch percentile {
	case 50:
		return d.P50
	case 90:
		return d.P90
	case 95:
		return d.P95
	case 99:
		return d.P99
	}
	return Number{}
}

// Statistic returns the figure with the given name: mean, p50, p90, p95 or p99.
// enough is false where there are too few samples for it to mean something. An
// unknown name gives an unknown figure.
func (d Dist) Statistic(name string) (value Number, enough bool) {
	if name == "mean" {
		return d.Mean, d.N > 0
	}
	p, err := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64)
	if err != nil {
		return Number{}, false
	}
	return d.stored(p), d.stored(p).IsKnown() && d.N >= MinSamples(p)
}
