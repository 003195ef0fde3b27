package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// idleMost is how long an idle connection is still used: uvicorn closes its own
// after 5 s.
const idleMost = 4 * time.Second

// headMost bounds the head of an answer.
const headMost = 1 << 20

// replayWithin bounds how soon after sending a kept-alive connection must turn
// out to have been closed for the request to be sent again. A server that took
// the request and died later has failed it.
const replayWithin = time.Second

// wire carries one request to the server and its answer back.
type wire interface {
	// prepare opens connections for n requests in flight, as far as it can.
	prepare(ctx context.Context, n int)
	// roundTrip sends body and returns once the head of the answer is there. Its
	// error is a wireError. The body is the caller's again when it returns.
	roundTrip(x *exchange, body []byte) (*http.Response, link, error)
	close()
}

// link is the connection of one request, until one of release and drop.
type link interface {
	// arrival says when the latest bytes read from the answer came in.
	arrival(start time.Time, floor time.Duration) arrival
	// bound makes reads fail after d.
	bound(d time.Duration)
	// release gives the connection back; the answer was read to its end.
	release()
	// drop closes the connection.
	drop()
}

// http1 speaks HTTP/1.1 on connections of its own: one goroutine a request, one
// write to send it, and every read under our eyes; pumps read the streams. net/http
// spends two more goroutines and their stacks on each connection, sends from one of
// them when the scheduler gets to it, and hides whether an answer had begun.
type http1 struct {
	dialer *dialer
	stats  *connStats
	head   []byte // of every request, up to the content length

	mu     sync.Mutex
	idle   []*conn // the most recently used last
	closed bool
}

// conn is one connection; one request at a time.
type conn struct {
	dialed
	pool      *http1
	br        *bufio.Reader // while a head is read, and a body that is not pushed; nil: none needed
	got       int64         // bytes received since the request was sent
	gotMost   int64         // where reading fails: bounds the head
	idleSince time.Time
	eof       bool // the server has closed its side
	close     bool // the server will close it
}

var errHeadTooLarge = fmt.Errorf("the head of the answer is larger than %d bytes", headMost)

func newHTTP1(d *dialer, stats *connStats, u *url.URL, header http.Header) *http1 {
	var head bytes.Buffer
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\n", u.RequestURI(), u.Host)
	_ = header.Write(&head) // cannot fail on a buffer
	head.WriteString("Content-Length: ")
	d.pumps = new(pumps)
	return &http1{dialer: d, stats: stats, head: head.Bytes()}
}

// Read reads from the server, counting.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return c.count(n, err)
}

// attempt is Read without waiting, on a socket at a pump.
func (c *conn) attempt(in *receiver) (int, error) {
	n, err := c.socket.attempt(in)
	return c.count(n, err)
}

func (c *conn) count(n int, err error) (int, error) {
	c.got += int64(n)
	c.eof = err == io.EOF
	if c.got > c.gotMost {
		return n, errHeadTooLarge
	}
	return n, err
}

func (c *conn) arrival(start time.Time, floor time.Duration) arrival {
	return c.socket.arrival(start, floor)
}

func (c *conn) bound(d time.Duration) { _ = c.socket.SetReadDeadline(time.Now().Add(d)) }

func (c *conn) drop() { c.socket.Close() }

func (c *conn) release() {
	if c.close || c.br != nil && c.br.Buffered() > 0 {
		c.drop() // or bytes that nobody asked for
		return
	}
	if c.br != nil {
		c.giveBack()
	}
	if c.socket.SetReadDeadline(time.Time{}) != nil {
		c.drop()
		return
	}
	c.pool.put(c)
}

// put keeps c for the next request and closes those that have been idle for too
// long.
func (h *http1) put(c *conn) {
	now := time.Now()
	c.idleSince = now
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		c.drop()
		return
	}
	stale := 0
	for stale < len(h.idle) && now.Sub(h.idle[stale].idleSince) > idleMost {
		h.idle[stale].drop()
		stale++
	}
	h.idle = append(h.idle[:0], h.idle[stale:]...)
	h.idle = append(h.idle, c)
}

// take returns an idle connection that is fit for use; nil where there is none.
func (h *http1) take() *conn {
	for {
		h.mu.Lock()
		n := len(h.idle)
		if n == 0 {
			h.mu.Unlock()
			return nil
		}
		c := h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		h.mu.Unlock()
		if c.fit() {
			return c
		}
		c.drop()
	}
}

