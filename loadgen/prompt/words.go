package prompt

import (
	_ "embed"
	"math/rand/v2"
	"strings"
)

// The word list: 1024 short, common English words, which nearly every tokenizer
// knows as one token each.
//
//go:embed words.txt
var wordText string

var words = strings.Fields(wordText)

// spaced is the words with the space that stands before them.
var spaced = strings.Fields(wordText)

func init() {
	for i, word := range spaced {
		spaced[i] = " " + word
	}
}

const (
	wordBits   = 10 // 1024 words
	nonceWords = 4
)

// mix is a bijection of 64-bit numbers that leaves no visible pattern (the
// finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// random returns the random numbers of prompt i.
func random(seed uint64, i int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, mix(uint64(i)+0x9e3779b97f4a7c15)))
}

// nonce returns the opening words of prompt i: they differ from those of every
// other prompt of the seed, and within any 1024 prompts in a row already the
// first word does. A prefix cache therefore finds nothing, and the words look
// like the rest of the prompt, so that they cost what other words cost.
func nonce(seed uint64, i int) [nonceWords]string {
	// An odd factor makes i -> x a bijection, of its low bits as well.
	x := uint64(i)*0x9e3779b97f4a7c15 + mix(seed)
	var open [nonceWords]string
	for k := range open {
		open[k] = words[x>>(k*wordBits)&(1<<wordBits-1)]
	}
	return open
}

// wording is a text in the making: words, each but the very first after a space. It
// is built in the memory that the string then has.
type wording struct{ strings.Builder }

// wordRoom is the bytes that the longest word takes with its space.
const wordRoom = 7

func (w *wording) add(words ...string) {
	for _, word := range words {
		w.put(" " + word)
	}
}

// put adds a word with the space before it.
func (w *wording) put(spaced string) {
	if w.Len() == 0 {
		spaced = spaced[1:]
	}
	w.WriteString(spaced)
}

// draw adds n random words.
func (w *wording) draw(n int, r *rand.Rand) {
	const perDraw = 64 / wordBits
	for n > 0 {
		draw := r.Uint64()
		for range min(n, perDraw) {
			w.put(spaced[draw&(1<<wordBits-1)])
			draw >>= wordBits
		}
		n -= min(n, perDraw)
	}
}

// randomWords is a text of n random words.
func randomWords(n int, r *rand.Rand) string {
	var w wording
	w.Grow(wordRoom * n)
	w.draw(n, r)
	return w.String()
}
