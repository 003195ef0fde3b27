package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

// parser reads the lines of one format. parse is safe for concurrent use.
type parser interface {
	format() Format
	parse(line []byte) (Request, error)
}

var errUnknown = errors.New("neither a JSON object with time or timestamp nor the heading of Azure's or BurstGPT's CSV: it is in no format that is known here")

// recognise tells a format by a line. heading says that the line names the columns.
func recognise(line []byte) (p parser, heading bool) {
	line = bytes.TrimSpace(line)
	if len(line) > 0 && line[0] == '{' {
		var keys map[string]json.RawMessage
		if json.Unmarshal(line, &keys) != nil {
			return nil, false
		}
		has := func(names ...string) bool {
			for _, name := range names {
				if _, ok := keys[name]; ok {
					return true
				}
			}
			return false
		}
		switch {
		case has("time"):
			return native{}, false
		case has("timestamp") && has("input_length", "hash_ids"):
			return mooncake{}, false
		}
		return nil, false
	}
	return csvHeading(line), true
}

// decompress undoes a compression that the first bytes tell of.
func decompress(file io.Reader) (plain io.ReadCloser, compression string, err error) {
	reader := bufio.NewReaderSize(file, 256<<10)
	head, _ := reader.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(reader)
		if err != nil {
			return nil, "", fmt.Errorf("it begins like a gzip file, but %w", err)
		}
		return z, "gzip", nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(reader, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(256<<20))
		if err != nil {
			return nil, "", fmt.Errorf("it begins like a zstd file, but %w", err)
		}
		return z.IOReadCloser(), "zstd", nil
	}
	return io.NopCloser(reader), "", nil
}

// number is an identifier of a block or a session: a whole number is itself, anything
// else its hash.
type number uint64

func (n *number) UnmarshalJSON(b []byte) error {
	switch v, err := strconv.ParseUint(string(b), 10, 64); {
	case err == nil:
		*n = number(v)
		return nil
	case string(b) == "null":
		*n = 0
		return nil
	case b[0] != '"':
		*n = number(hashed(b))
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	*n = number(hashed([]byte(text)))
	return nil
}

// hashed is a number for a text; never 0.
func hashed(text []byte) uint64 {
	h := fnv.New64a()
	h.Write(text)
	return max(1, h.Sum64())
}

// numbers converts a list in place of the type.
func numbers(list []number) []uint64 {
	if len(list) == 0 {
		return nil
	}
	out := make([]uint64, len(list))
	for i, n := range list {
		out[i] = uint64(n)
	}
	return out
}

// seconds is a time in seconds as a duration.
func seconds(s float64) (time.Duration, error) {
	const most = 1 << 32 // 136 years: of two such moments a Duration holds the difference
	if math.IsNaN(s) || math.Abs(s) > most {
		return 0, errors.New("a time that is out of range")
	}
	return time.Duration(math.Round(s * float64(time.Second))), nil
}

// length checks a number of tokens.
func length(name string, n float64) (int, error) {
	if n != math.Trunc(n) || n < 0 || n > maxTokens {
		return 0, fmt.Errorf("%s %v is no number of tokens from 0 to %d", name, n, maxTokens)
	}
	return int(n), nil
}

// plainError words an error of encoding/json without the names of our types.
func plainError(err error) error {
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		if wrong.Field == "" {
			return errors.New("a JSON object is wanted, not a " + wrong.Value)
		}
		return errors.New(wrong.Field + " cannot be a " + wrong.Value)
	}
	return errors.New("not JSON: " + err.Error())
}

// mooncake is the format of github.com/kvcache-ai/Mooncake, FAST25-release/traces:
// one JSON object a line with timestamp (milliseconds), input_length and
// output_length (tokens) and hash_ids, the remapped hashes of the prompt's blocks of
// 512 tokens, the last of which may be shorter. session_id is what later writers of
// the format add.
type mooncake struct{}

const mooncakeBlock = 512 // tokens

func (mooncake) format() Format { return Mooncake }

func (mooncake) parse(line []byte) (Request, error) {
	var in struct {
		Timestamp *float64 `json:"timestamp"`
		Input     *float64 `json:"input_length"`
		Output    *float64 `json:"output_length"`
		Hashes    []number `json:"hash_ids"`
		Session   number   `json:"session_id"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return Request{}, plainError(err)
	}
	if in.Timestamp == nil || in.Input == nil || in.Output == nil {
		return Request{}, errors.New("timestamp, input_length or output_length is missing")
	}
	at, err := seconds(*in.Timestamp / 1000)
	if err != nil {
		return Request{}, err
	}
	q := Request{At: at, Blocks: numbers(in.Hashes), BlockTokens: mooncakeBlock, Session: uint64(in.Session)}
	return q.withLengths("input_length", *in.Input, "output_length", *in.Output)
}

// withLengths sets both lengths. A request without either was not served.
func (q Request) withLengths(inputName string, input float64, outputName string, output float64) (Request, error) {
	var err error
	if q.InputTokens, err = length(inputName, input); err != nil {
		return Request{}, err
	}
	if q.OutputTokens, err = length(outputName, output); err != nil {
		return Request{}, err
	}
	if q.InputTokens == 0 || q.OutputTokens == 0 {
		return Request{}, errLeftOut
	}
	return q, nil
}
