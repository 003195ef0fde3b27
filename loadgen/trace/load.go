package trace

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen/prompt"
)

// Cut is a stretch of a trace.
type Cut struct {
	From time.Duration // after its first line; 0: what is out of order and came before it, too
	For  time.Duration // 0: to its end
}

func (c Cut) holds(at time.Duration) bool {
	return (at >= c.From || c.From == 0) && (c.For <= 0 || at-c.From < c.For)
}

// maxRequests is how many requests are kept at most: 100 MB of places.
const maxRequests = 2_000_000

// Trace is recorded traffic that can be sent again: its requests in the order in which
// they came, the first at 0. Of what the file says of a request only the lengths are
// in memory; its text and blocks are read again when it is wanted.
type Trace struct {
	Reading *Reading
	At      []time.Duration // arrivals, ascending
	Input   []int32         // tokens; 0 where only the text is there
	Output  []int32         // tokens; 0 where the trace does not say
	// Before is the number of the request before each one in its session, -1 for the
	// first and outside sessions.
	Before []int32
	Cut    Cut
	Whole  int // requests of the whole file

	file   *os.File // the file, or where its lines were unpacked to
	temp   bool
	places []place
}

// place is where a line stands in the file.
type place struct {
	offset int64
	length uint32
}

// Load reads the part of a trace that a cut holds. Close it.
func Load(ctx context.Context, path string, cut Cut, watch func(read, total int64)) (*Trace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the trace: %w", err)
	}
	t := &Trace{file: file, Cut: cut}
	if err := t.read(ctx, path, watch); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close closes the file, and removes it where it held what was unpacked.
func (t *Trace) Close() error {
	err := t.file.Close()
	if t.temp {
		err = cmp.Or(err, os.Remove(t.file.Name()))
	}
	return err
}

// Len is how many requests it has.
func (t *Trace) Len() int { return len(t.At) }

// Span is the time from its first request to its last.
func (t *Trace) Span() time.Duration {
	if len(t.At) == 0 {
		return 0
	}
	return t.At[len(t.At)-1]
}

// entry is a request on its way into the trace.
type entry struct {
	at            time.Duration
	input, output int32
	session       uint64
	place         place
}

func (t *Trace) read(ctx context.Context, path string, watch func(read, total int64)) error {
	source := io.Reader(t.file)
	if info, err := t.file.Stat(); err == nil && watch != nil {
		source = &watched{r: t.file, total: info.Size(), watch: watch}
	}
	plain, compression, err := decompress(source)
	if err != nil {
		return named(ctx, path, err)
	}
	defer plain.Close()
	into := &loading{t: t}
	if compression != "" {
		if into.spool, err = os.CreateTemp("", "capfind-trace-*"); err != nil {
			return unpackError(err)
		}
		packed := t.file
		defer packed.Close()
		t.file, t.temp = into.spool, true // from now on it is what is read again
	}
	if t.Reading, err = pass(ctx, plain, compression, into.take); err != nil {
		return named(ctx, path, err)
	}
	t.Whole = t.Reading.Requests
	if len(into.all) == 0 {
		return fmt.Errorf("trace %s: none of its %d requests lies in the cut from %v for %v; its last came at %v", path, t.Whole, t.Cut.From, t.Cut.For, into.last)
	}
	t.arrange(into.all)
	return nil
}

func unpackError(err error) error {
	return fmt.Errorf("a compressed trace is unpacked into a temporary file, but %w", err)
}

// loading collects the requests of a cut.
type loading struct {
	t       *Trace
	all     []entry
	last    time.Duration
	spool   *os.File // where lines of a compressed file are unpacked to; nil: it is plain
	spooled int64
}

func (l *loading) take(q *Request) error {
	l.last = max(l.last, q.At)
	if !l.t.Cut.holds(q.At) {
		return nil
	}
	if len(l.all) == maxRequests {
		return fmt.Errorf("more than %d requests: cut it with --from and --for", maxRequests)
	}
	e := entry{at: q.At, input: int32(q.InputTokens), output: int32(q.OutputTokens), session: q.Session, place: place{q.offset, uint32(len(q.line))}}
	if l.spool != nil {
		if _, err := l.spool.Write(q.line); err != nil {
			return unpackError(err)
		}
		e.place.offset = l.spooled
		l.spooled += int64(len(q.line))
	}
	l.all = append(l.all, e)
	return nil
}

// arrange puts the requests in the order in which they came.
func (t *Trace) arrange(all []entry) {
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	first := all[0].at
	latest := map[uint64]int32{}
	for i, e := range all {
		t.At = append(t.At, e.at-first)
		t.Input, t.Output = append(t.Input, e.input), append(t.Output, e.output)
		t.places = append(t.places, e.place)
		before := int32(-1)
		if e.session != 0 {
			if k, ok := latest[e.session]; ok {
				before = k
			}
			latest[e.session] = int32(i)
		}
		t.Before = append(t.Before, before)
	}
}

