package simhttp

import (
	"unicode"
	"unicode/utf8"

	"github.com/capfind/capfind/internal/simserver/draw"
)

// The toy tokenizer. It is no real model's, but cuts text about as they do, at
// places that depend only on the text next to them:
//
//   - a run of ASCII letters is one token per 8 letters or part of them, the
//     space before it included in the first;
//   - a run of digits is one token per 3 digits or part of them;
//   - any other character outside white space is a token of its own, a Chinese
//     character for example;
//   - a white-space character that no letter follows, or a line end, is one too.
//
// A prompt starts with a beginning-of-text token; a chat's template puts 4 tokens
// around each message and 3 before the answer.
const (
	beginToken    = 1
	templateToken = 2
)

// tokenIDs returns the tokens' numbers: hashes of their text, below 32000. It
// appends to ids.
func tokenIDs(ids []uint32, text string) []uint32 {
	for len(text) > 0 {
		n := tokenLen(text)
		ids = append(ids, tokenID(text[:n]))
		text = text[n:]
	}
	return ids
}

func tokenID(token string) uint32 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(token) {
		h = (h ^ uint32(token[i])) * 16777619
	}
	return 3 + h%31997 // the first three are special
}

// tokenLen returns the length in bytes of the first token of text.
func tokenLen(text string) int {
	start := 0
	if text[0] == ' ' && len(text) > 1 && isLetter(text[1]) {
		start = 1
	}
	switch c := text[start]; {
	case isLetter(c):
		return start + run(text[start:], isLetter, 8)
	case isDigit(c):
		return run(text, isDigit, 3)
	default:
		_, n := utf8.DecodeRuneInString(text)
		return n
	}
}

func run(text string, is func(byte) bool, most int) int {
	n := 0
	for n < len(text) && n < most && is(text[n]) {
		n++
	}
	return n
}

func isLetter(c byte) bool { return c < utf8.RuneSelf && unicode.IsLetter(rune(c)) }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// vocabulary is what answers are made of: one token each, the space included.
var vocabulary = [...]string{
	" the", " of", " and", " to", " in", " is", " that", " it", " was", " for", " on", " are", " with", " as", " be", " at",
	" one", " have", " this", " from", " or", " had", " by", " hot", " but", " some", " what", " there", " we", " can", " out", " other",
	" were", " all", " your", " when", " up", " use", " word", " how", " said", " an", " each", " she", " which", " do", " their", " time",
	" if", " will", " way", " about", " many", " then", " them", " would", " write", " like", " so", " these", " her", " long", " make", " thing",
}

// foreign is the same outside ASCII: two, three and four bytes a character.
var foreign = [...]string{"é", "ß", "語", "模", "型", "測", "😀", "🚀"}

// word returns the text of an answer's k-th token.
func word(key uint64, k int) string {
	return vocabulary[draw.Mix(key^uint64(k)<<20)%uint64(len(vocabulary))]
}
