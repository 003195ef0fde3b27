package simhttp

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"

	"github.com/capfind/capfind/internal/simserver"
)

// version is what the imitated server says of itself where it has to.
const version = "0.0.0-simulated"

// routes lists what each kind of server has. What a real one lacks is a 404 here
// too: a client that tells servers apart by their paths must find the right one.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.generate(chat))
	mux.HandleFunc("POST /v1/completions", s.generate(completions))
	mux.HandleFunc("POST /v1/embeddings", s.generate(embeddings))
	mux.HandleFunc("POST /v1/rerank", s.generate(rerank))
	mux.HandleFunc("GET /v1/models", s.models)
	switch s.cfg.Server {
	case simserver.VLLM:
		mux.HandleFunc("GET /version", s.json(object{"version": version}))
		mux.HandleFunc("GET /health", s.json(nil))
		mux.HandleFunc("POST /tokenize", s.tokenize)
	case simserver.SGLang:
		info := object{"model_path": s.cfg.Model, "context_length": s.cfg.ContextLength, "version": version, "is_generation": true}
		mux.HandleFunc("POST /generate", s.generate(sglang))
		mux.HandleFunc("GET /get_server_info", s.json(info))
		mux.HandleFunc("GET /get_model_info", s.json(info))
		mux.HandleFunc("GET /health", s.json(nil))
		mux.HandleFunc("POST /tokenize", s.tokenize)
	case simserver.TGI:
		mux.HandleFunc("POST /generate_stream", s.generate(tgi))
		mux.HandleFunc("POST /generate", s.generate(tgiPlain))
		mux.HandleFunc("POST /rerank", s.generate(teiRerank))
		mux.HandleFunc("GET /info", s.json(object{
			"model_id": s.cfg.Model, "version": version, "max_total_tokens": s.cfg.ContextLength, "max_concurrent_requests": s.cfg.Slots,
		}))
		mux.HandleFunc("GET /health", s.json(nil))
		mux.HandleFunc("POST /tokenize", s.tokenize)
	case simserver.LlamaCpp:
		mux.HandleFunc("GET /props", s.json(object{
			"default_generation_settings": object{"n_ctx": s.cfg.ContextLength}, "total_slots": s.cfg.Slots, "model_path": s.cfg.Model, "build_info": version,
		}))
		mux.HandleFunc("GET /health", s.json(object{"status": "ok"}))
		mux.HandleFunc("GET /slots", s.slots)
		mux.HandleFunc("POST /tokenize", s.tokenize)
	case simserver.Ollama:
		mux.HandleFunc("POST /api/generate", s.generate(ollamaGenerate))
		mux.HandleFunc("POST /api/chat", s.generate(ollamaChat))
		mux.HandleFunc("GET /api/version", s.json(object{"version": version}))
		mux.HandleFunc("GET /api/tags", s.json(object{"models": []object{{"name": s.cfg.Model, "model": s.cfg.Model}}}))
		mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Ollama is running")) })
	}
	if s.cfg.Server != simserver.Ollama {
		mux.HandleFunc("GET /metrics", s.metrics)
	}
	return s.guard(mux)
}

// guard answers for a server that is loading its model, and wants the key.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		alive, loaded := s.engine.Health()
		switch {
		case !alive:
			panic(http.ErrAbortHandler) // accepted in the moment of dying
		case r.URL.Path != "/health" && !s.authorized(r):
			s.refuse(w, simserver.Answer{Status: http.StatusUnauthorized, Kind: "authentication_error", Message: "Incorrect API key provided"})
		case !loaded && r.URL.Path != "/metrics":
			s.refuse(w, simserver.Loading(s.cfg))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) authorized(r *http.Request) bool {
	key := s.cfg.APIKey.Reveal()
	want := "Bearer " + key
	return key == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) == 1
}

// json answers with a constant; nil is an empty body.
func (s *Server) json(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if v != nil {
			writeJSON(w, http.StatusOK, v)
		}
	}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	owners := map[simserver.Kind]string{
		simserver.VLLM: "vllm", simserver.SGLang: "sglang", simserver.TGI: s.cfg.Model, simserver.LlamaCpp: "llamacpp", simserver.Ollama: "library",
	}
	m := object{"id": s.cfg.Model, "object": "model", "created": s.started.Unix(), "owned_by": owners[s.cfg.Server]}
	if s.cfg.Server == simserver.VLLM || s.cfg.Server == simserver.SGLang {
		m["max_model_len"] = s.cfg.ContextLength
	}
	writeJSON(w, http.StatusOK, object{"object": "list", "data": []object{m}})
}

// tokenize counts a prompt in the body forms of vLLM and SGLang (prompt or
// messages), llama.cpp (content) and TGI (inputs).
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	var b struct {
		body
		Content    *string `json:"content"`
		AddSpecial bool    `json:"add_special"` // llama.cpp: leaves the begin mark out unless asked
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&b); err != nil {
		s.refuse(w, badRequest("The request body is no JSON: %v", err))
		return
	}
	ids, err := b.promptIDs()
	if b.Content != nil {
		ids, err = tokenIDs(nil, *b.Content), nil
		if b.AddSpecial {
			ids = append([]uint32{beginToken}, ids...)
		}
	}
	switch {
	case err != nil:
		s.refuse(w, badRequest("%v", err))
	case s.cfg.Server == simserver.TGI:
		list := make([]object, len(ids))
		for i, id := range ids {
			list[i] = object{"id": id}
		}
		writeJSON(w, http.StatusOK, list)
	default:
		writeJSON(w, http.StatusOK, object{"count": len(ids), "max_model_len": s.cfg.ContextLength, "tokens": ids})
	}
}

// slots is llama.cpp's list of slots.
func (s *Server) slots(w http.ResponseWriter, _ *http.Request) {
	busy := s.State().Running
	list := []object{}
	for i := range s.cfg.Slots {
		list = append(list, object{"id": i, "is_processing": i < busy, "n_ctx": s.cfg.ContextLength})
	}
	writeJSON(w, http.StatusOK, list)
}
