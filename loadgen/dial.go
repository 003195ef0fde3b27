package loadgen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"
)

// dialer opens connections to one target.
type dialer struct {
	network, address string
	tls              *tls.Config // nil for plain HTTP
	timeout          time.Duration
	control          func(network, address string, c syscall.RawConn) error // may refuse a new socket; nil: none is
	pumps            *pumps                                                 // that read from plain connections; nil: Go's poller does
}

// dialed is an open connection and what opening it took.
type dialed struct {
	net.Conn // with TLS where the target wants it
	socket   *stampConn
	connect  time.Duration
	tls      time.Duration
}

// newDialer returns the dialer for u, the address of a resource of t.
func newDialer(t Target, u *url.URL, protocols ...string) (*dialer, error) {
	d := &dialer{network: "tcp", address: hostPort(u), timeout: t.Timeouts.Connect}
	if t.UnixSocket != "" {
		d.network, d.address = "unix", t.UnixSocket
	}
	if u.Scheme == "https" {
		var err error
		if d.tls, err = t.tlsConfig(); err != nil {
			return nil, err
		}
		d.tls.ServerName = u.Hostname()
		d.tls.NextProtos = protocols
	}
	return d, nil
}

// hostPort is u's host with its port or the scheme's.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// stage says how far a request had got when it failed.
type stage int

const (
	stageConnect stage = iota
	stageTLS
	stageSend
	stageHead // waiting for or reading the head of the answer
	stageBody
)

// wireError is a failure at a stage.
type wireError struct {
	stage stage
	err   error
}

func (e *wireError) Error() string { return e.err.Error() }
func (e *wireError) Unwrap() error { return e.err }

// dial opens a connection within the connect time-out, TLS included.
func (d *dialer) dial(ctx context.Context) (*dialed, error) {
	if d.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	began := time.Now()
	socket, err := (&net.Dialer{Control: d.control}).DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, &wireError{stageConnect, err}
	}
	took := time.Since(began)
	if d.pumps != nil && d.tls == nil {
		if socket, err = d.pumps.take(socket, d.control); err != nil {
			return nil, &wireError{stageConnect, err}
		}
	}
	c := &dialed{socket: newStampConn(socket), connect: took}
	c.Conn = c.socket
	if d.tls == nil {
		return c, nil
	}
	began = time.Now()
	secured := tls.Client(c.socket, d.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, &wireError{stageTLS, err}
	}
	c.Conn, c.tls = secured, time.Since(began)
	return c, nil
}

// tlsConfig builds the TLS settings of the target section.
func (t Target) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", t.CAFile)
		}
	}
	if (t.ClientCert == "") != (t.ClientKey == "") {
		return nil, errors.New("client_cert and client_key go together: give both or neither")
	}
	if t.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
