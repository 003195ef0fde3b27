package prompt

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
)

// maxEntries is how many entries of a file are used at most: beyond what any
// sweep sends, and 24 MB of offsets.
const maxEntries = 2_000_000

// shownBadLines is how many bad lines are named one by one.
const shownBadLines = 5

// dataset reads prompts from a file. Only the places of its entries are kept in
// memory; each request is read from the file when it is wanted.
type dataset struct {
	c       Config
	file    *os.File
	offsets []int64
	lengths []uint32

	drops
}

// openDataset checks the file to its end and returns the source.
func openDataset(ctx context.Context, c Config, watch func(read, total int64)) (*dataset, []string, error) {
	file, err := os.Open(c.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the data set: %w", err)
	}
	d := &dataset{c: c, file: file}
	notes, err := d.index(ctx, watch)
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("data set %s: %w", c.Path, err)
	}
	return d, notes, nil
}

// Close closes the file.
func (d *dataset) Close() error { return d.file.Close() }

var errEnough = errors.New("enough entries")

// index notes the place of every entry that can be a request, and returns what a
// person should know.
func (d *dataset) index(ctx context.Context, watch func(read, total int64)) ([]string, error) {
	var bad []string
	var lines lineCounter
	told := listener{watch: watch}
	if info, err := d.file.Stat(); err == nil {
		told.total = info.Size()
	}
	badLines, seen, leftOut := 0, 0, 0
	err := scanEntries(ctx, d.file, maxEntry, func(e entry) error {
		seen++
		told.hear(e.offset)
		err := errors.New(e.bad)
		if e.bad == "" {
			_, err = d.parse(e.raw)
		}
		switch {
		case err == errLeftOut:
			leftOut++
		case err != nil:
			badLines++
			if e.line < 0 {
				e.line = lines.at(d.file, e.offset)
			}
			problem := fmt.Sprintf("line %d: %v", e.line, err)
			if badLines > d.c.MaxBadLines {
				return fmt.Errorf("%s; that is bad line number %d, and max_bad_lines allows %d", problem, badLines, d.c.MaxBadLines)
			}
			if badLines <= shownBadLines {
				bad = append(bad, problem)
			}
		default:
			d.offsets = append(d.offsets, e.offset)
			d.lengths = append(d.lengths, uint32(len(e.raw)))
			if len(d.offsets) == maxEntries {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && err != errEnough {
		return nil, err
	}
	name := filepath.Base(d.c.Path)
	if len(d.offsets) == 0 {
		return nil, fmt.Errorf("%s", strings.Join(append([]string{fmt.Sprintf("no usable entry among %d (%d bad, %d left out)", seen, badLines, leftOut)}, bad...), "; "))
	}
	var notes []string
	if badLines > 0 {
		note := fmt.Sprintf("%s: bad lines skipped: %d (%s", name, badLines, strings.Join(bad, "; "))
		if badLines > len(bad) {
			note += fmt.Sprintf("; and %d more", badLines-len(bad))
		}
		notes = append(notes, note+")")
	}
	if leftOut > 0 {
		notes = append(notes, fmt.Sprintf("%s: %d of %d conversations left out: no question with an answer, or shorter or longer than vLLM's ShareGPT limits (estimated)", name, leftOut, seen))
	}
	if err == errEnough {
		notes = append(notes, fmt.Sprintf("%s: only its first %d entries are used", name, maxEntries))
	}
	return notes, nil
}

// watchEvery is how many bytes are read between two words to the watcher: some
// hundredths of a second.
const watchEvery = 4 << 20

// listener passes on how far a file was read, not more often than is of use.
type listener struct {
	watch func(read, total int64)
	total int64
	next  int64
}

func (l *listener) hear(read int64) {
	if l.watch != nil && read >= l.next {
		l.next = read + watchEvery
		l.watch(read, l.total)
	}
}

func (d *dataset) parse(raw []byte) (record, error) {
	if d.c.Dataset == ShareGPT {
		return parseShareGPT(raw, d.c)
	}
	return parseJSONL(raw)
}

// place returns which entry is request i: a jsonl file is gone through in its
// order, ShareGPT, whose neighbours are parts of one talk, in an order drawn from
// the seed; both from the top again when they end.
func (d *dataset) place(i int) int {
	n := len(d.offsets)
	if d.c.Dataset == JSONL {
		return i % n
	}
	return shuffled(d.c.Seed+uint64(i/n), i%n, n)
}

// shuffled returns where a permutation of 0..n-1 puts i, without keeping the
// permutation: a four-round Feistel network over the next even power of two,
// applied until the result is below n.
func shuffled(seed uint64, i, n int) int {
	half := (bits.Len(uint(n-1)) + 1) / 2
	mask := uint64(1)<<half - 1
	x := uint64(i)
	for {
		left, right := x>>half, x&mask
		for round := range uint64(4) {
			left, right = right, left^(mix(right+mix(seed+round))&mask)
		}
		if x = left<<half | right; x < uint64(n) {
			return int(x)
		}
	}
}

// record reads entry k.
func (d *dataset) record(k int) (record, error) {
	raw := make([]byte, d.lengths[k])
	_, err := d.file.ReadAt(raw, d.offsets[k])
	var r record
	if err == nil {
		r, err = d.parse(raw)
	}
	if err != nil {
		return record{}, fmt.Errorf("data set %s at byte %d: %w (was the file changed during the run?)", d.c.Path, d.offsets[k], err)
	}
	return r, nil
}

// Request implements Source.
func (d *dataset) Request(i int) (Request, error) {
	k, err := d.fitting(d.place(i), len(d.offsets))
	if err != nil {
		return Request{}, fmt.Errorf("data set %s: %w", d.c.Path, err)
	}
	r, err := d.record(k)
	if err != nil {
		return Request{}, err
	}
	request := Request{Text: r.text, Messages: r.messages, OutputTokens: d.outputTokens(r.outputTokens), Entry: k}
	if d.c.Unique {
		open := nonce(d.c.Seed, i)
		mark := strings.Join(open[:], " ") + "\n\n"
		if request.Messages != nil {
			request.Messages = markMessages(request.Messages, mark)
		} else {
			request.Text = mark + request.Text
		}
	}
	for _, turn := range r.later {
		request.Turns = append(request.Turns, Turn{Text: turn.text, OutputTokens: d.outputTokens(turn.outputTokens), Think: d.c.ThinkTime})
	}
	return request, nil
}

// outputTokens settles the output length. A jsonl line asks for its own length
// on purpose; the length of a ShareGPT answer just happened.
func (d *dataset) outputTokens(own int) int {
	if own > 0 && (d.c.OutputLen == 0 || d.c.Dataset == JSONL) {
		return own
	}
	if d.c.OutputLen > 0 {
		return d.c.OutputLen
	}
	return Default().OutputLen
}
