package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
)

// go test ./internal/config -update writes what is generated from the structs:
// keys.txt, docs/config.md and docs/config.schema.json.
var update = flag.Bool("update", false, "write the generated files")

const module = "github.com/capfind/capfind"

// TestMain makes the descriptions current before anything reads them.
func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		keys, err := generatedKeys()
		if err != nil {
			panic(err)
		}
		keysText = string(keys)
	}
	os.Exit(m.Run())
}

// comments reads the one-line comment of every field of every struct that the
// configuration is made of.
func comments() (map[string]string, error) {
	var failed error
	out, parsed := map[string]string{}, map[string]bool{}
	var visit func(v reflect.Type)
	visit = func(v reflect.Type) {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || !strings.HasPrefix(v.PkgPath(), module) {
			return
		}
		if !parsed[v.PkgPath()] {
			parsed[v.PkgPath()] = true
			failed = errors.Join(failed, packageComments(v.PkgPath(), out))
		}
		for i := range v.NumField() {
			visit(v.Field(i).Type)
		}
	}
	visit(reflect.TypeFor[File]())
	return out, failed
}

func packageComments(pkg string, out map[string]string) error {
	dir := filepath.Join("..", "..", strings.TrimPrefix(pkg, module))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no source of %s: %w", pkg, err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			out[pkg+"."+spec.Name.Name] = strings.Join(strings.Fields(docOf(file, spec)), " ")
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					for _, ident := range f.Names {
						text := f.Doc.Text() + f.Comment.Text()
						out[pkg+"."+spec.Name.Name+"."+ident.Name] = strings.Join(strings.Fields(text), " ")
					}
				}
			}
			return true
		})
	}
	return nil
}

// docOf returns the comment above a type.
func docOf(file *ast.File, spec *ast.TypeSpec) string {
	for _, decl := range file.Decls {
		if gen, ok := decl.(*ast.GenDecl); ok && slices.Contains(gen.Specs, ast.Spec(spec)) {
			return spec.Doc.Text() + gen.Doc.Text()
		}
	}
	return ""
}

// saidDefault is the end of a comment that repeats what stands beside it.
var saidDefault = regexp.MustCompile(`; default \S+$`)

// docOfField is the comment of a field; else that of the section it holds, or
// of the small section that it is in.
func docOfField(all map[string]string, f field) string {
	if doc := all[f.owner.PkgPath()+"."+f.owner.Name()+"."+f.goName]; doc != "" {
		return saidDefault.ReplaceAllString(doc, "")
	}
	t := f.owner
	if isSection(f.typ) {
		t = f.typ
	}
	doc := all[t.PkgPath()+"."+t.Name()]
	return strings.TrimSuffix(strings.TrimPrefix(doc, t.Name()+" "), ".")
}

func generatedKeys() ([]byte, error) {
	all, err := comments()
	var b bytes.Buffer
	walkKeys(reflect.ValueOf(Default()).Elem(), "", func(path string, f field, _ reflect.Value) {
		doc := docOfField(all, f)
		if doc == "" {
			err = errors.Join(err, fmt.Errorf("%s: the field %s.%s has no comment to describe it", path, f.owner, f.goName))
		}
		fmt.Fprintf(&b, "%s\t%s\n", path, doc)
	})
	return b.Bytes(), err
}

