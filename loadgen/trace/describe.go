package trace

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/capfind/capfind/loadgen"
)

// Description is what a trace is like.
type Description struct {
	Reading
	SpanSeconds   float64        `json:"span_seconds"`  // from the first request to the last
	RequestRate   loadgen.Number `json:"request_rate"`  // requests/s over it
	InputRate     loadgen.Number `json:"input_rate"`    // prompt tokens/s over it
	OutputRate    loadgen.Number `json:"output_rate"`   // answer tokens/s over it
	Peak          *Peak          `json:"peak_minute"`   // null where it is shorter than two minutes
	Burstiness    loadgen.Number `json:"burstiness"`    // shape of the gaps within minutes: 1 random, less is burstier; null where they cannot be told
	Resolution    float64        `json:"resolution_s"`  // of its times: the largest unit of which they are multiples
	OutOfOrder    int            `json:"out_of_order"`  // requests that came before the line above
	InputTokens   Lengths        `json:"input_tokens"`  // of the requests that say
	OutputTokens  Lengths        `json:"output_tokens"` // likewise
	Sessions      int            `json:"sessions"`
	InSessions    int            `json:"requests_in_sessions"`
	SharedPrefix  loadgen.Number `json:"shared_prefix"`  // share of the prompts' lengths that an endless prefix cache would know; null without texts or blocks
	SharedCutting bool           `json:"shared_partial"` // there were more distinct blocks than were followed: the share is at least that
	Arrivals      []Arrived      `json:"arrivals"`       // over time, at most 120 stretches
}

// Peak is the minute with the most requests.
type Peak struct {
	AtSeconds float64 `json:"at_seconds"` // its beginning, from the first request
	Requests  int     `json:"requests"`
	Rate      float64 `json:"request_rate"` // requests/s in it
	Ratio     float64 `json:"ratio"`        // to the mean rate
}

// Lengths are statistics of lengths in tokens.
type Lengths struct {
	N    int            `json:"n"`
	Mean loadgen.Number `json:"mean"`
	P50  loadgen.Number `json:"p50"`
	P90  loadgen.Number `json:"p90"`
	P99  loadgen.Number `json:"p99"`
	Max  loadgen.Number `json:"max"`

	Quantiles []Quantile `json:"quantiles"`
}

// Quantile is a length that a share of the requests does not exceed.
type Quantile struct {
	Share  float64 `json:"share"`
	Tokens float64 `json:"tokens"`
}

// Arrived is a stretch of time.
type Arrived struct {
	AtSeconds float64 `json:"at_seconds"` // its middle
	Rate      float64 `json:"request_rate"`
}

// Describe reads a trace to its end. Its memory grows with the trace's minutes, its
// sessions and its distinct blocks (of which it follows some millions), not with its
// requests.
func Describe(ctx context.Context, path string) (*Description, error) {
	d := describer{
		input: newTokens(), output: newTokens(), fine: map[int64]int{}, minutes: map[int64]int{},
		sessions: map[uint64]struct{}{}, prefixes: map[uint64]struct{}{},
	}
	r, err := Scan(ctx, path, d.take)
	if err != nil {
		return nil, err
	}
	return d.finish(r), nil
}

// describer adds a trace up.
type describer struct {
	first, last, at time.Duration
	n, disorder     int
	unit            time.Duration // greatest common divisor of the times
	input, output   *tokens
	fine            map[int64]int // requests by second, of a short trace
	minutes         map[int64]int // by minute
	gaps            gaps
	sessions        map[uint64]struct{}
	inSessions      int
	prefixes        map[uint64]struct{} // chains of blocks that came before
	full            bool                // no more of them are kept
	shared, prompts float64             // lengths: known from before, and of all
}

const (
	fineSeconds  = 4 * 3600  // beyond that minutes are fine enough
	mostPrefixes = 4_000_000 // chains that are followed: some 200 MB
	textBlock    = 2048      // bytes of a recorded text that count as a block
)

