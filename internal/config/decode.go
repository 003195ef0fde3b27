package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/capfind/capfind/internal/simserver"
	"github.com/capfind/capfind/sweep"
)

// Bounds on what a file may make the decoder do; aliases can fold a small file
// into a huge one.
const (
	maxNodes = 100_000
	maxDepth = 50
)

// decoder walks a YAML tree beside the Go type that it fills. It is written out,
// rather than left to the library, because only a walk knows the place of
// everything that is wrong, and finds all of it at once.
type decoder struct {
	source   string // for messages
	problems Problems
	places   map[string]place // where each key that was given stands
	nodes    int
	noPlace  bool // the source is no file: lines mean nothing
	weight   int
}

// place is where a key's value came from.
type place struct {
	source       string
	line, column int
	weight       int // of the source: what a later one says counts
}

func (d *decoder) problem(n *yaml.Node, key, format string, args ...any) {
	p := Problem{Source: d.source, Key: key, Text: fmt.Sprintf(format, args...)}
	if n != nil && !d.noPlace {
		p.Line, p.Column = n.Line, n.Column
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) remember(n *yaml.Node, key string) {
	p := place{source: d.source, weight: d.weight}
	if !d.noPlace {
		p.line, p.column = n.Line, n.Column
	}
	d.places[key] = p
}

// value fills v from n. It returns without touching v where n does not fit.
func (d *decoder) value(n *yaml.Node, key string, v reflect.Value, depth int) {
	for n.Kind == yaml.AliasNode && depth <= maxDepth {
		n, depth = n.Alias, depth+1
	}
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		if d.nodes <= maxNodes+1 || depth == maxDepth+1 {
			d.problem(n, key, "nested too deeply or unfolded into too many values")
		}
		d.nodes = maxNodes + 1
		return
	}
	t := v.Type()
	// An interface is a value of a request's body, and JSON has null.
	if n.Tag == "!!null" && !isSection(t) && t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface {
		d.problem(n, key, "has no value; give one or remove the key to use the default")
		return
	}
	switch {
	case t == stepsType:
		d.steps(n, key, v)
	case t.Kind() == reflect.Pointer:
		if n.Tag == "!!null" && !isSection(t) {
			v.SetZero()
			return
		}
		if v.IsNil() {
			v.Set(newDefault(t.Elem()))
		}
		d.value(n, key, v.Elem(), depth)
	case t.Kind() == reflect.Struct:
		d.mapping(n, key, v, depth)
	case t.Kind() == reflect.Map:
		d.openMapping(n, key, v, depth)
	case t.Kind() == reflect.Slice:
		d.list(n, key, v, depth)
	case t.Kind() == reflect.Interface:
		if x, ok := d.anything(n, key, depth); ok {
			v.Set(reflect.ValueOf(&x).Elem())
		}
	default:
		if n.Kind != yaml.ScalarNode {
			d.problem(n, key, "must be %s, not %s", describe(t), kindOf(n))
			return
		}
		if text := setScalar(n, v); text != "" {
			d.problem(n, key, "%s", text)
		}
	}
}

// mapping fills a struct, key by key.
func (d *decoder) mapping(n *yaml.Node, key string, v reflect.Value, depth int) {
	if n.Tag == "!!null" { // a section whose keys are all commented out
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, key, "must be a section with keys below it, not %s", kindOf(n))
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, child := n.Content[i], n.Content[i+1]
		if name.Tag == "!!merge" {
			d.merge(child, key, v, depth)
			continue
		}
		path := join(key, name.Value)
		if line, twice := seen[name.Value]; twice {
			d.problem(name, path, "given twice, first on line %d", line)
			continue
		}
		seen[name.Value] = name.Line
		f, ok := lookup(fields, name.Value)
		if !ok {
			d.unknown(name, path, fields)
			continue
		}
		d.remember(child, path)
		d.value(child, path, v.FieldByIndex(f.index), depth+1)
	}
}

// merge handles "<<: *anchor" and "<<: [*a, *b]": the keys stand as if written
// here. Later entries of a list do not override earlier ones, as YAML says.
func (d *decoder) merge(n *yaml.Node, key string, v reflect.Value, depth int) {
	if n.Kind == yaml.SequenceNode {
		for _, item := range slices.Backward(n.Content) {
			d.value(item, key, v, depth+1)
		}
		return
	}
	d.value(n, key, v, depth+1)
}

