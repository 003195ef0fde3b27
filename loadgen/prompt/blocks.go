package prompt

import (
	"math"
	"math/rand/v2"
)

// Blocks makes prompts of which only the lengths are known, and a number for each
// stretch: equal numbers become equal text, so that a server's prefix cache meets what
// it met when they were recorded.
type Blocks struct {
	Seed uint64
	Size Sizer
}

// Block is a stretch of a prompt.
type Block struct {
	Number uint64
	Tokens int
}

// Text returns the text of prompt i with that many tokens: that of its blocks, and
// behind them words of its own. Of two prompts whose first blocks have the same
// numbers and lengths, the first words are the same; where the same block is shorter
// in one of them, its words begin like those of the longer one. Round sets apart
// prompts that must not share anything although their numbers are equal: a trace sent
// a second time would be answered from the cache.
func (b Blocks) Text(i, tokens int, blocks []Block, round int) string {
	r := random(b.Seed, i)
	left := max(1, b.Size.words(tokens, r))
	var text wording
	text.Grow(wordRoom * left)
	total, used := 0, 0
	for _, block := range blocks {
		total += block.Tokens
		// Rounded as a sum, so that no fraction of a word is lost at every block.
		n := min(int(math.Round(float64(total)/b.Size.perWord()))-used, left)
		words := rand.New(rand.NewPCG(mix(block.Number^mix(b.Seed)), mix(uint64(round))))
		text.draw(n, words)
		used, left = used+n, left-n
	}
	open := nonce(b.Seed, i)
	text.add(open[:min(left, nonceWords)]...)
	text.draw(left-min(left, nonceWords), r)
	return text.String()
}

// Mark puts opening words in front of a recorded prompt that differ from round to
// round and from seed to seed, and are the same within one.
func Mark(r Request, seed uint64, round int) Request {
	open := nonce(mix(seed), round)
	mark := open[0] + " " + open[1] + " " + open[2] + " " + open[3] + "\n\n"
	if r.Messages != nil {
		r.Messages = markMessages(r.Messages, mark)
	} else {
		r.Text = mark + r.Text
	}
	return r
}
