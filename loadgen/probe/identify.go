package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Kind is the software that serves the model.
type Kind string

// The kinds of server that are told apart.
const (
	KindUnknown  Kind = ""
	KindVLLM     Kind = "vllm"
	KindSGLang   Kind = "sglang"
	KindTGI      Kind = "tgi"
	KindLlamaCPP Kind = "llama.cpp"
	KindOllama   Kind = "ollama"
)

// identity is what a server says of itself without being asked for tokens.
type identity struct {
	kind     Kind
	version  string
	models   []string // as listed; nil where there is no list
	model    string   // where the server names its only one outside a list
	context  int
	contexts map[string]int // context length by model
	health   bool           // /health is there
}

// listedModel is an entry of /v1/models, with what some servers add.
type listedModel struct {
	ID            string `json:"id"`
	OwnedBy       string `json:"owned_by"`
	MaxModelLen   int    `json:"max_model_len"`  // vLLM, SGLang
	ContextLength int    `json:"context_length"` // gateways
}

// listModels reads /v1/models. A server without it is no error.
func (s *server) listModels(ctx context.Context, id *identity) error {
	r, err := s.get(ctx, "/models")
	if err != nil {
		return err
	}
	if r.status != http.StatusOK {
		if e := s.fault(r); e.Kind != ErrAPI && e.Kind != ErrRefused {
			return e
		}
		return nil
	}
	var list struct{ Data []listedModel }
	if !r.read(&list) && !r.read(&list.Data) { // some gateways send the bare list
		return nil
	}
	id.models = []string{}
	id.contexts = map[string]int{}
	for _, m := range list.Data {
		if m.ID == "" {
			continue
		}
		id.models = append(id.models, m.ID)
		id.contexts[m.ID] = max(m.MaxModelLen, m.ContextLength)
		switch strings.ToLower(m.OwnedBy) {
		case "vllm":
			id.kind = KindVLLM
		case "sglang":
			id.kind = KindSGLang
		case "llamacpp":
			id.kind = KindLlamaCPP
		}
	}
	if strings.Contains(strings.ToLower(r.header.Get("Server")), "llama.cpp") {
		id.kind = KindLlamaCPP
	}
	return nil
}

// recognisers ask for the resource that only one kind of server has.
var recognisers = []struct {
	kind Kind
	path string
	read func(o map[string]json.RawMessage, id *identity) bool
}{
	{KindVLLM, "/version", func(o map[string]json.RawMessage, id *identity) bool {
		return word(o["version"]) != ""
	}},
	{KindSGLang, "/get_server_info", readSGLang},
	{KindSGLang, "/get_model_info", readSGLang},
	{KindTGI, "/info", func(o map[string]json.RawMessage, id *identity) bool {
		id.model = word(o["model_id"])
		id.context = max(id.context, count(o["max_total_tokens"]))
		return id.model != "" && (o["max_total_tokens"] != nil || o["max_concurrent_requests"] != nil)
	}},
	{KindLlamaCPP, "/props", func(o map[string]json.RawMessage, id *identity) bool {
		var settings struct {
			NCtx int `json:"n_ctx"`
		}
		if json.Unmarshal(o["default_generation_settings"], &settings) != nil {
			return false
		}
		id.context = max(id.context, settings.NCtx)
		id.version = word(o["build_info"])
		return true
	}},
	{KindOllama, "/api/version", func(o map[string]json.RawMessage, id *identity) bool {
		return word(o["version"]) != ""
	}},
}

func readSGLang(o map[string]json.RawMessage, id *identity) bool {
	id.model = word(o["model_path"])
	id.context = max(id.context, count(o["context_length"]))
	return id.model != ""
}

// identify finds out kind, version and models. A server that says nothing of
// itself is no error; one that cannot be reached, refuses the key or is not ready
// is.
func (s *server) identify(ctx context.Context) (*identity, error) {
	id := &identity{}
	if err := s.listModels(ctx, id); err != nil {
		return nil, err
	}
	hint := id.kind
	for _, recogniser := range recognisers {
		if hint != KindUnknown && recogniser.kind != hint {
			continue
		}
		// A resource that is not there, or answers slowly, says only that it is
		// not this kind.
		r, err := s.get(ctx, recogniser.path)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, ErrTimeout) {
			break // nor will it answer the next question of the kind
		}
		found := *id
		if o := r.object(); err == nil && o != nil && recogniser.read(o, &found) {
			if found.version == "" {
				found.version = word(o["version"])
			}
			found.kind = recogniser.kind
			id = &found
			break
		}
	}
	if r, err := s.get(ctx, "/health"); err == nil {
		id.health = r.status == http.StatusOK || notReady(r.status)
	}
	return id, ctx.Err()
}

// server names kind and version, e.g. "vllm 0.11.0"; empty where unknown.
func (id *identity) server() string {
	return strings.TrimSpace(string(id.kind) + " " + id.version)
}

// chooseModel returns the model to ask for: the one named, which must exist where
// the server has a list, else the first.
func (s *server) chooseModel(id *identity, named string) (string, error) {
	address, _ := s.target.URL("/models")
	refuse := func(text, advice string) (string, error) {
		return "", &Error{Kind: ErrModel, Method: http.MethodGet, URL: publicURL(address), Text: text, Advice: advice}
	}
	switch {
	case named == "" && len(id.models) > 0:
		return id.models[0], nil
	case named == "" && id.models != nil:
		return refuse("the server lists none", "load a model on the server first")
	case named == "":
		return id.model, nil
	case id.models == nil || slices.Contains(id.models, named):
		return named, nil
	case slices.Contains(id.models, named+":latest"): // Ollama's short names
		return named, nil
	}
	return refuse("the server does not list "+named, "set model to one of: "+shortList(id.models))
}

// shortList names the first of many.
func shortList(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "(it lists none)"
	}
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += ", ..."
	}
	return text
}

// metricsURL returns where the server's telemetry is; empty where there is none.
func (s *server) metricsURL(ctx context.Context) string {
	switch s.target.MetricsURL {
	case "off":
		return ""
	case "":
	default:
		return s.target.MetricsURL
	}
	r, err := s.get(ctx, "/metrics")
	if err != nil || r.status != http.StatusOK || mediaType(r.header) == "text/html" {
		return ""
	}
	if body := bytes.TrimSpace(r.body); len(body) > 0 && body[0] == '{' {
		return ""
	}
	return r.url
}

// word returns a JSON string; empty where it is none.
func word(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// count returns a JSON number; 0 where it is none.
func count(raw json.RawMessage) int {
	var n float64
	if json.Unmarshal(raw, &n) != nil || n < 0 || n > 1e12 {
		return 0
	}
	return int(n)
}
