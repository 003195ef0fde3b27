package loadgen

import (
	"encoding"
	"encoding/json"
	"reflect"
)

// WithLists returns v with no list and no map nil, for encoding/json to write
// them as [] or {} and never as null: whoever reads them can go through them
// without asking. It copies what it has to change and touches nothing of v.
func WithLists[T any](v T) T {
	return filled(reflect.ValueOf(&v).Elem()).Interface().(T)
}

func filled(v reflect.Value) reflect.Value {
	t := v.Type()
	if !holdsLists(t, map[reflect.Type]bool{}) {
		return v
	}
	many := t.Kind() == reflect.Slice || t.Kind() == reflect.Map
	if many && !v.IsNil() && !holdsLists(t.Elem(), map[reflect.Type]bool{}) {
		return v
	}
	out := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(t.Elem()))
			out.Elem().Set(filled(v.Elem()))
		}
	case reflect.Struct:
		out.Set(v) // the unexported fields with it
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				out.Field(i).Set(filled(v.Field(i)))
			}
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(t, v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(filled(v.Index(i)))
		}
	case reflect.Map:
		out.Set(reflect.MakeMapWithSize(t, v.Len()))
		for _, key := range v.MapKeys() {
			out.SetMapIndex(key, filled(v.MapIndex(key)))
		}
	}
	return out
}

// holdsLists reports whether a value of the type can hold a list or a map that
// the encoder writes as such. seen keeps a type that holds itself from going on
// for ever.
func holdsLists(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || t.Implements(reflect.TypeFor[json.Marshaler]()) || seen[t] {
		return false
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return t.Elem().Kind() != reflect.Uint8 // bytes are text in JSON
	case reflect.Pointer:
		return holdsLists(t.Elem(), seen)
	case reflect.Struct:
		seen[t] = true
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && holdsLists(f.Type, seen) {
				return true
			}
		}
	}
	return false
}
