package analysis

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/capfind/capfind/loadgen"
)

// Dist describes the distribution of one quantity in seconds. Percentiles
// interpolate linearly between order statistics, as numpy does and so vLLM.
// They are stored whatever N is; Percentile says which of them mean something.
// Standard errors allow for the correlation of requests that share a queue;
// they are null where there are too few requests to tell.
type Dist struct {
	Mean  Number `json:"mean"`
	Std   Number `json:"std"` // population standard deviation, as vLLM reports
	Min   Number `json:"min"`
	P50   Number `json:"p50"`
	P90   Number `json:"p90"`
	P95   Number `json:"p95"`
	P99   Number `json:"p99"`
	Max   Number `json:"max"`
	N     int    `json:"n"`
	SE    Number `json:"se"` // of the mean, by batch means
	P50SE Number `json:"p50_se"`
	P90SE Number `json:"p90_se"`
	P95SE Number `json:"p95_se"`
	P99SE Number `json:"p99_se"`
}

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
	micros = sortMicros(micros)
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

// sortMicros sorts by eleven bits at a time (a radix sort), which a hundred
// thousand gaps make worth it. What it returns lies in the values or in a copy.
func sortMicros(values []uint32) []uint32 {
	const bits = 11
	largest, spare := slices.Max(values), make([]uint32, len(values))
	for shift := 0; largest>>shift > 0; shift += bits {
		var next [1 << bits]int
		for _, v := range values {
			next[v>>shift&(1<<bits-1)]++
		}
		sum := 0
		for i, n := range next {
			next[i] = sum
			sum += n
		}
		for _, v := range values {
			at := &next[v>>shift&(1<<bits-1)]
			spare[*at] = v
			*at++
		}
		values, spare = spare, values
	}
	return values
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

// Percentile returns the stored percentile (50, 90, 95 or 99), unknown where
// there are fewer than MinSamples samples or it is not one of these.
func (d Dist) Percentile(percentile float64) Number {
	if v, enough := d.Statistic(fmt.Sprintf("p%g", percentile)); enough {
		return v
	}
	return Number{}
}

// Statistic returns the figure with the given name: mean, p50, p90, p95 or p99.
// enough is false where there are too few samples for it to mean something. An
// unknown name gives an unknown figure.
func (d Dist) Statistic(name string) (value Number, enough bool) {
	value, _, percentile := d.figure(name)
	return value, value.IsKnown() && d.N >= MinSamples(percentile)
}

// StatisticSE returns the standard error of the figure with the given name;
// unknown where it was not estimated.
func (d Dist) StatisticSE(name string) Number {
	_, se, _ := d.figure(name)
	return se
}

// figure returns a figure with its standard error, and which percentile it is.
func (d Dist) figure(name string) (value, se Number, percentile float64) {
	switch name {
	case "mean":
		return d.Mean, d.SE, 0
	case "p50":
		return d.P50, d.P50SE, 50
	case "p90":
		return d.P90, d.P90SE, 90
	case "p95":
		return d.P95, d.P95SE, 95
	case "p99":
		return d.P99, d.P99SE, 99
	}
	return Number{}, Number{}, 0
}

// Bin is one bar of a histogram; bounds in seconds.
type Bin struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int     `json:"count"`
}

const histogramBins = 40

// ttftBins is the histogram of TTFT over successes, its bars equally wide on a
// log axis from the smallest to the largest value.
func ttftBins(parts []part) []Bin {
	var v []float64
	for i := range parts {
		for _, s := range parts[i].cohort {
			if t, ok := s.TTFT(); ok && s.Class == loadgen.Success {
				v = append(v, max(t.Seconds(), 1e-6)) // a log axis has no 0
			}
		}
	}
	if len(v) == 0 {
		return nil
	}
	low, high := slices.Min(v), slices.Max(v)
	if low == high {
		return []Bin{{From: low, To: high, Count: len(v)}}
	}
	width := math.Log(high/low) / histogramBins
	bins := make([]Bin, histogramBins)
	for i := range bins {
		bins[i].From = low * math.Exp(width*float64(i))
		bins[i].To = low * math.Exp(width*float64(i+1))
	}
	bins[histogramBins-1].To = high
	for _, t := range v {
		bins[min(int(math.Log(t/low)/width), histogramBins-1)].Count++
	}
	return bins
}
