package prompt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// maxEntry caps the memory one entry of a data set may take; images in data URLs
// make entries of some MB.
const maxEntry = 64 << 20

// entry is one line of a JSONL file, or one element of a JSON array, as it
// stands in the file. raw is valid until the next entry.
type entry struct {
	offset int64
	line   int // from 1
	raw    []byte
	bad    string // why raw is missing
}

// scanEntries calls visit for every entry of the file in order, with memory for
// one entry of at most so many bytes. An array is told from lines by its first
// character.
func scanEntries(ctx context.Context, file io.ReadSeeker, most int, visit func(entry) error) error {
	start, isArray, err := opening(file)
	if err != nil {
		return err
	}
	checked := func(e entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(e)
	}
	if _, err := file.Seek(start, io.SeekStart); err != nil {
		return err
	}
	if isArray {
		return scanArray(file, start, most, checked)
	}
	return scanLines(file, start, most, checked)
}

// opening returns where the first entry (or the array) begins, after a byte
// order mark, and whether it is an array.
func opening(file io.Reader) (start int64, isArray bool, err error) {
	reader := bufio.NewReader(file)
	if head, _ := reader.Peek(3); string(head) == "\xef\xbb\xbf" {
		start = 3
		_, _ = reader.Discard(3)
	}
	for {
		c, err := reader.ReadByte()
		switch {
		case err == io.EOF:
			return start, false, nil
		case err != nil:
			return 0, false, err
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			return start, c == '[', nil
		}
	}
}

// scanLines visits every line that is not blank.
func scanLines(file io.Reader, offset int64, most int, visit func(entry) error) error {
	reader := bufio.NewReaderSize(file, 256<<10)
	var long []byte // a line beyond the reader's buffer
	for number := 1; ; number++ {
		long = long[:0]
		e := entry{offset: offset, line: number}
		var piece []byte
		err := bufio.ErrBufferFull
		for err == bufio.ErrBufferFull {
			piece, err = reader.ReadSlice('\n')
			offset += int64(len(piece))
			if len(long)+len(piece) > most {
				e.bad = fmt.Sprintf("longer than %d bytes", most)
				long = long[:0]
			} else if err == bufio.ErrBufferFull || len(long) > 0 {
				long = append(long, piece...)
			}
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if e.raw = piece; len(long) > 0 {
			e.raw = long
		}
		if e.bad != "" || len(bytes.TrimSpace(e.raw)) > 0 {
			if err := visit(e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// scanArray visits every element of the JSON array that the file is. A syntax
// error ends it: there is no telling where the next element begins.
func scanArray(file io.ReadSeeker, start int64, most int, visit func(entry) error) error {
	capped := &cappedReader{r: file, allowance: most, most: most}
	decoder := json.NewDecoder(capped)
	var lines lineCounter
	fail := func(err error) error {
		at := start + decoder.InputOffset()
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = start + syntax.Offset
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err, at = errors.New("the file ends within the list"), math.MaxInt64
		}
		return fmt.Errorf("line %d: %w", lines.at(file, at), err)
	}
	if _, err := decoder.Token(); err != nil {
		return fail(err)
	}
	for decoder.More() {
		capped.allowance = most
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return fail(err)
		}
		offset := start + decoder.InputOffset() - int64(len(raw))
		e := entry{offset: offset, raw: raw, line: -1}
		if err := visit(e); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return fail(err)
	}
	return nil
}

// cappedReader refuses to read more than its allowance, which the decoder would
// otherwise buffer.
type cappedReader struct {
	r               io.Reader
	allowance, most int
}

func (c *cappedReader) Read(p []byte) (int, error) {
	if c.allowance <= 0 {
		return 0, fmt.Errorf("an entry longer than %d bytes", c.most)
	}
	n, err := c.r.Read(p[:min(len(p), c.allowance)])
	c.allowance -= n
	return n, err
}

// lineCounter finds the line of ascending offsets.
type lineCounter struct {
	offset int64
	lines  int
}

// at returns the number of the line that offset lies in. It reads through a
// section of its own, so that the position of the file does not move.
func (l *lineCounter) at(file io.Reader, offset int64) int {
	source, ok := file.(io.ReaderAt)
	if !ok || offset < l.offset {
		return l.lines + 1
	}
	section := io.NewSectionReader(source, l.offset, offset-l.offset)
	buffer := make([]byte, 64<<10)
	for {
		n, err := section.Read(buffer)
		l.lines += bytes.Count(buffer[:n], []byte{'\n'})
		l.offset += int64(n)
		if err != nil {
			return l.lines + 1
		}
	}
}

// Line is one line of a file that is not blank. Text is valid until the next one.
type Line struct {
	Offset int64 // of its first byte, from where the reading began
	Number int   // from 1
	Text   []byte
	Bad    string // why Text is missing
}

// ScanLines calls visit for every line that is not blank, with memory for one of at
// most so many bytes. The error is that of visit or of the reader.
func ScanLines(file io.Reader, most int, visit func(Line) error) error {
	return scanLines(file, 0, most, func(e entry) error {
		return visit(Line{e.offset, e.line, e.raw, e.bad})
	})
}
