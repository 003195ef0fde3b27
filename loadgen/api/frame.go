package api

import (
	"bytes"
	"strings"
)

// maxEvent caps the memory one event (or plain answer) may take. Images and
// long tool calls make events of several MB; nothing honest is larger.
const maxEvent = 16 << 20

// keepBuffer is the largest buffer kept for the next event.
const keepBuffer = 64 << 10

// payloads says what one JSON payload of a protocol means.
type payloads interface {
	// fast fills in e and returns true, or returns false for anything unusual.
	// It must change no state where it returns false.
	fast(b []byte, e *Event) bool
	// slow does the same by way of encoding/json for every well-formed object.
	slow(o object, e *Event)
}

// framing is how the payloads are packed into the body.
type framing uint8

const (
	sniffing framing = iota // nothing but white space seen so far
	eventStream
	jsonLines
	document // one JSON answer
)

// stream is the Decoder of every protocol: it cuts the body into payloads and
// lets the protocol read them. Complete lines are read where they lie, in the
// caller's buffer; only what is cut by the end of a read is copied.
type stream struct {
	protocol payloads
	limit    int
	packing  framing
	lines    bool // a body that starts with { is one JSON object a line
	plain    bool // such a body was announced as a plain JSON answer
	emit     func(*Event)
	event    Event

	ended    bool   // the end mark came: the rest is ignored
	bom      uint8  // bytes of a byte order mark seen
	indented bool   // the first line starts with something that is no field
	line     []byte // start of a line (or document) whose end has not come
	partial  int    // its length, also where it is too long to be kept
	skipLF   bool   // the last byte was CR: an LF belongs to it
	skipping bool   // the current event is too large: drop it up to its end

	name eventName
	data []byte // payload of the current event; lies in the caller's buffer or in held
	held []byte // what of the payload had to be copied
	some bool   // the current event has a data line
	kept bool   // data lies in held
}

type eventName uint8

const (
	nameOther eventName = iota
	nameError
	namePing
)

func newStream(p payloads, mediaType string, linesByDefault bool) *stream {
	mediaType = strings.ToLower(mediaType)
	ndjson := mediaType == "application/x-ndjson" || mediaType == "application/jsonl" || mediaType == "application/jsonlines"
	return &stream{
		protocol: p,
		limit:    maxEvent,
		lines:    ndjson || linesByDefault,
		plain:    mediaType == "application/json",
	}
}

// Feed implements Decoder.
func (d *stream) Feed(p []byte, emit func(*Event)) {
	d.emit = emit
	if d.packing == sniffing && !d.ended {
		p = d.sniff(p)
	}
	switch {
	case d.ended || len(p) == 0:
	case d.packing == document:
		d.feedDocument(p)
	default:
		d.feedLines(p)
	}
	if !d.ended {
		d.keep() // p is the caller's again
	}
	d.emit = nil
}

// Close implements Decoder.
func (d *stream) Close(emit func(*Event)) {
	if d.ended {
		return
	}
	d.emit = emit
	// A line or event cut by the end of the body still counts where it makes
	// sense; where it does not, the body was truncated, which is seen from the
	// missing finish mark and needs no second name.
	switch rest := d.line; d.packing {
	case document:
		d.payload(rest, false)
	case jsonLines:
		if d.partial > 0 && !d.skipping {
			d.payload(rest, true)
		}
	case eventStream:
		if d.partial > 0 && !d.skipping {
			d.field(rest)
		}
		if !d.ended && !d.skipping {
			d.dispatch(true)
		}
	}
	d.ended = true
	d.emit = nil
}

// sniff decides from the first byte that matters how the payloads are packed,
// and returns the rest. The announced media type is not enough: errors and plain
// answers come as text/event-stream and streams as text/plain.
func (d *stream) sniff(p []byte) []byte {
	const bom = "\xef\xbb\xbf"
	for i, c := range p {
		if d.bom < 3 { // still at the very start
			if c == bom[d.bom] {
				d.bom++
				continue
			}
			d.indented = d.bom > 0 // not a byte order mark after all
			d.bom = 3
		}
		switch c {
		case ' ', '\t':
			d.indented = true
			continue
		case '\r', '\n':
			d.indented = false
			continue
		case '{', '[', '<':
			d.packing = document
			if d.lines && !d.plain && c != '<' {
				d.packing = jsonLines
			}
			return p[i:]
		}
		d.packing = eventStream
		if d.indented {
			d.hold([]byte{' '})
		}
		return p[i:]
	}
	return nil
}

// feedDocument collects a plain answer.
func (d *stream) feedDocument(p []byte) {
	if len(d.line)+len(p) > d.limit {
		d.line = nil
		d.tooLarge()
		d.ended = true
		return
	}
	d.line = append(d.line, p...)
}