// fit reports whether an idle connection can carry a request.
func (c *conn) fit() bool {
	if time.Since(c.idleSince) > idleMost {
		return false
	}
	closed, unread := peek(c.socket.Conn)
	// Under TLS unread bytes may be a session ticket; in the clear they are an
	// answer to nothing.
	return !closed && (!unread || c.dialed.tls > 0)
}

func (h *http1) dial(ctx context.Context) (*conn, error) {
	d, err := h.dialer.dial(ctx)
	if err != nil {
		return nil, err
	}
	h.stats.add(d.connect, d.tls)
	return &conn{dialed: *d, pool: h, idleSince: time.Now()}, nil
}

// prepare fills the pool up to n connections. The first is opened alone, so that
// a server that is not there is not asked n times.
func (h *http1) prepare(ctx context.Context, n int) {
	const atOnce = 64
	var fit []*conn
	for c := h.take(); c != nil; c = h.take() {
		fit = append(fit, c)
	}
	slices.Reverse(fit) // the most recently used last again
	h.mu.Lock()
	h.idle = append(h.idle, fit...)
	h.mu.Unlock()

	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	for i := len(fit); i < n && ctx.Err() == nil; i++ {
		slots <- struct{}{}
		open := func() {
			defer func() { <-slots }()
			c, err := h.dial(ctx)
			if err != nil {
				giveUp() // the requests will find out for themselves
				return
			}
			h.add(c)
		}
		if i == len(fit) {
			open()
			continue
		}
		wg.Go(open)
	}
	wg.Wait()
}

// add puts a connection that has carried no request into the pool.
func (h *http1) add(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		c.drop()
		return
	}
	c.idleSince = time.Now()
	h.idle = append(h.idle, c)
}

func (h *http1) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, c := range h.idle {
		c.drop()
	}
	h.idle = nil
	h.dialer.pumps.close()
}

// roundTrip sends body on an idle connection or else on a new one. Where an idle
// one turns out to have been closed by the server before any byte of an answer,
// the request is sent once more, on a new one.
func (h *http1) roundTrip(x *exchange, body []byte) (*http.Response, link, error) {
	if c := h.take(); c != nil {
		resp, err := h.attempt(x, c, true, body)
		if err == nil {
			return resp, c, nil
		}
		if c.got > 0 || !hangup(err) || x.watch.ended() || x.now()-x.floor > replayWithin {
			return nil, nil, err
		}
	}
	c, err := h.dial(x.ctx)
	if err != nil {
		return nil, nil, err
	}
	x.connected(c.connect, c.dialed.tls)
	resp, err := h.attempt(x, c, false, body)
	if err != nil {
		return nil, nil, err
	}
	return resp, c, nil
}

// attempt sends body on c and reads the head of the answer; after an error c is
// closed.
func (h *http1) attempt(x *exchange, c *conn, reused bool, body []byte) (*http.Response, error) {
	buf := buffers.Get().(*[]byte)
	*buf = append(strconv.AppendInt(append((*buf)[:0], h.head...), int64(len(body)), 10), "\r\n\r\n"...)
	*buf = append(*buf, body...)

	c.got, c.gotMost, c.close = 0, headMost, false
	x.send(reused, c.drop)
	_, err := c.Write(*buf)
	buffers.Put(buf)
	var resp *http.Response
	at := stageSend
	// A server may answer (with 413, say) and close without reading everything:
	// its answer says more than our failed write.
	if err == nil || hangup(err) {
		sendErr := err
		if err == nil {
			at = stageHead
		}
		if resp, err = c.readHead(); err != nil && sendErr != nil {
			err = sendErr
		}
	}
	if err != nil {
		x.watch.disarm()
		c.drop()
		return nil, &wireError{at, err}
	}
	c.close = c.close || resp.Close || at == stageSend
	c.gotMost = 1<<63 - 1
	if p, ok := c.socket.Conn.(pusher); ok && slices.Equal(resp.TransferEncoding, []string{"chunked"}) {
		resp.Body = &pushedBody{c: c, pump: p}
	}
	return resp, nil
}

var heads = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// buffers are for requests on their way out.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

var posted = &http.Request{Method: http.MethodPost}

// readHead reads the head of the answer, past any interim ones.
func (c *conn) readHead() (*http.Response, error) {
	const interimMost = 16
	c.borrow()
	for range interimMost {
		resp, err := http.ReadResponse(c.br, posted)
		if err != nil {
			switch {
			case c.got == 0 && errors.Is(err, io.ErrUnexpectedEOF):
				err = io.EOF // not a byte of an answer: closed, not cut short
			case c.eof:
				err = io.ErrUnexpectedEOF // whatever the half of a line looked like
			}
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, errors.New("nothing but interim answers")
}
