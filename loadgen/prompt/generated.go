package prompt

import (
	"math"
	"math/rand/v2"
)

// repeatAfter is how many different prompts there are where Config.Unique is
// false: a few, sent over and over, step after step, as many tools do.
const repeatAfter = 100

// generated gives prompts of random words: the data sets random, shared_prefix
// and conversation.
type generated struct {
	c           Config
	size        Sizer
	prefixes    []string
	prefixWords int
}

func newGenerated(c Config, size Sizer) *generated {
	g := &generated{c: c, size: size}
	if c.Dataset != SharedPrefix {
		return g
	}
	// The overhead belongs to the whole prompt, not to its prefix.
	g.prefixWords = max(1, int(math.Round(float64(c.PrefixLen)/size.perWord())))
	for k := range max(1, c.Prefixes) {
		r := rand.New(rand.NewPCG(mix(c.Seed), uint64(k)))
		g.prefixes = append(g.prefixes, randomWords(g.prefixWords, r))
	}
	return g
}

// Request implements Source.
func (g *generated) Request(i int) (Request, error) {
	if !g.c.Unique {
		i %= repeatAfter
	}
	r := random(g.c.Seed, i)
	tokens := g.length(g.c.InputLen, r)
	output := g.length(g.c.OutputLen, r)
	request := Request{OutputTokens: output}
	if g.c.Dataset == SharedPrefix {
		request.PromptTokens = g.c.PrefixLen + tokens
		n := max(1, g.size.words(request.PromptTokens, r)-g.prefixWords)
		request.Text = g.text(g.prefixes[i%len(g.prefixes)], i, n, r)
		return request, nil
	}
	request.PromptTokens = tokens
	request.Text = g.text("", i, max(1, g.size.words(tokens, r)), r)
	for range g.c.Batch - 1 {
		more := g.length(g.c.InputLen, r)
		request.PromptTokens += more
		request.Others = append(request.Others, randomWords(max(1, g.size.words(more, r)), r))
	}
	if g.c.Dataset != Conversation {
		return request, nil
	}
	later := Sizer{PerWord: g.size.PerWord} // the overhead came with the first turn
	for range g.c.Turns - 1 {
		n := max(1, later.words(g.length(g.c.InputLen, r), r))
		request.Turns = append(request.Turns, Turn{
			Text:         randomWords(n, r),
			OutputTokens: g.length(g.c.OutputLen, r),
			Think:        g.c.ThinkTime,
		})
	}
	return request, nil
}

// text returns prefix and n words, the first of which are the nonce.
func (g *generated) text(prefix string, i, n int, r *rand.Rand) string {
	var w wording
	w.Grow(len(prefix) + wordRoom*n)
	w.WriteString(prefix)
	open := nonce(g.c.Seed, i)
	w.add(open[:min(n, nonceWords)]...)
	w.draw(n-min(n, nonceWords), r)
	return w.String()
}

// length draws a length as vLLM's random data set does: uniform over the whole
// numbers from floor(len (1-r)) to ceil(len (1+r)), at least 1.
func (g *generated) length(mean int, r *rand.Rand) int {
	ratio := g.c.RangeRatio
	if ratio == 0 {
		return mean
	}
	low := max(1, int(math.Floor(float64(mean)*(1-ratio))))
	high := int(math.Ceil(float64(mean) * (1 + ratio)))
	return low + r.IntN(high-low+1)
}