// feedLines cuts p into lines at LF, CRLF and CR.
func (d *stream) feedLines(p []byte) {
	pos, lf := 0, -1
	if d.skipLF && p[0] == '\n' {
		pos = 1
	}
	d.skipLF = false
	for pos < len(p) && !d.ended {
		if lf < pos {
			if lf = bytes.IndexByte(p[pos:], '\n'); lf < 0 {
				lf = len(p)
			} else {
				lf += pos
			}
		}
		end := lf
		if cr := bytes.IndexByte(p[pos:lf], '\r'); cr >= 0 {
			end = pos + cr
		}
		if end == len(p) {
			d.hold(p[pos:])
			return
		}
		line := p[pos:end]
		pos = end + 1
		if p[end] == '\r' {
			if pos == len(p) {
				d.skipLF = true
			} else if p[pos] == '\n' {
				pos++
			}
		}
		d.endLine(line)
	}
}

// hold keeps the start of a line until its end comes.
func (d *stream) hold(p []byte) {
	d.partial += len(p)
	if d.skipping {
		return
	}
	if d.partial > d.limit {
		d.oversize()
		return
	}
	// the payload may lie in line's buffer, if its own line was held too. It
	// has to move before the buffer is written again.
	d.keep()
	d.line = append(d.line, p...)
}

// keep moves the payload of the current event, if any, to where it stays.
func (d *stream) keep() {
	if d.some && !d.kept {
		d.held = append(d.held[:0], d.data...)
		d.data, d.kept = d.held, true
	}
}

// endLine handles the rest of a line whose start may have been held.
func (d *stream) endLine(rest []byte) {
	length := d.partial + len(rest)
	line := rest
	if d.partial > 0 && !d.skipping && length <= d.limit {
		d.line = append(d.line, rest...)
		line = d.line
		d.line = d.reuse(d.line)
	}
	d.partial = 0
	switch {
	case d.skipping:
		d.skipping = length > 0 && d.packing == eventStream
	case length > d.limit:
		d.oversize()
		d.skipping = d.packing == eventStream
	case d.packing == jsonLines:
		d.payload(line, false)
	case length == 0:
		d.dispatch(false)
	default:
		d.field(line)
	}
}

// reuse returns the buffer emptied, or nothing where it grew too large to keep.
func (d *stream) reuse(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// oversize reports the current event as too large and drops the rest of it.
func (d *stream) oversize() {
	d.line, d.held, d.data = nil, nil, nil
	d.some, d.kept, d.name = false, false, nameOther
	d.skipping = true
	d.tooLarge()
}

func (d *stream) tooLarge() {
	d.event = Event{CachedTokens: -1, Malformed: "an event larger than " + sizeText(d.limit)}
	d.emit(&d.event)
}

// field handles one line of an event stream, as the WHATWG rules say.
func (d *stream) field(line []byte) {
	if line[0] == ':' {
		return
	}
	name, value := line, []byte(nil)
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value = line[:i], line[i+1:]
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
	}
	switch string(name) {
	case "data":
		d.addData(value)
	case "event":
		d.name = nameOther
		switch string(value) {
		case "error":
			d.name = nameError
		case "ping":
			d.name = namePing
		}
	case "error": // llama.cpp names the field itself so
		d.name = nameError
		d.addData(value)
	}
}

// addData adds one data line to the current event.
func (d *stream) addData(value []byte) {
	if isDone(value) {
		// The end mark counts at once: some servers never send the blank line.
		if d.some {
			d.dispatch(false)
		}
		if !d.ended {
			d.end()
		}
		return
	}
	if !d.some {
		d.data, d.some, d.kept = value, true, false
		return
	}
	if len(d.data)+1+len(value) > d.limit {
		d.oversize()
		return
	}
	d.keep()
	d.held = append(append(d.held, '\n'), value...)
	d.data = d.held
}

func isDone(b []byte) bool { return len(b) >= 6 && string(bytes.TrimSpace(b)) == "[DONE]" }

// dispatch ends the current event.
func (d *stream) dispatch(last bool) {
	data, name, some := d.data, d.name, d.some
	d.held = d.reuse(d.held)
	d.data, d.some, d.kept, d.name = nil, false, false, nameOther
	switch {
	case name == nameError:
		d.event = Event{CachedTokens: -1, Error: ErrorText(data)}
		if d.event.Error == "" {
			d.event.Error = "the server sent an error event without a message"
		}
		d.emit(&d.event)
	case some && name != namePing:
		d.payload(data, last)
	}
}

func (d *stream) end() {
	d.event = Event{CachedTokens: -1, End: true}
	d.ended = true
	d.emit(&d.event)
}

// payload reads one payload and emits its event. Of the last payload of a body
// nothing is emitted where it makes no sense.
func (d *stream) payload(b []byte, last bool) {
	b = bytes.TrimSpace(b)
	if d.packing != document && (len(b) == 0 || b[0] == ':') { // a ping
		return
	}
	d.event = Event{CachedTokens: -1}
	if !d.protocol.fast(b, &d.event) {
		d.event = Event{CachedTokens: -1}
		o, problem := parseObject(b)
		switch message := o.errorMessage(); {
		case problem != "" && last:
			return
		case problem != "":
			d.event.Malformed = problem
		case message != "":
			d.event.Error = message
		default:
			d.protocol.slow(o, &d.event)
		}
	}
	if d.packing == document {
		d.event.Plain = true
		d.event.End = d.event.End || d.event.Error == "" && d.event.Malformed == ""
	}
	d.ended = d.ended || d.event.End
	d.emit(&d.event)
}
