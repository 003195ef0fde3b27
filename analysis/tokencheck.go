package analysis

import "github.com/capfind/capfind/loadgen"

// The checks of how output tokens are counted. Rates of requests hold whatever
// they say.
const (
	checkTokenCount  = "token_count"
	checkChunkTokens = "chunk_tokens"
)

const (
	doubtedGate    = 0.01 // share of answers whose count the stream contradicts
	understateGate = 0.02 // of TPOT
)

// tokenCountCheck sees whether the server's counts of output tokens fit the
// streams that they came with.
func tokenCountCheck(parts []part) Check {
	counted, doubted := 0, 0
	var example *loadgen.Sample
	for i := range parts {
		for _, s := range parts[i].cohort {
			switch {
			case s.Class != loadgen.Success:
			case s.DoubtedTokens > 0:
				doubted++
				if example == nil {
					example = s
				}
			case s.TokenSource == loadgen.TokensFromUsage:
				counted++
			}
		}
	}
	switch n := counted + doubted; {
	case n == 0:
		return unjudged(checkTokenCount, "the server counts no output tokens, or nothing succeeded")
	case doubted == 0:
		return judged(checkTokenCount, 0, doubtedGate, true, "the server's counts of output tokens fit their streams")
	default:
		return judged(checkTokenCount, float64(doubted)/float64(n), doubtedGate, float64(doubted) <= doubtedGate*float64(n),
			"in %d of %d answers the server's count of output tokens contradicts its stream (%d tokens, where %d is believable): the believable count is used",
			doubted, n, example.DoubtedTokens, example.OutputTokens)
	}
}

// chunkTokensCheck sees whether TPOT is understated: where several tokens come in
// a chunk, those of the first came with it and are no part of the time after it,
// but how many they are only some servers say.
//
// With T tokens in E chunks, T/E of them are in the first on average, and (T - 1)
// is divided by where (T - T/E) should be: short by (T/E - 1) / (T - 1).
func chunkTokensCheck(parts []part) Check {
	var perChunk, short mean
	known := false
	for i := range parts {
		for _, s := range parts[i].cohort {
			if _, ok := s.TPOT(); !ok {
				continue
			}
			if s.FirstTokens > 0 {
				known = true
				continue
			}
			t, e := float64(s.OutputTokens), float64(s.OutputEvents)
			perChunk.add(t / e)
			short.add(max(0, (t/e-1)/(t-1)))
		}
	}
	v, ok := short.value().Value()
	switch {
	case !ok && known:
		return judged(checkChunkTokens, 0, understateGate, true, "how many tokens the first chunk holds is known")
	case !ok:
		return unjudged(checkChunkTokens, "nothing has a time per output token")
	}
	n := perChunk.value().Or(1)
	if v <= understateGate {
		return judged(checkChunkTokens, v, understateGate, true, "%.1f tokens come in a chunk on average", n)
	}
	return judged(checkChunkTokens, v, understateGate, false,
		"%.1f tokens come in a chunk on average, and how many in the first is not known: TPOT is understated by about %.0f %% (gate %.0f %%)",
		n, 100*v, 100*understateGate)
}
