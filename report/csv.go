package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// csvFigures are the columns that both sets of figures have, in base units: shares of
// 1 and seconds.
var csvFigures = []struct {
	name string
	take func(*analysis.Summary) string
}{
	{"duration_seconds", func(s *analysis.Summary) string { return exact(s.DurationSeconds) }},
	{"completed", func(s *analysis.Summary) string { return strconv.Itoa(s.Completed) }},
	{"failed", func(s *analysis.Summary) string { return strconv.Itoa(s.Failed) }},
	{"success_rate", func(s *analysis.Summary) string { return exact(s.SuccessRate) }},
	{"request_throughput", func(s *analysis.Summary) string { return exact(s.RequestThroughput) }},
	{"output_throughput", func(s *analysis.Summary) string { return exact(s.OutputThroughput) }},
	{"total_token_throughput", func(s *analysis.Summary) string { return exact(s.TotalTokenThroughput) }},
	{"mean_in_flight", func(s *analysis.Summary) string { return exact(s.MeanInFlight) }},
	{"efficiency", func(s *analysis.Summary) string { return exact(s.Efficiency) }},
}

// csvTimes are the distributions, each with its statistics.
var csvTimes = []struct {
	name string
	take func(*analysis.Summary) analysis.Dist
}{
	{"ttft", func(s *analysis.Summary) analysis.Dist { return s.TTFT }},
	{"tpot", func(s *analysis.Summary) analysis.Dist { return s.TPOT }},
	{"chunk_gap", func(s *analysis.Summary) analysis.Dist { return s.ChunkGap }},
	{"e2e", func(s *analysis.Summary) analysis.Dist { return s.E2E }},
}

// exact writes all digits of a figure; an unknown one is an empty cell.
func exact(n analysis.Number) string {
	v, ok := n.Value()
	if !ok {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// CSV writes one row a step for a spreadsheet: figures in base units (seconds,
// shares of 1), the whole run's and the steady window's side by side. An unknown
// figure is an empty cell.
func CSV(w io.Writer, r *sweep.Result) error {
	out := csv.NewWriter(w)
	head := []string{"concurrency", "request_rate", "phase", "runs", "num_prompts", "verdict_basis", "passed", "stop_rule", "stop_sentence", "abandoned"}
	for _, set := range []string{"whole", "steady"} {
		for _, f := range csvFigures {
			head = append(head, set+"_"+f.name)
		}
		for _, t := range csvTimes {
			for _, stat := range []string{"mean", "std", "p50", "p90", "p95", "p99"} {
				head = append(head, set+"_"+t.name+"_"+stat+"_seconds")
			}
		}
	}
	rows := [][]string{head}
	for i := range r.Steps {
		rows = append(rows, csvRow(&r.Steps[i]))
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("writing the step table: %w", err)
	}
	return nil
}

func csvRow(s *analysis.Step) []string {
	rule, sentence := "", ""
	if s.Stop != nil {
		rule, sentence = s.Stop.Rule, s.Stop.Sentence
	}
	row := []string{strconv.Itoa(s.Concurrency), exact(s.RequestRate), string(s.Phase), strconv.Itoa(s.Runs), strconv.Itoa(s.NumPrompts),
		string(s.VerdictBasis), strconv.FormatBool(s.Passed()), inert(rule), inert(sentence), inert(s.Abandoned)}
	for _, set := range []*analysis.Summary{&s.Whole, s.Steady} {
		for _, f := range csvFigures {
			row = append(row, blank(set, f.take))
		}
		for _, t := range csvTimes {
			row = append(row, blank(set, func(s *analysis.Summary) string { return exact(t.take(s).Mean) }),
				blank(set, func(s *analysis.Summary) string { return exact(t.take(s).Std) }),
				blank(set, func(s *analysis.Summary) string { return exact(t.take(s).P50) }),
				blank(set, func(s *analysis.Summary) string { return exact(t.take(s).P90) }),
				blank(set, func(s *analysis.Summary) string { return exact(t.take(s).P95) }),
				blank(set, func(s *analysis.Summary) string { return exact(t.take(s).P99) }))
		}
	}
	return row
}

// blank is an empty cell where a step has no such set of figures.
func blank(s *analysis.Summary, take func(*analysis.Summary) string) string {
	if s == nil {
		return ""
	}
	return take(s)
}

// inert keeps a spreadsheet from running a text as a formula: texts can hold
// what a server or a configuration wrote.
func inert(s string) string {
	if strings.HasPrefix(strings.TrimLeft(s, " \t\r\n"), "=") || strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") || strings.HasPrefix(s, "@") {
		return "'" + s
	}
	return s
}
