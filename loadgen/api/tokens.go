package api

// Tokens counts the output tokens of one answer from its events. The zero value
// is ready.
//
// The server's own count is the largest that any of its usage objects gives, never
// a sum, and is held against the stream that it came with: some gateways add up
// counts that were sums already, or say 1 for ever. A count that the stream
// contradicts is left aside for one within the stream that fits, or else for the
// number of output events.
type Tokens struct {
	outputs, events int
	size            int  // bytes of the output's text, or more
	unsized         bool // some output is no text
	thought         bool // some output is reasoning

	largest int // the server's count
	hidden  int // tokens of reasoning in it
	within  inStream
}

// inStream is what usage beside the output says, event by event.
type inStream struct {
	counts        int // output events that carry one
	first, latest int
	step          int // by how much the latest grew
	rises         int // how often a step was larger than the one before
}

// TokenCount is what an answer's events say of its output tokens.
type TokenCount struct {
	Tokens  int
	Usage   bool // by the server's own count; else output events
	First   int  // of Tokens, those that came with the first output event or before it; 0: not known
	Doubted int  // the server's own count, where the stream contradicts it; else 0
}

// Add takes in an event.
func (t *Tokens) Add(e *Event) {
	t.events++
	t.largest = max(t.largest, e.OutputTokens)
	t.hidden = max(t.hidden, e.HiddenTokens)
	if !e.Output {
		return
	}
	t.outputs++
	t.size += max(e.Size, 0)
	t.unsized = t.unsized || e.Size < 0
	t.thought = t.thought || e.Reasoning
	if e.OutputTokens > 0 {
		t.within.add(e.OutputTokens)
	}
}

func (w *inStream) add(n int) {
	step := n - w.latest
	switch w.counts++; {
	case w.counts == 1:
		w.first = n
	case step > w.step:
		w.rises++
	}
	w.step, w.latest = step, max(n, w.latest)
}

// few is how many counts within a stream tell how they run.
const few = 4

// stuck reports whether the count stays as it is while output goes on.
func (w *inStream) stuck() bool { return w.counts >= few && w.latest == w.first }

// sums reports whether the count grows by ever more: a sum of counts that are
// sums themselves. The tokens of real chunks go up and down.
func (w *inStream) sums() bool { return w.counts >= 2*few && w.rises == w.counts-1 }

// Count says how many output tokens there were, of want that were asked for at
// most; 0 where that is not known.
func (t *Tokens) Count(want int) TokenCount {
	c := TokenCount{Tokens: t.largest, Usage: t.largest > 0}
	if c.Usage && !t.fits(t.largest, want) {
		c.Doubted = t.largest
		c.Tokens, c.Usage = t.within.latest, t.fits(t.within.latest, want)
	}
	switch {
	case !c.Usage:
		c.Tokens, c.First = t.outputs, min(t.outputs, 1)
	case t.within.counts == t.outputs && t.outputs > 0 && t.within.first <= c.Tokens && !t.allAlong(c.Tokens):
		c.First = t.within.first
	case t.hidden > 0 && !t.thought && t.hidden < c.Tokens:
		c.First = t.hidden + 1 // reasoned in secret before the first word
	case c.Tokens == t.outputs && c.Tokens > 0:
		c.First = 1
	}
	return c
}

// Bounds on what a token is on average: some bytes of text, of which escapes make
// more, and where a gateway cuts texts anew, some chunks.
const (
	leastOrdinary = 3  // bytes
	mostText      = 16 // bytes
	mostChunks    = 8
)

// allAlong reports whether the stream says n from its first output to its last.
func (t *Tokens) allAlong(n int) bool { return t.within.stuck() && n == t.within.latest }

// fits reports whether n tokens can be what came in the stream.
func (t *Tokens) fits(n, want int) bool {
	seen := n
	if !t.thought {
		seen -= t.hidden
	}
	switch w := &t.within; {
	case n <= 0, w.sums() && n >= w.latest, t.allAlong(n) && (n != t.outputs || t.size > mostText*n):
		return false
	case w.counts >= few && w.counts == t.outputs && !w.stuck() && n > 2*w.latest+few:
		return false // far more than the same server had counted by the last output
	case n == want:
		return true // just what was asked for
	case t.outputs > mostChunks*n:
		return false
	case t.unsized:
		return true // nothing to hold it against
	case seen > max(t.size, t.events)+few:
		return false // tokens without text, more of them than events of any kind
	case t.outputs >= few && want > 0 && n > want && n > 2*t.events && leastOrdinary*seen > t.size:
		return false // more than it was asked for, and little text to show for it
	}
	return t.outputs <= n || t.size <= mostText*n
}
