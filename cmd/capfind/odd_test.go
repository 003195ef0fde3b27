package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// oddServers are what scripts know as $NARROW, a server that refuses prompts of
// more than 4,000 letters, $SILENT, which takes requests and never answers, and
// $ADDING, whose usage is a sum of sums. Their answers are twenty tokens, one a
// chunk.
func oddServers(e *testscript.Env) {
	for name, answer := range map[string]http.HandlerFunc{"NARROW": narrow, "SILENT": silent, "ADDING": adding} {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"data":[{"id":"m"}]}`) })
		mux.HandleFunc("POST /v1/chat/completions", answer)
		server := httptest.NewServer(mux)
		e.Defer(server.Close)
		e.Setenv(name, server.URL)
	}
}

func narrow(w http.ResponseWriter, r *http.Request) {
	var in struct{ Messages []struct{ Content string } }
	if json.NewDecoder(r.Body).Decode(&in) != nil || len(in.Messages) == 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if len(in.Messages[0].Content) > 4000 {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"object":"error","message":"This model's maximum context length is 1000 tokens. However, you requested 1378 tokens."}`)
		return
	}
	twenty(w, 20)
}

func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // or the server does not see the client hang up
	<-r.Context().Done()
}

func adding(w http.ResponseWriter, _ *http.Request) { twenty(w, 210) }

// twenty answers with twenty tokens and a usage of its own.
func twenty(w http.ResponseWriter, usage int) {
	w.Header().Set("Content-Type", "text/event-stream")
	for range 20 {
		io.WriteString(w, `data: {"choices":[{"delta":{"content":"tok "}}]}`+"\n\n")
		w.(http.Flusher).Flush()
		time.Sleep(time.Millisecond)
	}
	fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", usage)
}

// huge is a data set of two prompts, the second of 9,000 words.
func huge() []byte {
	return fmt.Appendf(nil, "{\"prompt\":\"hello\"}\n{\"prompt\":%q}\n", strings.Repeat("word ", 9000))
}

// lengths is a data set of 16 prompts, every eighth of them 5,000 letters long.
func lengths() []byte {
	var b strings.Builder
	for i := range 16 {
		n := 2000
		if i%8 == 7 {
			n = 5000
		}
		fmt.Fprintf(&b, "{\"prompt\":%q}\n", strings.Repeat("word ", n/5))
	}
	return []byte(b.String())
}
