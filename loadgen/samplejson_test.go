package loadgen

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSampleJSONRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	span := func() time.Duration { return 1 + time.Duration(rng.Int64N(int64(24*time.Hour))) }
	full := func() Sample {
		return Sample{
			Index: 3, PromptIndex: 1003, Conversation: 0, Turn: 2,
			Intended: span(), Ready: span(), Sent: span(), FirstOutput: span(), FirstAnswer: span(), LastOutput: span(), End: span(),
			WasSent: true, Streamed: true, OutputEvents: 4, Gaps: []uint32{0, 1, 20123, 1<<32 - 1},
			WantPromptTokens: 512, WantOutputTokens: 128, PromptTokens: 515, CachedTokens: 0, OutputTokens: 127, FirstTokens: 3, DoubtedTokens: 9000, TokenSource: TokensFromUsage,
			Class: HTTP429, Message: "slow\ndown", Status: 429, RetryAfter: span(),
			ConnReused: true, Connect: span(), TLS: span(), Stamp: StampKernel, StampDelay: span(), Retries: 1, Stalled: true,
		}
	}
	samples := []Sample{
		{Conversation: -1, CachedTokens: -1, Class: ConnectionRefused, End: time.Second},
		{Conversation: -1, CachedTokens: -1, WasSent: true}, // sent at offset 0 exactly
		{Conversation: -1, CachedTokens: -1, WasSent: true, OutputEvents: 1, Stamp: StampKernel, Gaps: []uint32{}},
	}
	for range 200 {
		samples = append(samples, full())
	}
	for _, want := range samples {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Sample
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\n got %+v\nwant %+v\nvia %s", err, got, want, b)
		}
	}
	// A field that is added to Sample must find its way into the JSON: the sample
	// above sets all of them.
	for v, i := reflect.ValueOf(full()), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() && v.Type().Field(i).Name != "Conversation" && v.Type().Field(i).Name != "CachedTokens" {
			t.Errorf("the test leaves %s unset", v.Type().Field(i).Name)
		}
	}
}

func TestSampleJSONAbsentIsNull(t *testing.T) {
	b, err := json.Marshal(Sample{Conversation: -1, CachedTokens: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"conversation", "sent_seconds", "first_output_seconds", "first_answer_seconds", "last_output_seconds",
		"chunk_gaps_seconds", "cached_tokens", "status", "retry_after_seconds", "connect_seconds", "tls_seconds", "stamp_delay_seconds",
	} {
		if !strings.Contains(string(b), `"`+key+`":null`) {
			t.Errorf("%s is not null in %s", key, b)
		}
	}
}
