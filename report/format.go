package report

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// notKnown is how an unknown figure is printed: never as 0.
const notKnown = "n/a"

// significant writes v with three significant digits and no exponent, with a
// comma between thousands: 0.0123, 1.23, 12.3, 123, 12,345.
func significant(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	digits = min(max(digits, 0), 6)
	return thousands(strconv.FormatFloat(v, 'f', digits, 64))
}

// thousands puts a comma between groups of three digits before the point.
func thousands(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, rest, dotted := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if dotted {
		whole += "." + rest
	}
	return sign + whole
}

// figure writes a plain figure with three significant digits.
func figure(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return notKnown
	}
	return significant(v)
}

// seconds writes a duration given in seconds as "812 ms" below 10 s and as
// "12.3 s" from there.
func seconds(n analysis.Number) string {
	v, ok := n.Value()
	switch {
	case !ok:
		return notKnown
	case math.Abs(v) < 9.9995:
		return significant(v*1000) + " ms"
	default:
		return significant(v) + " s"
	}
}

// lasting writes a moment of something long: "2.5 s", "1h20m0s".
func lasting(s float64) string {
	if s < 120 {
		return strconv.FormatFloat(s, 'g', 3, 64) + " s"
	}
	return time.Duration(math.Round(s) * float64(time.Second)).String()
}

// percent writes a share of 1 as a percentage.
func percent(n analysis.Number, decimals int) string {
	v, ok := n.Value()
	if !ok {
		return notKnown
	}
	s := strconv.FormatFloat(v*100, 'f', decimals, 64)
	// A rate just below one must not be rounded up to a perfect one.
	if v < 1 && strings.HasPrefix(s, "100") {
		s = strconv.FormatFloat(math.Floor(v*1e4)/100, 'f', 2, 64)
	}
	return s + " %"
}

// whole writes a figure rounded to a whole number: a concurrency, a count.
func whole(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return notKnown
	}
	return thousands(strconv.FormatFloat(v, 'f', 0, 64))
}

// count writes an integer.
func count(n int) string { return thousands(strconv.Itoa(n)) }

// bytesText writes a size in binary units.
func bytesText(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return notKnown
	}
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 {
			return significant(v) + " " + unit
		}
		v /= 1024
	}
	return significant(v) + " TiB"
}

func number(v float64) analysis.Number { return loadgen.Known(v) }

// roundFigure writes a large figure rounded to three significant digits: an
// estimate shows no more than it knows.
func roundFigure(n analysis.Number) string {
	v, ok := n.Value()
	if !ok || v == 0 {
		return figure(n)
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-2)
	return significant(math.Round(v/unit) * unit)
}

// capital raises the first letter of a sentence.
func capital(s string) string {
	for i, r := range s {
		return string(unicode.ToUpper(r)) + s[i+utf8.RuneLen(r):]
	}
	return s
}
