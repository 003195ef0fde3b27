package telemetry

import (
	"bytes"
	"fmt"
	"math"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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
// buckets elsewhere cost nothing, and with the TYPE lines gone every sample is
// its own line's business. A wanted line that cannot be read is an error,
// because a sum over the rest would be wrong. NaN and infinities are left out.
func parse(body []byte, wanted map[string]bool) ([]sample, error) {
	// The parser's zero value panics: it wants a scheme of names.
	parser := expfmt.NewTextParser(model.LegacyValidation)
	var out []sample
	for number := 1; len(body) > 0; number++ {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte{'\n'})
		line = bytes.TrimSpace(line)
		name := nameOf(line)
		if !wanted[string(name)] {
			continue
		}
		read, err := readLine(&parser, string(name), line)
		if err != nil {
			return nil, fmt.Errorf("line %d (%s): %w", number, name, err)
		}
		out = append(out, read...)
	}
	return out, nil
}

// nameOf is what stands before the labels or the value.
func nameOf(line []byte) []byte {
	if i := bytes.IndexAny(line, "{ \t"); i >= 0 {
		return line[:i]
	}
	return line
}

// readLine reads the sample of one line; none where its value is not finite.
func readLine(parser *expfmt.TextParser, name string, line []byte) ([]sample, error) {
	line, _, _ = bytes.Cut(line, []byte(" # ")) // OpenMetrics' exemplar
	families, err := parser.TextToMetricFamilies(bytes.NewReader(append(bytes.Clone(line), '\n')))
	if err != nil {
		return nil, fmt.Errorf("not the Prometheus text format: %s", clip(err.Error()))
	}
	var out []sample
	for _, m := range families[name].GetMetric() {
		v := m.GetUntyped().GetValue()
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			out = append(out, sample{name: name, labels: labelsOf(m), value: v})
		}
	}
	return out, nil
}

func labelsOf(m *dto.Metric) []label {
	var out []label
	for _, p := range m.GetLabel() {
		out = append(out, label{p.GetName(), p.GetValue()})
	}
	return out
}

// clip shortens what a server sent before it goes into a message.
func clip(s string) string {
	const most = 120
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
