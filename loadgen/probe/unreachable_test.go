package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// certified starts a server with a certificate that is its own authority, and
// returns its URL and the file that makes a client believe it.
func certified(t *testing.T, c x509.Certificate) (url, authority string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.IsCA, c.BasicConstraintsValid = big.NewInt(1), true, true
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	authority = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, authority
}

// TestCertificateAdvice: what is wrong with a certificate says what to do, which
// is not the same for one that ended, one for another host and an unknown one.
func TestCertificateAdvice(t *testing.T) {
	now := time.Now()
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	year := 365 * 24 * time.Hour
	for _, c := range []struct {
		name   string
		cert   x509.Certificate
		trust  bool
		advice string
	}{
		{"ended", x509.Certificate{NotBefore: now.Add(-2 * year), NotAfter: now.Add(-year), IPAddresses: here}, true,
			"the server's certificate ended on " + now.Add(-year).UTC().Format(time.DateOnly) + ": have it renewed"},
		{"to come", x509.Certificate{NotBefore: now.Add(year), NotAfter: now.Add(2 * year), IPAddresses: here}, true,
			"the server's certificate begins on " + now.Add(year).UTC().Format(time.DateOnly)},
		{"another host's", x509.Certificate{NotBefore: now.Add(-year), NotAfter: now.Add(year), DNSNames: []string{"llm.example"}}, true,
			"the server's certificate is for llm.example: write such a name in base_url"},
		{"nobody's", x509.Certificate{NotBefore: now.Add(-year), NotAfter: now.Add(year)}, true, "the server's certificate names no host"},
		{"unknown", x509.Certificate{NotBefore: now.Add(-year), NotAfter: now.Add(year), IPAddresses: here}, false, "set ca_file to the authority"},
	} {
		url, authority := certified(t, c.cert)
		target := loadgen.DefaultTarget()
		target.BaseURL = url
		if c.trust {
			target.CAFile = authority
		}
		_, err := Discover(context.Background(), target, "", Options{})
		if err == nil || !strings.Contains(err.Error(), c.advice) {
			t.Errorf("%s: %v, want %q", c.name, err, c.advice)
		}
	}
}

// TestNoModelThere: addresses of something else than a model's server.
func TestNoModelThere(t *testing.T) {
	hangUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close()
		}
	}))
	defer hangUp.Close()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = io.WriteString(w, "<html><body><h1>No</h1></body></html>")
	}))
	defer site.Close()
	for url, advice := range map[string]string{
		hangUp.URL: "if the server speaks TLS, write https:// in base_url",
		site.URL:   "a web page is there, not a model: check host, port and path of base_url",
	} {
		target := loadgen.DefaultTarget()
		target.BaseURL = url
		_, err := Discover(context.Background(), target, "", Options{})
		if err == nil || !strings.Contains(err.Error(), advice) || strings.Contains(err.Error(), "<") {
			t.Errorf("%v, want %q", err, advice)
		}
	}
}

// TestNoHTTP2: net/http's server speaks only HTTP/1 without TLS.
func TestNoHTTP2(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	target := loadgen.DefaultTarget()
	target.BaseURL, target.HTTP2 = s.URL, true
	_, err := Discover(context.Background(), target, "", Options{})
	if err == nil || !strings.Contains(err.Error(), "the server speaks no HTTP/2 there: remove http2") {
		t.Error(err)
	}
}
