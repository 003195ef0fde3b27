package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/capfind/capfind/loadgen"
)

// maxFileBytes bounds a configuration file; a larger one is surely a mistake.
const maxFileBytes = 1 << 20

// Override is one value given outside the file: by a flag or the environment.
type Override struct {
	Source string // how the user gave it, for messages: --input-len, CAPFIND_INPUT_LEN
	Key    string // key path, e.g. workload.input_len
	Value  string
}

// Input is where a configuration comes from, weakest first: the defaults, a
// preset, the file, the overrides in their order.
type Input struct {
	Path      string    // the file; "-" reads Stdin; empty: no file
	Stdin     io.Reader // for "-"
	Overrides []Override
	// LookupEnv finds the environment variables that the file refers to; nil
	// means os.LookupEnv.
	LookupEnv func(string) (string, bool)
}

// Read reads, overrides and validates a configuration. The error is a Problems
// where the input is at fault, so that every problem is shown at once; else it
// says which file could not be read.
func Read(in Input) (*File, error) {
	if in.LookupEnv == nil {
		in.LookupEnv = os.LookupEnv
	}
	source, text, err := in.read()
	if err != nil {
		return nil, err
	}
	f := Default()
	d := &decoder{places: map[string]place{}}
	root := d.parse(source, text)
	if root == nil && len(d.problems) > 0 { // no tree to look for further problems in
		return nil, d.problems
	}
	d.preset(f, presetName(root, in.Overrides))
	if root != nil {
		d.source = source
		d.value(root, "", reflect.ValueOf(f).Elem(), 0)
	}
	for i, o := range in.Overrides {
		d.weight = i + 1
		d.override(f, o)
	}
	f.places = d.places
	f.source = source
	f.chooseTarget()
	f.Target.BaseURL = loadgen.EscapeStrayPercent(f.Target.BaseURL)
	if t := &f.Target; t.UnixSocket != "" && t.BaseURL == "" && t.Simulator == nil {
		t.BaseURL = "http://localhost" // the name that goes into the Host header
	}
	f.resolvePaths(in.Path)
	problems := append(d.problems, f.expandHeaders(in.LookupEnv)...)
	problems = append(problems, f.withoutDoubles(f.validate(in.LookupEnv), problems)...)
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	return f, nil
}

// chooseTarget keeps one of base_url and simulator where sources of different
// weight give both: --base-url replaces a file's simulator. A variable that is
// there for every program never replaces what was asked for here.
func (f *File) chooseTarget() {
	url, sim := f.places["target.base_url"], f.places["target.simulator"]
	switch {
	case f.Target.BaseURL == "" || f.Target.Simulator == nil:
	case url.source == "OPENAI_BASE_URL" || url.weight < sim.weight:
		f.Target.BaseURL = ""
	case url.weight > sim.weight:
		f.Target.Simulator = nil
	}
}

// withoutDoubles drops the findings about keys that could not even be read.
func (f *File) withoutDoubles(found, earlier Problems) Problems {
	broken := map[string]bool{}
	for _, p := range earlier {
		broken[p.Key] = true
	}
	var out Problems
	for _, p := range found {
		section, _, _ := strings.Cut(p.Key, ".")
		if !broken[p.Key] && !broken[section] {
			out = append(out, p)
		}
	}
	return out
}

// read returns the text of the file and the name to call it by.
func (in Input) read() (source string, text []byte, err error) {
	var r io.Reader
	switch in.Path {
	case "":
		return "", nil, nil
	case "-":
		source, r = "stdin", in.Stdin
	default:
		info, err := os.Stat(in.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil, fmt.Errorf("%s: no such file; `capfind init > %s` writes one to start from", in.Path, in.Path)
		case err != nil:
			return "", nil, fmt.Errorf("%s: cannot be read: %w", in.Path, errors.Unwrap(err))
		case info.IsDir():
			return "", nil, fmt.Errorf("%s: is a directory, not a configuration file", in.Path)
		}
		file, err := os.Open(in.Path)
		if err != nil {
			return "", nil, fmt.Errorf("%s: cannot be read: %w", in.Path, errors.Unwrap(err))
		}
		defer file.Close()
		source, r = in.Path, file
	}
	text, err = io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("%s: cannot be read: %w", source, err)
	case len(text) > maxFileBytes:
		return "", nil, fmt.Errorf("%s: larger than 1 MiB: this is no configuration file", source)
	}
	return source, text, nil
}

