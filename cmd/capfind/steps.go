package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// stepHeader names the columns of the step table, and stepWidths holds them
// still while the table grows line by line.
var (
	stepHeader = []string{"concurrency", "requests", "success", "req/s", "gain", "mean TTFT", "p95 TTFT", "TPOT", "tok/s", ""}
	stepWidths = []int{12, 8, 8, 8, 7, 10, 9, 8, 8, 0}
)

// wideTable is how many columns the whole table takes; narrowColumns are those
// of its columns that the guide prints, which fit into 80.
const wideTable = 120

var narrowColumns = []int{0, 2, 3, 5, 8, 9}

// pick takes the elements at the given places.
func pick[T any](from []T, places []int) []T {
	out := make([]T, len(places))
	for i, p := range places {
		out[i] = from[p]
	}
	return out
}

// stepRow is one step as a line of the table: what the guide prints for it
// (success rate, throughput, TTFT) and what belongs beside it.
func (n naming) stepRow(steps []analysis.Step, i int) []string {
	s := &steps[i]
	v := s.Verdict()
	row := []string{
		n.step(s.Concurrency, s.RequestRate, s.Phase),
		strconv.Itoa(s.Whole.Completed + s.Whole.Failed),
		percent(v.SuccessRate, 1),
		v.RequestThroughput.Format(2),
		gain(steps[:i], s),
		seconds(v.TTFT.Mean),
		seconds(v.TTFT.Percentile(95)),
		seconds(v.TPOT.Mean),
		v.OutputThroughput.Format(0),
		remark(s),
	}
	return row
}

// naming says by what the steps of a command are told apart.
type naming int

const (
	byConcurrency naming = iota
	byRate               // an open loop: the concurrency is only a cap
)

// namingOf is the naming of a command's steps.
func namingOf(command string) naming {
	if command == "rate" {
		return byRate
	}
	return byConcurrency
}

// header names the columns of the step table.
func (n naming) header() []string {
	if n == byRate {
		return append([]string{"arrivals/s"}, stepHeader[1:]...)
	}
	return stepHeader
}

// step is the name of one step.
func (n naming) step(concurrency int, rate analysis.Number, phase analysis.Phase) string {
	name := strconv.Itoa(concurrency)
	if v, ok := rate.Value(); ok && n == byRate {
		name = strconv.FormatFloat(v, 'g', 4, 64)
	}
	switch phase {
	case analysis.PhaseProbe:
		name += " probe"
	case analysis.PhaseConfirm:
		name += " confirm"
	}
	return name
}

// gain is the throughput gain over the ladder step before.
func gain(before []analysis.Step, s *analysis.Step) string {
	if s.Phase != analysis.PhaseLadder {
		return ""
	}
	for i := len(before) - 1; i >= 0; i-- {
		if before[i].Phase == analysis.PhaseLadder && before[i].Concurrency < s.Concurrency {
			if g, ok := analysis.Gain(&before[i], s).Gain.Value(); ok {
				return fmt.Sprintf("%+.0f %%", math.Round(g*100)+0) // the sum of -0 and 0 is 0
			}
			return "n/a"
		}
	}
	return ""
}

// remark is what a person should see of a step at a glance.
func remark(s *analysis.Step) string {
	switch {
	case s.ClientLimited():
		return "client limited"
	case s.Stop != nil:
		return "fails: " + sweep.RuleTitle(s.Stop.Rule)
	case s.Runs > 1:
		return "ok, run twice"
	}
	return "ok"
}

// percent writes a share of 1.
func percent(n analysis.Number, decimals int) string {
	v, ok := n.Value()
	if !ok {
		return "n/a"
	}
	return strconv.FormatFloat(v*100, 'f', decimals, 64) + " %"
}

// seconds writes a time in milliseconds, in seconds from ten of them on.
func seconds(n analysis.Number) string {
	v, ok := n.Value()
	switch {
	case !ok:
		return "n/a"
	case v >= 9.9995:
		return strconv.FormatFloat(v, 'f', 1, 64) + " s"
	case v < 0.00095:
		return strconv.FormatFloat(v*1000, 'f', 2, 64) + " ms"
	case v >= 0.09995:
		return strconv.FormatFloat(v*1000, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(v*1000, 'f', 1, 64) + " ms"
}

// seconds64 is a time as a known figure in seconds.
func seconds64(d time.Duration) analysis.Number { return loadgen.Known(d.Seconds()) }

// unlimited is the width of what is no terminal: nothing is cut for it.
const unlimited = math.MaxInt

// stepTable is the whole table, or the fewest of its columns where it would be
// wider than the terminal.
func (n naming) stepTable(steps []analysis.Step, columns int) string {
	rows := [][]string{n.header()}
	for i := range steps {
		rows = append(rows, n.stepRow(steps, i))
	}
	whole := table(rows)
	for line := range strings.Lines(whole) {
		if utf8.RuneCountInString(line) > columns { // with its line end: the last column stays free
			for i := range rows {
				rows[i] = pick(rows[i], narrowColumns)
			}
			return table(rows)
		}
	}
	return whole
}

// bytesOf writes an amount of data as file managers do: 340 MB, 1.2 GB.
func bytesOf(n int64) string {
	switch {
	case n >= 1e9:
		return strconv.FormatFloat(float64(n)/1e9, 'f', 1, 64) + " GB"
	case n >= 1e6:
		return strconv.FormatFloat(float64(n)/1e6, 'f', 0, 64) + " MB"
	}
	return strconv.FormatFloat(float64(n)/1e3, 'f', 0, 64) + " kB"
}
