package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The first lines of the published files, and one of our own.
const (
	mooncakeText = `{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 2353, 2354]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 2366]}
`
	azureText = `TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
`
	azure2024Text = `TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
`
	burstText = `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,0,417,API log
`
	burst3Text = `Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1722ac82-0a46-4bf0-aa08-89794e7a2b3f,43,GPT-4,906,446,1352,Conversation log
19440161.0,d5983bf9-4b48-497b-892b-a58995247443,2,ChatGPT,36,29,65,Conversation log
19440200.5,1722ac82-0a46-4bf0-aa08-89794e7a2b3f,43,GPT-4,1400,12,1412,Conversation log
`
	nativeText = `{"time": 10.25, "input_tokens": 700, "output_tokens": 30, "blocks": ["a", 7], "session": "x"}
{"time": 11, "prompt": "what time is it?", "output_tokens": 5}
{"time": 12.5, "messages": [{"role": "user", "content": "hello"}], "session": "x"}
`
)

func gathered(t testing.TB, text string) (*Reading, []Request, error) {
	t.Helper()
	var all []Request
	r, err := scan(t.Context(), strings.NewReader(text), func(q *Request) error {
		c := *q
		c.line, c.offset = nil, 0
		all = append(all, c)
		return nil
	})
	return r, all, err
}

func TestFormats(t *testing.T) {
	x := hashed([]byte("x"))
	session := hashed([]byte("1722ac82-0a46-4bf0-aa08-89794e7a2b3f"))
	for _, c := range []struct {
		name, text string
		format     Format
		leftOut    int
		want       []Request
	}{
		{"mooncake", mooncakeText, Mooncake, 0, []Request{
			{InputTokens: 6955, OutputTokens: 52, BlockTokens: 512, Blocks: []uint64{46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 2353, 2354}},
			{At: 3053 * time.Millisecond, InputTokens: 6472, OutputTokens: 26, BlockTokens: 512, Blocks: []uint64{46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 2366}},
		}},
		{"azure 2023", azureText, Azure, 0, []Request{{InputTokens: 374, OutputTokens: 44}, {At: 4314579 * time.Microsecond, InputTokens: 396, OutputTokens: 109}}},
		{"azure 2024", azure2024Text, Azure, 0, []Request{{InputTokens: 2162, OutputTokens: 5}, {At: 7405 * time.Microsecond, InputTokens: 2399, OutputTokens: 6}}},
		{"burstgpt", burstText, BurstGPT, 1, []Request{{InputTokens: 472, OutputTokens: 18}, {At: 40 * time.Second, InputTokens: 1087, OutputTokens: 230}}},
		{"burstgpt 3", burst3Text, BurstGPT, 0, []Request{
			{InputTokens: 906, OutputTokens: 446, Session: session},
			{At: 51 * time.Second, InputTokens: 36, OutputTokens: 29, Session: hashed([]byte("d5983bf9-4b48-497b-892b-a58995247443"))},
			{At: 90500 * time.Millisecond, InputTokens: 1400, OutputTokens: 12, Session: session},
		}},
		{"native", nativeText, Native, 0, []Request{
			{InputTokens: 700, OutputTokens: 30, Blocks: []uint64{hashed([]byte("a")), 7}, BlockTokens: 512, Session: x},
			{At: 750 * time.Millisecond, Text: "what time is it?", OutputTokens: 5, BlockTokens: 512},
			{At: 2250 * time.Millisecond, Messages: []byte(`[{"role": "user", "content": "hello"}]`), BlockTokens: 512, Session: x},
		}},
		{"with a byte order mark and CRLF", "\xef\xbb\xbf" + strings.ReplaceAll(azureText, "\n", "\r\n"), Azure, 0,
			[]Request{{InputTokens: 374, OutputTokens: 44}, {At: 4314579 * time.Microsecond, InputTokens: 396, OutputTokens: 109}}},
		{"RFC 3339", `{"time":"2026-03-01T10:00:00.5Z","input_tokens":5}` + "\n" + `{"time":"2026-03-01T11:00:01+01:00","input_tokens":6}`, Native, 0,
			[]Request{{InputTokens: 5, BlockTokens: 512}, {At: 500 * time.Millisecond, InputTokens: 6, BlockTokens: 512}}},
	} {
		r, got, err := gathered(t, c.text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if r.Format != c.format || r.BadLines != 0 || r.LeftOut != c.leftOut || r.Requests != len(c.want) {
			t.Errorf("%s: %+v", c.name, *r)
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.name, got, c.want)
		}
	}
}

func TestBadLinesAreNamed(t *testing.T) {
	text := azureText + "yesterday,1,2\n2023-11-16 18:15:50,1\n2023-11-16 18:15:51,-4,2\n2023-11-16 18:15:51,4.5,2\n2023-11-16 18:15:51,4,many\n\"2023,1,2\n2023-11-16 18:15:52,3,4\n"
	r, got, err := gathered(t, text)
	if err != nil || len(got) != 3 || r.BadLines != 6 || len(r.Bad) != shownBadLines {
		t.Fatalf("%+v, %d requests, %v", r, len(got), err)
	}
	if !strings.HasPrefix(r.Bad[0], "line 4: TIMESTAMP \"yesterday\" is no moment") || !strings.Contains(r.Bad[1], "line 5: 2 columns instead of at least 3") {
		t.Errorf("%q", r.Bad)
	}
	if n := r.Notes(); len(n) != 1 || !strings.Contains(n[0], "bad lines skipped: 6 (line 4") || !strings.Contains(n[0], "and 1 more") {
		t.Errorf("notes %q", n)
	}
	r, got, err = gathered(t, "oops\n"+mooncakeText+"{\"timestamp\": 5}\n[1]\n")
	if err != nil || len(got) != 2 || r.BadLines != 3 {
		t.Errorf("%+v, %d requests, %v", r, len(got), err)
	}
}

