package trace

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func converted(t testing.TB, log string) (*LogReading, string, []Request) {
	t.Helper()
	var out bytes.Buffer
	r, err := fromLog(t.Context(), strings.NewReader(log), &out)
	if err != nil {
		t.Fatal(err)
	}
	text := out.String()
	_, all, err := gathered(t, text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return r, text, all
}

const vllmLog = `INFO:     Application startup complete.
INFO 07-25 02:41:21 [logger.py:43] Received request chatcmpl-56: prompt: '<|User|>Who is Ms. O\'Hara?', params: SamplingParams(n=1, max_tokens=128), prompt_token_ids: [1, 2, 3], prompt_embeds shape: None, lora_request: None.
INFO:     10.0.0.7:44784 - "POST /v1/chat/completions HTTP/1.1" 200 OK
(APIServer pid=1) INFO 07-25 02:41:23 [logger.py:43] Received request cmpl-7: prompt: "It's her secret diary", params: SamplingParams(n=1), prompt_token_ids: None, lora_request: None.
INFO 07-25 02:41:25 [logger.py:71] Generated response chatcmpl-56 (streaming complete): output: 'She lives in Paris', output_token_ids: [4, 5, 6, 7], finish_reason: stop
INFO 07-25 02:41:26 [logger.py:71] Generated response cmpl-7: output: 'twenty bytes of text', output_token_ids: None, finish_reason: length
INFO 07-25 02:41:29 [logger.py:43] Received request chatcmpl-57: prompt: None, params: SamplingParams(n=1), prompt_token_ids: [1, 2, 3], lora_request: None.
`

func TestVLLMLog(t *testing.T) {
	r, text, all := converted(t, vllmLog)
	want := []Request{
		{InputTokens: 3, OutputTokens: 4, Blocks: []uint64{1}, BlockTokens: 512},
		{At: 2 * time.Second, InputTokens: 5, OutputTokens: 5, Blocks: []uint64{2}, BlockTokens: 512},
		{At: 8 * time.Second, InputTokens: 3, Blocks: []uint64{1}, BlockTokens: 512},
	}
	if fmt.Sprintf("%+v", all) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v, want\n%+v", all, want)
	}
	if r.Requests != 3 || r.OtherLines != 2 || r.Estimated != 1 || r.NoOutput != 1 || r.WithBlocks != 3 {
		t.Errorf("%+v", r)
	}
	for _, private := range []string{"Hara", "diary", "Paris", "chatcmpl", "10.0.0.7", "cmpl"} {
		if strings.Contains(text, private) {
			t.Errorf("%q got into the trace:\n%s", private, text)
		}
	}
}

const accessLog = `{"time_iso8601":"2026-03-01T10:00:05+00:00","remote_addr":"203.0.113.9","request":"POST /v1/chat/completions HTTP/1.1","status":"200","request_time":"4.500","prompt_tokens":700,"completion_tokens":30,"session_id":"alice@example.org"}
{"time_iso8601":"2026-03-01T10:00:04+00:00","request":"GET /health HTTP/1.1","status":"200","request_time":"0.001"}
{"ts":1772359203.25,"path":"/v1/completions","status":503,"prompt_tokens":5}
{"timestamp":1772359203250,"uri":"/v1/completions","status":200,"duration_ms":250,"usage":{"prompt_tokens":41,"completion_tokens":7}}
{"time_local":"01/Mar/2026:10:00:09 +0000","request_uri":"/v1/chat/completions","status":200,"request_time":1,"request_length":"4096","session_id":"alice@example.org"}
{"msg":"started"}
not json
{"time":"2026-03-01T10:00:10Z","request_body":"{\"messages\":[{\"role\":\"user\",\"content\":\"my salary\"}]}","response":{"usage":{"output_tokens":9,"input_tokens":12}}}
`

func TestAccessLog(t *testing.T) {
	r, text, all := converted(t, accessLog)
	// In the order of their beginnings: 10:00:00.5, :03.0, :08, :10.
	want := []Request{
		{InputTokens: 700, OutputTokens: 30, BlockTokens: 512, Session: 1},
		{At: 2500 * time.Millisecond, InputTokens: 41, OutputTokens: 7, BlockTokens: 512},
		{At: 7500 * time.Millisecond, InputTokens: 1024, BlockTokens: 512, Session: 1},
		{At: 9500 * time.Millisecond, InputTokens: 12, OutputTokens: 9, Blocks: []uint64{2}, BlockTokens: 512},
	}
	if fmt.Sprintf("%+v", all) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v, want\n%+v", all, want)
	}
	if r.Failed != 1 || r.OtherLines != 3 || r.Reasons["requests that ask no model"] != 1 || r.Reasons["no time"] != 1 || r.InSessions != 2 || r.Estimated != 1 {
		t.Errorf("%+v", r)
	}
	for _, private := range []string{"alice", "salary", "203.0"} {
		if strings.Contains(text, private) {
			t.Errorf("%q got into the trace:\n%s", private, text)
		}
	}
}

// What two prompts have in common is what their blocks have in common.
func TestLoggedPrefixesAreShared(t *testing.T) {
	system := strings.Repeat("You are helpful. ", 400) // 6800 bytes: three blocks and a rest
	log := ""
	for i := range 2 {
		log += fmt.Sprintf(`{"time":%d,"prompt":"%s question %d","prompt_tokens":1700}`+"\n", 1772359203+i, system, i)
	}
	_, _, all := converted(t, log)
	a, b := all[0].Blocks, all[1].Blocks
	if len(a) != 4 || fmt.Sprint(a[:3]) != fmt.Sprint(b[:3]) || a[3] == b[3] {
		t.Errorf("blocks %v and %v", a, b)
	}
}

func TestLogOfNothing(t *testing.T) {
	_, err := fromLog(t.Context(), strings.NewReader("hello\n{\"a\":1}\n"), &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "tells of no request") {
		t.Errorf("%v", err)
	}
}

// FuzzFromLog: no log panics, and what is written is a trace without a bad line.
func FuzzFromLog(f *testing.F) {
	f.Add([]byte(vllmLog))
	f.Add([]byte(accessLog))
	f.Add([]byte(`{"time":1,"message":"Received request x: prompt: '\\"}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		var out bytes.Buffer
		r, err := fromLog(t.Context(), bytes.NewReader(log), &out)
		if err != nil {
			return
		}
		got, all, err := gathered(t, out.String())
		if err != nil || got.BadLines > 0 || got.LeftOut > 0 || len(all) != r.Requests {
			t.Fatalf("%+v, %+v, %v:\n%s", r, got, err, out.String())
		}
	})
}
