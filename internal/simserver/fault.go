package simserver

import (
	"slices"
	"strings"
	"time"
)

// Fault is misbehaviour on the wire. It hits every request unless Share or Every
// picks some; faults of different modes that hit the same request work together
// as far as they can.
//
// Instead of an answer:
//
//	status             HTTP Status (default 503), with Retry-After where retry_after is set, after Delay
//	redirect           302 to another path
//	html               200 with a page of HTML
//	empty_body         200 with a body of no bytes
//	malformed          200 with a stream that is no JSON
//	no_choices         200 with a stream whose events have no choices, then the end mark
//	no_output          200 with a stream of empty deltas, finish_reason and end mark
//	plain_json         a plain JSON answer to a streaming request
//	slow_headers       the status line comes only after Delay
//
// Ends before its end, after After tokens:
//
//	reset              the connection is reset
//	truncate_chunked   a chunked body is cut short: unexpected EOF
//	truncate_close     a "Connection: close" body is cut short: clean EOF
//	no_finish          the stream just ends, without finish_reason and end mark
//	error_object       an object with "error" inside the stream, which then ends
//	error_event        the same as "event: error"
//	stall              silence, with the connection open
//	endless            goes on at its pace and never stops
//	flood              goes on as fast as the socket takes it and never stops
//
// After its end:
//
//	no_done            finish_reason, but no end mark
//	open_after_done    the end mark, but the body stays open for Delay (default: for ever)
//	idle_close         the server closes a kept-alive connection that was idle for Delay
//
// Framing, all of it legal:
//
//	crlf, cr           line ends
//	crlf_split         CRLF, with a pause between CR and LF
//	no_space           "data:" without a space
//	multi_line         each event's data on several lines
//	fields             id:, event: and retry: lines beside data:
//	pings              comments, empty data and "data: : keepalive" between the events, and every Delay (default 1s) of silence
//	split_utf8         text outside ASCII, each event in two writes that cut a character
//	split_bytes        each event in many small writes
//	huge_event         After tokens in, one event with Size bytes of text (default 4 MiB)
//	gzip               the body is compressed, although nobody asked
//	buffered           nothing leaves before the answer is complete, as behind a buffering proxy
//
// Content:
//
//	role_first         the role-only delta comes with the headers, long before the first token
//	null_content       content is null in the first delta
//	empty_finish       finish_reason is "" instead of null
//	reasoning_content  the first After tokens are reasoning, in a field of that name
//	reasoning          the same in a field "reasoning"
//	reasoning_both     the same in both fields at once
//	tool_calls         the output is the arguments of a tool call
//	batch              Tokens tokens per event (default 4)
//	usage_with_finish  usage comes with finish_reason, not in an event of its own
//	usage_cumulative   every event carries the usage so far
//	usage_null         every event but the last carries "usage": null
//	usage_zero         usage is all zeros
//	no_usage           there is none, whatever was asked for
type Fault struct {
	Mode  string  `yaml:"mode" json:"mode"`
	Share float64 `yaml:"share,omitempty" json:"share,omitzero"` // of the requests, drawn by chance
	Every int     `yaml:"every,omitempty" json:"every,omitzero"` // every k-th request
	Count int     `yaml:"count,omitempty" json:"count,omitzero"` // at most so many requests in all; 0: no bound

	After      int           `yaml:"after,omitempty" json:"after,omitzero"`             // output tokens before it strikes; default 1
	Delay      time.Duration `yaml:"delay,omitempty" json:"delay,omitzero"`             // not scaled
	Status     int           `yaml:"status,omitempty" json:"status,omitzero"`           // HTTP status
	RetryAfter time.Duration `yaml:"retry_after,omitempty" json:"retry_after,omitzero"` // whole seconds
	Size       int           `yaml:"size,omitempty" json:"size,omitzero"`               // bytes
	Tokens     int           `yaml:"tokens,omitempty" json:"tokens,omitzero"`           // per event
}

// faultModes are all modes, in the order of Fault's documentation.
var faultModes = []string{
	"status", "redirect", "html", "empty_body", "malformed", "no_choices", "no_output", "plain_json", "slow_headers",
	"reset", "truncate_chunked", "truncate_close", "no_finish", "error_object", "error_event", "stall", "endless", "flood",
	"no_done", "open_after_done", "idle_close",
	"crlf", "cr", "crlf_split", "no_space", "multi_line", "fields", "pings", "split_utf8", "split_bytes", "huge_event", "gzip", "buffered",
	"role_first", "null_content", "empty_finish", "reasoning_content", "reasoning", "reasoning_both", "tool_calls", "batch",
	"usage_with_finish", "usage_cumulative", "usage_null", "usage_zero", "no_usage",
}

// FaultModes returns the names of all fault modes.
func FaultModes() []string { return slices.Clone(faultModes) }

func (f Fault) validate(prefix string, v *problems) {
	if !slices.Contains(faultModes, f.Mode) {
		v.add(prefix+"mode", "unknown mode %q; known are %s", f.Mode, strings.Join(faultModes, ", "))
	}
	v.share(prefix+"share", f.Share)
	v.count(prefix+"every", f.Every)
	v.count(prefix+"count", f.Count)
	v.count(prefix+"after", f.After)
	v.duration(prefix+"delay", f.Delay)
	v.duration(prefix+"retry_after", f.RetryAfter)
	v.count(prefix+"size", f.Size)
	v.count(prefix+"tokens", f.Tokens)
	if f.Share > 0 && f.Every > 0 {
		v.add(prefix+"every", "share and every exclude each other; keep one")
	}
	if f.Status != 0 && (f.Status < 300 || f.Status > 599) {
		v.add(prefix+"status", "must be an HTTP status of 300 to 599, is %d", f.Status)
	}
	if f.Mode == "idle_close" && f.Delay == 0 {
		v.add(prefix+"delay", "says after how much idle time the connection is closed; set it, e.g. 5s")
	}
	if f.Mode == "slow_headers" && f.Delay == 0 {
		v.add(prefix+"delay", "says how long the headers take; set it, e.g. 2s")
	}
}
