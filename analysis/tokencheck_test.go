package analysis

import (
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

// chunky is a run of answers of 64 tokens in 8 chunks, 80 ms apart.
func chunky(first int) loadgen.Run {
	run := loadgen.Run{Load: loadgen.Load{Concurrency: 1, Requests: 10}}
	for i := range 10 {
		at := run.Elapsed
		run.Elapsed += 600 * ms
		run.Samples = append(run.Samples, loadgen.Sample{Index: i, Conversation: -1, CachedTokens: -1, Ready: at, Sent: at, WasSent: true, Streamed: true,
			FirstOutput: at + 40*ms, LastOutput: run.Elapsed, End: run.Elapsed, OutputEvents: 8, OutputTokens: 64, FirstTokens: first,
			TokenSource: loadgen.TokensFromUsage, WantOutputTokens: 64})
	}
	return run
}

// TestTokensOfTheFirstChunk: where they are known they are no part of the time
// after it, and where they are not TPOT is said to be understated, and by how much.
func TestTokensOfTheFirstChunk(t *testing.T) {
	s := Summarize([]loadgen.Run{chunky(8)}, Options{})
	near(t, "TPOT", s.Whole.TPOT.Mean, 0.56/56, 1e-9)
	near(t, "tokens/s of a request", s.Whole.RequestTokensPerSec, 100, 1e-6)
	if c := check(t, &s, checkChunkTokens); !c.OK {
		t.Errorf("known: %+v", c)
	}
	s = Summarize([]loadgen.Run{chunky(0)}, Options{})
	near(t, "TPOT", s.Whole.TPOT.Mean, 0.56/63, 1e-9)
	if c := check(t, &s, checkChunkTokens); c.OK || !strings.Contains(c.Text, "8.0 tokens come in a chunk") || !strings.Contains(c.Text, "understated by about 11 %") {
		t.Errorf("not known: %+v", c)
	}
	one := chunky(0)
	for i := range one.Samples {
		one.Samples[i].OutputEvents = 62 // of 64: as good as one a chunk
	}
	s = Summarize([]loadgen.Run{one}, Options{})
	if c := check(t, &s, checkChunkTokens); !c.OK || c.Text != "1.0 tokens come in a chunk on average" {
		t.Errorf("about one a chunk: %+v", c)
	}
	all := chunky(64) // everything in one piece: there is no time after it
	s = Summarize([]loadgen.Run{all}, Options{})
	if s.Whole.TPOT.Mean.IsKnown() {
		t.Errorf("TPOT %v of nothing", s.Whole.TPOT.Mean)
	}
}

// TestCountsThatContradictTheStream are named, and spoil no rate of requests.
func TestCountsThatContradictTheStream(t *testing.T) {
	run := synth{n: 2, requests: 100, prefill: 100 * ms, decode: 900 * ms, tokens: 20}.run()
	s := Summarize([]loadgen.Run{run}, Options{})
	if c := check(t, &s, checkTokenCount); !c.OK || c.Value.Or(1) != 0 {
		t.Errorf("counts that fit: %+v", c)
	}
	for i := range run.Samples {
		x := &run.Samples[i]
		x.DoubtedTokens, x.TokenSource = 210, loadgen.TokensFromEvents
	}
	s = Summarize([]loadgen.Run{run}, Options{})
	if c := check(t, &s, checkTokenCount); c.OK || !strings.Contains(c.Text, "210 tokens, where 20 is believable") {
		t.Errorf("counts that do not: %+v", c)
	}
	if s.Valid() || !ratesHold(&s) {
		t.Errorf("valid %t, rates hold %t", s.Valid(), ratesHold(&s))
	}
	if s.Whole.TokenSource != string(loadgen.TokensFromEvents) || s.Whole.OutputTokens != 2000 {
		t.Errorf("%d tokens by %s", s.Whole.OutputTokens, s.Whole.TokenSource)
	}
	for i := range run.Samples {
		run.Samples[i].DoubtedTokens = 0
	}
	s = Summarize([]loadgen.Run{run}, Options{})
	if c := check(t, &s, checkTokenCount); c.Value.IsKnown() {
		t.Errorf("no counts: %+v", c)
	}
}
