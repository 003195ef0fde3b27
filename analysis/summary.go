package analysis

import (
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Summary is one set of per-step figures, over the whole run or the steady window.
type Summary struct {
	DurationSeconds      Number  `json:"duration_seconds"` // first send to last completion, or the window's length
	Completed            int     `json:"completed"`        // successes
	Failed               int     `json:"failed"`           // server failures
	Cancelled            int     `json:"cancelled"`        // stopped by the tool: in neither
	SuccessRate          Number  `json:"success_rate"`     // completed / (completed + failed)
	RequestThroughput    Number  `json:"request_throughput"`
	RequestThroughputSE  Number  `json:"request_throughput_se"`         // standard error by batch means
	OutputThroughput     Number  `json:"output_throughput"`             // output tokens of successes per second
	TotalTokenThroughput Number  `json:"total_token_throughput"`        // prompt and output tokens per second
	PeakOutputThroughput Number  `json:"peak_output_throughput"`        // highest rate of output tokens over a second or a little more, from the samples; null where there is no whole second
	PeakInFlight         int     `json:"peak_in_flight"`                // most requests in flight at once
	MeanInFlight         Number  `json:"mean_in_flight"`                // time average
	MeanResidenceSeconds Number  `json:"mean_residence_seconds"`        // mean time in system, failures at their own duration
	Efficiency           Number  `json:"efficiency"`                    // request_throughput / concurrency
	InputTokens          int     `json:"total_input_tokens"`            // of successes; asked-for lengths where the server gave no count
	OutputTokens         int     `json:"total_output_tokens"`           // of successes
	TokenSource          string  `json:"token_source"`                  // usage, events or mixed
	TTFT                 Dist    `json:"ttft_seconds"`                  // over successes
	TTFTIntended         Dist    `json:"ttft_intended_seconds"`         // from the intended start
	TTFTAnswer           Dist    `json:"ttft_answer_seconds"`           // first output that is not reasoning, where there was reasoning
	TPOT                 Dist    `json:"tpot_seconds"`                  // one value per request
	ChunkGap             Dist    `json:"chunk_gap_seconds"`             // pooled; vLLM calls it ITL
	E2E                  Dist    `json:"e2e_seconds"`                   // over successes
	E2EIntended          Dist    `json:"e2e_intended_seconds"`          // from the intended start
	TTFTSE               Number  `json:"ttft_se_seconds"`               // standard error of the mean TTFT by batch means: TTFT.SE
	RequestTokensPerSec  Number  `json:"tokens_per_second_per_request"` // mean over requests of 1/TPOT: tokens/s as one user sees them
	RequestGoodput       Number  `json:"request_goodput"`               // successes/s that met Options.Goodput; null without one
	GoodShare            Number  `json:"goodput_share"`                 // share of completed and failed that met it, of recorded traffic from when it was due; null without one
	Batches              []Batch `json:"batches"`                       // in order of dispatch; what the standard errors come from
}

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
		if good != nil {
			sum.GoodShare = loadgen.Known(float64(t.goodRequests) / float64(n))
		}
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
	if t.timed > 0 {
		sum.MeanResidenceSeconds = loadgen.Known(t.residence / float64(t.timed))
	}
	perSuccess := 1 / t.seconds // rate per success counted
	if t.windowed && t.residence > 0 {
		// Those without a time count as long as the others.
		perSuccess = t.inFlightSeconds / t.seconds / t.residence * float64(t.timed) / float64(t.sent)
	}
	rate := func(count float64) Number { return loadgen.Known(count * perSuccess) }
	sum.RequestThroughput = rate(float64(t.completed))
	if t.outputTokens > 0 || t.completed == 0 { // of answers without tokens there is none
		sum.OutputThroughput = rate(float64(t.outputTokens))
	}
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

	completed, failed, cancelled, sent, timed, goodRequests int
	seconds, inFlightSeconds, residence                     float64
	inputTokens, outputTokens, peakInFlight                 int
	peakTokens                                              Number
	source                                                  string
	windowed, reasoned                                      bool

	ttft, tpot, e2e, ttftIntended, e2eIntended, ttftAnswer, perRequest []float64
	gaps                                                               []uint32
}