func generatedDocs() []byte {
	var b bytes.Buffer
	b.WriteString("# Every key of the configuration\n\n" +
		"Generated from the source (`go test ./internal/config -update`). " +
		"`capfind init` prints a commented file to start from, `capfind validate FILE` checks one.\n\n" +
		"A value is taken from the flag, else the environment (`CAPFIND_` and the flag's name, e.g. `CAPFIND_INPUT_LEN`), " +
		"else the file, else the preset, else the default. `--set KEY=VALUE` sets any key, e.g. `--set stop.max_ttft=500ms`. " +
		"Files that a configuration names are looked for beside it. `${NAME}` in a header's value is replaced by that environment variable; nothing else is expanded.\n")
	for _, k := range Keys() {
		if k.Section && !strings.Contains(k.Path, ".") {
			fmt.Fprintf(&b, "\n## %s\n%s\n\n| key | value | default | flag | meaning |\n|---|---|---|---|---|\n", k.Path, sentence(k.Doc))
			continue
		}
		if !strings.Contains(k.Path, ".") {
			fmt.Fprintf(&b, "\n## %s\n%s: %s.\n", k.Path, sentence(k.Doc), strings.Join(Presets, ", "))
			continue
		}
		if k.Path == simulatorKey {
			fmt.Fprintf(&b, "\n## %s\n%s. The flags are those of `capfind simulate`.\n\n| key | value | default | flag | meaning |\n|---|---|---|---|---|\n", k.Path, sentence(k.Doc))
		}
		if k.Section {
			continue
		}
		_, key, _ := strings.Cut(k.Path, ".")
		key = strings.TrimPrefix(key, "simulator.")
		def := k.Default
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `--%s` | %s |\n", key, k.Kind, def, FlagName(k.Path), strings.ReplaceAll(k.Doc, "|", `\|`))
	}
	return b.Bytes()
}

const simulatorKey = "target.simulator"

func sentence(doc string) string {
	if doc == "" {
		return ""
	}
	return strings.ToUpper(doc[:1]) + doc[1:]
}

// generatedSchema is the JSON schema that editors check a configuration with.
func generatedSchema(t *testing.T) []byte {
	t.Helper()
	docs, err := comments()
	if err != nil {
		t.Fatal(err)
	}
	r := &jsonschema.Reflector{
		FieldNameTag:               "yaml",
		DoNotReference:             true,
		ExpandedStruct:             true,
		Anonymous:                  true,
		RequiredFromJSONSchemaTags: true, // nothing is: every key has a default
		Mapper:                     schemaOf,
		LookupComment: func(t reflect.Type, field string) string {
			return docs[t.PkgPath()+"."+t.Name()+"."+field]
		},
	}
	s := r.Reflect(&File{})
	s.Title = "capfind configuration"
	s.Description = "What capfind tests, how, and when it stops"
	for _, k := range Keys() {
		refine(s, k)
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// schemaOf describes the types that have a form of their own in YAML.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	number := func(least string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "integer", Minimum: json.Number(least)}
	}
	switch {
	case t == durationType:
		return &jsonschema.Schema{Type: "string", Pattern: `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+)$`}
	case t == stepsType:
		properties := jsonschema.NewProperties()
		properties.Set("from", number("1"))
		properties.Set("to", number("1"))
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "array", Items: number("1")},
			{Type: "object", Properties: properties, Required: []string{"to"}, AdditionalProperties: jsonschema.FalseSchema},
		}}
	case t == secretType:
		return &jsonschema.Schema{Type: "string"}
	case t.Kind() == reflect.Int || t.Kind() == reflect.Uint64:
		return number("0")
	case t.Kind() == reflect.Float64:
		return &jsonschema.Schema{Type: "number", Minimum: "0"}
	}
	return nil
}

// refine adds to a key's schema what Go's types do not say: its default, the
// words that it can be, and that some numbers can be infinite.
func refine(root *jsonschema.Schema, k Key) {
	at := root
	for name := range strings.SplitSeq(k.Path, ".") {
		next, ok := at.Properties.Get(name)
		if !ok {
			return
		}
		at = next
	}
	at.Enum = nil
	for _, word := range choices[k.Path] {
		at.Enum = append(at.Enum, word)
	}
	if mayBeInfinite[k.Path] {
		at.OneOf = []*jsonschema.Schema{{Type: "number", ExclusiveMinimum: "0"}, {Const: "inf"}}
		at.Type, at.Minimum = "", ""
	}
	if k.value != nil {
		at.Default = k.value
	}
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	keys, err := generatedKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []struct {
		path string
		want []byte
	}{
		{"keys.txt", keys},
		{"../../docs/config.md", generatedDocs()},
		{"../../docs/config.schema.json", generatedSchema(t)},
	} {
		if *update {
			if err := os.MkdirAll(filepath.Dir(g.path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(g.path, g.want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(g.path)
		if err != nil || !bytes.Equal(got, g.want) {
			t.Errorf("%s is not what the structs say (%v); run go test ./internal/config -update", g.path, err)
		}
	}
}
