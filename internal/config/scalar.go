package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// describe says in words what a value of the type looks like.
func describe(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a time with its unit, e.g. 500ms, 1s or 2m"
	case t == stepsType:
		return "a list of whole numbers, or {from, to}"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a section"
	case reflect.Pointer:
		return describe(t.Elem())
	}
	return "a value"
}

// setScalar parses a scalar into v and returns what is wrong with it, empty
// where nothing is.
func setScalar(n *yaml.Node, v reflect.Value) string {
	t := v.Type()
	wrong := func() string { return fmt.Sprintf("must be %s, not %s", describe(t), quote(n.Value)) }
	if t == durationType {
		d, text := parseDuration(n)
		if text == "" {
			v.SetInt(int64(d))
		}
		return text
	}
	switch t.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		b, ok := parseBool(n)
		if !ok {
			return wrong()
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, ok := parseInt(n)
		if !ok || v.OverflowInt(i) {
			return wrong()
		}
		v.SetInt(i)
	case reflect.Uint64:
		u, err := strconv.ParseUint(strings.ReplaceAll(n.Value, "_", ""), 10, 64)
		if err != nil || isQuoted(n) {
			return fmt.Sprintf("must be a whole number from 0 up, not %s", quote(n.Value))
		}
		v.SetUint(u)
	case reflect.Float64:
		f, ok := parseFloat(n)
		switch {
		case !ok && strings.HasSuffix(n.Value, "%"):
			if pct, err := strconv.ParseFloat(strings.TrimSuffix(n.Value, "%"), 64); err == nil {
				return fmt.Sprintf("must be a share of 1: write %s, not %s", strconv.FormatFloat(pct/100, 'g', 10, 64), n.Value)
			}
			return wrong()
		case !ok:
			return wrong()
		}
		v.SetFloat(f)
	default:
		return "cannot be set"
	}
	return ""
}

func isQuoted(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
}

func parseBool(n *yaml.Node) (value, ok bool) {
	if isQuoted(n) {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// parseInt reads a whole number, underscores and 1e3 included.
func parseInt(n *yaml.Node) (int64, bool) {
	if isQuoted(n) {
		return 0, false
	}
	text := strings.ReplaceAll(n.Value, "_", "")
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// parseFloat reads a number; inf and .inf are infinity, as in
// "request_rate: inf". NaN is no number.
func parseFloat(n *yaml.Node) (float64, bool) {
	if isQuoted(n) && n.Value != "inf" {
		return 0, false
	}
	text := strings.ToLower(strings.ReplaceAll(n.Value, "_", ""))
	switch text {
	case ".inf", "+.inf", "inf", "+inf", "infinity":
		return math.Inf(1), true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// parseDuration reads a time with its unit; 0 needs none. Days are accepted
// beside Go's units, since soak runs are long.
func parseDuration(n *yaml.Node) (time.Duration, string) {
	text := strings.TrimSpace(n.Value)
	if d, err := time.ParseDuration(text); err == nil {
		return d, ""
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if f, err := strconv.ParseFloat(days, 64); err == nil && math.Abs(f) < 10_000 {
			return time.Duration(f * 24 * float64(time.Hour)), ""
		}
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Sprintf("needs a unit: write %ss or %sms, not %s", text, text, text)
	}
	return 0, fmt.Sprintf("must be %s, not %s", describe(durationType), quote(n.Value))
}
