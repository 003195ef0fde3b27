package loadgen

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/capfind/capfind/loadgen/api"
)

// Bounds on what one answer may make this process hold.
const (
	gapsMost    = 1 << 16 // chunk gaps of a request
	textMost    = 4 << 20 // text of an answer in a conversation
	errorMost   = 4 << 10 // text of an error answer
	messageMost = 300     // message of a sample
)

// exchange is one request and its answer: from the body to the filled-in sample.
//
// What every event touches stands together: with thousands of streams each line of the
// processor's caches is fetched anew.
type exchange struct {
	s        *Sample
	link     link      // of the answer
	start    time.Time // offset 0
	decoder  api.Decoder
	emit     func(*api.Event) // event, made once
	latest   arrival          // of the bytes being decoded
	floor    time.Duration
	last     time.Duration // arrival of the latest output
	ended    bool
	finish   bool
	keepText bool
	client   *Client
	watch    watchdog
	tokens   api.Tokens

	ctx  context.Context
	text strings.Builder
}

func (x *exchange) now() time.Duration { return time.Since(x.start) }

// run sends body, gives its buffer back, and fills in the sample.
func (x *exchange) run(body *[]byte) {
	x.watch.limits, x.watch.start = x.client.config.Target.Timeouts, x.start
	x.watch.begin(x.ctx)
	resp, l, err := x.client.wire.roundTrip(x, *body)
	buffers.Put(body)
	x.watch.hear(x.now()) // the head may have been long in coming
	switch {
	case err != nil:
		x.broke(x.watch.stop(), err)
	case resp.StatusCode != http.StatusOK:
		x.s.Status = resp.StatusCode
		x.refused(resp, l)
	default:
		x.s.Status = resp.StatusCode
		x.stream(resp, l)
	}
	if x.s.End == 0 {
		x.s.End = max(x.now(), x.floor)
	}
	x.s.Message = x.client.clean(x.s.Message)
}

// connected notes what a new connection took.
func (x *exchange) connected(connect, tls time.Duration) { x.s.Connect, x.s.TLS = connect, tls }

// send is called by the wire at the moment it begins to write the request; abort
// must break the connection.
func (x *exchange) send(reused bool, abort func()) {
	now := x.now()
	x.s.ConnReused = reused
	if reused {
		x.s.Connect, x.s.TLS = 0, 0
	}
	if x.s.Retries == 0 || !x.s.WasSent {
		x.s.Sent, x.s.WasSent = now, true
	}
	x.floor = now
	p := phaseFirst
	if x.client.config.Options.NoStream {
		p = phasePlain
	}
	x.watch.arm(now, p, abort)
}

// stream reads an answer of status 200.
func (x *exchange) stream(resp *http.Response, l link) {
	body, err := plainBody(resp)
	if err != nil {
		x.fail(Malformed, err.Error())
		x.watch.stop()
		l.drop()
		return
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	x.s.Streamed = true // until the decoder says otherwise
	x.decoder = x.client.config.Protocol.NewDecoder(media, x.keepText)
	err = x.read(body, l)
	cause := x.watch.stop()
	x.settle(cause, err)
	switch {
	case err == io.EOF:
		l.release()
	case err == nil && x.ended:
		x.client.drain(l, body)
	default:
		l.drop()
	}
}

// read decodes the body until its end, its end mark or a failure inside it. It
// returns nil where it did not read to the end.
func (x *exchange) read(body io.Reader, l link) error {
	x.link, x.emit = l, x.event
	err := pour(body, x)
	if err == io.EOF {
		x.decoder.Close(x.emit)
	}
	return err
}

// take takes in bytes of the body that have just been read.
func (x *exchange) take(p []byte) (more bool) {
	x.latest = x.link.arrival(x.start, x.floor)
	x.floor = x.latest.at
	// By when it was read: a reader that lags is no silence of the server.
	x.watch.hear(x.latest.at + x.latest.delay)
	x.decoder.Feed(p, x.emit)
	return !x.ended && x.s.Class == Success
}

// pour hands what a body brings on, until nothing more is wanted or with the error of
// the reading.
func pour(body io.Reader, to taker) error {
	if pushed, ok := body.(*pushedBody); ok {
		return pushed.push(to)
	}
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := body.Read(*buf)
		more := n == 0 || to.take((*buf)[:n])
		if err != nil || !more {
			return err
		}
	}
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 2<<10); return &b }}

