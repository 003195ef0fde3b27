package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// ClientConfig is what a Client is made of.
type ClientConfig struct {
	Target   Target
	APIKey   Secret // sent as a bearer token; empty: none
	Protocol api.Protocol
	Options  api.Options
	Source   prompt.Source
	// GapsEvery keeps the chunk gaps of every n-th request; 0 and 1 of every one,
	// negative of none.
	GapsEvery int
}

// Client sends requests to a target over HTTP: the Doer of real load. It is safe
// for concurrent use. Connections are kept between requests and runs until Close.
type Client struct {
	config  ClientConfig
	wire    wire
	stats   connStats
	secrets []string
	drains  sync.WaitGroup
}

// NewClient returns a client. HTTP/1.1 straight to the target runs on the
// package's own connections; HTTP/2 and proxies (by HTTPS_PROXY, HTTP_PROXY and
// NO_PROXY) on net/http.
func NewClient(c ClientConfig) (*Client, error) {
	if c.Protocol == nil || c.Source == nil {
		return nil, errors.New("client: needs a protocol and a source of prompts")
	}
	address, err := c.Target.URL(api.PathFor(c.Protocol, c.Options.NoStream))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	client := &Client{config: c, secrets: c.Target.secrets(c.APIKey)}
	if client.wire, err = newWire(c.Target, u, c.Target.header(c.APIKey), &client.stats); err != nil {
		return nil, err
	}
	return client, nil
}

// proxyFromEnvironment says which proxy the environment wants for a request.
var proxyFromEnvironment = http.ProxyFromEnvironment

// ProxyFor is the proxy through which the environment sends requests to the
// target, without its credentials; empty where they go straight.
func ProxyFor(t Target) string {
	u, err := t.base()
	if err != nil || t.UnixSocket != "" {
		return ""
	}
	proxy, err := proxyFromEnvironment(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Scheme + "://" + proxy.Host
}

// newWire chooses what carries the requests.
func newWire(t Target, u *url.URL, header http.Header, stats *connStats) (wire, error) {
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "text/event-stream, application/x-ndjson, application/json")
	header.Set("Accept-Encoding", "identity")
	proxy, err := proxyFromEnvironment(&http.Request{URL: u})
	if err != nil {
		return nil, fmt.Errorf("the proxy named by the environment: %w", err)
	}
	if t.HTTP2 || proxy != nil && t.UnixSocket == "" {
		transport, err := newTransport(t, u, spareFiles)
		if err != nil {
			return nil, err
		}
		return &netHTTP{transport: transport, url: u.String(), header: header, stats: stats}, nil
	}
	d, err := newDialer(t, u, "http/1.1")
	if err != nil {
		return nil, err
	}
	d.control = spareFiles
	return newHTTP1(d, stats, u, header), nil
}

// header returns the headers that every request to the target carries. Those of
// the config win.
func (t Target) header(key Secret) http.Header {
	h := http.Header{"User-Agent": {"capfind"}}
	if key != "" {
		h.Set("Authorization", "Bearer "+key.Reveal())
	} else if u, err := t.base(); err == nil && u.User != nil {
		password, _ := u.User.Password()
		r := http.Request{Header: h}
		r.SetBasicAuth(u.User.Username(), password)
	}
	for name, value := range t.Headers {
		h.Set(name, value.Reveal())
	}
	return h
}

// secrets lists what must appear in no message.
func (t Target) secrets(key Secret) []string {
	var all []string
	add := func(s string) {
		if len(s) >= 4 { // shorter ones would blot out ordinary text
			all = append(all, s)
		}
	}
	add(key.Reveal())
	for _, v := range t.Headers {
		add(v.Reveal())
		if _, token, ok := strings.Cut(v.Reveal(), " "); ok {
			add(token) // without its scheme, as servers quote it
		}
	}
	if u, err := t.base(); err == nil && u.User != nil {
		password, _ := u.User.Password()
		add(password)
	}
	return all
}

// Prepare opens connections for a run, before its clock starts.
func (c *Client) Prepare(ctx context.Context, inFlight int) {
	c.stats.reset()
	c.wire.prepare(ctx, inFlight)
}

// Close closes all connections. No request may be under way.
func (c *Client) Close() {
	c.drains.Wait()
	c.wire.close()
}

// Do sends the request and, in a conversation, its later turns. A prompt that is
// too long for the model gives way to another where the source drops such.
func (c *Client) Do(ctx context.Context, start time.Time, first Sample, emit func(*Sample)) error {
	for {
		request, err := c.config.Source.Request(first.PromptIndex)
		if err != nil {
			return fmt.Errorf("prompt %d: %w", first.PromptIndex, err)
		}
		s := first
		s.WantPromptTokens, s.WantOutputTokens = request.PromptTokens, request.OutputTokens
		if !api.Generates(c.config.Protocol) {
			s.WantOutputTokens = 0
		}
		if len(request.Turns) > 0 {
			s.Conversation = s.PromptIndex
		}
		err = c.converse(ctx, start, s, request, emit)
		if err != errDropped {
			return err
		}
		now := time.Since(start) // the refusal was no waiting of the slot's
		if first.Intended == first.Ready {
			first.Intended = now
		}
		first.Ready = now
	}
}

