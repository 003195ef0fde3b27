package terminal

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// verdictTitles say in words what a verdict means.
var verdictTitles = map[sweep.Verdict]string{
	sweep.LimitFound:        "LIMIT FOUND",
	sweep.NotReached:        "LIMIT NOT REACHED",
	sweep.FailedAtFirstStep: "FAILED AT THE FIRST STEP",
	sweep.ClientLimited:     "INCONCLUSIVE: THIS CLIENT WAS THE LIMIT",
	sweep.Unstable:          "INCONCLUSIVE: THE SERVER CHANGED WHILE IT WAS MEASURED",
	sweep.Interrupted:       "INTERRUPTED",
	sweep.Met:               "REQUIREMENTS MET",
	sweep.NotMet:            "REQUIREMENTS NOT MET",
}

// Answer is the result for people, as wide as the stream: the verdict in a box, then
// what follows from it, one subject a line. dir is where the report is.
func Answer(stream io.Writer, r *sweep.Result, dir string) string {
	return answerText(r, styleFor(stream), width(stream), dir)
}

func answerText(r *sweep.Result, s style, columns int, dir string) string {
	var b strings.Builder
	columns = min(max(columns, 40), 100)
	title := verdictTitles[r.Verdict]
	if title == "" {
		title = strings.ToUpper(strings.ReplaceAll(string(r.Verdict), "_", " "))
	}
	b.WriteString(box(title, colourOf(r.Verdict, s), wrap(sentenceOf(r), columns-4), columns))
	for _, f := range facts(r) {
		lines := wrap(f.text, columns-len(factIndent))
		for i, line := range lines {
			label := factIndent
			if i == 0 {
				label = s.bold(fmt.Sprintf("%-*s", len(factIndent), f.label))
			}
			b.WriteString(label + line + "\n")
		}
	}
	// What is to be copied stays in one piece.
	last := func(label, text string) {
		b.WriteString(s.bold(fmt.Sprintf("%-*s", len(factIndent), label)) + text + "\n")
	}
	if dir != "" {
		last("Report", filepath.Join(dir, "report.html"))
	}
	if dir != "" && !r.Complete && r.Command != "import" {
		last("Go on with", "capfind "+r.Command+" --resume "+dir)
	}
	return b.String()
}

// sentenceOf is the answer in one line, also where the run was killed before
// there was one.
func sentenceOf(r *sweep.Result) string {
	switch {
	case r.Sentence != "" || r.Complete:
		return r.Sentence
	case len(r.Steps) == 1:
		return "ended before there was an answer, after one step"
	case len(r.Steps) > 1:
		return fmt.Sprintf("ended before there was an answer, after %d steps", len(r.Steps))
	}
	return "ended before the first step was finished"
}

const factIndent = "            "

// fact is one subject of the answer.
type fact struct{ label, text string }

func facts(r *sweep.Result) []fact {
	var out []fact
	add := func(label, text string) {
		if text != "" {
			out = append(out, fact{label, text})
		}
	}
	if r.Command == "sweep" || r.Command == "import" {
		if r.Complete || r.Limit != nil { // a ladder that was cut short recommends its last step
			add("Production", production(r.Recommendation))
		}
		add("Ladder", ladderWords(r.Ladder))
	}
	if b := r.Bottleneck; b != nil {
		add("Why", b.Sentence)
	}
	if len(r.Steps) > 1 {
		add("Peak", peakWords(r))
	}
	if n := len(r.Steps); n > 0 {
		add("In flight", relation(&r.Steps[n-1]))
		add("Goodput", goodput(&r.Steps[n-1]))
	}
	if h := r.Headroom; h != nil {
		add("Queue", queueWords(h.Queue))
	}
	if s := r.Soak; s != nil {
		for i, t := range s.Trends {
			add(map[bool]string{true: "Trends"}[i == 0], t.Sentence)
		}
	}
	add("Next", next(r))
	for i, w := range r.Warnings {
		add(map[bool]string{true: "Warnings"}[i == 0], w)
	}
	return out
}

