package telemetry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capfind/capfind/internal/telemetry"
)

// once runs one scrape over real HTTP and returns what was said.
func once(t *testing.T, cfg telemetry.Config) (notices []string, ok bool) {
	t.Helper()
	from := time.Now()
	cfg.Notice = func(text string) { notices = append(notices, text) }
	s, err := telemetry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	s.Wait(t)
	_, ok = s.Window(from, time.Now())
	cancel()
	<-done
	return notices, ok
}

func TestHTTP(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("followed a redirect to another host")
	}))
	defer elsewhere.Close()
	var key atomic.Value
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		key.Store(r.Header.Get("Authorization"))
		w.Write([]byte("vllm:num_requests_running 1\n"))
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) {
		line := []byte(strings.Repeat("x", 1000) + "\n")
		for range 100 {
			w.Write(line)
		}
	})
	mux.Handle("/moved", http.RedirectHandler(elsewhere.URL+"/metrics?token=canary-secret", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	secret := http.Header{"Authorization": {"Bearer canary-secret"}}

	for _, tc := range []struct {
		name string
		cfg  telemetry.Config
		ok   bool
		says string
		key  string
	}{
		{"key to its own host", telemetry.Config{ServerURL: server.URL + "/metrics", BaseURL: server.URL + "/v1", Header: secret}, true, "", "Bearer canary-secret"},
		{"no key to another host", telemetry.Config{ServerURL: server.URL + "/metrics", BaseURL: "http://other.test/v1", Header: secret}, true, "", ""},
		{"no key to an exporter", telemetry.Config{GPUURL: server.URL + "/metrics", BaseURL: server.URL + "/v1", Header: secret}, false, "DCGM_FI_DEV_", ""},
		{"its own transport to its own host", telemetry.Config{ServerURL: "http://only.test/metrics", BaseURL: "http://only.test/v1", Transport: through(server.URL)}, true, "", ""},
		{"not to another host", telemetry.Config{ServerURL: server.URL + "/none", BaseURL: "http://only.test/v1", Transport: through(server.URL)}, false, "HTTP 404", ""},
		{"huge", telemetry.Config{ServerURL: server.URL + "/huge", MaxBody: 50_000}, false, "larger than 50000 bytes", ""},
		{"redirect", telemetry.Config{ServerURL: server.URL + "/moved"}, false, "HTTP 302 redirects to " + elsewhere.URL + "/metrics, which", ""},
		{"not found", telemetry.Config{ServerURL: strings.Replace(server.URL, "http://", "http://user:canary-secret@", 1) + "/none?key=canary-secret"}, false, "HTTP 404 Not Found", ""},
		{"refused", telemetry.Config{ServerURL: "http://user:canary-secret@127.0.0.1:1/metrics?key=canary-secret"}, false, "refused", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key.Store("")
			notices, ok := once(t, tc.cfg)
			all := strings.Join(notices, "\n")
			if ok != tc.ok || !strings.Contains(all, tc.says) || (tc.says == "" && all != "") {
				t.Errorf("ok %v, notices %q", ok, notices)
			}
			if strings.Contains(all, "canary-secret") {
				t.Errorf("secret in %q", all)
			}
			if got := key.Load(); got != tc.key {
				t.Errorf("Authorization %q, want %q", got, tc.key)
			}
		})
	}
}

// redirected sends every request to one server, as a Unix socket does, and turns
// its path into /metrics.
type redirected struct{ host string }

func through(url string) http.RoundTripper { return redirected{strings.TrimPrefix(url, "http://")} }

func (d redirected) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host, r.URL.Path = d.host, "/metrics"
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}