// event takes in one event of the stream.
func (x *exchange) event(e *api.Event) {
	if x.ended || x.s.Class != Success {
		return
	}
	switch {
	case e.Error != "":
		class := StreamError
		if _, tooLong := api.ContextOverflow(e.Error); tooLong {
			class = ContextOverflow // SGLang and TGI say so within a stream of status 200
		}
		x.fail(class, e.Error)
		return
	case e.Malformed != "":
		x.fail(Malformed, e.Malformed)
		return
	}
	if e.Output {
		x.output(e)
	}
	if e.Plain {
		x.s.Streamed = false
	}
	x.tokens.Add(e)
	x.s.PromptTokens = max(x.s.PromptTokens, e.PromptTokens)
	x.s.CachedTokens = max(x.s.CachedTokens, e.CachedTokens)
	if e.Finish && !x.finish {
		x.finish = true
		x.watch.enter(phaseRest) // a usage chunk and the end mark, if any
	}
	x.ended = x.ended || e.End
}

// output takes in an event that carries output.
func (x *exchange) output(e *api.Event) {
	at := x.latest.at
	s := x.s
	if s.OutputEvents == 0 {
		s.FirstOutput = at
		s.Stamp, s.StampDelay = x.latest.source, x.latest.delay
		if !x.finish && !x.client.config.Options.NoStream {
			x.watch.enter(phaseStream)
		}
	} else if every := x.client.config.GapsEvery; every >= 0 && s.Index%max(every, 1) == 0 && len(s.Gaps) < gapsMost {
		if s.Gaps == nil {
			s.Gaps = make([]uint32, 0, min(max(s.WantOutputTokens-1, 1), 1<<12))
		}
		s.Gaps = append(s.Gaps, uint32(min((at-x.last).Microseconds(), 1<<32-1)))
	}
	if s.FirstAnswer == 0 && !e.Reasoning {
		s.FirstAnswer = at
	}
	s.OutputEvents++
	s.LastOutput, x.last = at, at
	// One that was sent again, or goes on with further turns, is not counted: its load's tail stays.
	if s.OutputEvents == 1 && !e.Plain && s.Conversation < 0 && s.Retries == 0 {
		Begun(x.ctx)
	}
	if x.keepText && !e.Reasoning && x.text.Len() < textMost {
		x.text.WriteString(e.Text)
	}
}

// fail gives the sample its class; the first failure counts.
func (x *exchange) fail(class Class, message string) {
	if x.s.Class == Success {
		x.s.Class, x.s.Message = class, message
	}
}

// settle decides what became of a stream that ended by cause (of the watchdog) or
// err (of the read; nil where reading stopped at an end mark or a failure).
func (x *exchange) settle(cause Class, err error) {
	s := x.s
	count := x.tokens.Count(s.WantOutputTokens)
	s.OutputTokens, s.FirstTokens, s.DoubtedTokens, s.TokenSource = count.Tokens, count.First, count.Doubted, TokensFromEvents
	if count.Usage {
		s.TokenSource = TokensFromUsage
	}
	if !api.Generates(x.client.config.Protocol) {
		s.OutputTokens, s.FirstTokens = 0, 0
	}
	switch {
	case s.Class != Success:
		return
	case x.ended:
		s.End = x.latest.at
	case x.finish && err == nil, x.finish && cause != Cancelled:
		// Whatever happened after the finish mark, the answer was complete.
	case cause != Success:
		x.broke(cause, err)
		return
	case err == io.EOF && s.HasOutput():
		x.fail(Truncated, fmt.Sprintf("the stream ended after %d output events without a finish mark", s.OutputEvents))
		return
	case err != io.EOF:
		x.broke(cause, &wireError{stageBody, err})
		return
	}
	if !s.HasOutput() {
		x.fail(Empty, "HTTP 200 without any output")
	}
}

