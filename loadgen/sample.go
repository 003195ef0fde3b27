package loadgen

import "time"

// Class names what became of a request. The empty class is success.
type Class string

// The failure classes. Every request ends in exactly one class.
const (
	Success           Class = ""
	HTTP429           Class = "http_429"
	HTTP5xx           Class = "http_5xx"
	HTTP4xx           Class = "http_4xx"
	Denied            Class = "denied"           // 401, 402 or 403: the key, its quota or its licence
	ContextOverflow   Class = "context_overflow" // longer than the model's context: the prompt's fault, never the server's
	TimeoutConnect    Class = "timeout_connect"
	TimeoutFirstToken Class = "timeout_first_token"
	TimeoutIdle       Class = "timeout_idle"
	TimeoutTotal      Class = "timeout_total"
	ConnectionRefused Class = "connection_refused"
	ConnectionReset   Class = "connection_reset"
	Truncated         Class = "truncated"    // the stream ended without a finish mark
	Empty             Class = "empty"        // HTTP 200 without output
	StreamError       Class = "stream_error" // an error object or event inside the stream
	Malformed         Class = "malformed"
	Redirect          Class = "redirect" // refused: following it would turn POST into GET
	TLS               Class = "tls"
	DNS               Class = "dns"
	ClientLimit       Class = "client_limit" // EMFILE, ephemeral ports: this machine's fault, never the server's
	Cancelled         Class = "cancelled"    // the tool stopped it: in neither numerator nor denominator
)

// ServerFailure reports whether the class counts as a failure of the server,
// that is in the denominator of the success rate and not in its numerator.
func (c Class) ServerFailure() bool {
	return c != Success && c != Cancelled && c != ClientLimit && c != ContextOverflow
}

// AnyLoad reports whether the class tells of what was sent, or where to, and
// nothing of how much: the same request fails at any load.
func (c Class) AnyLoad() bool {
	switch c {
	case HTTP4xx, Denied, ContextOverflow, Redirect, TLS, DNS:
		return true
	}
	return false
}

// TokenSource says where a sample's output token count comes from.
type TokenSource string

// The sources of a token count.
const (
	TokensFromUsage  TokenSource = "usage"  // the server's own count
	TokensFromEvents TokenSource = "events" // the number of output events
)

// StampSource says where the arrival times of a sample come from.
type StampSource string

// The sources of an arrival time.
const (
	StampKernel StampSource = "kernel" // the kernel's receive stamp
	StampUser   StampSource = "user"   // the moment after the read
)

// Sample is one request as it happened. All times are offsets from the start of
// its run on one monotonic clock; they are never recomputed elsewhere.
//
// Intended <= Ready <= Sent <= FirstOutput <= LastOutput <= End holds where the
// moments exist: FirstOutput and LastOutput only where OutputEvents > 0, Sent
// only where WasSent.
type Sample struct {
	Index        int // number of the request within its run, from 0
	PromptIndex  int // number of its prompt in the workload, unique over all runs
	Conversation int // number of the conversation, -1 outside one
	Turn         int // turn within the conversation, from 0

	Intended    time.Duration // when the schedule wanted it sent; equals Ready in a closed loop
	Ready       time.Duration // when its slot was free and the request was its worker's to send
	Sent        time.Duration // when it was written to an established connection
	FirstOutput time.Duration // arrival of the first event that carries output
	FirstAnswer time.Duration // arrival of the first output that is not reasoning; 0 without one
	LastOutput  time.Duration // arrival of the last event that carries output
	End         time.Duration // end of the stream, or the moment of failure

	WasSent      bool
	Streamed     bool // false for a plain JSON answer to a streaming request: TTFT is then absent
	OutputEvents int  // events that carried output
	// Gaps holds the gaps between successive output events, in microseconds;
	// nil where they were not sampled or there are fewer than two events.
	Gaps []uint32

	WantPromptTokens int // asked for; 0 where the dataset does not say
	WantOutputTokens int
	PromptTokens     int // the server's own count; 0 where it gave none
	CachedTokens     int // prompt tokens served from a prefix cache; -1 where the server gave none
	OutputTokens     int
	FirstTokens      int // of OutputTokens, those that came with the first output event or, reasoned in secret, before it; 0 where that is not known
	DoubtedTokens    int // the server's own count of output tokens where its stream contradicts it; else 0
	TokenSource      TokenSource

	Class      Class
	Message    string        // of a failure: what the server or the system said, secrets removed
	Status     int           // HTTP status; 0 where there was no answer
	RetryAfter time.Duration // what the server asked for; 0 without the header

	ConnReused bool
	Connect    time.Duration // TCP connect of a new connection; not part of any latency
	TLS        time.Duration // TLS handshake of a new connection
	Stamp      StampSource
	StampDelay time.Duration // kernel-to-user delay of the first output; 0 where Stamp is user
	Retries    int
	Stalled    bool // this process stood still while the request was under way: what became of it counts, its times do not
}

// HasOutput reports whether any output arrived.
func (s *Sample) HasOutput() bool { return s.OutputEvents > 0 }

// TTFT returns the time from sent to the first output; false where there was
// none or the answer was not streamed.
func (s *Sample) TTFT() (time.Duration, bool) {
	if !s.HasOutput() || !s.Streamed || s.Stalled {
		return 0, false
	}
	return s.FirstOutput - s.Sent, true
}

// E2E returns the time from sent to the last output; false for a failure.
func (s *Sample) E2E() (time.Duration, bool) {
	if s.Class != Success || !s.HasOutput() || s.Stalled {
		return 0, false
	}
	return s.LastOutput - s.Sent, true
}

// TPOT returns (E2E - TTFT) / (output tokens - 1), the time per output token
// after the first; false where there are none after it. Where several are known to
// have come at once in the beginning, none of them is among those after the first.
func (s *Sample) TPOT() (time.Duration, bool) {
	after := s.OutputTokens - max(s.FirstTokens, 1)
	if _, ok := s.E2E(); !ok || !s.Streamed || after < 1 {
		return 0, false
	}
	return (s.LastOutput - s.FirstOutput) / time.Duration(after), true
}

// Residence returns the time the request spent at the server: from sent to the
// end, failures at their own duration; false where it was never sent.
func (s *Sample) Residence() (time.Duration, bool) {
	if !s.WasSent || s.Stalled {
		return 0, false
	}
	return s.End - s.Sent, true
}
