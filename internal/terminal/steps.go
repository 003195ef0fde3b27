package terminal

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/sweep"
)

// stepHeader names the columns of the step table, and stepWidths holds them
// still while the table grows line by line.
var (
	stepHeader = []string{"concurrency", "requests", "success", "req/s", "gain", "mean TTFT", "p95 TTFT", "TPOT", "tok/s", ""}
	stepWidths = []int{12, 8, 8, 8, 7, 10, 10, 8, 8, 0}
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
	mean, p95 := Seconds(v.TTFT.Mean), Seconds(v.TTFT.Percentile(95))
	if sweep.NotStreamed(s) { // the header stands before anything is known of the answers
		mean, p95 = "E2E "+Seconds(v.E2E.Mean), "E2E "+Seconds(v.E2E.Percentile(95))
	}
	return []string{
		n.step(s.Concurrency, s.RequestRate, s.Speed, s.Phase),
		strconv.Itoa(s.Whole.Completed + s.Whole.Failed),
		Percent(v.SuccessRate, 1),
		v.RequestThroughput.Format(2),
		gain(steps[:i], s),
		mean,
		p95,
		Seconds(v.TPOT.Mean),
		v.OutputThroughput.Format(0),
		remark(s),
	}
}

// naming says by what the steps of a command are told apart.
type naming int

const (
	byConcurrency naming = iota
	byRate               // an open loop: the concurrency is only a cap
	bySpeed              // of recorded traffic
)

// namingOf is the naming of a command's steps.
func namingOf(command string) naming {
	switch command {
	case "rate":
		return byRate
	case "replay":
		return bySpeed
	}
	return byConcurrency
}

// header names the columns of the step table.
func (n naming) header() []string {
	switch n {
	case byRate:
		return append([]string{"arrivals/s"}, stepHeader[1:]...)
	case bySpeed:
		return append([]string{"speed"}, stepHeader[1:]...)
	}
	return stepHeader
}

// step is the name of one step.
func (n naming) step(concurrency int, rate, speed analysis.Number, phase analysis.Phase) string {
	name := strconv.Itoa(concurrency)
	if v, ok := rate.Value(); ok && n == byRate {
		name = strconv.FormatFloat(v, 'g', 4, 64)
	}
	if v, ok := speed.Value(); ok && n == bySpeed {
		name = strconv.FormatFloat(v, 'g', 4, 64) + " x"
	}
	switch phase {
	case analysis.PhaseLook:
		name = fmt.Sprintf("look, %d", concurrency)
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

// unlimited is the width of what is no terminal: nothing is cut for it.
const unlimited = math.MaxInt

// Steps is the table of a command's steps: all of it, or the fewest of its columns
// where it would be wider than the terminal behind the stream.
func Steps(stream io.Writer, command string, steps []analysis.Step) string {
	columns := unlimited
	if Is(stream) {
		columns = width(stream)
	}
	return namingOf(command).stepTable(steps, columns)
}

func (n naming) stepTable(steps []analysis.Step, columns int) string {
	rows := [][]string{n.header()}
	for i := range steps {
		rows = append(rows, n.stepRow(steps, i))
	}
	whole := Table(rows)
	for line := range strings.Lines(whole) {
		if utf8.RuneCountInString(line) > columns { // with its line end: the last column stays free
			for i := range rows {
				rows[i] = pick(rows[i], narrowColumns)
			}
			return Table(rows)
		}
	}
	return whole
}