func (t *tally) add(p *part) {
	t.seconds += p.length().Seconds()
	t.inFlightSeconds += inFlightSeconds(p.run, p.from, p.to)
	for _, x := range p.run.Stalls { // nobody kept the load up then
		if from, to := max(x.From, p.from), min(x.To, p.to); to > from {
			t.seconds -= (to - from).Seconds()
			t.inFlightSeconds -= inFlightSeconds(p.run, from, to)
		}
	}
	t.peakInFlight = max(t.peakInFlight, peakInFlight(p.run, p.from, p.to))
	t.peakTokens = t.peakTokens.Max(peakTokenRate(p.run, p.from, p.to))
	t.cancelled += p.cancelled
	t.windowed = t.windowed || p.steady
	for _, s := range p.cohort {
		if s.WasSent {
			t.sent++
		}
		if r, ok := s.Residence(); ok {
			t.timed++
			t.residence += r.Seconds()
		}
		if s.Class != loadgen.Success {
			t.failed++
			continue
		}
		t.completed++
		t.addSuccess(s, p.run.Load)
	}
}

func (t *tally) addSuccess(s *loadgen.Sample, load loadgen.Load) {
	openLoop := load.OpenLoop()
	t.inputTokens += promptTokens(s)
	t.outputTokens += s.OutputTokens
	switch source := string(s.TokenSource); {
	case t.source == "":
		t.source = source
	case source != "" && t.source != source:
		t.source = "mixed"
	}
	if !s.Stalled {
		t.gaps = append(t.gaps, s.Gaps...)
	}
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
	if load.Arrivals != nil { // whoever waited for a slot of this client waited
		ttft, e2e = ttft+s.Sent-s.Intended, e2e+s.Sent-s.Intended
	}
	if t.good != nil && t.good.met(ttft, hasTTFT, tpot, hasTPOT, e2e, hasE2E) {
		t.goodRequests++
	}
}

// promptTokens is the server's own count, or what was asked for where it gave none.
func promptTokens(s *loadgen.Sample) int {
	if s.PromptTokens > 0 {
		return s.PromptTokens
	}
	return s.WantPromptTokens
}

// estimateErrors fills in the standard errors, by batch means.
func (sum *Summary) estimateErrors() {
	var yields []float64
	total, residence := 0.0, 0.0
	for _, b := range sum.Batches {
		if b.ResidenceSeconds > 0 {
			yields = append(yields, float64(b.Completed)/b.ResidenceSeconds)
		}
		total += float64(b.Completed)
		residence += b.ResidenceSeconds
	}
	// By Little's law the throughput is the number in flight, which the client
	// holds, times the successes per second spent in the system.
	if se, ok := standardError(yields).Value(); ok && total > 0 {
		sum.RequestThroughputSE = loadgen.Known(se / (total / residence) * sum.RequestThroughput.Or(0))
	}
	errorOf := func(d *Dist, of func(*Batch) Number) {
		var means []float64
		for i := range sum.Batches {
			if v, ok := of(&sum.Batches[i]).Value(); ok {
				means = append(means, v)
			}
		}
		d.correlate(standardError(means))
	}
	errorOf(&sum.TTFT, func(b *Batch) Number { return b.TTFT })
	errorOf(&sum.TPOT, func(b *Batch) Number { return b.TPOT })
	errorOf(&sum.E2E, func(b *Batch) Number { return b.E2E })
	sum.TTFTSE = sum.TTFT.SE
}

// Metric returns the distribution with the name it has in an SLO: ttft, tpot,
// e2e or chunk_gap.
func (s *Summary) Metric(name string) (Dist, bool) {
	switch name {
	case "ttft":
		return s.TTFT, true
	case "tpot":
		return s.TPOT, true
	case "e2e":
		return s.E2E, true
	case "chunk_gap":
		return s.ChunkGap, true
	}
	return Dist{}, false
}

// Goodput is what a request must meet to count as good. Zero means no bound.
type Goodput struct {
	TTFT, TPOT, E2E time.Duration
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
