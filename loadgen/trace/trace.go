// Package trace reads recorded traffic: when requests came, how long they and their
// answers were, what their prompts shared and which of them belong to one session.
//
// Scan goes through a file of any size in the order of its lines. Load keeps the
// part that is to be sent again, of which a Source makes prompts.
package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/capfind/capfind/loadgen/prompt"
)

// Format is how a trace is written down.
type Format string

// The formats.
const (
	Mooncake Format = "mooncake" // JSON lines with block hashes, as Mooncake published them
	Azure    Format = "azure"    // CSV of Azure's LLM inference traces
	BurstGPT Format = "burstgpt" // CSV of the BurstGPT traces
	Native   Format = "capfind"  // JSON lines of our own
)

// Request is one recorded request.
type Request struct {
	At           time.Duration // arrival, after that of the first line; negative where lines are out of order
	InputTokens  int           // of the prompt; 0 where only its text is there
	OutputTokens int           // of the answer; 0 where the trace does not say
	Blocks       []uint64      // a number for each stretch of the prompt; equal ones stand for equal text
	BlockTokens  int           // length of a block; the last one of a prompt may be shorter
	Session      uint64        // requests of one conversation have the same one; 0: none
	Text         string        // the prompt itself, where it was recorded
	Messages     json.RawMessage

	offset int64 // of the line, in the uncompressed file
	line   []byte
}

// shownBadLines is how many bad lines are named one by one.
const shownBadLines = 5

// Reading is what was met on the way through a file.
type Reading struct {
	Format      Format   `json:"format"`
	Compression string   `json:"compression"` // gzip, zstd; empty: none
	Requests    int      `json:"requests"`
	BadLines    int      `json:"bad_lines"`
	Bad         []string `json:"bad"`      // the first of them: where and what
	LeftOut     int      `json:"left_out"` // well formed, but without a prompt or an answer: recorded failures
	Torn        string   `json:"torn"`     // why the file could not be read to its end; empty where it was

	parser parser // nil before the format is known
}

// Notes tells a person what was not as it should be.
func (r *Reading) Notes() []string {
	var notes []string
	if r.BadLines > 0 {
		note := fmt.Sprintf("bad lines skipped: %d (%s", r.BadLines, strings.Join(r.Bad, "; "))
		if r.BadLines > len(r.Bad) {
			note += fmt.Sprintf("; and %d more", r.BadLines-len(r.Bad))
		}
		notes = append(notes, note+")")
	}
	if r.LeftOut > 0 {
		notes = append(notes, fmt.Sprintf("requests left out, for they have no prompt or no answer: %d; they failed when they were recorded", r.LeftOut))
	}
	if r.Torn != "" {
		notes = append(notes, "the file cannot be read to its end ("+r.Torn+"); what comes before is used")
	}
	return notes
}

// errLeftOut says that a line is well formed but was no served request.
var errLeftOut = errors.New("left out")

// maxLine caps the memory that one line may take; images in data URLs make prompts
// of some MB.
const maxLine = 64 << 20

// maxTokens is the longest prompt or answer that is believed.
const maxTokens = 10_000_000

// Scan reads the trace in a file and calls visit for every request, in the order of
// its lines. Plain, gzip and zstd files are told apart by their first bytes, formats
// by their first line. What visit is given is valid until it returns. A line that is
// no request is counted and named, and never an error.
func Scan(ctx context.Context, path string, visit func(*Request) error) (*Reading, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the trace: %w", err)
	}
	defer file.Close()
	r, err := scan(ctx, file, visit)
	return r, named(ctx, path, err)
}

// named says of an error which file it is about.
func named(ctx context.Context, path string, err error) error {
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("trace %s: %w", path, err)
	}
	return err
}

// scan is Scan of what is already open.
func scan(ctx context.Context, file io.Reader, visit func(*Request) error) (*Reading, error) {
	plain, compression, err := decompress(file)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	return pass(ctx, plain, compression, visit)
}

// pass goes through what was uncompressed.
func pass(ctx context.Context, plain io.Reader, compression string, visit func(*Request) error) (*Reading, error) {
	s := scanner{visit: visit, r: &Reading{Compression: compression}}
	var handed error
	err := prompt.ScanLines(plain, maxLine, func(l prompt.Line) error {
		if l.Number&0xfff == 1 && ctx.Err() != nil {
			handed = ctx.Err()
			return handed
		}
		handed = s.line(l)
		return handed
	})
	switch {
	case handed != nil:
		return nil, handed
	case err != nil && s.r.Requests == 0:
		return nil, err
	case err != nil:
		s.r.Torn = err.Error()
	case s.r.Requests == 0:
		return nil, s.nothing()
	}
	return s.r, nil
}

// scanner is a pass through a file.
type scanner struct {
	r      *Reading
	origin time.Duration
	visit  func(*Request) error
}

// line takes in one line. The error is that of visit.
func (s *scanner) line(l prompt.Line) error {
	if l.Bad != "" {
		s.bad(l.Number, errors.New(l.Bad))
		return nil
	}
	if rest, marked := bytes.CutPrefix(l.Text, []byte("\xef\xbb\xbf")); marked { // a byte order mark
		l.Text, l.Offset = rest, l.Offset+3
	}
	if s.r.parser == nil {
		p, heading := recognise(l.Text)
		if p == nil {
			s.bad(l.Number, errUnknown)
			return nil
		}
		s.r.parser, s.r.Format = p, p.format()
		if heading {
			return nil
		}
	}
	q, err := s.r.parser.parse(l.Text)
	switch {
	case err == errLeftOut:
		s.r.LeftOut++
		return nil
	case err != nil:
		s.bad(l.Number, err)
		return nil
	}
	if s.r.Requests == 0 {
		s.origin = q.At
	}
	s.r.Requests++
	q.At -= s.origin
	q.offset, q.line = l.Offset, l.Text
	return s.visit(&q)
}

func (s *scanner) bad(line int, err error) {
	s.r.BadLines++
	if s.r.BadLines <= shownBadLines {
		s.r.Bad = append(s.r.Bad, fmt.Sprintf("line %d: %v", line, err))
	}
}

// nothing says why a file gave no request.
func (s *scanner) nothing() error {
	if s.r.parser == nil {
		return errUnknown
	}
	return fmt.Errorf("not one usable request (%s; %d bad lines, %d left out: %s)", s.r.Format, s.r.BadLines, s.r.LeftOut, strings.Join(s.r.Bad, "; "))
}