// watched tells how far a file was read.
type watched struct {
	r           io.Reader
	read, total int64
	watch       func(read, total int64)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.read += int64(n)
	w.watch(w.read, w.total)
	return n, err
}

// Means are the mean lengths, in tokens, of the requests that have one.
func (t *Trace) Means() (input, output float64) {
	mean := func(lengths []int32) float64 {
		sum, n := 0.0, 0.0
		for _, v := range lengths {
			if v > 0 {
				sum, n = sum+float64(v), n+1
			}
		}
		return math.Round(sum / max(n, 1))
	}
	return mean(t.Input), mean(t.Output)
}

// Source makes the prompts of a trace: prompt i is its request i. Sent a second time,
// from number Len on, the same requests have other texts, for else a prefix cache
// would know all of them.
func (t *Trace) Source(seed uint64, size prompt.Sizer, outputTokens int) prompt.Source {
	return &source{t: t, blocks: prompt.Blocks{Seed: seed, Size: size}, output: outputTokens}
}

type source struct {
	t      *Trace
	blocks prompt.Blocks
	output int // tokens, where the trace does not say
}

// Request implements prompt.Source.
func (s *source) Request(number int) (prompt.Request, error) {
	i, round := number%s.t.Len(), number/s.t.Len()
	r := prompt.Request{PromptTokens: int(s.t.Input[i]), OutputTokens: int(s.t.Output[i])}
	if r.OutputTokens == 0 {
		r.OutputTokens = s.output
	}
	if f := s.t.Reading.Format; f == Azure || f == BurstGPT { // nothing but what is in memory
		r.Text = s.blocks.Text(number, r.PromptTokens, nil, round)
		return r, nil
	}
	line := make([]byte, s.t.places[i].length)
	if _, err := s.t.file.ReadAt(line, s.t.places[i].offset); err != nil {
		return r, fmt.Errorf("the trace at byte %d: %w (was the file changed during the run?)", s.t.places[i].offset, err)
	}
	q, err := s.t.Reading.parser.parse(line)
	if err != nil {
		return r, fmt.Errorf("the trace at byte %d: %w (was the file changed during the run?)", s.t.places[i].offset, err)
	}
	if q.Text != "" || q.Messages != nil {
		r.Text, r.Messages = q.Text, q.Messages
		if round > 0 {
			r = prompt.Mark(r, s.blocks.Seed, round)
		}
		return r, nil
	}
	r.Text = s.blocks.Text(number, q.InputTokens, q.blocks(), round)
	return r, nil
}

// blocks are the stretches of the prompt; what they are longer than it is cut off.
func (q *Request) blocks() []prompt.Block {
	out := make([]prompt.Block, 0, len(q.Blocks))
	left := q.InputTokens
	for _, n := range q.Blocks {
		if left <= 0 {
			break
		}
		out = append(out, prompt.Block{Number: n, Tokens: min(q.BlockTokens, left)})
		left -= q.BlockTokens
	}
	return out
}

// Longer counts the requests that do not fit into a context of so many tokens, 0 where
// it is not known. output is the length of an answer where the trace does not say.
func (t *Trace) Longer(context, output int) int {
	n := 0
	for i := range t.Input {
		out := int(t.Output[i])
		if out == 0 {
			out = output
		}
		if context > 0 && int(t.Input[i])+out > context {
			n++
		}
	}
	return n
}

// Shares are how long each request's prompt and answer are, over their means. A length
// that is not known is an average one.
func (t *Trace) Shares() (prompts, answers []float32) {
	over := func(lengths []int32, mean float64) []float32 {
		out := make([]float32, len(lengths))
		for i, n := range lengths {
			out[i] = 1
			if n > 0 && mean > 0 {
				out[i] = float32(float64(n) / mean)
			}
		}
		return out
	}
	input, output := t.Means()
	return over(t.Input, input), over(t.Output, output)
}

// Busiest is where the stretch of that length with the most requests begins.
func (t *Trace) Busiest(length time.Duration) time.Duration {
	best, most, last := 0, 0, 0
	for i := range t.At {
		for last < len(t.At) && t.At[last] < t.At[i]+length {
			last++
		}
		if last-i > most {
			best, most = i, last-i
		}
	}
	return t.At[best]
}

// Narrow keeps only the requests of a stretch; the first of them is then at 0. What a
// request waited for before that is over.
func (t *Trace) Narrow(from, length time.Duration) {
	low, _ := slices.BinarySearch(t.At, from)
	high, _ := slices.BinarySearch(t.At, from+length)
	if low == high {
		return
	}
	t.Input, t.Output, t.places = t.Input[low:high], t.Output[low:high], t.places[low:high]
	at, before := t.At[low:high], t.Before[low:high]
	t.At, t.Before = make([]time.Duration, len(at)), make([]int32, len(at))
	for i := range at {
		t.At[i] = at[i] - at[0]
		t.Before[i] = max(-1, before[i]-int32(low))
	}
}
