package trace

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// azure is the format of Azure's LLM inference traces of 2023 and 2024
// (github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md): CSV with
// TIMESTAMP, the wall clock of the call with seven decimals, in 2024 with a zone, and
// ContextTokens and GeneratedTokens.
type azure struct{ columns [3]int }

// burstGPT is the format of github.com/HPMLL/BurstGPT: CSV with Timestamp (seconds),
// Model, Request tokens, Response tokens, Total tokens and Log Type, and in its third
// release Session ID and Elapsed time (seconds). Failed requests have 0 response
// tokens.
type burstGPT struct {
	columns [3]int
	session int // -1: no such column
}

func (azure) format() Format { return Azure }

func (burstGPT) format() Format { return BurstGPT }

// csvHeading is the parser for the columns that a heading names; nil where they are
// of neither format.
func csvHeading(line []byte) parser {
	names, err := fields(line)
	if err != nil {
		return nil
	}
	for i, name := range names {
		names[i] = strings.ToLower(strings.TrimSpace(name))
	}
	find := func(wanted ...string) (at [3]int, ok bool) {
		for i, name := range wanted {
			if at[i] = slices.Index(names, name); at[i] < 0 {
				return at, false
			}
		}
		return at, true
	}
	if at, ok := find("timestamp", "contexttokens", "generatedtokens"); ok {
		return azure{at}
	}
	if at, ok := find("timestamp", "request tokens", "response tokens"); ok {
		return burstGPT{at, slices.Index(names, "session id")}
	}
	return nil
}

// fields splits a line of CSV.
func fields(line []byte) ([]string, error) {
	line = bytes.TrimRight(line, "\r\n")
	if bytes.IndexByte(line, '"') < 0 {
		return strings.Split(string(line), ","), nil
	}
	row, err := csv.NewReader(bytes.NewReader(line)).Read()
	if err != nil {
		return nil, errors.New("not CSV: quotes that do not match")
	}
	return row, nil
}

// pick returns the time and both lengths of a line.
func pick(line []byte, columns [3]int) (row []string, input, output float64, err error) {
	if row, err = fields(line); err != nil {
		return nil, 0, 0, err
	}
	if most := slices.Max(columns[:]); len(row) <= most {
		return nil, 0, 0, fmt.Errorf("%d columns instead of at least %d", len(row), most+1)
	}
	tokens := [2]float64{}
	for i, column := range columns[1:] {
		text := strings.TrimSpace(row[column])
		if tokens[i], err = strconv.ParseFloat(text, 64); err != nil {
			return nil, 0, 0, fmt.Errorf("%q is no number of tokens", short(text))
		}
	}
	return row, tokens[0], tokens[1], nil
}

// short keeps a wrong value readable in a message.
func short(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "..."
	}
	return text
}

// azureTimes are the ways in which the years write a moment; both take decimals.
var azureTimes = []string{"2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00"}

func (a azure) parse(line []byte) (Request, error) {
	row, input, output, err := pick(line, a.columns)
	if err != nil {
		return Request{}, err
	}
	text := strings.TrimSpace(row[a.columns[0]])
	for _, layout := range azureTimes {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		at, err := sinceEpoch(t)
		if err != nil {
			return Request{}, err
		}
		return Request{At: at}.withLengths("ContextTokens", input, "GeneratedTokens", output)
	}
	return Request{}, fmt.Errorf("TIMESTAMP %q is no moment such as 2023-11-16 18:17:03.9799600", short(text))
}

func (b burstGPT) parse(line []byte) (Request, error) {
	row, input, output, err := pick(line, b.columns)
	if err != nil {
		return Request{}, err
	}
	text := strings.TrimSpace(row[b.columns[0]])
	s, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Request{}, fmt.Errorf("the time %q is no number of seconds", short(text))
	}
	q := Request{}
	if q.At, err = seconds(s); err != nil {
		return Request{}, err
	}
	if b.session >= 0 && b.session < len(row) {
		if name := strings.TrimSpace(row[b.session]); name != "" && name != "-1" {
			q.Session = hashed([]byte(name))
		}
	}
	return q.withLengths("Request tokens", input, "Response tokens", output)
}
