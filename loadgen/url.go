package loadgen

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// URL returns the address of a resource of the server: base_url with path
// joined to it, whether base_url ends in /v1, in a slash, in both or in neither,
// and with its query kept. Paths of the OpenAI API ("/chat/completions",
// "/completions", "/models", anything below "/v1/") lie under /v1, which is
// added where base_url lacks it; all others ("/generate", "/health", "/metrics",
// "/api/chat") lie beside it.
//
// Credentials in base_url are left out: whoever sends requests takes them from
// the target.
//
// A base_url whose path already names a version (/v1, /api/v3, /v1beta/openai)
// or an openai directory is taken as it is, as such services expect.
func (t Target) URL(path string) (string, error) {
	u, err := t.base()
	if err != nil {
		return "", err
	}
	base := withoutEndpoint(strings.TrimRight(u.EscapedPath(), "/"))
	if openAIPath(path) {
		path = strings.TrimPrefix(path, "/v1")
		if !namesAPI(base) {
			base += "/v1"
		}
	} else {
		base = strings.TrimSuffix(base, "/v1")
	}
	joined := base + "/" + strings.TrimLeft(path, "/")
	// Both forms are set, so that an escaped "%2F" in base_url stays escaped.
	if u.Path, err = url.PathUnescape(joined); err != nil {
		return "", fmt.Errorf("base_url: %w", err)
	}
	u.RawPath = joined
	u.User = nil // goes into a header; addresses get printed
	return u.String(), nil
}

// endpoints are the ends of an address that people copy whole out of an example,
// though only what comes before is the base.
var endpoints = []string{"/chat/completions", "/completions", "/embeddings", "/rerank", "/models", "/api/chat", "/api/generate", "/generate_stream", "/generate"}

func withoutEndpoint(base string) string {
	for _, end := range endpoints {
		if before, ok := strings.CutSuffix(base, end); ok {
			return strings.TrimRight(before, "/")
		}
	}
	return base
}

// base parses base_url. Its messages never repeat credentials.
func (t Target) base() (*url.URL, error) {
	if t.BaseURL == "" {
		return nil, errors.New("base_url is empty: give the server's address, e.g. http://127.0.0.1:8000/v1")
	}
	u, err := url.Parse(EscapeStrayPercent(t.BaseURL))
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // the outer error repeats the whole URL
		}
		return nil, fmt.Errorf("base_url is no URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("base_url must begin with http:// or https://, not %q", u.Scheme+":")
	}
	if u.Host == "" {
		return nil, errors.New("base_url names no host: e.g. http://127.0.0.1:8000/v1")
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// openAIPath reports whether path belongs to the OpenAI API.
func openAIPath(path string) bool {
	switch path {
	case "/chat/completions", "/completions", "/embeddings", "/models":
		return true
	}
	return strings.HasPrefix(path, "/v1/")
}

// namesAPI reports whether a base path already leads into an API: one of its
// segments is a version such as v1 or v1beta, or "openai".
func namesAPI(base string) bool {
	for segment := range strings.SplitSeq(base, "/") {
		if segment == "openai" || len(segment) > 1 && segment[0] == 'v' && segment[1] >= '0' && segment[1] <= '9' {
			return true
		}
	}
	return false
}

// EscapeStrayPercent escapes every % of a URL that begins no escape, so that a
// path with a bare % is sent as a person meant it.
func EscapeStrayPercent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == '%' && !(i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])) {
			b.WriteString("%25")
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
