package config

import (
	_ "embed"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Key describes one key of the configuration, for flags and documentation.
type Key struct {
	Path    string // e.g. workload.input_len
	Kind    string // what a value looks like, in words
	Doc     string // one line
	Default string // as it would stand in a file; empty where there is none
	Bool    bool
	Section bool // has keys below it

	value any // the default itself; nil for a section
}

// FlagName returns the flag that sets a key: its path without the section,
// words joined by dashes. The simulator's keys have flags where a simulator is
// all that is configured.
func FlagName(path string) string {
	if name, ok := flagNames[path]; ok {
		return name
	}
	_, rest, ok := strings.Cut(path, ".")
	if !ok {
		rest = path
	}
	rest = strings.TrimPrefix(rest, "simulator.")
	return strings.NewReplacer(".", "-", "_", "-").Replace(rest)
}

// flagNames are the flags whose plain name would be wrong or unclear beside
// the others.
var flagNames = map[string]string{
	"target.headers":                "header",
	"target.timeouts.connect":       "timeout-connect",
	"target.timeouts.first_token":   "timeout-first-token",
	"target.timeouts.idle":          "timeout-idle",
	"target.timeouts.total":         "timeout-total",
	"workload.path":                 "dataset-path",
	"sweep.budget.max_requests":     "max-requests",
	"sweep.budget.max_tokens":       "max-tokens",
	"sweep.budget.max_duration":     "max-duration",
	"stop.resources.max_kv_cache":   "max-kv-cache",
	"stop.resources.max_gpu_memory": "max-gpu-memory",
	"stop.resources.max_host_cpu":   "max-host-cpu",
	"recommend.low":                 "recommend-low",
	"recommend.high":                "recommend-high",
	"telemetry.interval":            "telemetry-interval",
	"output.dir":                    "output-dir",
	"report.title":                  "title",
	"fleet.name":                    "fleet",
	"web.listen":                    "web-listen",
}

// keys.txt holds the one-line description of every key, taken from the comments
// of the structs by the package's tests.
//
//go:embed keys.txt
var keysText string

var docs = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(keysText) {
		if key, doc, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t"); ok {
			m[key] = doc
		}
	}
	return m
})

// Keys lists every key in the order of the structs, sections before what they
// hold.
var Keys = sync.OnceValue(func() []Key {
	var out []Key
	walkKeys(reflect.ValueOf(Default()).Elem(), "", func(path string, _ field, v reflect.Value) {
		t := v.Type()
		k := Key{
			Path: path, Kind: describe(t), Doc: docs()[path],
			Default: defaultText(v), Bool: t.Kind() == reflect.Bool, Section: isSection(t),
		}
		if k.Default != "" {
			k.value = plain(v)
		}
		out = append(out, k)
	})
	return out
})

// walkKeys visits every key below a struct.
func walkKeys(v reflect.Value, prefix string, visit func(path string, f field, v reflect.Value)) {
	for _, f := range fieldsOf(v.Type()) {
		path, fv := join(prefix, f.name), v.FieldByIndex(f.index)
		visit(path, f, fv)
		if isSection(f.typ) {
			if fv.Kind() == reflect.Pointer {
				if fv.IsNil() {
					fv = newDefault(f.typ.Elem())
				}
				fv = fv.Elem()
			}
			walkKeys(fv, path, visit)
		}
	}
}

// pathsNamed lists the paths whose last element is name.
func pathsNamed(name string) []string {
	var out []string
	for _, k := range Keys() {
		if k.Path == name || strings.HasSuffix(k.Path, "."+name) {
			out = append(out, k.Path)
		}
	}
	return out
}

// defaultText writes a default as it would stand in a file.
func defaultText(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map:
		return ""
	case reflect.Struct:
		return ""
	case reflect.Slice:
		if v.Len() == 0 {
			return ""
		}
		items := make([]string, v.Len())
		for i := range items {
			items[i] = fmt.Sprint(plain(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(plain(v))
}
