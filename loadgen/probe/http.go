package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
)

const (
	shortTimeout = 10 * time.Second // of a request that no model works on
	answerMost   = 8 << 20          // bytes read of such an answer
)

// server is the connection to one target.
type server struct {
	target  loadgen.Target
	client  *http.Client
	keyed   bool // requests carry a key
	secrets []string
	heard   bool         // it has answered
	asking  string       // what the request to the model is, for people
	tell    func(string) // hears what is waited for; nil: nobody
}

func newServer(t loadgen.Target, key loadgen.Secret) (*server, error) {
	client, err := loadgen.NewHTTPClient(t, key)
	if err != nil {
		return nil, err
	}
	keyed := key != ""
	for name := range t.Headers {
		keyed = keyed || strings.EqualFold(name, "Authorization")
	}
	return &server{target: t, client: client, keyed: keyed, secrets: secretsOf(t, key)}, nil
}

// secretsOf lists what a server might quote back and no message may hold.
func secretsOf(t loadgen.Target, key loadgen.Secret) []string {
	all := []string{key.Reveal()}
	for _, value := range t.Headers {
		all = append(all, strings.Fields(value.Reveal())...)
	}
	if address, err := t.URL("/"); err == nil {
		if u, err := url.Parse(address); err == nil && u.User != nil {
			password, _ := u.User.Password()
			all = append(all, password)
		}
	}
	return all
}

// clean removes secrets from a text. Words of under four letters are too common
// to be told from a secret.
func (s *server) clean(text string) string {
	for _, secret := range s.secrets {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "<redacted>")
		}
	}
	return text
}

// publicURL returns a URL without credentials and query.
func publicURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the target"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// response is an answer that was read whole.
type response struct {
	method, url string // as in Error
	status      int
	header      http.Header
	body        []byte
}

// get fetches a resource of the server. The error is always an *Error, or ctx's.
func (s *server) get(ctx context.Context, path string) (*response, error) {
	return s.small(ctx, http.MethodGet, path, nil)
}

// post sends a small JSON request that no model works on.
func (s *server) post(ctx context.Context, path string, body any) (*response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return s.small(ctx, http.MethodPost, path, text)
}

// small is asked again where the answer was cut short.
func (s *server) small(ctx context.Context, method, path string, body []byte) (*response, error) {
	for again := 0; ; again++ {
		r, err := s.once(ctx, method, path, body)
		if again == retries || !errors.Is(err, ErrCut) {
			return r, err
		}
		if err := pause(ctx, retryPause); err != nil {
			return nil, err
		}
	}
}

func (s *server) once(ctx context.Context, method, path string, body []byte) (*response, error) {
	bounded, cancel := context.WithTimeout(ctx, shortTimeout)
	defer cancel()
	defer s.waiting(func() string { return "an answer to " + method + " " + path + atMost(shortTimeout) })()
	r, resp, err := s.start(bounded, method, path, body)
	if err == nil {
		defer resp.Body.Close()
		if r.body, err = io.ReadAll(io.LimitReader(resp.Body, answerMost)); err != nil {
			err = s.unreachable(r, err)
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.heard = s.heard || err == nil
	return r, err
}

// start sends a request and returns the answer with its body unread.
func (s *server) start(ctx context.Context, method, path string, body []byte) (*response, *http.Response, error) {
	address, err := s.target.URL(path)
	if err != nil {
		return nil, nil, err
	}
	r := &response{method: method, url: publicURL(address)}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "text/event-stream, application/x-ndjson, application/json")
	}
	request.Header.Set("Accept-Encoding", "identity")
	// llama.cpp closes a connection after each stream although it promises to keep
	// it. The key, which is not sent as it is empty, lets the transport send a
	// request once more where a kept connection ends before any byte of an answer.
	request.Header["Idempotency-Key"] = nil
	resp, err := s.client.Do(request)
	if err != nil {
		return r, nil, s.unreachable(r, err)
	}
	if resp.Header.Get("Content-Encoding") == "gzip" { // all the same
		resp.Body = &unzipped{ReadCloser: resp.Body}
	}
	r.status, r.header = resp.StatusCode, resp.Header
	return r, resp, nil
}

// unzipped unpacks a body. The first read starts it, since a stream's header may
// come with its first byte only.
type unzipped struct {
	io.ReadCloser
	reader *gzip.Reader
}

func (u *unzipped) Read(p []byte) (int, error) {
	if u.reader == nil {
		reader, err := gzip.NewReader(u.ReadCloser)
		if err != nil {
			return 0, err
		}
		u.reader = reader
	}
	return u.reader.Read(p)
}

const webPageAdvice = "a web page is there, not a model: check host, port and path of base_url"

// fault turns an answer that is no success into an error, by its status.
func (s *server) fault(r *response) *Error {
	e := &Error{Kind: ErrRefused, Method: r.method, URL: r.url, Status: r.status, Text: s.clean(api.ErrorText(r.body))}
	switch {
	case r.status != http.StatusUnauthorized && r.status != http.StatusForbidden && !notReady(r.status) && mediaType(r.header) == "text/html":
		e.Kind, e.Text = ErrAPI, "the answer is a web page"
		e.Advice = webPageAdvice
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		e.Kind = ErrAuth
		e.Advice = "no key was sent: name the environment variable that holds it (api_key_env, or OPENAI_API_KEY) or api_key_file"
		if s.keyed {
			e.Advice = "the key that was sent is not accepted here: check what api_key_env (or OPENAI_API_KEY), api_key_file or headers hold"
		}
	case notReady(r.status):
		e.Kind = ErrNotReady
		e.Advice = "wait until the model is loaded and the server takes requests"
		if r.status == http.StatusTooManyRequests {
			e.Advice = "wait until the server takes requests again, or raise its limit"
			if asked := retryAfter(r.header); asked > 0 {
				e.Advice = fmt.Sprintf("the server asks to wait %v, or raise its limit", asked.Round(time.Second))
			}
		}
	case r.status >= 300 && r.status < 400:
		e.Kind = ErrUnreachable
		e.Text = "redirects to " + publicURL(r.header.Get("Location"))
		e.Advice = "write the new address into base_url"
	case r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed:
		e.Kind = ErrAPI
		e.Advice = "check the path of base_url, and api"
		if named := s.target.API; named != "" && named != "auto" {
			e.Advice = "the server may not speak " + named + ": remove api, so that it is found out, or check the path of base_url"
		}
	}
	return e
}

// notReady reports whether a status means that a later request may succeed.
func notReady(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// object reads a JSON object; nil where the answer is none.
func (r *response) object() map[string]json.RawMessage {
	var o map[string]json.RawMessage
	if r == nil || r.status != http.StatusOK || json.Unmarshal(r.body, &o) != nil {
		return nil
	}
	return o
}

// read decodes a 200 answer and reports whether it could.
func (r *response) read(into any) bool {
	return r != nil && r.status == http.StatusOK && json.Unmarshal(r.body, into) == nil
}

func mediaType(h http.Header) string {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

// retryAfter returns the pause that an answer asks for, in seconds or by a date.
func retryAfter(h http.Header) time.Duration {
	asked := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(asked, 64); err == nil && seconds > 0 && seconds < 1e9 {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(asked); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