func (d *describer) take(q *Request) error {
	if d.n == 0 {
		d.first, d.last, d.at = q.At, q.At, q.At
	}
	if q.At < d.at {
		d.disorder++
	} else if d.n > 0 {
		d.gaps.add(q.At, q.At-d.at)
	}
	d.n++
	d.at = max(d.at, q.At)
	d.first, d.last = min(d.first, q.At), max(d.last, q.At)
	d.unit = commonUnit(d.unit, q.At)
	d.minutes[floorDiv(q.At, time.Minute)]++
	if d.fine != nil {
		if d.fine[floorDiv(q.At, time.Second)]++; len(d.fine) > fineSeconds {
			d.fine = nil
		}
	}
	d.input.add(q.InputTokens)
	d.output.add(q.OutputTokens)
	if q.Session != 0 {
		d.inSessions++
		d.sessions[q.Session] = struct{}{}
	}
	d.share(q)
	return nil
}

// share follows the blocks of a prompt as far as they came before in the same order.
func (d *describer) share(q *Request) {
	blocks, each, all := q.Blocks, float64(q.BlockTokens), float64(q.InputTokens)
	if text := recorded(q); len(text) > 0 {
		blocks, each, all = textBlocks(text), textBlock, float64(len(text))
	}
	if len(blocks) == 0 {
		return
	}
	d.prompts += all
	chain, known := uint64(0), true
	for i, b := range blocks {
		chain = chained(chain, b)
		if _, ok := d.prefixes[chain]; !ok {
			known = false
			if len(d.prefixes) >= mostPrefixes {
				d.full = true
				return
			}
			d.prefixes[chain] = struct{}{}
		}
		if known {
			d.shared += max(0, min(each, all-float64(i)*each))
		}
	}
}

// recorded is the prompt's own text.
func recorded(q *Request) []byte {
	if q.Messages != nil {
		return q.Messages
	}
	return []byte(q.Text)
}

// textBlocks cuts a text into numbered blocks; what is left over at its end is none.
func textBlocks(text []byte) []uint64 {
	var out []uint64
	for ; len(text) >= textBlock; text = text[textBlock:] {
		out = append(out, hashed(text[:textBlock]))
	}
	if out == nil {
		out = append(out, hashed(text)) // a short one is shared where it is equal
	}
	return out
}

