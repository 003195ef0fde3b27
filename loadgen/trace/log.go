package trace

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen/prompt"
)

// LogReading is what was met on the way through a log.
type LogReading struct {
	Requests    int            `json:"requests"`
	OtherLines  int            `json:"other_lines"` // that tell of no request
	Failed      int            `json:"failed"`      // requests left out, for they failed
	Estimated   int            `json:"estimated"`   // prompts whose length was estimated, at four bytes a token
	NoOutput    int            `json:"no_output"`   // answers of unknown length
	WithBlocks  int            `json:"with_blocks"` // prompts whose text or tokens were there, for what they share
	InSessions  int            `json:"requests_in_sessions"`
	Compression string         `json:"compression"`
	Reasons     map[string]int `json:"reasons"` // why other lines were left out
}

// logged is a request as a log tells of it. Nothing of its text is kept: what stands
// for a stretch of it is a number in the order of first appearance, which says that
// two stretches are equal, and nothing else.
type logged struct {
	at            time.Duration
	input, output int // 0: unknown
	blocks        []uint64
	session       uint64
	failed        bool
}

// logger turns a log into requests.
type logger struct {
	r       *LogReading
	all     []*logged
	open    map[string]*logged // by the server's name for it, until its answer is logged
	numbers map[[16]byte]uint64
}

// FromLog reads a server's log and writes a trace in our own format: when requests
// came, their lengths, and numbers for what their prompts share. It knows the lines
// that vLLM writes with --enable-log-requests (and --enable-log-outputs), and JSON
// access logs, one object a line. No text of a prompt, no name and no address gets
// into the trace.
func FromLog(ctx context.Context, path string, to io.Writer) (*LogReading, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the log: %w", err)
	}
	defer file.Close()
	r, err := fromLog(ctx, file, to)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("log %s: %w", path, err)
	}
	return r, err
}

func fromLog(ctx context.Context, file io.Reader, to io.Writer) (*LogReading, error) {
	plain, compression, err := decompress(file)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	l := logger{r: &LogReading{Compression: compression, Reasons: map[string]int{}}, open: map[string]*logged{}, numbers: map[[16]byte]uint64{}}
	err = prompt.ScanLines(plain, maxLine, func(line prompt.Line) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.line(line)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l.r, l.write(to)
}

func (l *logger) line(line prompt.Line) {
	if line.Bad != "" {
		l.other("lines that are too long")
		return
	}
	switch {
	case l.vllmLine(line.Text, nil):
	case l.jsonLine(line.Text):
	default:
		l.other("lines of another kind")
	}
}

func (l *logger) other(why string) {
	l.r.OtherLines++
	l.r.Reasons[why]++
}

// number is the number of something that must be recognised and not told.
func (l *logger) number(kind string, text []byte) uint64 {
	sum := sha256.New()
	sum.Write([]byte(kind))
	sum.Write(text)
	key := [16]byte(sum.Sum(nil))
	n, ok := l.numbers[key]
	if !ok {
		n = uint64(len(l.numbers)) + 1
		l.numbers[key] = n
	}
	return n
}

// bytesPerToken is a rule of thumb for texts whose tokens nobody counted.
const bytesPerToken = textBlock / mooncakeBlock

// textOf notes what a prompt shares with others, by blocks of its text, and how long
// it is where that is not known better.
func (l *logger) textOf(q *logged, text []byte) {
	if len(text) == 0 {
		return
	}
	if q.input == 0 {
		q.input = max(1, len(text)/bytesPerToken)
		l.r.Estimated++
	}
	for chunk := range slices.Chunk(text, textBlock) {
		q.blocks = append(q.blocks, l.number("text", chunk))
	}
	l.r.WithBlocks++
}

// tokensOf is textOf where the log has the tokens themselves.
func (l *logger) tokensOf(q *logged, ids []int) {
	q.input = len(ids)
	for chunk := range slices.Chunk(ids, mooncakeBlock) {
		b := make([]byte, 0, 8*len(chunk))
		for _, id := range chunk {
			b = binary.LittleEndian.AppendUint64(b, uint64(id))
		}
		q.blocks = append(q.blocks, l.number("tokens", b))
	}
	l.r.WithBlocks++
}

// write writes the requests in the order in which they came, the first at 0.
func (l *logger) write(to io.Writer) error {
	kept := slices.DeleteFunc(l.all, func(q *logged) bool { return q.failed })
	l.r.Failed = len(l.all) - len(kept)
	if len(kept) == 0 {
		return fmt.Errorf("it tells of no request with a time and a length (%d lines, %d failed requests): for vLLM turn on --enable-log-requests, for a proxy log prompt_tokens and completion_tokens", l.r.OtherLines, l.r.Failed)
	}
	slices.SortStableFunc(kept, func(a, b *logged) int { return cmp.Compare(a.at, b.at) })
	w := bufio.NewWriter(to)
	encode := json.NewEncoder(w)
	for _, q := range kept {
		l.r.Requests++
		if q.session != 0 {
			l.r.InSessions++
		}
		if q.output == 0 {
			l.r.NoOutput++
		}
		if err := encode.Encode(q.native(kept[0].at)); err != nil {
			return fmt.Errorf("writing the trace: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the trace: %w", err)
	}
	return nil
}

// native is the request as a line of our own format.
func (q *logged) native(first time.Duration) nativeLine {
	input := float64(q.input)
	line := nativeLine{Time: fmt.Appendf(nil, "%.6f", (q.at - first).Seconds()), Input: &input, Session: number(q.session)}
	if q.output > 0 {
		output := float64(q.output)
		line.Output = &output
	}
	for _, b := range q.blocks {
		line.Blocks = append(line.Blocks, number(b))
	}
	return line
}
