package config

import (
	"embed"
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// Presets are the guide's two tables of settings, in their order.
var Presets = []string{
	"quick_check", "find_limit", "realistic", "capacity_planning", "stability",
	"customer_service", "content_generation", "code_assistant",
}

// PresetText returns a preset's settings as commented YAML.
func PresetText(name string) (string, error) {
	text, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		hint := "it can be " + strings.Join(Presets, ", ")
		if near := Closest(name, Presets); near != "" {
			hint = "did you mean " + near + "?"
		}
		return "", fmt.Errorf("%q is no preset; %s", name, hint)
	}
	return string(text), nil
}

// preset applies a preset below whatever the file says.
func (d *decoder) preset(f *File, name string) {
	if name == "" {
		return
	}
	text, err := PresetText(name)
	if err != nil {
		return // validate names the place of the key
	}
	own := &decoder{source: "preset " + name, places: d.places}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		d.problems = append(d.problems, Problem{Source: own.source, Text: plainYAMLError(err)})
		return
	}
	own.value(doc.Content[0], "", reflect.ValueOf(f).Elem(), 0)
	d.problems = append(d.problems, own.problems...)
}

// starterTarget is the target section that a starting configuration begins with.
const starterTarget = `# yaml-language-server: $schema=https://raw.githubusercontent.com/capfind/capfind/main/docs/config.schema.json
#
# Check it with: capfind validate FILE. Every key: docs/config.md
target:
  base_url: %s   # the server under test; the /v1 may be missing
  api: auto            # auto, openai-chat, openai-completions, sglang, tgi, ollama
  # model: my-model    # without it: the first model that the server lists
  # api_key_env: OPENAI_API_KEY   # environment variable that holds the key, where one is needed

`

// Starter returns a commented configuration to start from: a target and a
// preset's settings, spelled out so that they can be changed.
func Starter(preset, baseURL string) (string, error) {
	text, err := PresetText(preset)
	if err != nil {
		return "", err
	}
	quoted, err := yaml.Marshal(baseURL)
	if err != nil {
		return "", fmt.Errorf("%q cannot be written as YAML: %w", baseURL, err)
	}
	if !strings.Contains(text, "\nworkload:") {
		text += starterWorkload
	}
	return fmt.Sprintf(starterTarget, strings.TrimSpace(string(quoted))) + text, nil
}

// starterWorkload spells out the workload where the preset leaves the default.
const starterWorkload = `workload:
  dataset: random            # random, sharegpt, jsonl, shared_prefix or conversation
  input_len: 512             # tokens of a prompt
  output_len: 128            # tokens of an answer
`
