package analysis

import (
	"time"

	"github.com/capfind/capfind/loadgen"
)

// summarize gives the figures of some parts of the runs of one load point.
//
// Over whole runs, rates are counts over time, as vLLM's bench serve has them.
// In a steady window they come from Little's law: X = N_mean / R_mean requests
// per second leave the system, of which the share of successes counts. Counting
// over so short a window would err by what its two ends cut off.
func summarize(parts []part, load loadgen.Load, good *Goodput) Summary {
	var sum Summary
	t := tally{good: good}
	for i := range parts {
		t.add(&parts[i])
	}
	sum.Completed, sum.Failed, sum.Cancelled = t.completed, t.failed, t.cancelled
	if n := t.completed + t.failed; n > 0 {
		sum.SuccessRate = loadgen.Known(float64(t.completed) / float64(n))
	}
	sum.InputTokens, sum.OutputTokens, sum.TokenSource = t.inputTokens, t.outputTokens, t.source
	sum.TTFT, sum.TPOT, sum.E2E = Describe(t.ttft), Describe(t.tpot), Describe(t.e2e)
	sum.TTFTIntended, sum.E2EIntended = Describe(t.ttftIntended), Describe(t.e2eIntended)
	if t.reasoned {
		sum.TTFTAnswer = Describe(t.ttftAnswer)
	}
	sum.ChunkGap = describeGaps(t.gaps)
	if len(t.perRequest) > 0 {
		sum.RequestTokensPerSec = Describe(t.perRequest).Mean
	}
	sum.PeakInFlight = t.peakInFlight
	if t.seconds <= 0 {
		return sum
	}
	sum.DurationSeconds = loadgen.Known(t.seconds)
	sum.MeanInFlight = loadgen.Known(t.inFlightSeconds / t.seconds)
	if t.sent > 0 {
		sum.MeanResidenceSeconds = loadgen.Known(t.residence / float64(t.sent))
	}
	perSuccess := 1 / t.seconds // rate per success counted
	if t.windowed && t.residence > 0 {
		perSuccess = t.inFlightSeconds / t.seconds / t.residence
	}
	rate := func(count float64) Number { return loadgen.Known(count * perSuccess) }
	sum.RequestThroughput = rate(float64(t.completed))
	sum.OutputThroughput = rate(float64(t.outputTokens))
	sum.TotalTokenThroughput = rate(float64(t.inputTokens + t.outputTokens))
	sum.PeakOutputThroughput = peakOver(t.peakTokens, sum.OutputThroughput.Or(0))
	if good != nil {
		sum.RequestGoodput = rate(float64(t.goodRequests))
	}
	if load.Concurrency > 0 {
		sum.Efficiency = loadgen.Known(sum.RequestThroughput.Or(0) / float64(load.Concurrency))
	}
	sum.Batches = batches(parts, warmup(parts[0].run))
	sum.estimateErrors()
	return sum
}

// peakOver is the peak, unless it lies below the mean: where that is Little's
// law's, a count over so short a window errs by what the window's ends cut off.
func peakOver(peak Number, mean float64) Number {
	const rounding = 1e-9
	v, ok := peak.Value()
	if !ok || v < mean*(1-rounding) {
		return Number{}
	}
	return loadgen.Known(max(v, mean))
}

// tally adds up what the figures are made of.
type tally struct {
	good *Goodput

	completed, failed, cancelled, sent, goodRequests int
	seconds, inFlightSeconds, residence              float64
	inputTokens, outputTokens, peakInFlight          int
	peakTokens                                       Number
	source                                           string
	windowed, reasoned                               bool

	ttft, tpot, e2e, ttftIntended, e2eIntended, ttftAnswer, perRequest []float64
	gaps                                                               []uint32
}

func (t *tally) add(p *part) {
	t.seconds += p.length().Seconds()
	t.inFlightSeconds += inFlightSeconds(p.run, p.from, p.to)
	t.peakInFlight = max(t.peakInFlight, peakInFlight(p.run, p.from, p.to))
	t.peakTokens = larger(t.peakTokens, peakTokenRate(p.run, p.from, p.to))
	t.cancelled += p.cancelled
	t.windowed = t.windowed || p.steady
	for _, s := range p.cohort {
		if r, ok := s.Residence(); ok {
			t.sent++
			t.residence += r.Seconds()
		}
		if s.Class != loadgen.Success {
			t.failed++
			continue
		}
		t.completed++
		t.addSuccess(s, p.run.Load.OpenLoop())
	}
}

