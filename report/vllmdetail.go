package report

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// vllmDetail are the lists that --save-detailed adds, one entry a request;
// seconds.
type vllmDetail struct {
	inputs, outputs []float64
	starts, ttfts   []float64
	gaps            [][]float64
	errors          []string
}

// detail rebuilds the requests from the detailed lists, where the file has them,
// and takes from them what the totals do not say: steady state, standard errors,
// the distribution over time. The whole run's figures stay those of the file.
func (f *vllmReader) detail(s *analysis.Step) {
	var d vllmDetail
	for key, to := range map[string]any{"input_lens": &d.inputs, "output_lens": &d.outputs, "start_times": &d.starts, "ttfts": &d.ttfts, "itls": &d.gaps, "errors": &d.errors} {
		if !f.has(key) {
			return
		}
		if err := json.Unmarshal(f.keys[key], to); err != nil {
			f.fail(key, "a list of one entry a request is wanted: %v", err)
			return
		}
	}
	n := len(d.outputs)
	if n == 0 || len(d.inputs) != n || len(d.starts) != n || len(d.ttfts) != n || len(d.gaps) != n || len(d.errors) != n {
		f.fail("output_lens", "the detailed lists have different lengths: %d inputs, %d outputs, %d starts, %d TTFTs, %d ITLs, %d errors",
			len(d.inputs), n, len(d.starts), len(d.ttfts), len(d.gaps), len(d.errors))
		return
	}
	run := loadgen.Run{Load: loadgen.Load{Concurrency: s.Concurrency, Requests: n, Start: loadgen.StartBurst}, Started: s.StartedAt, End: loadgen.EndComplete}
	if rate, ok := s.RequestRate.Value(); ok {
		run.Load.Rate = rate
	}
	run.Samples = make([]loadgen.Sample, 0, n)
	first, _ := extent(d.starts)
	for i := range n {
		sample, ok := d.sample(i, first)
		if !ok {
			f.fail("itls", "request %d has an impossible time", i)
			return
		}
		run.Samples = append(run.Samples, sample)
		run.Elapsed = max(run.Elapsed, sample.End)
	}
	slices.SortStableFunc(run.Samples, func(a, b loadgen.Sample) int { return cmp.Compare(a.End, b.End) })
	f.merge(s, analysis.Summarize([]loadgen.Run{run}, analysis.Options{Phase: s.Phase}))
}

// longest bounds a time in a file: beyond it something else than seconds is meant.
const longest = 1e7

// sample rebuilds one request: sent at its start, first output after its TTFT,
// then a gap an event.
func (d *vllmDetail) sample(i int, first float64) (loadgen.Sample, bool) {
	at := d.starts[i] - first
	total := at + d.ttfts[i]
	s := loadgen.Sample{Index: i, PromptIndex: i, Conversation: -1, Sent: secondsOf(at), WasSent: true, Streamed: true,
		PromptTokens: int(d.inputs[i]), OutputTokens: int(d.outputs[i]), CachedTokens: -1, TokenSource: loadgen.TokensFromUsage, Stamp: loadgen.StampUser}
	s.Ready, s.Intended = s.Sent, s.Sent
	s.FirstOutput = secondsOf(total)
	s.Gaps = make([]uint32, 0, len(d.gaps[i]))
	for _, gap := range d.gaps[i] {
		if !(gap >= 0 && gap < longest) {
			return s, false
		}
		total += gap
		s.Gaps = append(s.Gaps, uint32(math.Min(math.Round(gap*1e6), math.MaxUint32)))
	}
	if !(at >= 0 && total >= at && total < longest) {
		return s, false
	}
	s.LastOutput, s.End = secondsOf(total), secondsOf(total)
	s.OutputEvents = len(d.gaps[i]) + 1
	if d.errors[i] != "" || s.OutputTokens == 0 || d.ttfts[i] <= 0 {
		s.Class, s.Message, s.OutputEvents = errorClass(d.errors[i]), d.errors[i], 0
	}
	return s, true
}

// errorClass names the failure that the benchmark's error text tells of: an
// HTTP reason phrase, or the last lines of a Python exception.
func errorClass(message string) loadgen.Class {
	for _, c := range []struct {
		sign  string
		class loadgen.Class
	}{
		{"Too Many Requests", loadgen.HTTP429}, {"Internal Server Error", loadgen.HTTP5xx}, {"Bad Gateway", loadgen.HTTP5xx},
		{"Service Unavailable", loadgen.HTTP5xx}, {"Gateway Timeout", loadgen.HTTP5xx}, {"Bad Request", loadgen.HTTP4xx}, {"Not Found", loadgen.HTTP4xx},
		{"Unauthorized", loadgen.HTTP4xx}, {"Unprocessable", loadgen.HTTP4xx}, {"TimeoutError", loadgen.TimeoutTotal},
		{"refused", loadgen.ConnectionRefused}, {"Cannot connect", loadgen.ConnectionRefused}, {"reset by peer", loadgen.ConnectionReset},
		{"ServerDisconnected", loadgen.ConnectionReset}, {"ClientPayloadError", loadgen.Truncated},
	} {
		if strings.Contains(message, c.sign) {
			return c.class
		}
	}
	if message == "" {
		return loadgen.Empty
	}
	return loadgen.StreamError
}

func secondsOf(v float64) time.Duration { return time.Duration(math.Round(v * 1e9)) }

// merge takes over what the requests say beyond the file's own totals. The time at
// which a failed request ended is not in the file: with failures among them the
// steady state is not taken.
func (f *vllmReader) merge(s *analysis.Step, from analysis.Step) {
	s.Failures, s.FailureExamples = from.Failures, from.FailureExamples
	s.TTFTBins, s.Lengths, s.Series = from.TTFTBins, from.Lengths, from.Series
	w := &s.Whole
	for _, p := range []struct{ to, from *analysis.Dist }{
		{&w.TTFT, &from.Whole.TTFT}, {&w.TPOT, &from.Whole.TPOT}, {&w.ChunkGap, &from.Whole.ChunkGap}, {&w.E2E, &from.Whole.E2E}} {
		keep := *p.to
		*p.to = *p.from
		if keep.Mean.IsKnown() {
			p.to.Mean = keep.Mean
		}
		for _, q := range []struct{ to, from *analysis.Number }{
			{&p.to.Std, &keep.Std}, {&p.to.P50, &keep.P50}, {&p.to.P90, &keep.P90}, {&p.to.P95, &keep.P95}, {&p.to.P99, &keep.P99}} {
			if q.from.IsKnown() {
				*q.to = *q.from
			}
		}
	}
	w.RequestThroughputSE, w.TTFTSE, w.RequestTokensPerSec = from.Whole.RequestThroughputSE, from.Whole.TTFTSE, from.Whole.RequestTokensPerSec
	if len(from.Failures) > 0 {
		return
	}
	w.MeanInFlight, w.MeanResidenceSeconds, w.Batches = from.Whole.MeanInFlight, from.Whole.MeanResidenceSeconds, from.Whole.Batches
	s.Steady, s.Window, s.VerdictBasis, s.Validity = from.Steady, from.Window, from.VerdictBasis, from.Validity
}
