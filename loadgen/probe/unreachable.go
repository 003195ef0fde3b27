package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// unreachable words a failure of the connection.
func (s *server) unreachable(r *response, err error) error {
	if outer := (*url.Error)(nil); errors.As(err, &outer) {
		err = outer.Err // the outer error repeats method and URL
	}
	e := &Error{Kind: ErrUnreachable, Method: r.method, URL: r.url, Text: s.clean(err.Error())}
	switch {
	case s.heard && hungUp(err):
		e.Kind, e.Advice = ErrCut, cutAdvice
	case s.heard && errors.Is(err, context.DeadlineExceeded):
		e.Kind, e.Text, e.Advice = ErrTimeout, "no answer in time", "look at the server's log"
	default:
		if errors.Is(err, context.DeadlineExceeded) && !isDNS(err) {
			e.Text = "no answer in time"
		}
		e.Advice = s.connectAdvice(err)
	}
	return e
}

const cutAdvice = "look at the server's log, or at a proxy in between"

// connectAdvice says what to do where no connection came about.
func (s *server) connectAdvice(err error) string {
	text := err.Error()
	if advice := certificateAdvice(err); advice != "" {
		return advice
	}
	switch proxy := loadgen.ProxyFor(s.target); {
	case s.target.HTTP2 && (strings.Contains(text, "http2") || strings.Contains(text, "HTTP/2")):
		return "the server speaks no HTTP/2 there: remove http2"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "the server speaks plain HTTP: write http:// in base_url"
	case strings.Contains(text, "malformed HTTP response"):
		return "the server may want TLS: try https:// in base_url"
	case strings.Contains(text, "tls: "):
		return "set ca_file to the authority that signed the server's certificate, or insecure_skip_verify"
	case proxy != "":
		return fmt.Sprintf("the way leads through the proxy %s, which the environment names: check HTTP_PROXY and HTTPS_PROXY, or write the server's host into NO_PROXY", proxy)
	case isDNS(err): // which may be a timeout as well
		return "check the host name in base_url, and that this machine can resolve names"
	case errors.Is(err, context.DeadlineExceeded):
		return "check base_url, and that no firewall drops the connection"
	case hungUp(err):
		return "something took the connection and gave it up: if the server speaks TLS, write https:// in base_url; else check host and port"
	}
	return "check base_url, and that the server is running"
}

// certificateAdvice says what to do about a certificate that is not believed;
// empty where that is not what failed.
func certificateAdvice(err error) string {
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		now, what := time.Now(), "ended on "+invalid.Cert.NotAfter.UTC().Format(time.DateOnly)
		if now.Before(invalid.Cert.NotBefore) {
			what = "begins on " + invalid.Cert.NotBefore.UTC().Format(time.DateOnly)
		}
		return "the server's certificate " + what + ": have it renewed, check this machine's clock, or set insecure_skip_verify to measure all the same"
	case errors.As(err, &name) && name.Certificate != nil:
		names := name.Certificate.DNSNames
		for _, ip := range name.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			return "the server's certificate names no host: have one made that does, or set insecure_skip_verify"
		}
		return "the server's certificate is for " + shortList(names) + ": write such a name in base_url, or set insecure_skip_verify"
	case strings.Contains(err.Error(), "x509"):
		return "set ca_file to the authority that signed the server's certificate, or insecure_skip_verify"
	}
	return ""
}

func isDNS(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// hungUp reports whether the other side gave up the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "stream error:") || strings.Contains(err.Error(), "GOAWAY") // HTTP/2, whose errors net/http keeps to itself
}