// unknown complains about a key that does not exist and says what may have been
// meant: a key of this section, or the same key in another.
func (d *decoder) unknown(n *yaml.Node, path string, fields []field) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.problem(n, path, "a key must be plain text")
	case Closest(n.Value, names(fields)) != "":
		d.problem(n, path, "unknown key; did you mean %s?", Closest(n.Value, names(fields)))
	default:
		if elsewhere := pathsNamed(n.Value); len(elsewhere) > 0 {
			d.problem(n, path, "unknown key here; it belongs at %s", strings.Join(elsewhere, " or "))
			return
		}
		d.problem(n, path, "unknown key; known here: %s", strings.Join(names(fields), ", "))
	}
}

// openMapping fills a map whose keys are the user's own, such as headers.
func (d *decoder) openMapping(n *yaml.Node, key string, v reflect.Value, depth int) {
	if n.Kind != yaml.MappingNode {
		d.problem(n, key, "must be a section of name: value lines, not %s", kindOf(n))
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, child := n.Content[i], n.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			d.problem(name, key, "a name must be plain text")
			continue
		}
		path := join(key, name.Value)
		item := reflect.New(v.Type().Elem()).Elem()
		d.remember(child, path)
		d.value(child, path, item, depth+1)
		v.SetMapIndex(reflect.ValueOf(name.Value).Convert(v.Type().Key()), item)
	}
}

// list fills a slice; what the defaults or a preset held is replaced.
func (d *decoder) list(n *yaml.Node, key string, v reflect.Value, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, key, "must be a list, e.g. [a, b], not %s", kindOf(n))
		return
	}
	items := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, child := range n.Content {
		path := fmt.Sprintf("%s[%d]", key, i)
		item := newDefault(v.Type().Elem()).Elem()
		d.remember(child, path)
		d.value(child, path, item, depth+1)
		items = reflect.Append(items, item)
	}
	v.Set(items)
}

// steps fills the ladder from a list or from {from, to}.
func (d *decoder) steps(n *yaml.Node, key string, v reflect.Value) {
	switch n.Kind {
	case yaml.SequenceNode:
		steps := make(sweep.Steps, 0, len(n.Content))
		for i, child := range n.Content {
			path := fmt.Sprintf("%s[%d]", key, i)
			var c int
			d.remember(child, path)
			d.value(child, path, reflect.ValueOf(&c).Elem(), 1)
			steps = append(steps, c)
		}
		v.Set(reflect.ValueOf(steps))
	case yaml.MappingNode:
		r := ladderRange{From: 1}
		before := len(d.problems)
		d.mapping(n, key, reflect.ValueOf(&r).Elem(), 1)
		switch {
		case len(d.problems) > before:
		case r.From < 1 || r.To < r.From || r.To > maxConcurrency:
			d.problem(n, key, "needs 1 <= from <= to <= %d", maxConcurrency)
		default:
			v.Set(reflect.ValueOf(sweep.Range(r.From, r.To)))
		}
	default:
		d.problem(n, key, "must be a list such as [1, 2, 5, 10] or a range such as {from: 10, to: 200}, not %s", kindOf(n))
	}
}

// maxConcurrency is the highest concurrency that a file may name: the number of
// ports that one client address has.
const maxConcurrency = 65535

// ladderRange is the short form of a ladder.
type ladderRange struct {
	From int `yaml:"from"`
	To   int `yaml:"to"`
}

// anything turns a node into the plain values that encoding/json understands.
func (d *decoder) anything(n *yaml.Node, key string, depth int) (any, bool) {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		d.openMapping(n, key, reflect.ValueOf(&m).Elem(), depth)
		return m, true
	case yaml.SequenceNode:
		list := []any{}
		d.list(n, key, reflect.ValueOf(&list).Elem(), depth)
		return list, true
	default:
		var x any
		if err := n.Decode(&x); err != nil {
			d.problem(n, key, "cannot be read: %s", plainYAMLError(err))
			return nil, false
		}
		if f, ok := x.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
			d.problem(n, key, "JSON has no such number")
			return nil, false
		}
		return x, true
	}
}

// newDefault returns a pointer to a new t, filled with the defaults of its type.
func newDefault(t reflect.Type) reflect.Value {
	v := reflect.New(t)
	if t == reflect.TypeFor[simserver.Config]() {
		v.Elem().Set(reflect.ValueOf(simserver.Default()))
	}
	return v
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// kindOf names what a node is, for "must be X, not Y".
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "nothing"
		}
		return quote(n.Value)
	}
	return "this"
}

// quote shows a value in a message, cut where it is long.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "..."
	}
	return fmt.Sprintf("%q", s)
}
