package simhttp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/capfind/capfind/internal/simserver"
)

type object = map[string]any

// writeJSON writes v; a client that went away meanwhile is no one's loss.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // v is always made here, of plain types
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func refusedParam(name string) simserver.Answer {
	a := badRequest("Unrecognized request argument supplied: %s", name)
	if name == "max_tokens" {
		a = badRequest("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
	}
	a.Param = name
	return a
}

func badRequest(format string, args ...any) simserver.Answer {
	return simserver.Answer{Status: http.StatusBadRequest, Kind: "invalid_request_error", Message: fmt.Sprintf(format, args...)}
}

// refuse writes an answer that is none.
func (s *Server) refuse(w http.ResponseWriter, a simserver.Answer) {
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(a.RetryAfter.Seconds())))
	}
	writeJSON(w, a.Status, errorBody(s.cfg.Server, a))
}

// errorBody words an error as the imitated server does.
func errorBody(k simserver.Kind, a simserver.Answer) any {
	switch k {
	case simserver.TGI:
		return object{"error": a.Message, "error_type": a.Kind}
	case simserver.Ollama:
		return object{"error": a.Message}
	}
	e := object{"message": a.Message, "type": a.Kind, "code": a.Status, "param": nil}
	if a.Param != "" {
		e["param"] = a.Param
	}
	return object{"error": e}
}

// quoted returns s as a JSON string.
func quoted(s string) string {
	b, err := json.Marshal(strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		panic(err) // a string can always be encoded
	}
	return string(b)
}