// parse returns the root of the one document in text, nil where there is none.
func (d *decoder) parse(source string, text []byte) *yaml.Node {
	d.source = source
	if source == "" {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		d.problem(nil, "", "is empty; `capfind init` prints a configuration to start from")
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		d.problem(&second, "", "a second document starts here; a configuration is one document")
	case !errors.Is(err, io.EOF):
		d.syntax(err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		d.problem(root, "", "must be a section of keys such as target: and sweep:, not %s", kindOf(root))
		return nil
	}
	return root
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// syntax turns a parser's error into a problem at its line.
func (d *decoder) syntax(err error) {
	p := Problem{Source: d.source, Column: 1, Text: plainYAMLError(err)}
	if m := yamlLine.FindStringSubmatch(p.Text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Text = strings.Replace(p.Text, m[0], "", 1)
	}
	p.Text = "not valid YAML: " + p.Text
	if strings.Contains(p.Text, "cannot start any token") {
		p.Text += " (YAML indents with spaces, not tabs)"
	}
	d.problems = append(d.problems, p)
}

func plainYAMLError(err error) string { return strings.TrimPrefix(err.Error(), "yaml: ") }

// presetName finds the preset that is asked for: the last override, else the
// file's key.
func presetName(root *yaml.Node, overrides []Override) string {
	name := ""
	if root != nil {
		for i := 0; i+1 < len(root.Content); i += 2 {
			if root.Content[i].Value == "preset" {
				name = root.Content[i+1].Value
			}
		}
	}
	for _, o := range overrides {
		if o.Key == "preset" {
			name = o.Value
		}
	}
	return name
}

// override applies one value from outside the file, through the same decoder.
func (d *decoder) override(f *File, o Override) {
	d.source, d.noPlace = o.Source, true
	defer func() { d.noPlace = false }()
	root, err := overrideNode(o)
	if err != nil {
		d.problem(nil, o.Key, "%v", err)
		return
	}
	d.value(root, "", reflect.ValueOf(f).Elem(), 0)
}

// overrideNode builds the tree that a file with this one key would have.
func overrideNode(o Override) (*yaml.Node, error) {
	if o.Key == "" {
		return nil, errors.New("needs a key, as in sweep.min_prompts=59")
	}
	segments, leaf := splitKey(o.Key)
	node, err := valueNode(leaf, o.Value)
	if err != nil {
		return nil, err
	}
	for i := len(segments) - 1; i >= 0; i-- {
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: segments[i]}
		node = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{key, node}}
	}
	return node, nil
}

// splitKey cuts a key path into its segments and returns the type at its end,
// nil where the path does not exist. Names within an open section, such as a
// header's, may hold dots themselves.
func splitKey(key string) (segments []string, leaf reflect.Type) {
	t := reflect.TypeFor[File]()
	for rest := key; ; {
		if t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t != nil && t.Kind() == reflect.Map {
			return append(segments, rest), t.Elem()
		}
		head, tail, more := strings.Cut(rest, ".")
		segments = append(segments, head)
		var next reflect.Type
		if t != nil && t.Kind() == reflect.Struct {
			if f, ok := lookup(fieldsOf(t), head); ok {
				next = f.typ
			}
		}
		if !more {
			return segments, next
		}
		t, rest = next, tail
	}
}

// valueNode parses a value as it would stand in a file. Text stays as it is;
// lists may leave out their brackets.
func valueNode(t reflect.Type, value string) (*yaml.Node, error) {
	if t == nil || t.Kind() == reflect.String {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}, nil
	}
	if t.Kind() == reflect.Slice && !strings.HasPrefix(value, "[") && !strings.HasPrefix(value, "{") {
		value = "[" + value + "]"
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(value), &doc); err != nil {
		return nil, fmt.Errorf("cannot be read as YAML: %s", plainYAMLError(err))
	}
	if len(doc.Content) == 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	return doc.Content[0], nil
}

// resolvePaths makes the paths that the file gave relative to the file.
func (f *File) resolvePaths(configPath string) {
	if configPath == "" || configPath == "-" {
		return
	}
	dir := filepath.Dir(configPath)
	for key, p := range map[string]*string{
		"target.api_key_file": &f.Target.APIKeyFile,
		"target.ca_file":      &f.Target.CAFile,
		"target.client_cert":  &f.Target.ClientCert,
		"target.client_key":   &f.Target.ClientKey,
		"target.unix_socket":  &f.Target.UnixSocket,
		"workload.path":       &f.Workload.Path,
		"report.font":         &f.Report.Font,
	} {
		if f.places[key].source == f.source && *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// APIKey returns the key that requests carry and where it came from: the
// environment variable or file that the target names, else OPENAI_API_KEY.
func (f *File) APIKey(lookup func(string) (string, bool)) (key loadgen.Secret, from string, err error) {
	name := f.Target.APIKeyEnv
	if name == "" && f.Target.APIKeyFile == "" {
		name = "OPENAI_API_KEY"
	}
	text, from := "", name
	if name != "" {
		text, _ = lookup(name)
	} else {
		from = f.Target.APIKeyFile
		b, err := os.ReadFile(from)
		if err != nil {
			return "", "", f.Problem("target.api_key_file", "%s cannot be read: %v", from, cause(err))
		}
		text = string(b)
	}
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", "", f.Problem("target.api_key_file", "the key in %s holds line breaks or control characters; it must be one line", from)
	}
	if text == "" {
		return "", "", nil
	}
	return loadgen.Secret(text), from, nil
}
