package store

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/capfind/capfind/loadgen"
)

// SampleLine is a line of samples.jsonl.gz: one request.
type SampleLine struct {
	Step    int            `json:"step"` // index in the result's steps
	Run     int            `json:"run"`  // of the step: 0, or 1 for its repeat
	Request loadgen.Sample `json:"request"`
}

// archive is samples.jsonl.gz: one gzip member a step, so that a step can be
// appended, or a torn one cut off, without touching those before it. Any gzip
// reader sees one stream.
type archive struct {
	path string
	file *os.File // nil until the first step is written
	ends []int64  // offset after each step's member
}

// openArchive opens the file for appending after the first steps members. A
// missing file is an empty one.
func openArchive(path string, steps int) (*archive, error) {
	a := &archive{path: path}
	f, err := os.OpenFile(path, os.O_RDWR, filePerm)
	if errors.Is(err, os.ErrNotExist) {
		if steps > 0 {
			return nil, fmt.Errorf("%s is missing, though the result has %d steps: its samples are lost, start anew in another directory", path, steps)
		}
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the samples: %w", err)
	}
	a.file = f
	err = a.scan(steps)
	if err == nil && len(a.ends) < steps {
		err = fmt.Errorf("%s holds the samples of %d steps, though the result has %d: it is damaged, start anew in another directory", path, len(a.ends), steps)
	}
	if err == nil {
		err = a.cut(steps)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// scan finds the ends of the first steps members. A torn member ends the
// search: nothing good follows it.
func (a *archive) scan(steps int) error {
	counted := &countingReader{r: bufio.NewReader(a.file)}
	zr := new(gzip.Reader)
	for len(a.ends) < steps {
		err := zr.Reset(counted)
		if err == nil {
			zr.Multistream(false)
			_, err = io.Copy(io.Discard, zr)
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
				return nil
			}
			return fmt.Errorf("reading %s: %w", a.path, err)
		}
		a.ends = append(a.ends, counted.n)
	}
	return nil
}

// countingReader counts what was taken out of a buffered reader. As it is an
// io.ByteReader, gzip takes no byte more than its member has.
type countingReader struct {
	r *bufio.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// cut drops everything after the first steps members.
func (a *archive) cut(steps int) error {
	a.ends = a.ends[:steps]
	end := int64(0)
	if steps > 0 {
		end = a.ends[steps-1]
	}
	if err := a.file.Truncate(end); err != nil {
		return fmt.Errorf("cutting %s: %w", a.path, err)
	}
	if _, err := a.file.Seek(end, io.SeekStart); err != nil {
		return fmt.Errorf("seeking in %s: %w", a.path, err)
	}
	return nil
}

// append writes the samples of a step as one more member. Where that fails (the
// disk is full, say) the file is left as it was.
func (a *archive) append(step int, runs []loadgen.Run) error {
	if a.file == nil {
		f, err := os.OpenFile(a.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
		if err != nil {
			return fmt.Errorf("making %s: %w", a.path, err)
		}
		a.file = f
	}
	if step < 0 || step > len(a.ends) {
		return fmt.Errorf("samples of step %d after %d steps: the steps on disk and in the result differ", step, len(a.ends))
	}
	if err := a.cut(step); err != nil {
		return err
	}
	end, err := a.writeMember(step, runs)
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", a.path, err), a.cut(step))
	}
	a.ends = append(a.ends, end)
	return nil
}

func (a *archive) writeMember(step int, runs []loadgen.Run) (end int64, err error) {
	buffered := bufio.NewWriterSize(a.file, 1<<16)
	// Five times as fast as the default, for a fifth more on the disk: the next step
	// waits for it.
	zw, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return 0, err
	}
	zw.Comment = "step " + strconv.Itoa(step)
	enc := json.NewEncoder(zw)
	for k := range runs {
		for i := range runs[k].Samples {
			if err := enc.Encode(SampleLine{Step: step, Run: k, Request: runs[k].Samples[i]}); err != nil {
				return 0, err
			}
		}
	}
	if err := errors.Join(zw.Close(), buffered.Flush()); err != nil {
		return 0, err
	}
	if err := a.file.Sync(); err != nil {
		return 0, err
	}
	return a.file.Seek(0, io.SeekCurrent)
}

func (a *archive) close() error {
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}