// broke gives the sample the class of a request that was cut off by the watchdog
// or by an error on the wire.
func (x *exchange) broke(cause Class, err error) {
	limits := x.client.config.Target.Timeouts
	switch cause {
	case Success, restOver:
		class, message := classify(err)
		if x.ctx.Err() != nil { // a dial ends by the context itself
			class, message = Cancelled, ""
		}
		x.fail(class, message)
	case TimeoutFirstToken:
		x.fail(cause, fmt.Sprintf("no output within %v of sending", limits.FirstToken))
	case TimeoutIdle:
		x.fail(cause, fmt.Sprintf("silence of %v within the stream, after %d output events", limits.Idle, x.s.OutputEvents))
	case TimeoutTotal:
		x.fail(cause, fmt.Sprintf("not done within %v, after %d output events", limits.Total, x.s.OutputEvents))
	default:
		x.fail(cause, "")
	}
}

// refused reads an answer of another status than 200.
func (x *exchange) refused(resp *http.Response, l link) {
	s := x.s
	s.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	x.watch.enter(phaseRest)
	var text []byte
	body, err := plainBody(resp)
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(body, errorMost))
	}
	cause := x.watch.stop()
	if err == nil && len(text) < errorMost {
		l.release()
	} else {
		l.drop()
	}
	if cause == Cancelled {
		x.fail(Cancelled, "")
		return
	}
	message := "HTTP " + resp.Status
	if said := api.ErrorText(text); said != "" {
		message += ": " + said
	}
	_, tooLong := api.ContextOverflow(message)
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		x.fail(HTTP429, message)
	case code >= 400 && tooLong:
		x.fail(ContextOverflow, message)
	case code >= 500:
		x.fail(HTTP5xx, message)
	case code == http.StatusUnauthorized, code == http.StatusPaymentRequired, code == http.StatusForbidden:
		x.fail(Denied, message)
	case code >= 400:
		x.fail(HTTP4xx, message)
	case code >= 300:
		x.fail(Redirect, fmt.Sprintf("HTTP %d: the server redirects to %s; set base_url to where it really is", code, resp.Header.Get("Location")))
	default:
		x.fail(Malformed, message+" where 200 was expected")
	}
}

// plainBody returns the answer's body without compression, which was not asked
// for but happens.
func plainBody(resp *http.Response) (io.Reader, error) {
	switch coding := strings.ToLower(resp.Header.Get("Content-Encoding")); coding {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		return &lazyGzip{body: resp.Body}, nil
	default:
		return nil, fmt.Errorf("the answer is compressed as %q, though identity was asked for", coding)
	}
}

// lazyGzip opens its stream at the first read, because opening one reads.
type lazyGzip struct {
	body io.Reader
	zip  *gzip.Reader
}

func (g *lazyGzip) Read(p []byte) (int, error) {
	if g.zip == nil {
		zip, err := gzip.NewReader(g.body)
		if err != nil {
			return 0, err
		}
		g.zip = zip
	}
	return g.zip.Read(p)
}

// retryAfter reads a Retry-After header: seconds or an HTTP date; 0 where it says
// nothing of use.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && seconds > 0 && seconds < 1e9 {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// clean makes a message fit to be shown and stored: without secrets, on one line,
// of bounded length.
func (c *Client) clean(message string) string {
	for _, secret := range c.secrets {
		message = strings.ReplaceAll(message, secret, redacted)
	}
	message = strings.Join(strings.FieldsFunc(message, func(r rune) bool {
		return r <= ' ' || r == 0x7f
	}), " ")
	if len(message) > messageMost {
		message = strings.ToValidUTF8(message[:messageMost], "") + "…"
	}
	return strings.ToValidUTF8(message, "?")
}
