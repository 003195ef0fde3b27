package loadgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Number is a measured figure that may be unknown. The zero value is unknown,
// so a figure that nobody set is written as null and never as 0.
type Number struct {
	value float64
	known bool
}

// Known returns v as a known figure; NaN and infinities are unknown, because
// JSON has no way to write them and no reader a way to use them.
func Known(v float64) Number {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Number{}
	}
	return Number{value: v, known: true}
}

// Value returns the figure and whether it is known.
func (n Number) Value() (float64, bool) { return n.value, n.known }

// IsKnown reports whether the figure is known.
func (n Number) IsKnown() bool { return n.known }

// Or returns the figure, or fallback where it is unknown.
func (n Number) Or(fallback float64) float64 {
	if !n.known {
		return fallback
	}
	return n.value
}

// Format writes the figure with the given number of decimals, or "n/a".
func (n Number) Format(decimals int) string {
	if !n.known {
		return "n/a"
	}
	return strconv.FormatFloat(n.value, 'f', decimals, 64)
}

// Millis writes a figure in seconds as milliseconds, or "n/a".
func (n Number) Millis() string {
	switch {
	case !n.known:
		return "n/a"
	case n.value < 0.0995:
		return fmt.Sprintf("%.1f ms", 1e3*n.value)
	}
	return fmt.Sprintf("%.0f ms", 1e3*n.value)
}

// String writes the shortest form of the figure, or "n/a".
func (n Number) String() string { return n.Format(-1) }

// MarshalJSON writes null for an unknown figure.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.known {
		return []byte("null"), nil
	}
	return json.Marshal(n.value)
}

// UnmarshalJSON reads null as unknown.
func (n *Number) UnmarshalJSON(b []byte) error {
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		*n = Number{}
		return nil
	}
	var v float64
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*n = Known(v)
	return nil
}

// Max is the larger of two numbers; of an unknown one and a known one the latter.
func (n Number) Max(m Number) Number {
	if !n.IsKnown() || m.IsKnown() && m.Or(0) > n.Or(0) {
		return m
	}
	return n
}

// Min is the smaller of two numbers; of an unknown one and a known one the latter.
func (n Number) Min(m Number) Number {
	if !n.IsKnown() || m.IsKnown() && m.Or(0) < n.Or(0) {
		return m
	}
	return n
}