func TestNothingUsable(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "in no format that is known",
		"a,b,c\n1,2,3\n":                  "in no format that is known",
		azureText[:39] + "\nx,1,2":        "not one usable request (azure; 1 bad lines",
		"\x1f\x8bnot gzip at all":         "begins like a gzip file",
		"{\"time\":1,\"input_tokens\":0}": "0 bad lines, 1 left out",
	} {
		if _, _, err := gathered(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func packed(t testing.TB, how, text string) []byte {
	var b bytes.Buffer
	switch how {
	case "gzip":
		w := gzip.NewWriter(&b)
		w.Write([]byte(text))
		w.Close()
	case "zstd":
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(text))
		w.Close()
	default:
		b.WriteString(text)
	}
	return b.Bytes()
}

func load(t testing.TB, content []byte, cut Cut) *Trace {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	tr, err := Load(t.Context(), path, cut, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// However a file is packed, what is in it is the same, down to the texts.
func TestCompression(t *testing.T) {
	for _, text := range []string{mooncakeText, burst3Text, nativeText} {
		var want []string
		for _, how := range []string{"", "gzip", "zstd"} {
			tr := load(t, packed(t, how, text), Cut{})
			if tr.Reading.Compression != how {
				t.Errorf("compression %q, want %q", tr.Reading.Compression, how)
			}
			source := tr.Source(1, sizer, 9)
			var got []string
			for i := range tr.Len() {
				got = append(got, fmt.Sprintf("%v %+v", tr.At[i], mustRequest(t, source, i)))
			}
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s differs from plain", tr.Reading.Format, how)
			}
		}
	}
}

func TestTornFile(t *testing.T) {
	var long strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&long, "{\"time\":%d,\"input_tokens\":%d}\n", i, 1+i*7919%1000)
	}
	whole := packed(t, "gzip", long.String())
	tr := load(t, whole[:len(whole)-2000], Cut{})
	if tr.Reading.Torn == "" || tr.Len() < 1000 || tr.Len() >= 5000 {
		t.Errorf("%d requests, torn %q", tr.Len(), tr.Reading.Torn)
	}
}

func TestNoTemporaryFileIsLeft(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	path := filepath.Join(t.TempDir(), "trace")
	for _, text := range []string{nativeText, "nothing"} {
		if err := os.WriteFile(path, packed(t, "zstd", text), 0o600); err != nil {
			t.Fatal(err)
		}
		if tr, err := Load(t.Context(), path, Cut{}, nil); err == nil {
			tr.Close()
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestScanStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	os.WriteFile(path, []byte(nativeText), 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Scan(ctx, path, func(*Request) error { return nil }); err != context.Canceled {
		t.Errorf("%v", err)
	}
	if _, err := Scan(t.Context(), path+"x", func(*Request) error { return nil }); err == nil || !strings.Contains(err.Error(), "cannot read the trace") {
		t.Errorf("%v", err)
	}
}

// FuzzScan: no content panics, every line is counted once, and what is believed is
// within bounds and reads the same a second time.
func FuzzScan(f *testing.F) {
	for _, text := range []string{mooncakeText, azureText, azure2024Text, burstText, burst3Text, nativeText} {
		f.Add([]byte(text))
		f.Add(packed(f, "gzip", text))
		f.Add(packed(f, "zstd", text))
	}
	f.Add([]byte(`{"time":"","session":null,"blocks":[{},-1],"input_tokens":3}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		n := 0
		r, err := scan(t.Context(), bytes.NewReader(content), func(q *Request) error {
			n++
			if q.InputTokens < 0 || q.InputTokens > maxTokens || q.OutputTokens < 0 || q.OutputTokens > maxTokens {
				t.Fatalf("lengths of %+v", q)
			}
			if q.InputTokens == 0 && q.Text == "" && q.Messages == nil {
				t.Fatalf("no prompt in %q", q.line)
			}
			sum := 0
			for _, b := range q.blocks() {
				sum += b.Tokens
			}
			if sum > q.InputTokens {
				t.Fatalf("blocks of %d tokens in a prompt of %d", sum, q.InputTokens)
			}
			return nil
		})
		if err != nil {
			return
		}
		if r.Requests != n || n == 0 || len(r.Bad) > shownBadLines || r.BadLines < len(r.Bad) {
			t.Fatalf("%+v after %d requests", r, n)
		}
		if r.Compression == "" {
			lines := r.Requests + r.BadLines + r.LeftOut
			if r.Format == Azure || r.Format == BurstGPT {
				lines++
			}
			blank := 0
			for line := range bytes.SplitSeq(content, []byte("\n")) {
				if len(bytes.TrimSpace(line)) == 0 {
					blank++
				}
			}
			if all := bytes.Count(content, []byte("\n")) + 1; lines != all-blank {
				t.Fatalf("%d of %d lines accounted for: %+v", lines, all-blank, r)
			}
		}
	})
}
