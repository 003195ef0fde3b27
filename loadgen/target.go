package loadgen

import (
	"time"
)

// Secret is a value that prints as <redacted> wherever it is printed or stored.
type Secret string

const redacted = "<redacted>"

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the value from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML hides the value.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// Reveal returns the value itself, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }

// Target is the endpoint under test: the config's target section.
type Target struct {
	BaseURL            string            `yaml:"base_url,omitempty"`             // e.g. http://127.0.0.1:8000/v1; the /v1 may be missing
	API                string            `yaml:"api"`                            // auto, openai-chat, openai-completions, sglang, tgi, ollama; for what writes no text: openai-embeddings, rerank, tei-rerank
	Model              string            `yaml:"model,omitempty"`                // empty: the first that the server lists
	APIKeyEnv          string            `yaml:"api_key_env,omitempty"`          // environment variable with the key
	APIKeyFile         string            `yaml:"api_key_file,omitempty"`         // file with the key
	Headers            map[string]Secret `yaml:"headers,omitempty"`              // extra request headers
	ExtraBody          map[string]any    `yaml:"extra_body,omitempty"`           // extra fields of the request body; null takes one away
	CAFile             string            `yaml:"ca_file,omitempty"`              // PEM file of the server's own certificate authority
	ClientCert         string            `yaml:"client_cert,omitempty"`          // PEM file, with client_key
	ClientKey          string            `yaml:"client_key,omitempty"`           // PEM file, with client_cert
	InsecureSkipVerify bool              `yaml:"insecure_skip_verify,omitempty"` // accept any certificate
	UnixSocket         string            `yaml:"unix_socket,omitempty"`          // connect here instead of to base_url's host; base_url may then be missing
	HTTP2              bool              `yaml:"http2,omitempty"`                // default HTTP/1.1: one HTTP/2 connection hides concurrency
	NoStream           bool              `yaml:"no_stream,omitempty"`            // ask for plain JSON answers; TTFT is then absent
	Retries            int               `yaml:"retries,omitempty"`              // of a request that failed, each counted and shown
	Labels             map[string]string `yaml:"labels,omitempty"`               // what the server does not tell of itself, such as its flags and hardware; kept with the result, for compare and history
	Timeouts           Timeouts          `yaml:"timeouts"`                       // bounds of one request
	MetricsURL         string            `yaml:"metrics_url,omitempty"`          // server's Prometheus endpoint; empty: look next to base_url; "off": none
	GPUMetricsURL      string            `yaml:"gpu_metrics_url,omitempty"`      // DCGM exporter
	NodeMetricsURL     string            `yaml:"node_metrics_url,omitempty"`     // node exporter
}

// Timeouts bound one request. Zero means no bound, except Connect, which then
// is the system's own.
type Timeouts struct {
	Connect    time.Duration `yaml:"connect"`     // to a connection, TLS included; 0: the system's own bound
	FirstToken time.Duration `yaml:"first_token"` // from sent to the first output
	Idle       time.Duration `yaml:"idle"`        // longest silence within a stream
	Total      time.Duration `yaml:"total"`       // of the whole request
}

// DefaultTarget returns the target section before the file is read.
func DefaultTarget() Target {
	return Target{
		API: "auto",
		Timeouts: Timeouts{
			Connect:    10 * time.Second,
			FirstToken: 60 * time.Second,
			Idle:       30 * time.Second,
			Total:      10 * time.Minute,
		},
	}
}
