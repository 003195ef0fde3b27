package report

import (
	"math"
	"sort"
	"strconv"
)

// axis maps values to the unit interval.
type axis struct {
	label    string
	log      bool
	min, max float64
	ticks    []tick
}

type tick struct {
	at   float64
	text string
}

// place returns where v lies between the axis' ends: 0 at min, 1 at max. On a
// log axis a value that has no logarithm lies far outside.
func (a axis) place(v float64) float64 {
	if !a.log {
		return (v - a.min) / (a.max - a.min)
	}
	if v <= 0 {
		return -1e3
	}
	return (math.Log(v) - math.Log(a.min)) / (math.Log(a.max) - math.Log(a.min))
}

// stepAxis is the horizontal axis over load points: logarithmic, with the real
// step values as ticks.
func stepAxis(label string, values, ticks []float64) axis {
	low, high := extent(values)
	if !(low > 0) {
		return linearAxis(label, 0, high)
	}
	room := math.Pow(high/low, .05)
	if high == low {
		room = 1.5
	}
	a := axis{label: label, log: true, min: low / room, max: high * room}
	sort.Float64s(ticks)
	for i, v := range ticks {
		if i == 0 || v != ticks[i-1] {
			a.ticks = append(a.ticks, tick{v, loadNumber(v)})
		}
	}
	return a
}

// loadNumber writes a load: a concurrency in full, a rate with three digits.
func loadNumber(v float64) string {
	if v == math.Trunc(v) {
		return plain(v)
	}
	return significant(v)
}

// linearAxis runs from low to a little above high, with round ticks.
func linearAxis(label string, low, high float64) axis {
	if !(high > low) {
		high = low + 1
	}
	step := niceStep((high - low) / 6)
	a := axis{label: label, min: low, max: high + .07*(high-low)}
	for i := 0; ; i++ {
		v := low + float64(i)*step
		if v > a.max {
			return a
		}
		a.ticks = append(a.ticks, tick{v, plain(v)})
	}
}

// countAxis is a linear axis for things that come in whole numbers.
func countAxis(label string, high float64) axis {
	a := linearAxis(label, 0, math.Max(high, 1))
	var ticks []tick
	for _, t := range a.ticks {
		if t.at == math.Trunc(t.at) {
			ticks = append(ticks, t)
		}
	}
	a.ticks = ticks
	return a
}

// logAxis covers the positive values with 1-2-5 ticks, or decades where there
// are many.
func logAxis(label string, low, high float64) axis {
	a := axis{label: label, log: true, min: low / 1.25, max: high * 1.25}
	factors := []float64{1, 2, 5}
	if math.Log10(a.max/a.min) > 3.2 {
		factors = factors[:1]
	}
	for e := math.Floor(math.Log10(a.min)); e <= math.Log10(a.max); e++ {
		for _, f := range factors {
			if v := f * math.Pow(10, e); v >= a.min && v <= a.max {
				a.ticks = append(a.ticks, tick{v, plain(v)})
			}
		}
	}
	return a
}

// valueAxis chooses the vertical axis for latencies: logarithmic where they
// span so much that a linear one would flatten the lower ones.
func valueAxis(label string, values []float64) axis {
	low, high := extent(values)
	if low > 0 && high/low > 25 {
		return logAxis(label, low, high)
	}
	return linearAxis(label, 0, high)
}

// niceStep rounds up to 1, 2 or 5 times a power of ten.
func niceStep(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*unit >= v*(1-1e-9) {
			return f * unit
		}
	}
	return 10 * unit
}

// plain writes a tick's value without float noise.
func plain(v float64) string {
	return thousands(strconv.FormatFloat(v, 'f', decimalsOf(v), 64))
}

func decimalsOf(v float64) int {
	for d := range 6 {
		scaled := v * math.Pow(10, float64(d))
		if math.Abs(scaled-math.Round(scaled)) < 1e-6*math.Max(1, math.Abs(scaled)) {
			return d
		}
	}
	return 6
}

// extent returns the smallest and largest finite value; zeros where there is none.
func extent(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = math.Min(low, v), math.Max(high, v)
		}
	}
	if low > high {
		return 0, 0
	}
	return low, high
}

// textWidth estimates how wide a text is drawn, in units of the font size:
// wide glyphs are one em, others a little over half of one.
func textWidth(s string) float64 {
	w := 0.0
	for _, r := range s {
		switch {
		case r >= 0x1100:
			w++
		case r == ' ' || r == ',' || r == '.' || r == 'i' || r == 'l':
			w += .32
		default:
			w += .58
		}
	}
	return w
}

// fitting says which ticks can carry their label without touching another one,
// on an axis that is this long in units of the font size. The outermost labels
// win, because they tell the range.
func (a axis) fitting(length float64) []bool {
	show := make([]bool, len(a.ticks))
	type span struct{ from, to float64 }
	var taken []span
	try := func(i int) {
		centre, half := a.place(a.ticks[i].at)*length, textWidth(a.ticks[i].text)/2+.35
		for _, s := range taken {
			if centre-half < s.to && centre+half > s.from {
				return
			}
		}
		show[i] = true
		taken = append(taken, span{centre - half, centre + half})
	}
	if len(a.ticks) > 0 {
		try(0)
		for i := len(a.ticks) - 1; i > 0; i-- {
			try(i)
		}
	}
	return show
}

// row is a label above the plot, at a place along the axis.
type row struct{ centre, width float64 } // in units of the font size

// stack gives every label the lowest row in which it touches no other.
func stack(labels []row) (rows []int, total int) {
	var taken [][]row
	for _, l := range labels {
		level := 0
	next:
		for ; level < len(taken); level++ {
			for _, o := range taken[level] {
				if math.Abs(l.centre-o.centre) < (l.width+o.width)/2+.8 {
					continue next
				}
			}
			break
		}
		if level == len(taken) {
			taken = append(taken, nil)
		}
		taken[level] = append(taken[level], l)
		rows = append(rows, level)
	}
	return rows, len(taken)
}
