package analysis

import (
	"cmp"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// ownPace is how many tokens a request must have had after its first for its own pace to be
// taken for the rest; with fewer it takes as long as others of its length.
const ownPace = 8

// carriedOn is a run whose tail was cut as it would have gone on under the same load: a
// request that was cut ends when it would have at its own pace, with as many tokens as were
// asked for where answers are as long as that, else with as many as answers have on average
// that are longer than what it had. Its first output was seen, and nothing of that is made up.
func carriedOn(r *loadgen.Run) *loadgen.Run {
	whole := *r
	whole.Samples = slices.Clone(r.Samples)
	p := paceOf(whole.Samples)
	for i := range whole.Samples {
		if s := &whole.Samples[i]; s.Class == loadgen.Cancelled && s.HasOutput() && s.Streamed {
			p.carryOn(s)
		}
	}
	return &whole
}

// tailPace is what the requests of a run say of those that were cut.
type tailPace struct {
	asWanted bool                // answers are as long as asked for
	perEvent float64             // tokens of an output event
	line     decodeLine          // of the successes
	longer   []survival          // where answers are not as long as asked for
	source   loadgen.TokenSource // of the successes' counts
}

func paceOf(samples []loadgen.Sample) tailPace {
	p := tailPace{asWanted: true, perEvent: 1, source: loadgen.TokensFromEvents}
	tokens, events := 0, 0
	var lengths, decodes []float64
	for i := range samples {
		s := &samples[i]
		if s.Class != loadgen.Success || !s.HasOutput() {
			continue
		}
		tokens, events = tokens+s.OutputTokens, events+s.OutputEvents
		p.asWanted = p.asWanted && s.OutputTokens == s.WantOutputTokens
		p.source = s.TokenSource
		lengths, decodes = append(lengths, float64(s.OutputTokens)), append(decodes, (s.LastOutput-s.FirstOutput).Seconds())
	}
	if events > 0 && tokens > 0 {
		p.perEvent = float64(tokens) / float64(events)
	}
	p.line, _ = lineThrough(lengths, decodes)
	if !p.asWanted {
		p.longer = p.survivals(samples)
	}
	return p
}

// had is how many tokens a request had when it ended.
func (p *tailPace) had(s *loadgen.Sample) float64 {
	if s.Class == loadgen.Success {
		return float64(s.OutputTokens)
	}
	return p.perEvent * float64(s.OutputEvents)
}

func (p *tailPace) afterFirst(s *loadgen.Sample) float64 {
	return max(0, p.had(s)-max(float64(s.FirstTokens), p.perEvent))
}

// length is how long the answer of a request would have become.
func (p *tailPace) length(s *loadgen.Sample) float64 {
	had := p.had(s)
	if p.asWanted && s.WantOutputTokens > 0 {
		return max(had, float64(s.WantOutputTokens))
	}
	at, share, area := had, 0.0, 0.0
	for i, l := range p.longer {
		if l.tokens <= had {
			continue
		}
		before := 1.0
		if i > 0 {
			before = p.longer[i-1].share
		}
		if share == 0 {
			share = before
		}
		area += before * (l.tokens - at)
		at = l.tokens
	}
	if share == 0 {
		return had
	}
	return had + area/share
}

// survival is the share of answers that are longer than so many tokens.
type survival struct{ tokens, share float64 }

// survivals is the product-limit estimate of the lengths of answers (Kaplan and Meier 1958):
// of those that were cut it is known that they are longer than what they had. The mean of
// those that ended would be that of the short ones.
func (p *tailPace) survivals(samples []loadgen.Sample) []survival {
	type answer struct {
		tokens float64
		ended  bool
	}
	var all []answer
	for i := range samples {
		if s := &samples[i]; s.HasOutput() && (s.Class == loadgen.Success || s.Class == loadgen.Cancelled) {
			all = append(all, answer{p.had(s), s.Class == loadgen.Success})
		}
	}
	slices.SortStableFunc(all, func(a, b answer) int { return cmp.Compare(a.tokens, b.tokens) })
	var out []survival
	share := 1.0
	for i, a := range all {
		if a.ended {
			share *= 1 - 1/float64(len(all)-i)
			out = append(out, survival{a.tokens, share})
		}
	}
	return out
}

func (p *tailPace) carryOn(s *loadgen.Sample) {
	length, decoded := p.length(s), (s.LastOutput - s.FirstOutput).Seconds()
	rest := max(0, p.line.at(length)-decoded)
	if after := p.afterFirst(s); after >= ownPace {
		rest = (length - p.had(s)) * decoded / after
	}
	s.Class, s.Message, s.TokenSource = loadgen.Success, "", p.source
	s.LastOutput += time.Duration(rest * float64(time.Second))
	s.End = max(s.End, s.LastOutput)
	s.OutputTokens = int(length + 0.5)
}
