package api

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// scanner walks one JSON document without allocating. It accepts only what
// encoding/json accepts; whatever is unusual (a key twice, an escaped key, a
// value of another type than expected) sets bad, and the caller falls back to
// encoding/json. So it may give up too early but never disagrees.
type scanner struct {
	b       []byte
	i       int
	bad     bool
	escaped bool // a string had an escape sequence since this was last reset
}

// maxDepth bounds the nesting the scanner follows before it gives up.
const maxDepth = 32

// peek skips white space and returns the next byte; 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c > ' ' {
			return c
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			s.bad = true
			return 0
		}
		s.i++
	}
	return 0
}

// expect consumes c or sets bad.
func (s *scanner) expect(c byte) bool {
	if s.bad || s.peek() != c {
		s.bad = true
		return false
	}
	s.i++
	return true
}

// done reports whether the whole document was read and well formed.
func (s *scanner) done() bool { return !s.bad && s.peek() == 0 && !s.bad && s.i == len(s.b) }

// firstKey enters an object and returns its first key; nil where it is empty.
// The caller reads the value and goes on with nextKey.
func (s *scanner) firstKey() []byte {
	if !s.expect('{') {
		return nil
	}
	if s.peek() == '}' {
		s.i++
		return nil
	}
	return s.key()
}

// nextKey returns the next key; nil at the end of the object.
func (s *scanner) nextKey() []byte {
	if s.bad {
		return nil
	}
	if s.peek() == '}' {
		s.i++
		return nil
	}
	s.expect(',')
	return s.key()
}

func (s *scanner) key() []byte {
	k := s.unescaped()
	if !s.expect(':') {
		return nil
	}
	return k
}

// firstElem enters an array and reports whether it has an element.
func (s *scanner) firstElem() bool {
	if !s.expect('[') {
		return false
	}
	if s.peek() == ']' {
		s.i++
		return false
	}
	return !s.bad
}

// nextElem reports whether the array has another element.
func (s *scanner) nextElem() bool {
	if s.bad {
		return false
	}
	if s.peek() == ']' {
		s.i++
		return false
	}
	return s.expect(',')
}

// once sets bad where the key behind bit was seen before in the same object.
func (s *scanner) once(seen *uint32, bit uint32) {
	if *seen&bit != 0 {
		s.bad = true
	}
	*seen |= bit
}

// null consumes a null and reports whether there was one.
func (s *scanner) null() bool {
	if s.bad || s.peek() != 'n' {
		return false
	}
	return s.literal("null")
}

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		s.bad = true
		return false
	}
	s.i += len(word)
	return true
}

// text reads a string and returns what is between its quotes, still escaped;
// nil for null. Anything else sets bad.
func (s *scanner) text() []byte {
	if s.null() {
		return nil
	}
	return s.str()
}

// word is text for a value that is compared: an escaped one sets bad.
func (s *scanner) word() []byte {
	if s.null() {
		return nil
	}
	return s.unescaped()
}

// unescaped is str for what is compared: an escape sequence sets bad.
func (s *scanner) unescaped() []byte {
	s.escaped = false
	raw := s.str()
	s.bad = s.bad || s.escaped
	return raw
}

// count reads a non-negative integer; 0 for null. Anything else sets bad.
func (s *scanner) count() int {
	if s.null() {
		return 0
	}
	s.peek()
	start, n := s.i, 0
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 && s.i-start < 10 {
		n = n*10 + int(s.b[s.i]-'0')
		s.i++
	}
	digits := s.i - start
	if digits == 0 || digits > 1 && s.b[start] == '0' {
		s.bad = true
	}
	// "1.5" and "1e3" are left to encoding/json; a further digit is refused by
	// whoever reads on.
	if s.i < len(s.b) {
		switch s.b[s.i] {
		case '.', 'e', 'E':
			s.bad = true
		}
	}
	return n
}

// str reads a string and returns what is between its quotes, still escaped.
func (s *scanner) str() []byte {
	if !s.expect('"') {
		return nil
	}
	start := s.i
	for {
		s.i += plainBytes(s.b[s.i:])
		if s.i >= len(s.b) {
			s.bad = true
			return nil
		}
		switch s.b[s.i] {
		case '"':
			s.i++
			return s.b[start : s.i-1]
		case '\\':
			if !s.escape() {
				return nil
			}
		default: // a raw control character is not allowed
			s.bad = true
			return nil
		}
	}
}

// escape consumes one escape sequence of a string.
func (s *scanner) escape() bool {
	s.escaped = true
	rest := s.b[s.i+1:]
	if len(rest) > 0 && rest[0] != 'u' && strings.IndexByte(`"\/bfnrt`, rest[0]) >= 0 {
		s.i += 2
		return true
	}
	if len(rest) < 5 || rest[0] != 'u' || !hex(rest[1]) || !hex(rest[2]) || !hex(rest[3]) || !hex(rest[4]) {
		s.bad = true
		return false
	}
	s.i += 6
	return true
}

func hex(c byte) bool {
	return c-'0' <= 9 || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// plainBytes returns how many bytes at the start of b are neither quote, nor
// backslash, nor control character. It looks at eight bytes at a time.
func plainBytes(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, slash := x^ones*'"', x^ones*'\\'
		// Each term has the top bit of a byte set where the byte matches; a
		// borrow can only add marks above a true one, and the lowest is taken.
		marks := (quote-ones)&^quote | (slash-ones)&^slash | (x-ones*0x20)&^x
		if marks &= tops; marks != 0 {
			return n + bits.TrailingZeros64(marks)/8
		}
	}
	for n < len(b) && b[n] >= 0x20 && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// skip reads over one value of any type.
func (s *scanner) skip() { s.skipValue(0) }

func (s *scanner) skipValue(depth int) {
	if s.bad || depth > maxDepth {
		s.bad = true
		return
	}
	switch c := s.peek(); c {
	case '"':
		s.str()
	case '{':
		for k := s.firstKey(); k != nil; k = s.nextKey() {
			s.skipValue(depth + 1)
		}
	case '[':
		for more := s.firstElem(); more; more = s.nextElem() {
			s.skipValue(depth + 1)
		}
	case 'n':
		s.literal("null")
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	default:
		s.number()
	}
}

// number reads over a number in JSON's grammar.
func (s *scanner) number() {
	if s.i < len(s.b) && s.b[s.i] == '-' {
		s.i++
	}
	start := s.i
	if n := s.digits(); n == 0 || n > 1 && s.b[start] == '0' {
		s.bad = true
		return
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		s.bad = s.bad || s.digits() == 0
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		s.bad = s.bad || s.digits() == 0
	}
}

func (s *scanner) digits() int {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i - start
}

// hasElements reads over an array or null and reports whether it holds anything.
func (s *scanner) hasElements() bool {
	if s.null() {
		return false
	}
	any := false
	for more := s.firstElem(); more; more = s.nextElem() {
		any = true
		s.skip()
	}
	return any
}
