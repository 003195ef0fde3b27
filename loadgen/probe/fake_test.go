package probe

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// fake is a server whose every oddity is a field. Its tokenizer cuts words at
// four letters; a chat template adds some tokens.
type fake struct {
	t *testing.T

	info     map[string]string // path -> JSON
	models   string            // of /v1/models; empty: 404
	paths    map[string]bool   // that answer prompts
	key      string
	refuse   []string // parameters
	saying   string   // how it refuses them, %s the name
	template int
	tokenize bool
	forgets  int // tokens that /tokenize leaves out
	loading  int // answers of 503 before it is ready, by any path
	health   bool
	stops    int // ends answers after so many tokens; 0: never
	plain    bool
	delay    time.Duration // before the first token
	gap      time.Duration // between tokens
	noUsage  bool
	most     int // cuts prompts
	limit    int // answers 429 once, after so many
	broken   string
	secret   int  // tokens of an answer that are thought in secret
	zip      bool // compresses what it was not asked to
	hangsUp  bool // answers once a connection, and closes it on the next request

	served map[string]bool // connections that had an answer

	mu    sync.Mutex
	asked int
	burst int
}

func (f *fake) start() loadgen.Target {
	server := httptest.NewServer(f)
	f.t.Cleanup(server.Close)
	t := loadgen.DefaultTarget()
	t.BaseURL = server.URL
	t.Timeouts.Total = 10 * time.Second
	return t
}

// requests returns how many prompts were sent.
func (f *fake) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hangsUp {
		if f.served[r.RemoteAddr] {
			panic(http.ErrAbortHandler) // closes the connection without a byte
		}
		if f.served == nil {
			f.served = map[string]bool{}
		}
		f.served[r.RemoteAddr] = true
	}
	if f.key != "" && r.Header.Get("Authorization") != "Bearer "+f.key {
		fail(w, 401, "Incorrect API key provided: "+r.Header.Get("Authorization"))
		return
	}
	if f.loading > 0 {
		f.loading--
		fail(w, 503, "Loading model")
		return
	}
	switch path := r.URL.Path; {
	case f.info[path] != "":
		fmt.Fprint(w, f.info[path])
	case path == "/v1/models" && f.models != "":
		fmt.Fprint(w, f.models)
	case path == "/health" && f.health:
	case path == "/metrics" && f.health:
		fmt.Fprint(w, "# HELP x y\nx 1\n")
	case path == "/tokenize" && f.tokenize:
		fmt.Fprintf(w, `{"count":%d}`, f.count(body)-f.forgets)
	case f.paths[path]:
		if f.zip {
			w.Header().Set("Content-Encoding", "gzip")
			z := zipped{w, gzip.NewWriter(w)}
			defer z.packer.Close()
			w = z
		}
		f.answer(w, path, body)
	default:
		http.NotFound(w, r)
	}
}

// zipped compresses an answer.
type zipped struct {
	http.ResponseWriter
	packer *gzip.Writer
}

func (z zipped) Write(p []byte) (int, error) { return z.packer.Write(p) }

func (z zipped) Flush() {
	z.packer.Flush()
	z.ResponseWriter.(http.Flusher).Flush()
}

func fail(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message}})
}

// count tokenizes whatever text the body holds.
func (f *fake) count(body []byte) int {
	var in map[string]any
	json.Unmarshal(body, &in)
	n, text := 0, ""
	for _, key := range []string{"prompt", "inputs", "text", "content"} {
		if s, ok := in[key].(string); ok {
			text += s
		}
	}
	if messages, ok := in["messages"].([]any); ok {
		n += f.template
		for _, m := range messages {
			text += m.(map[string]any)["content"].(string)
		}
	}
	for _, word := range strings.Fields(text) {
		n += (len(word) + 3) / 4
	}
	if f.most > 0 {
		n = min(n, f.most)
	}
	return n
}

func (f *fake) answer(w http.ResponseWriter, path string, body []byte) {
	f.asked++
	if f.limit > 0 {
		if f.burst++; f.burst > f.limit {
			f.limit = 0
			w.Header().Set("Retry-After", "1")
			fail(w, 429, "slow down")
			return
		}
	}
	var in map[string]any
	json.Unmarshal(body, &in)
	for _, name := range f.refuse {
		if _, ok := in[name]; ok {
			fail(w, 400, strings.ReplaceAll(f.saying, "%s", name))
			return
		}
	}
	if f.broken != "" {
		fmt.Fprint(w, f.broken)
		return
	}
	n := 0
	for _, holder := range []any{in, in["parameters"], in["options"], in["sampling_params"]} {
		for _, key := range []string{"max_tokens", "max_completion_tokens", "max_new_tokens", "num_predict"} {
			if m, ok := holder.(map[string]any); ok && m[key] != nil {
				n = int(m[key].(float64))
			}
		}
	}
	if n <= f.secret {
		fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":{\"completion_tokens\":%d}}\n\n", n)
		return
	}
	if f.stops > 0 {
		n = min(n, f.stops)
	}
	f.speak(w, path, n, f.count(body), in["stream"] == true && !f.plain)
}

// speak answers with n tokens in the words of the API at path.
func (f *fake) speak(w http.ResponseWriter, path string, n, prompt int, stream bool) {
	usage := fmt.Sprintf(`,"usage":{"prompt_tokens":%d,"completion_tokens":%d}`, prompt, n)
	if f.noUsage {
		usage = ""
	}
	time.Sleep(f.delay)
	if !stream && path == "/v1/chat/completions" {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"choices":[{"message":{"content":"x"},"finish_reason":"length"}]%s}`, usage)
		return
	}
	for i := range n {
		last := i == n-1
		switch path {
		case "/v1/chat/completions":
			fmt.Fprint(w, `data: {"choices":[{"delta":{"content":"x"}}]}`+"\n\n")
		case "/v1/completions":
			fmt.Fprint(w, `data: {"choices":[{"text":"x"}]}`+"\n\n")
		case "/generate":
			fmt.Fprintf(w, `data: {"text":%q,"meta_info":{"prompt_tokens":%d,"completion_tokens":%d,"finish_reason":%s}}`+"\n\n", strings.Repeat("x", i+1), prompt, i+1, map[bool]string{false: "null", true: `{"type":"length"}`}[last])
		case "/generate_stream":
			fmt.Fprintf(w, `data:{"token":{"text":"x","special":false},"generated_text":%s}`+"\n\n", map[bool]string{false: "null", true: fmt.Sprintf(`"x","details":{"finish_reason":"length","generated_tokens":%d,"input_length":%d}`, n, prompt)}[last])
		case "/api/chat":
			fmt.Fprintf(w, `{"message":{"content":"x"},"done":%t,"eval_count":%d,"prompt_eval_count":%d}`+"\n", last, n, prompt)
		}
		if f.gap > 0 {
			w.(http.Flusher).Flush()
			time.Sleep(f.gap)
		}
	}
	switch {
	case strings.HasPrefix(path, "/v1/"):
		fmt.Fprintf(w, `data: {"choices":[{"delta":{},"text":"","finish_reason":"length"}]%s}`+"\n\ndata: [DONE]\n\n", usage)
	case path == "/generate":
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}