func (t *tally) addSuccess(s *loadgen.Sample, openLoop bool) {
	t.inputTokens += promptTokens(s)
	t.outputTokens += s.OutputTokens
	switch source := string(s.TokenSource); {
	case t.source == "":
		t.source = source
	case source != "" && t.source != source:
		t.source = "mixed"
	}
	t.gaps = append(t.gaps, s.Gaps...)
	ttft, hasTTFT := s.TTFT()
	if hasTTFT {
		t.ttft = append(t.ttft, ttft.Seconds())
		if openLoop {
			t.ttftIntended = append(t.ttftIntended, (s.FirstOutput - s.Intended).Seconds())
		}
		if s.FirstAnswer > 0 {
			t.ttftAnswer = append(t.ttftAnswer, (s.FirstAnswer - s.Sent).Seconds())
			t.reasoned = t.reasoned || s.FirstAnswer > s.FirstOutput
		}
	}
	tpot, hasTPOT := s.TPOT()
	if hasTPOT {
		t.tpot = append(t.tpot, tpot.Seconds())
		if tpot > 0 {
			t.perRequest = append(t.perRequest, 1/tpot.Seconds())
		}
	}
	e2e, hasE2E := s.E2E()
	if hasE2E {
		t.e2e = append(t.e2e, e2e.Seconds())
		if openLoop {
			t.e2eIntended = append(t.e2eIntended, (s.LastOutput - s.Intended).Seconds())
		}
	}
	if t.good != nil && t.good.met(ttft, hasTTFT, tpot, hasTPOT, e2e, hasE2E) {
		t.goodRequests++
	}
}

// met reports whether a success kept every bound. A figure that a request does
// not have (TPOT of a single token) keeps its bound; a TTFT that was not
// measured does not.
func (g *Goodput) met(ttft time.Duration, hasTTFT bool, tpot time.Duration, hasTPOT bool, e2e time.Duration, hasE2E bool) bool {
	if g.TTFT > 0 && (!hasTTFT || ttft > g.TTFT) {
		return false
	}
	if g.TPOT > 0 && hasTPOT && tpot > g.TPOT {
		return false
	}
	return g.E2E <= 0 || hasE2E && e2e <= g.E2E
}

// promptTokens is the server's own count, or what was asked for where it gave none.
func promptTokens(s *loadgen.Sample) int {
	if s.PromptTokens > 0 {
		return s.PromptTokens
	}
	return s.WantPromptTokens
}

// lengthsOf compares asked-for and achieved lengths over successes. An achieved
// prompt length is the server's own count only: an assumed one proves nothing.
func lengthsOf(parts []part) Lengths {
	var wantPrompt, prompt, wantOutput, output, cached mean
	for i := range parts {
		for _, s := range parts[i].cohort {
			if s.Class != loadgen.Success {
				continue
			}
			wantPrompt.addIf(s.WantPromptTokens > 0, s.WantPromptTokens)
			prompt.addIf(s.PromptTokens > 0, s.PromptTokens)
			wantOutput.addIf(s.WantOutputTokens > 0, s.WantOutputTokens)
			output.addIf(true, s.OutputTokens)
			if s.CachedTokens >= 0 && s.PromptTokens > 0 {
				cached.sum += float64(s.CachedTokens)
				cached.n += s.PromptTokens
			}
		}
	}
	return Lengths{
		WantPromptTokens: wantPrompt.value(), PromptTokens: prompt.value(),
		WantOutputTokens: wantOutput.value(), OutputTokens: output.value(),
		CachedShare: cached.value(),
	}
}

// mean adds up a mean; unknown without values.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(v float64) {
	m.sum += v
	m.n++
}

func (m *mean) join(o mean) {
	m.sum += o.sum
	m.n += o.n
}

func (m *mean) addIf(ok bool, v int) {
	if ok {
		m.add(float64(v))
	}
}

func (m *mean) value() Number {
	if m.n == 0 {
		return Number{}
	}
	return loadgen.Known(m.sum / float64(m.n))
}
