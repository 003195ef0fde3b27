package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sample is one line of the Prometheus text format. Its type does not matter
// here: what is a counter and what a gauge is known by name, so that a server
// which declares a wrong type, or none, is read all the same.
type sample struct {
	name   string
	labels []label
	value  float64
}

type label struct{ name, value string }

// label returns the value of the named label, empty where the sample has none.
func (s *sample) label(name string) string {
	for _, l := range s.labels {
		if l.name == name {
			return l.value
		}
	}
	return ""
}

// parse reads the samples whose names are wanted from a body in the Prometheus
// text format (or OpenMetrics, whose sample lines are the same up to the value).
// Lines of other names are skipped unread: a bad line or ten thousand histogram
// buckets elsewhere cost nothing. A wanted line that cannot be read is an error,
// because a sum over the rest would be wrong. NaN and infinities are left out.
func parse(body []byte, wanted map[string]bool) ([]sample, error) {
	var out []sample
	for number := 1; len(body) > 0; number++ {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte{'\n'})
		line = bytes.TrimSpace(line)
		name, rest := splitName(line)
		if !wanted[string(name)] {
			continue
		}
		s := sample{name: string(name)}
		if err := s.read(string(rest)); err != nil {
			return nil, fmt.Errorf("line %d (%s): %w", number, name, err)
		}
		if !math.IsNaN(s.value) && !math.IsInf(s.value, 0) {
			out = append(out, s)
		}
	}
	return out, nil
}

// splitName cuts a line before its labels or its value.
func splitName(line []byte) (name, rest []byte) {
	if i := bytes.IndexAny(line, "{ \t"); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// read fills in labels and value from what follows the name.
func (s *sample) read(rest string) error {
	rest = strings.TrimLeft(rest, " \t")
	if strings.HasPrefix(rest, "{") {
		var err error
		if rest, err = s.readLabels(rest[1:]); err != nil {
			return err
		}
	}
	fields := strings.Fields(rest) // the value, then perhaps a time stamp or an exemplar
	if len(fields) == 0 {
		return errors.New("no value")
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is no number", clip(fields[0]))
	}
	s.value = v
	return nil
}

// readLabels reads name="value" pairs up to the closing brace and returns what
// follows it.
func (s *sample) readLabels(rest string) (string, error) {
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if strings.HasPrefix(rest, "}") {
			return rest[1:], nil
		}
		name, after, ok := strings.Cut(rest, "=")
		after = strings.TrimLeft(after, " \t")
		if !ok || !strings.HasPrefix(after, `"`) {
			return "", fmt.Errorf("broken labels at %q", clip(rest))
		}
		value, tail, ok := unquote(after[1:])
		if !ok {
			return "", fmt.Errorf("label value without an end at %q", clip(after))
		}
		s.labels = append(s.labels, label{strings.TrimSpace(name), value})
		rest = tail
	}
}

// unquote reads a label value up to its closing quote. The format knows the
// escapes \\, \" and \n only.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// clip shortens what a server sent before it goes into a message.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
