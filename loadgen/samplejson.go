package loadgen

import (
	"encoding/json"
	"math"
	"time"
)

// sampleJSON is a Sample as samples.jsonl.gz holds it: moments and times in
// seconds, null where they do not exist.
type sampleJSON struct {
	Index        int  `json:"index"`
	PromptIndex  int  `json:"prompt_index"`
	Conversation *int `json:"conversation"`
	Turn         int  `json:"turn"`

	Intended    float64  `json:"intended_seconds"`
	Ready       float64  `json:"ready_seconds"`
	Sent        *float64 `json:"sent_seconds"`
	FirstOutput *float64 `json:"first_output_seconds"`
	FirstAnswer *float64 `json:"first_answer_seconds"`
	LastOutput  *float64 `json:"last_output_seconds"`
	End         float64  `json:"end_seconds"`

	Streamed     bool      `json:"streamed"`
	OutputEvents int       `json:"output_events"`
	Gaps         []float64 `json:"chunk_gaps_seconds"`

	WantPromptTokens int         `json:"want_prompt_tokens"`
	WantOutputTokens int         `json:"want_output_tokens"`
	PromptTokens     int         `json:"prompt_tokens"`
	CachedTokens     *int        `json:"cached_tokens"`
	OutputTokens     int         `json:"output_tokens"`
	FirstTokens      *int        `json:"first_tokens"`
	DoubtedTokens    *int        `json:"doubted_tokens"`
	TokenSource      TokenSource `json:"token_source"`

	Class      Class    `json:"class"` // empty: success
	Message    string   `json:"message,omitempty"`
	Status     *int     `json:"status"`
	RetryAfter *float64 `json:"retry_after_seconds"`

	ConnReused bool        `json:"conn_reused"`
	Connect    *float64    `json:"connect_seconds"`
	TLS        *float64    `json:"tls_seconds"`
	Stamp      StampSource `json:"stamp"`
	StampDelay *float64    `json:"stamp_delay_seconds"`
	Retries    int         `json:"retries"`
	Stalled    bool        `json:"stalled,omitempty"` // this process stood still meanwhile: the times are not the server's
}

// MarshalJSON writes the sample with times in seconds and what does not exist as
// null.
func (s Sample) MarshalJSON() ([]byte, error) {
	j := sampleJSON{
		Index: s.Index, PromptIndex: s.PromptIndex, Conversation: unless(s.Conversation, -1), Turn: s.Turn,
		Intended: s.Intended.Seconds(), Ready: s.Ready.Seconds(), End: s.End.Seconds(),
		Sent:        momentIf(s.WasSent, s.Sent),
		FirstOutput: momentIf(s.HasOutput(), s.FirstOutput),
		FirstAnswer: momentIf(s.FirstAnswer != 0, s.FirstAnswer),
		LastOutput:  momentIf(s.HasOutput(), s.LastOutput),
		Streamed:    s.Streamed, OutputEvents: s.OutputEvents,
		WantPromptTokens: s.WantPromptTokens, WantOutputTokens: s.WantOutputTokens,
		PromptTokens: s.PromptTokens, CachedTokens: unless(s.CachedTokens, -1),
		OutputTokens: s.OutputTokens, FirstTokens: unless(s.FirstTokens, 0), DoubtedTokens: unless(s.DoubtedTokens, 0), TokenSource: s.TokenSource,
		Class: s.Class, Message: s.Message, Status: unless(s.Status, 0),
		RetryAfter: momentIf(s.RetryAfter != 0, s.RetryAfter),
		ConnReused: s.ConnReused,
		Connect:    momentIf(s.Connect != 0, s.Connect), TLS: momentIf(s.TLS != 0, s.TLS),
		Stamp: s.Stamp, StampDelay: momentIf(s.Stamp == StampKernel, s.StampDelay),
		Retries: s.Retries, Stalled: s.Stalled,
	}
	if s.Gaps != nil {
		j.Gaps = make([]float64, len(s.Gaps))
		for i, us := range s.Gaps {
			j.Gaps[i] = float64(us) / 1e6
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote, to the nanosecond.
func (s *Sample) UnmarshalJSON(b []byte) error {
	var j sampleJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*s = Sample{
		Index: j.Index, PromptIndex: j.PromptIndex, Conversation: or(j.Conversation, -1), Turn: j.Turn,
		Intended: seconds(j.Intended), Ready: seconds(j.Ready), Sent: moment(j.Sent),
		FirstOutput: moment(j.FirstOutput), FirstAnswer: moment(j.FirstAnswer), LastOutput: moment(j.LastOutput), End: seconds(j.End),
		WasSent: j.Sent != nil, Streamed: j.Streamed, OutputEvents: j.OutputEvents,
		WantPromptTokens: j.WantPromptTokens, WantOutputTokens: j.WantOutputTokens,
		PromptTokens: j.PromptTokens, CachedTokens: or(j.CachedTokens, -1),
		OutputTokens: j.OutputTokens, FirstTokens: or(j.FirstTokens, 0), DoubtedTokens: or(j.DoubtedTokens, 0), TokenSource: j.TokenSource,
		Class: j.Class, Message: j.Message, Status: or(j.Status, 0), RetryAfter: moment(j.RetryAfter),
		ConnReused: j.ConnReused, Connect: moment(j.Connect), TLS: moment(j.TLS),
		Stamp: j.Stamp, StampDelay: moment(j.StampDelay), Retries: j.Retries, Stalled: j.Stalled,
	}
	if j.Gaps != nil {
		s.Gaps = make([]uint32, len(j.Gaps))
		for i, gap := range j.Gaps {
			s.Gaps[i] = uint32(math.Round(gap * 1e6))
		}
	}
	return nil
}

// unless returns v, or nil where v is the mark of absence. A pointer is written many
// times faster than a type with a method for it.
func unless(v, absent int) *int {
	if v == absent {
		return nil
	}
	return &v
}

func or(p *int, absent int) int {
	if p == nil {
		return absent
	}
	return *p
}

func momentIf(exists bool, d time.Duration) *float64 {
	if !exists {
		return nil
	}
	v := d.Seconds()
	return &v
}

func moment(v *float64) time.Duration {
	if v == nil {
		return 0
	}
	return seconds(*v)
}

// seconds rounds, since a float of seconds rarely is a whole number of
// nanoseconds.
func seconds(v float64) time.Duration { return time.Duration(math.Round(v * float64(time.Second))) }