// queueWords says how many requests would pile up.
func queueWords(queue []sweep.Simulated) string {
	var parts []string
	for _, q := range queue {
		text := fmt.Sprintf("%d at %g x", q.Peak, q.Speed)
		if q.Beyond {
			text += " (more than was measured)"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	return "simulated for all that was recorded, at most in the server: " + strings.Join(parts, ", ")
}

// next says what to do about a verdict that is no answer yet.
func next(r *sweep.Result) string {
	switch r.Verdict {
	case sweep.ClientLimited:
		if ranOut(r) {
			return "raise the limit on open files (ulimit -n) or the range of ports, whichever the sentence names, or stay below it"
		}
		return "close what else runs here, or load from a larger machine; capfind selftest shows how much this one can drive"
	case sweep.Unstable:
		return "measure again while nothing else uses the server; capfind soak shows how it changes over hours"
	case sweep.FailedAtFirstStep:
		return nextAfterFirst(r)
	case sweep.NotReached:
		switch r.Command {
		case "rate":
			return "try higher rates (--rates)"
		case "replay":
			return "be content with that, or replay a longer or a busier recording"
		}
		return "be content with that, or go on with more requests in flight (--concurrency)"
	}
	return ""
}

// nextAfterFirst says what to do where the first step failed already. What fails at
// any load is no matter of how much is sent, and less than one request there is not.
func nextAfterFirst(r *sweep.Result) string {
	s := &analysis.Step{Concurrency: math.MaxInt}
	if len(r.Steps) > 0 {
		s = &r.Steps[0]
	}
	if classes := s.FailureClasses(); len(classes) > 0 && classes[0].AnyLoad() {
		return fmt.Sprintf("%s fails at any load, so change what is sent and not how much: %s", classes[0], s.FailureExamples[classes[0]])
	}
	switch {
	case r.Command == "rate":
		return "begin with lower rates (--rates), or ask whether the threshold that broke fits this model"
	case r.Command == "replay":
		return "a few of the recorded requests are too much already: ask whether the requirement that broke fits this model, or look at the server's log"
	case s.Concurrency <= 1:
		return "one request at a time is too much already: ask whether the threshold that broke fits this model, or look at the server's log"
	}
	return "begin with fewer requests in flight (--concurrency), or ask whether the threshold that broke fits this model"
}

// ranOut reports whether requests failed for want of files or ports, which no
// larger machine gives by itself.
func ranOut(r *sweep.Result) bool {
	return slices.ContainsFunc(r.Steps, func(s analysis.Step) bool { return s.Failures[loadgen.ClientLimit] > 0 })
}

// production says what to set production to.
func production(rec *analysis.Recommendation) string {
	if rec == nil {
		return ""
	}
	low, ok := rec.Low.Value()
	if !ok {
		return strings.Join(rec.Reasons, "; ")
	}
	text := fmt.Sprintf("set it to %.0f-%s requests in flight", low, rec.High.Format(0))
	switch {
	case low == rec.High.Or(0) && low == 1:
		text = "set it to 1 request in flight"
	case low == rec.High.Or(0):
		text = fmt.Sprintf("set it to %.0f requests in flight", low)
	}
	if safe, ok := rec.BurstSafe.Value(); ok && safe >= 1 {
		text += fmt.Sprintf("; %.0f is the most that is safe where requests arrive at random", safe)
	}
	return text
}

// ladderWords says what the guide's ladder alone gives, its script's suggestion
// included.
func ladderWords(l sweep.Ladder) string {
	good, hasGood := l.LastGood.Value()
	bad, hasBad := l.FirstBad.Value()
	switch {
	case hasGood && !hasBad:
		return fmt.Sprintf("held at every step, up to %.0f", good)
	case hasBad:
		text := fmt.Sprintf("%.0f did not hold: %s", bad, l.Sentence)
		if hasGood {
			text = fmt.Sprintf("%.0f held, %s", good, text)
		}
		return text + fmt.Sprintf(" (the guide's script would suggest %s)", l.ScriptSuggestion.Format(0))
	}
	return ""
}

func peakWords(r *sweep.Result) string {
	if !r.Peak.RequestThroughput.IsKnown() {
		return ""
	}
	text := fmt.Sprintf("%s req/s at %s in flight", r.Peak.RequestThroughput.Format(2), r.Peak.Concurrency.Format(0))
	if r.Efficiency.MaxEfficiency.IsKnown() {
		text += fmt.Sprintf("; highest efficiency %s req/s per request in flight, at %s",
			r.Efficiency.MaxEfficiency.Format(3), r.Efficiency.OptimalConcurrency.Format(0))
	}
	return text
}

// relation is the guide's: how many are in flight follows from the rate and the
// response time, up to the cap.
func relation(s *analysis.Step) string {
	rate, ok := s.RequestRate.Value()
	v := s.Verdict()
	residence, known := v.MeanResidenceSeconds.Value()
	if !ok || !known {
		return ""
	}
	return fmt.Sprintf("min(max_concurrency %d, rate %.4g req/s x mean response time %.3f s = %.1f) = %.1f; measured on average: %s",
		s.Concurrency, rate, residence, rate*residence, min(float64(s.Concurrency), rate*residence), v.MeanInFlight.Format(1))
}

// goodput is the throughput of the requests that met what was asked of them.
func goodput(s *analysis.Step) string {
	g := s.Whole.RequestGoodput
	if !g.IsKnown() {
		return ""
	}
	return fmt.Sprintf("%s req/s of %s met what was asked of a good request", g.Format(2), s.Whole.RequestThroughput.Format(2))
}

// colourOf paints a title by what its verdict means for the reader.
func colourOf(v sweep.Verdict, s style) func(string) string {
	switch v {
	case sweep.LimitFound, sweep.NotReached, sweep.Met:
		return func(text string) string { return s.bold(s.green(text)) }
	case sweep.FailedAtFirstStep, sweep.NotMet:
		return func(text string) string { return s.bold(s.red(text)) }
	}
	return func(text string) string { return s.bold(s.yellow(text)) }
}

// box draws a frame around a title, painted, and its lines.
func box(title string, paint func(string) string, lines []string, columns int) string {
	inner := columns - 4
	edge := strings.Repeat("─", columns-2)
	pad := func(text string) string {
		return strings.Repeat(" ", max(inner-utf8.RuneCountInString(text), 0))
	}
	var b strings.Builder
	b.WriteString("┌" + edge + "┐\n")
	b.WriteString("│ " + paint(title) + pad(title) + " │\n")
	for _, line := range lines {
		b.WriteString("│ " + line + pad(line) + " │\n")
	}
	b.WriteString("└" + edge + "┘\n")
	return b.String()
}

// wrap breaks text into lines of at most columns characters, at spaces.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
