package loadgen

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"
)

// NewHTTPClient returns a plain HTTP client for requests beside the load (probes,
// model lists, metrics): it reaches the target as the load does, sends its
// headers and the key, and follows no redirects. Close its idle connections when
// done.
func NewHTTPClient(t Target, key Secret) (*http.Client, error) {
	u, err := t.base()
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(t, u, nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     &withHeaders{transport, t.header(key), u.Host},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// NewTransport returns a net/http transport that reaches the target as the load
// does: through its socket or proxy, with its certificates. It adds no header.
func NewTransport(t Target) (*http.Transport, error) {
	u, err := t.base()
	if err != nil {
		return nil, err
	}
	return newTransport(t, u, nil)
}

// withHeaders adds headers to every request to one host.
type withHeaders struct {
	*http.Transport
	header http.Header
	host   string
}

// RoundTrip adds the headers that the request lacks. Other hosts than the
// target's (a metrics address elsewhere, say) are not told the key.
func (w *withHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == w.host {
		r = r.Clone(r.Context())
		for name, values := range w.header {
			if r.Header.Get(name) == "" {
				r.Header[name] = values
			}
		}
	}
	return w.Transport.RoundTrip(r)
}

// newTransport returns a net/http transport that reaches the target; control may
// refuse its sockets.
func newTransport(t Target, u *url.URL, control func(network, address string, c syscall.RawConn) error) (*http.Transport, error) {
	d, err := newDialer(t, u)
	if err != nil {
		return nil, err
	}
	config, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               proxyFromEnvironment,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: t.Timeouts.Connect,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 1 << 16, // net/http's 2 would close all others after each answer
		IdleConnTimeout:     idleMost,
		ForceAttemptHTTP2:   t.HTTP2,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := &dialer{network: network, address: address, timeout: d.timeout, control: control}
			if d.network == "unix" {
				to.network, to.address = d.network, d.address
			}
			return to.dial(ctx)
		},
	}
	if t.UnixSocket != "" {
		transport.Proxy = nil
	}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(!t.HTTP2)
	transport.Protocols.SetHTTP2(t.HTTP2)
	transport.Protocols.SetUnencryptedHTTP2(t.HTTP2 && u.Scheme == "http")
	return transport, nil
}

// netHTTP is the wire for HTTP/2 and for proxies: net/http does what it does
// well. Arrival times are those after the read, since another goroutine reads
// from the socket.
type netHTTP struct {
	transport *http.Transport
	url       string
	header    http.Header
	stats     *connStats
}

// netLink is one request through net/http.
type netLink struct {
	resp   *http.Response
	cancel context.CancelFunc
	timer  *time.Timer
}

func (n *netHTTP) prepare(context.Context, int) {}

func (n *netHTTP) close() { n.transport.CloseIdleConnections() }

func (n *netHTTP) roundTrip(x *exchange, body []byte) (*http.Response, link, error) {
	ctx, cancel := context.WithCancel(x.ctx)
	var secured, securing atomic.Int64
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { securing.Store(int64(time.Since(x.start))) },
		TLSHandshakeDone: func(tls.ConnectionState, error) {
			secured.Store(int64(time.Since(x.start)))
		},
		// Called on this goroutine, just before the request is handed to the one
		// that writes.
		GotConn: func(info httptrace.GotConnInfo) {
			if c := connectTime(info.Conn); c > 0 && !info.Reused {
				handshake := max(0, time.Duration(secured.Load()-securing.Load()))
				n.stats.add(c, handshake)
				x.connected(c, handshake)
			}
			x.send(info.Reused, cancel)
			sent = true
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, bytes.NewReader(bytes.Clone(body))) // it may still be read from when the head of the answer is there
	if err != nil {
		cancel()
		return nil, nil, &wireError{stageSend, err}
	}
	req.Header = n.header
	resp, err := n.transport.RoundTrip(req)
	if err != nil {
		x.watch.disarm()
		cancel()
		var at *wireError
		switch {
		case errors.As(err, &at):
			return nil, nil, at
		case !sent:
			return nil, nil, &wireError{stageTLS, err}
		}
		return nil, nil, &wireError{stageHead, err}
	}
	return resp, &netLink{resp: resp, cancel: cancel}, nil
}

// connectTime is how long c's TCP connect took; 0 where that is not known.
func connectTime(c net.Conn) time.Duration {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if d, ok := c.(*dialed); ok {
		return d.connect
	}
	return 0
}

func (l *netLink) arrival(start time.Time, floor time.Duration) arrival {
	return arrival{at: max(time.Since(start), floor), source: StampUser}
}

func (l *netLink) bound(d time.Duration) { l.timer = time.AfterFunc(d, l.cancel) }

func (l *netLink) release() { l.drop() } // net/http keeps what was read to its end

func (l *netLink) drop() {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.resp.Body.Close()
	l.cancel()
}
