package sweep

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Difference is a key whose value is not the same in two configs.
type Difference struct {
	Key      string // path, e.g. stop.slo[1].max
	Old, New string // as JSON; empty where the key is absent
}

// String writes the difference on one line.
func (d Difference) String() string {
	absent := func(v string) string {
		if v == "" {
			return "(absent)"
		}
		return v
	}
	return fmt.Sprintf("%s: %s, now %s", d.Key, absent(d.Old), absent(d.New))
}

// Differences compares two resolved configs key by key, in the order of the
// keys. A key is left out where it or a section around it is among ignored, such
// as output or sweep.budget: what does not change what is measured.
func Differences(old, new map[string]any, ignored ...string) []Difference {
	a, b := map[string]string{}, map[string]string{}
	flatten("", plain(old), a)
	flatten("", plain(new), b)
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	var diffs []Difference
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if a[k] != b[k] && !within(k, ignored) {
			diffs = append(diffs, Difference{Key: k, Old: a[k], New: b[k]})
		}
	}
	return diffs
}

func within(key string, sections []string) bool {
	for _, s := range sections {
		if key == s || strings.HasPrefix(key, s+".") || strings.HasPrefix(key, s+"[") {
			return true
		}
	}
	return false
}

// plain takes a value through JSON, so that one read from a file and one just
// resolved look alike.
func plain(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		return string(data)
	}
	return out
}

// hasParts reports whether a value is itself a list or a section.
func hasParts(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

func flatten(prefix string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			key := k
			if prefix != "" {
				key = prefix + "." + k
			}
			flatten(key, inner, into)
		}
	case []any:
		if !slices.ContainsFunc(v, hasParts) { // a ladder reads better as a whole
			data, _ := json.Marshal(v)
			into[prefix] = string(data)
			return
		}
		for i, inner := range v {
			flatten(prefix+"["+strconv.Itoa(i)+"]", inner, into)
		}
	case nil:
	default:
		data, _ := json.Marshal(v)
		into[prefix] = string(data)
	}
}