// errDropped says that nothing was emitted, as the prompt was too long and dropped.
var errDropped = errors.New("the prompt is dropped")

// drops reports whether a request was refused as too long and its prompt is
// dropped for that: by the model, or for its bytes by a gateway.
func (c *Client) drops(s *Sample, request prompt.Request) bool {
	d, ok := c.config.Source.(prompt.Dropper)
	tooLong := s.Class == ContextOverflow || s.Status == http.StatusRequestEntityTooLarge
	return ok && tooLong && d.Drop(request, s.Message)
}

// converse sends a request or a conversation: each turn carries the real answers
// so far. It ends early where a turn fails.
func (c *Client) converse(ctx context.Context, start time.Time, s Sample, request prompt.Request, emit func(*Sample)) error {
	var history []api.Message
	turns := request.Turns
	for turn := 0; ; turn++ {
		s.Turn = turn
		next := s // of the fields set so far
		answer, err := c.request(ctx, start, &s, &request, history)
		if err != nil {
			return err
		}
		if turn == 0 && c.drops(&s, request) {
			return errDropped
		}
		emit(&s)
		if s.Class != Success || turn == len(turns) {
			return nil
		}
		history = append(asked(history, request), api.Message{Role: "assistant", Content: answer})
		request = prompt.Request{Text: turns[turn].Text, OutputTokens: turns[turn].OutputTokens}
		select {
		case <-time.After(turns[turn].Think):
		case <-ctx.Done():
			return nil // the next turn was never issued
		}
		s = next
		s.Ready = time.Since(start)
		s.Intended = s.Ready
		s.WantPromptTokens, s.WantOutputTokens = 0, request.OutputTokens
	}
}

// asked returns the history with what request said added to it.
func asked(history []api.Message, request prompt.Request) []api.Message {
	if request.Messages != nil {
		var messages []api.Message
		// What is no plain text (an image, say) stays out of the history.
		if json.Unmarshal(request.Messages, &messages) == nil {
			return append(history, messages...)
		}
	}
	return append(history, api.Message{Role: "user", Content: request.Text})
}

// request sends one request, with the retries that the target asks for, and fills
// in s. It returns the answer's text where the request is part of a conversation;
// else it lets go of r's texts once they are sent for the last time, as thousands of
// long prompts are a lot to hold while the answers stream.
func (c *Client) request(ctx context.Context, start time.Time, s *Sample, r *prompt.Request, history []api.Message) (string, error) {
	blank := *s
	for attempt := 0; ; attempt++ {
		// Built for each attempt, so that nobody holds it while the answer streams.
		body := buffers.Get().(*[]byte)
		text, err := c.config.Protocol.AppendBody((*body)[:0], *r, history, c.config.Options)
		if err != nil {
			return "", fmt.Errorf("prompt %d: %w", s.PromptIndex, err)
		}
		*body = text
		if s.Conversation < 0 && attempt == c.config.Target.Retries {
			r.Text, r.Others, r.Messages = "", nil, nil
		}
		x := &exchange{client: c, ctx: ctx, start: start, s: s, keepText: s.Conversation >= 0}
		x.run(body)
		if attempt == c.config.Target.Retries || !retryable(s) {
			return x.text.String(), nil
		}
		wait := max(ErrorHoldDefault<<min(attempt, 6), min(s.RetryAfter, 30*time.Second))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", nil
		}
		// Latency counts from the first attempt: retries flatter nothing.
		sent, wasSent := s.Sent, s.WasSent
		*s = blank
		s.Retries = attempt + 1
		s.Sent, s.WasSent = sent, wasSent
	}
}

// retryable reports whether a failure may pass: no output came, and the server
// was overloaded or not there.
func retryable(s *Sample) bool {
	switch s.Class {
	case HTTP429, HTTP5xx, ConnectionRefused, ConnectionReset, TimeoutConnect:
		return !s.HasOutput()
	}
	return false
}

// drain reads what follows the end mark, so that the connection can be used
// again. The caller waits a moment for it, as the end of the body is usually on
// its way; a server that leaves the body open keeps nobody waiting.
func (c *Client) drain(l link, body io.Reader) {
	const longest, caller, most = time.Second, 5 * time.Millisecond, 64 << 10
	l.bound(longest)
	done := make(chan struct{})
	c.drains.Go(func() {
		defer close(done)
		n, err := io.Copy(io.Discard, io.LimitReader(body, most))
		if err != nil || n == most {
			l.drop()
			return
		}
		l.release()
	})
	timer := time.NewTimer(caller)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// connStats sums up the connections made for a run.
type connStats struct {
	mu           sync.Mutex
	n, secured   int
	connect, tls time.Duration
}

func (s *connStats) add(connect, tls time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.connect += connect
	if tls > 0 {
		s.secured++
		s.tls += tls
	}
}

func (s *connStats) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n, s.secured, s.connect, s.tls = 0, 0, 0, 0
}

// connectMeans returns the mean times of the connections made since Prepare.
func (c *Client) connectMeans() (connect, tls Number) {
	c.stats.mu.Lock()
	defer c.stats.mu.Unlock()
	// Known makes unknown what divides by zero.
	return Known(c.stats.connect.Seconds() / float64(c.stats.n)), Known(c.stats.tls.Seconds() / float64(c.stats.secured))
}