// chained is a number for a block behind others.
func chained(chain, block uint64) uint64 {
	x := (chain + 0x9e3779b97f4a7c15) ^ block
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func floorDiv(d, unit time.Duration) int64 {
	n := d / unit
	if d%unit < 0 {
		n--
	}
	return int64(n)
}

// commonUnit is the greatest common divisor, in whole microseconds.
func commonUnit(a, b time.Duration) time.Duration {
	a, b = a.Abs(), b.Abs().Round(time.Microsecond)
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// gaps adds up the gaps between arrivals, minute by minute, so that the hours of the
// day do not count as burstiness.
type gaps struct {
	minute       int64
	n            float64
	sum, squares float64
	allSquares   float64 // of gaps in units of their minute's mean gap
	degrees      float64
}

func (g *gaps) add(at, gap time.Duration) {
	if m := floorDiv(at, time.Minute); m != g.minute {
		g.close()
		g.minute = m
	}
	s := gap.Seconds()
	g.n, g.sum, g.squares = g.n+1, g.sum+s, g.squares+s*s
}

// close ends a minute. A few gaps say nothing about how they vary.
func (g *gaps) close() {
	const fewest = 8
	if g.n >= fewest && g.sum > 0 {
		mean := g.sum / g.n
		g.allSquares += (g.squares - g.sum*g.sum/g.n) / (mean * mean)
		g.degrees += g.n - 1
	}
	g.n, g.sum, g.squares = 0, 0, 0
}

// burstiness is the shape of gamma-distributed gaps with that variation.
func (g *gaps) burstiness() loadgen.Number {
	g.close()
	if g.degrees < 20 || g.allSquares <= 0 {
		return loadgen.Number{}
	}
	return loadgen.Known(g.degrees / g.allSquares)
}

// tokens are lengths added up.
type tokens struct {
	h   *hdrhistogram.Histogram
	sum float64
}

func newTokens() *tokens { return &tokens{h: hdrhistogram.New(1, maxTokens, 3)} }

func (t *tokens) add(n int) {
	if n > 0 && t.h.RecordValue(int64(n)) == nil {
		t.sum += float64(n)
	}
}

func (t *tokens) lengths() Lengths {
	l := Lengths{N: int(t.h.TotalCount())}
	if l.N == 0 {
		return l
	}
	at := func(p float64) loadgen.Number { return loadgen.Known(float64(t.h.ValueAtPercentile(p))) }
	l.Mean, l.P50, l.P90, l.P99, l.Max = loadgen.Known(t.sum/float64(l.N)), at(50), at(90), at(99), loadgen.Known(float64(t.h.Max()))
	for share := 1; share < 100; share++ {
		l.Quantiles = append(l.Quantiles, Quantile{float64(share) / 100, at(float64(share)).Or(0)})
	}
	return l
}

// Stretches of the arrivals over time: at most so many, with so many requests on average.
const (
	mostArrived   = 120
	fewestArrived = 5
)

func (d *describer) finish(r *Reading) *Description {
	span := d.last - d.first
	out := &Description{
		Reading: *r, SpanSeconds: span.Seconds(), Resolution: d.unit.Seconds(), OutOfOrder: d.disorder,
		InputTokens: d.input.lengths(), OutputTokens: d.output.lengths(),
		Sessions: len(d.sessions), InSessions: d.inSessions, Burstiness: d.gaps.burstiness(),
	}
	if d.prompts > 0 {
		out.SharedPrefix, out.SharedCutting = loadgen.Known(d.shared/d.prompts), d.full
	}
	if span <= 0 {
		return out
	}
	rate := func(sum float64) loadgen.Number { return loadgen.Known(sum / span.Seconds()) }
	out.RequestRate = rate(float64(d.n - 1)) // gaps: the last request ends the span
	if out.InputTokens.N > 0 {
		out.InputRate = rate(d.input.sum)
	}
	if out.OutputTokens.N > 0 {
		out.OutputRate = rate(d.output.sum)
	}
	out.Peak = d.peak(span, out.RequestRate.Or(0))
	out.Arrivals = d.arrivals(span)
	return out
}

// peak is the whole minute with the most requests.
func (d *describer) peak(span time.Duration, mean float64) *Peak {
	if span < 2*time.Minute {
		return nil
	}
	best, most := int64(0), 0
	for m, n := range d.minutes {
		if n > most || n == most && m < best {
			best, most = m, n
		}
	}
	rate := float64(most) / 60
	return &Peak{AtSeconds: float64(best)*60 - d.first.Seconds(), Requests: most, Rate: rate, Ratio: rate / mean}
}

// arrivals are the counts in stretches of equal, round length.
func (d *describer) arrivals(span time.Duration) []Arrived {
	counts, unit := d.fine, time.Second
	if counts == nil {
		counts, unit = d.minutes, time.Minute
	}
	begin := floorDiv(d.first, unit)
	cells := floorDiv(d.last, unit) - begin + 1
	width := max(unit, loadgen.RoundStretch(span, min(mostArrived, max(1, d.n/fewestArrived))))
	per := int64(width / unit)
	out := make([]Arrived, (cells+per-1)/per)
	for i := range out {
		out[i].AtSeconds = (float64(i) + 0.5) * width.Seconds()
	}
	for k, n := range counts {
		out[(k-begin)/per].Rate += float64(n) / width.Seconds()
	}
	// The last one ends with the trace, and is too short to have a rate of its own where
	// little of it is left.
	k := len(out) - 1
	last := &out[k]
	length := (d.last - time.Duration(begin+int64(k)*per)*unit).Seconds()
	switch full := width.Seconds(); {
	case length > full/4:
		last.Rate *= full / length
	case k > 0:
		out[k-1].Rate = (out[k-1].Rate + last.Rate) * full / (full + max(length, 0))
		out = out[:k]
	}
	return out
}
