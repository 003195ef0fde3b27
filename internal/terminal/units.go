package terminal

import (
	"fmt"
	"strconv"
	"time"

	"github.com/capfind/capfind/analysis"
)

// Percent writes a share of 1.
func Percent(n analysis.Number, decimals int) string {
	return Scaled(n, 100, decimals, " %")
}

// Scaled writes a figure times a factor, in a unit.
func Scaled(n analysis.Number, factor float64, decimals int, unit string) string {
	v, ok := n.Value()
	if !ok {
		return "n/a"
	}
	return strconv.FormatFloat(v*factor, 'f', decimals, 64) + unit
}

// Seconds writes a time in milliseconds, in seconds from ten of them on.
func Seconds(n analysis.Number) string {
	v, ok := n.Value()
	switch {
	case !ok:
		return "n/a"
	case v >= 9.9995:
		return strconv.FormatFloat(v, 'f', 1, 64) + " s"
	case v < 0.00095:
		return strconv.FormatFloat(v*1000, 'f', 2, 64) + " ms"
	case v >= 0.09995:
		return strconv.FormatFloat(v*1000, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(v*1000, 'f', 1, 64) + " ms"
}

// bytesOf writes an amount of data as file managers do: 340 MB, 1.2 GB.
func bytesOf(n int64) string {
	switch {
	case n >= 1e9:
		return strconv.FormatFloat(float64(n)/1e9, 'f', 1, 64) + " GB"
	case n >= 1e6:
		return strconv.FormatFloat(float64(n)/1e6, 'f', 0, 64) + " MB"
	}
	return strconv.FormatFloat(float64(n)/1e3, 'f', 0, 64) + " kB"
}

// Short writes a time as a person says it: 8 s, 3 min, 1 h 20 min.
func Short(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}
