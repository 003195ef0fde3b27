package loadgen

import (
	"bufio"
	"errors"
	"io"
)

// dechunker takes the framing off a chunked body, however its bytes are cut (RFC
// 9112, section 7.1). Extensions of chunks and trailers are passed over.
type dechunker struct {
	state  chunkState
	left   uint64 // bytes of the chunk to come
	digits int    // of its size
	line   int    // length of the framing line so far
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkData
	chunkDataEnd // the line end after the data
	chunkTrailer // at the start of a trailer line
	chunkTrailerLine
	chunkDone
)

const framingMost = 16 << 10 // bytes of a framing line

var (
	errChunkSize = errors.New("malformed chunked encoding: no chunk size where one is due")
	errChunkEnd  = errors.New("malformed chunked encoding: a chunk is longer than its size")
	errChunkLine = errors.New("malformed chunked encoding: a line without end")
)

// next returns the first stretch of content in b and what follows it. There is
// no content where b ends within framing. The error is io.EOF at the body's end, with
// whatever follows the body as the rest.
func (d *dechunker) next(b []byte) (content, rest []byte, err error) {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; d.state {
		case chunkData:
			n := uint64(len(b) - i)
			if n >= d.left {
				n = d.left
				d.state = chunkDataEnd
			}
			d.left -= n
			return b[i : i+int(n)], b[i+int(n):], nil
		case chunkSize:
			if v, ok := hexDigit(c); ok {
				if d.digits++; d.digits > 15 {
					return nil, nil, errChunkSize
				}
				d.left = d.left<<4 | uint64(v)
				continue
			}
			if d.digits == 0 {
				return nil, nil, errChunkSize
			}
			d.state = chunkExtension
			i-- // it may be the line's end
		case chunkExtension:
			if c == '\n' {
				d.sized()
			} else if err := d.within(); err != nil {
				return nil, nil, err
			}
		case chunkDataEnd:
			switch c {
			case '\n':
				d.state = chunkSize
			case '\r':
			default:
				return nil, nil, errChunkEnd
			}
		case chunkTrailer:
			switch c {
			case '\n':
				d.state = chunkDone
				return nil, b[i+1:], io.EOF
			case '\r':
			default:
				d.state = chunkTrailerLine
			}
		case chunkTrailerLine:
			if c == '\n' {
				d.state = chunkTrailer
			} else if err := d.within(); err != nil {
				return nil, nil, err
			}
		case chunkDone:
			return nil, b[i:], io.EOF
		}
	}
	return nil, nil, nil
}

// sized begins the chunk whose size line has ended.
func (d *dechunker) sized() {
	d.state = chunkData
	if d.left == 0 {
		d.state = chunkTrailer
	}
	d.digits, d.line = 0, 0
}

// within counts a byte of a framing line; all trailers together count as one.
func (d *dechunker) within() error {
	if d.line++; d.line > framingMost {
		return errChunkLine
	}
	return nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// errAgain says that there is nothing to read yet.
var errAgain = errors.New("nothing to read yet")

// reader reads what a socket has into the receiver's buffer and says whether more is to
// come. A buffer that was not filled held all there was, since what comes later is told
// anew; but an end that was told already (ended) is only found by reading on until there
// is nothing left.
type reader interface {
	read(in *receiver, ended bool) (more bool)
}

// pusher is a socket whose pump reads for it. push returns when the reader says that
// nothing more is to come, or with an error once the socket is closed.
type pusher interface {
	push(r reader) error
}

// taker takes in bytes that have just been read and says whether more is wanted.
type taker interface {
	take(p []byte) (more bool)
}

// pushedBody is a chunked body that a pump reads. It keeps no buffer of its own
// while it waits.
type pushedBody struct {
	c        *conn
	pump     pusher
	frame    dechunker
	to       taker
	unwanted bool // what follows is passed over
	err      error
}

// push hands every stretch of the body to a taker as it arrives, on the pump's
// goroutine, until nothing more is wanted, or to the end (io.EOF). What follows in the
// same read is passed over, so that where the body's end is among it the error is
// io.EOF after all.
func (b *pushedBody) push(to taker) error {
	b.to = to
	early, _ := b.c.br.Peek(b.c.br.Buffered())
	more := b.feed(early)
	b.c.giveBack()
	if !more {
		return b.err
	}
	if err := b.pump.push(b); err != nil {
		return err
	}
	return b.err
}

// feed takes the framing off what was read.
func (b *pushedBody) feed(p []byte) (more bool) {
	for len(p) > 0 && b.err == nil {
		var content []byte
		if content, p, b.err = b.frame.next(p); len(content) > 0 && !b.unwanted {
			b.unwanted = !b.to.take(content)
		}
	}
	if len(p) > 0 { // bytes that nobody asked for
		b.c.close = true
	}
	return !b.unwanted && b.err == nil
}

// read implements reader.
func (b *pushedBody) read(in *receiver, ended bool) (more bool) {
	for {
		n, failed := b.c.attempt(in)
		if failed == errAgain {
			return true
		}
		if !b.feed(in.buf[:n]) {
			return false
		}
		if b.err = failed; failed == io.EOF {
			b.err = io.ErrUnexpectedEOF
		}
		if failed != nil {
			return false
		}
		if n < len(in.buf) && !ended {
			return true
		}
	}
}

// Read reads what is left of the body.
func (b *pushedBody) Read(p []byte) (int, error) {
	for {
		var n int
		var err error
		if b.c.br != nil {
			n, err = b.c.br.Read(p)
		} else {
			n, err = b.c.Read(p)
		}
		kept := 0
		for rest := p[:n]; len(rest) > 0; {
			content, after, end := b.frame.next(rest)
			kept += copy(p[kept:], content)
			if rest = after; end != nil {
				b.c.close = b.c.close || len(rest) > 0
				return kept, end
			}
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if kept > 0 || err != nil {
			return kept, err
		}
	}
}

// Close does nothing: the connection is its link's.
func (b *pushedBody) Close() error { return nil }

var _ io.ReadCloser = (*pushedBody)(nil)

// giveBack returns the reader of heads to those that need one.
func (c *conn) giveBack() {
	c.br.Reset(nil)
	heads.Put(c.br)
	c.br = nil
}

// borrow takes one.
func (c *conn) borrow() {
	if c.br == nil {
		c.br = heads.Get().(*bufio.Reader)
		c.br.Reset(c)
	}
}
