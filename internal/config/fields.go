package config

import (
	"reflect"
	"strings"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// Types that have a form of their own in YAML.
var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[loadgen.Secret]()
	stepsType    = reflect.TypeFor[sweep.Steps]()
)

// field is a struct field that a YAML key fills.
type field struct {
	name      string
	index     []int
	typ       reflect.Type
	owner     reflect.Type // the struct that declares it
	goName    string
	omitEmpty bool
}

// fieldsOf lists the keys of a struct in declaration order; an inlined struct's
// keys stand where it is embedded.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if strings.Contains(options, "inline") {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
			continue
		}
		if tag == "-" || tag == "" || !f.IsExported() {
			continue
		}
		out = append(out, field{
			name: tag, index: []int{i}, typ: f.Type, owner: t, goName: f.Name,
			omitEmpty: strings.Contains(options, "omitempty"),
		})
	}
	return out
}

// lookup finds a key of a struct by name.
func lookup(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func names(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}

// isSection reports whether a type is written as a mapping with fixed keys.
func isSection(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}
