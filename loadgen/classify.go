package loadgen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
)

// classify names a failure on the wire.
func classify(err error) (Class, string) {
	at := stageBody
	var w *wireError
	if errors.As(err, &w) {
		at, err = w.stage, w.err
	}
	message := err.Error()
	var dns *net.DNSError
	switch {
	case isAny(err, errnoClientLimit):
		return ClientLimit, message
	case errors.As(err, &dns):
		return DNS, message
	case at == stageConnect:
		return classifyConnect(err), message
	case at == stageTLS, isTLS(err):
		if isTimeout(err) {
			return TimeoutConnect, "TLS handshake: " + message
		}
		if isAny(err, errnoReset) {
			return ConnectionReset, "TLS handshake: " + message
		}
		if errors.Is(err, io.EOF) {
			return TLS, "the server closed the connection during the TLS handshake: does it speak https?"
		}
		return TLS, message
	case isAny(err, errnoReset):
		return ConnectionReset, message
	case errors.Is(err, io.EOF) && at != stageBody:
		return ConnectionReset, "the server closed the connection without an answer"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Truncated, "the answer was cut short: " + message
	case isHTTP2Reset(err):
		return ConnectionReset, message
	}
	return Malformed, message
}

func classifyConnect(err error) Class {
	switch {
	case isTimeout(err):
		return TimeoutConnect
	case isAny(err, errnoReset):
		return ConnectionReset
	}
	// No listener, no route, no socket file: nobody there takes the connection.
	return ConnectionRefused
}

// hangup reports whether the peer closed or reset the connection.
func hangup(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isAny(err, errnoReset)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// isTLS reports whether err is about certificates or the TLS protocol.
func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verify) ||
		errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// isHTTP2Reset reports whether the server gave up an HTTP/2 stream or connection.
// net/http keeps its types for this to itself; their text is what there is.
func isHTTP2Reset(err error) bool {
	said := err.Error()
	return strings.HasPrefix(said, "stream error:") || strings.HasPrefix(said, "http2: server sent GOAWAY")
}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
