package analysis

import (
	"fmt"
	"math"

	"github.com/capfind/capfind/loadgen"
)

// Number is a figure that may be unknown; unknown is null in JSON, never 0.
type Number = loadgen.Number

// number writes a concurrency without needless decimals.
func number(n float64) string {
	if n == math.Trunc(n) {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}

// mean adds up a mean; unknown without values.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(v float64) {
	m.sum += v
	m.n++
}

func (m *mean) addIf(ok bool, v int) {
	if ok {
		m.add(float64(v))
	}
}

func (m *mean) value() Number {
	if m.n == 0 {
		return Number{}
	}
	return loadgen.Known(m.sum / float64(m.n))
}
