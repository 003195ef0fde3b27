package config

import (
	"bytes"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/capfind/capfind/loadgen"
)

// hidden stands where a secret stood.
const hidden = "<redacted>"

// Resolved returns the configuration as it is used: keys as in YAML, times as
// text, secrets hidden. It is what the result keeps.
func (f *File) Resolved() map[string]any {
	m, _ := plain(reflect.ValueOf(f).Elem()).(map[string]any)
	return m
}

// YAML writes the resolved configuration, secrets hidden, in the order of the
// documentation. Reading it again gives the same values.
func (f *File) YAML() []byte {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	// The tree holds plain scalars only, which cannot fail to encode.
	_ = enc.Encode(f.ordered("", reflect.ValueOf(f).Elem()))
	_ = enc.Close()
	return b.Bytes()
}

// plain turns a value into maps, lists and scalars.
func plain(v reflect.Value) any {
	switch t := v.Type(); {
	case t == secretType:
		if v.String() == "" {
			return ""
		}
		return hidden
	case t == durationType:
		return formatDuration(time.Duration(v.Int()))
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		return plainStruct(v)
	case reflect.Map:
		m := map[string]any{}
		for _, k := range v.MapKeys() {
			m[k.String()] = plain(v.MapIndex(k))
			if looksSecret(k.String()) {
				m[k.String()] = hidden
			}
		}
		return m
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	case reflect.Float64:
		if math.IsInf(v.Float(), 1) {
			return "inf"
		}
		return v.Float()
	case reflect.String:
		return v.String()
	}
	return v.Interface()
}

func plainStruct(v reflect.Value) map[string]any {
	m := map[string]any{}
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if f.omitEmpty && fv.IsZero() {
			continue
		}
		m[f.name] = plain(fv)
		if f.name == "base_url" || strings.HasSuffix(f.name, "metrics_url") {
			m[f.name] = WithoutCredentials(fv.String())
		}
	}
	return m
}

// ordered is plain as a YAML tree whose keys keep the order of the struct.
func (f *File) ordered(section string, v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	values := plainStruct(v)
	for _, field := range fieldsOf(v.Type()) {
		x, ok := values[field.name]
		if !ok || f.absent[section+field.name] {
			continue
		}
		fv := v.FieldByIndex(field.index)
		if fv.Kind() == reflect.Pointer && !fv.IsNil() {
			fv = fv.Elem()
		}
		child := &yaml.Node{}
		if fv.Kind() == reflect.Struct {
			child = f.ordered(section+field.name+".", fv)
		} else if err := child.Encode(x); err != nil {
			child.SetString(fmt.Sprint(x))
		}
		if child.Kind == yaml.SequenceNode && fv.Type() == stepsType {
			child.Style = yaml.FlowStyle
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: field.name}, child)
	}
	return n
}

// secretNames are the names under which people put keys into request bodies.
var secretNames = []string{"api_key", "apikey", "api-key", "password", "secret", "authorization", "access_token", "auth_token"}

func looksSecret(name string) bool {
	name = strings.ToLower(name)
	for _, s := range secretNames {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// WithoutCredentials removes user and password from a URL and hides the values
// of its query that look like keys.
func WithoutCredentials(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return hidden // whatever it is, it may hold a key
	}
	u.User = nil
	if u.RawQuery != "" {
		q := u.Query()
		for name := range q {
			if looksSecret(name) || strings.EqualFold(name, "key") || strings.EqualFold(name, "token") {
				q.Set(name, "redacted")
			}
		}
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// formatDuration writes a time as people do: 2m, not 2m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// expandHeaders replaces ${NAME} in header values by the environment, the one
// place where that is done, so that keys need not stand in the file.
func (f *File) expandHeaders(lookup func(string) (string, bool)) Problems {
	var problems Problems
	for name, value := range f.Target.Headers {
		expanded, missing := expand(value.Reveal(), lookup)
		for _, m := range missing {
			problems = append(problems, f.problemAt("target.headers."+name, "refers to the environment variable %s, which is not set", m))
		}
		f.Target.Headers[name] = loadgen.Secret(expanded)
	}
	return problems
}

// expand replaces ${NAME}; a $ without braces stays as it is.
func expand(s string, lookup func(string) (string, bool)) (out string, missing []string) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			return b.String(), missing
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			b.WriteString("${" + rest)
			return b.String(), missing
		}
		value, ok := lookup(name)
		if !ok {
			missing = append(missing, name)
		}
		b.WriteString(value)
		s = after
	}
}
