package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

var updateSchema = flag.Bool("update-schema", false, "write docs/result.schema.json anew")

const schemaFile = "../docs/result.schema.json"

// resultSchema derives the schema of result.json from the Go types and their
// comments. Readers must accept keys that they do not know: a later version may
// add some.
func resultSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	r := &jsonschema.Reflector{AllowAdditionalProperties: true, Mapper: func(typ reflect.Type) *jsonschema.Schema {
		if typ == reflect.TypeFor[loadgen.Number]() {
			return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "number"}, {Type: "null"}}}
		}
		return nil
	}}
	for _, pkg := range []string{"sweep", "analysis", "loadgen"} {
		if err := r.AddGoComments("github.com/capfind/capfind", "../"+pkg); err != nil {
			t.Fatal(err)
		}
	}
	// The comments are filed under the path that they were read from, relative to
	// here; a type is looked up by its import path.
	for key, text := range r.CommentMap {
		r.CommentMap[strings.Replace(key, "capfind/", "capfind/capfind/", 1)] = text
	}
	s := r.Reflect(&sweep.Result{})
	s.ID = "https://raw.githubusercontent.com/capfind/capfind/main/docs/result.schema.json"
	s.Title = "capfind result.json, schema_version " + fmt.Sprint(sweep.SchemaVersion)
	nullable(s.Definitions, reflect.TypeFor[sweep.Result](), map[reflect.Type]bool{})
	return s
}

// nullable lets every pointer be null, as encoding/json writes one that is not
// set. Lists and maps are never null.
func nullable(defs jsonschema.Definitions, typ reflect.Type, seen map[reflect.Type]bool) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || seen[typ] {
		return
	}
	seen[typ] = true
	for _, f := range reflect.VisibleFields(typ) { // an embedded struct's stand among them
		nullable(defs, f.Type, seen)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		def := defs[typ.Name()]
		if def == nil || name == "" {
			continue
		}
		prop, ok := def.Properties.Get(name)
		if f.Type.Kind() == reflect.Pointer {
			if ok {
				about := prop.Description
				prop.Description = ""
				def.Properties.Set(name, &jsonschema.Schema{AnyOf: []*jsonschema.Schema{prop, {Type: "null"}}, Description: about})
			}
		}
	}
}

func TestPublishedSchema(t *testing.T) {
	want, err := json.MarshalIndent(resultSchema(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *updateSchema {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s does not fit the types: go test ./report -run PublishedSchema -update-schema", schemaFile)
	}
}

// TestResultsFitSchema holds results in every state against the published file.
func TestResultsFitSchema(t *testing.T) {
	raw, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, data []byte) []string {
		t.Helper()
		var value any
		if err := json.Unmarshal(data, &value); err != nil {
			t.Fatal(err)
		}
		w := walk{root: schema}
		w.value("", schema, value)
		return w.bad
	}
	for name, b := range fixtures() {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(b.result)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range check(t, data) {
				t.Error(s)
			}
		})
	}
	data, err := json.Marshal(slotsFixture().result)
	if err != nil {
		t.Fatal(err)
	}
	for old, new := range map[string]string{
		`"verdict":"limit_found"`: `"verdict":7`, `"completed":10,`: `"completed":"10",`, `"steps":[`: `"steps":[3,`,
		`"schema_version":1,`: ``, `"seed":`: `"sead":`, `"high":67`: `"high":"67"`,
	} {
		broken := strings.Replace(string(data), old, new, 1)
		if broken == string(data) {
			t.Errorf("%q is not in the result", old)
		} else if len(check(t, []byte(broken))) == 0 {
			t.Errorf("the schema accepts %s", new)
		}
	}
}

// walk checks a value against the parts of JSON schema that the published file
// uses, and that no key is without a description of its type.
type walk struct {
	root map[string]any
	bad  []string
}

func (w *walk) fail(at, format string, args ...any) {
	w.bad = append(w.bad, at+": "+fmt.Sprintf(format, args...))
}

func (w *walk) value(at string, schema map[string]any, v any) {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/$defs/")
		w.value(at, w.root["$defs"].(map[string]any)[name].(map[string]any), v)
		return
	}
	if any, ok := schema["anyOf"].([]any); ok {
		w.oneOf(at, any, v)
		return
	}
	switch want := schema["type"]; want {
	case "object":
		w.object(at, schema, v)
	case "array":
		list, ok := v.([]any)
		if !ok {
			w.fail(at, "%T is no list", v)
			return
		}
		for i, item := range list {
			w.value(fmt.Sprintf("%s[%d]", at, i), schema["items"].(map[string]any), item)
		}
	case "string", "boolean", "null", "number", "integer":
		if kind := jsonKind(v); kind != want && !(want == "number" && kind == "integer") {
			w.fail(at, "%v is a %s and no %s", v, kind, want)
		}
	}
}

func (w *walk) oneOf(at string, options []any, v any) {
	var first []string
	for _, option := range options {
		try := walk{root: w.root}
		try.value(at, option.(map[string]any), v)
		if len(try.bad) == 0 {
			return
		}
		if first == nil {
			first = try.bad
		}
	}
	w.bad = append(w.bad, first...)
}

func (w *walk) object(at string, schema map[string]any, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		w.fail(at, "%T is no object", v)
		return
	}
	required, _ := schema["required"].([]any)
	for _, key := range required {
		if _, ok := m[key.(string)]; !ok {
			w.fail(at, "%v is missing", key)
		}
	}
	properties, listed := schema["properties"].(map[string]any)
	for key, value := range m {
		if p, ok := properties[key].(map[string]any); ok {
			w.value(at+"."+key, p, value)
		} else if p, ok := schema["additionalProperties"].(map[string]any); ok {
			w.value(at+"."+key, p, value)
		} else if listed {
			w.fail(at, "%s is not described", key)
		}
	}
}

func jsonKind(v any) string {
	switch x := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if x == float64(int64(x)) {
			return "integer"
		}
		return "number"
	}
	return "something else"
}
