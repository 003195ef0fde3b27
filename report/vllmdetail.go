package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// vllmLists are the lists that --save-detailed adds, one entry a request;
// seconds.
type vllmLists struct {
	inputs, outputs []float64
	starts, ttfts   []float64
	gaps            gapLists
	errors          []string
}

// of is where a key's list goes; nil for any other key.
func (d *vllmLists) of(key string) any {
	switch key {
	case "input_lens":
		return &d.inputs
	case "output_lens":
		return &d.outputs
	case "start_times":
		return &d.starts
	case "ttfts":
		return &d.ttfts
	case "itls":
		return &d.gaps
	case "errors":
		return &d.errors
	}
	return nil
}

// fromLists rebuilds the requests from the detailed lists, where the file has them,
// and takes from them what the totals do not say: steady state, standard errors,
// the distribution over time. The whole run's figures stay those of the file.
func (f *vllmReader) fromLists(s *analysis.Step) {
	d := &f.lists
	if d.inputs == nil || d.outputs == nil || d.starts == nil || d.ttfts == nil || d.gaps.seconds == nil || d.errors == nil {
		return // a file of totals alone, or of another version
	}
	n := len(d.outputs)
	if n == 0 || len(d.inputs) != n || len(d.starts) != n || len(d.ttfts) != n || len(d.gaps.seconds) != n || len(d.errors) != n {
		f.fail("output_lens", "the detailed lists have different lengths: %d inputs, %d outputs, %d starts, %d TTFTs, %d ITLs, %d errors",
			len(d.inputs), n, len(d.starts), len(d.ttfts), len(d.gaps.seconds), len(d.errors))
		return
	}
	run := loadgen.Run{Load: loadgen.Load{Concurrency: s.Concurrency, Requests: n, Start: loadgen.StartBurst}, Started: s.StartedAt, End: loadgen.EndComplete}
	if rate, ok := s.RequestRate.Value(); ok {
		run.Load.Rate = rate
	}
	run.Samples = make([]loadgen.Sample, n)
	first, _ := extent(d.starts)
	for to, i := range d.byEnd() {
		var ok bool
		if run.Samples[to], ok = d.sample(i, first); !ok {
			f.fail("ttfts", "request %d has an impossible time", i)
			return
		}
	}
	run.Elapsed = run.Samples[n-1].End
	f.merge(s, analysis.Summarize([]loadgen.Run{run}, analysis.Options{Phase: s.Phase}))
}

// byEnd is the order in which the requests ended. Their numbers are sorted, as the
// samples are large.
func (d *vllmLists) byEnd() []int {
	order, ends := make([]int, len(d.starts)), make([]float64, len(d.starts))
	for i := range order {
		order[i], ends[i] = i, d.starts[i]+d.ttfts[i]+d.gaps.seconds[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ends[a], ends[b]) })
	return order
}

// longest bounds a time in a file: beyond it something else than seconds is meant.
const longest = 1e7

// gapLists are the gaps between the events of each request's answer: tens of
// thousands of short lists, kept as one.
type gapLists struct {
	micros  []uint32  // of all requests, one after another
	ends    []int     // where a request's gaps end in micros
	seconds []float64 // what a request's gaps come to
}

// UnmarshalJSONFrom reads a list of lists of seconds.
func (g *gapLists) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return eachOf(d, func() error {
		sum := 0.0
		err := eachOf(d, func() error {
			gap, err := g.gap(d)
			g.micros = append(g.micros, uint32(math.Min(math.Round(gap*1e6), math.MaxUint32)))
			sum += gap
			return err
		})
		g.ends, g.seconds = append(g.ends, len(g.micros)), append(g.seconds, sum)
		return err
	})
}

// gap reads one, in seconds.
func (g *gapLists) gap(d *jsontext.Decoder) (float64, error) {
	token, err := d.ReadToken()
	if err != nil {
		return 0, err
	}
	if token.Kind() != '0' {
		return 0, fmt.Errorf("request %d has a gap that is no number", len(g.ends))
	}
	gap := token.Float()
	if gap < 0 || gap >= longest {
		return 0, fmt.Errorf("request %d has a gap of %g s", len(g.ends), gap)
	}
	return gap, nil
}

// eachOf calls do before each element of a list, which do has to read.
func eachOf(d *jsontext.Decoder, do func() error) error {
	start, err := d.ReadToken()
	if err == nil && start.Kind() != '[' {
		err = fmt.Errorf("a list was expected, not %s", start.Kind())
	}
	for err == nil && d.PeekKind() != ']' {
		err = do()
	}
	if err == nil {
		_, err = d.ReadToken()
	}
	return err
}

// of returns a request's gaps in microseconds.
func (g *gapLists) of(i int) []uint32 {
	from := 0
	if i > 0 {
		from = g.ends[i-1]
	}
	return g.micros[from:g.ends[i]:g.ends[i]]
}

// sample rebuilds one request: sent at its start, first output after its TTFT,
// then a gap an event.
func (d *vllmLists) sample(i int, first float64) (loadgen.Sample, bool) {
	at := d.starts[i] - first
	s := loadgen.Sample{Index: i, PromptIndex: i, Conversation: -1, Sent: secondsOf(at), WasSent: true, Streamed: true,
		PromptTokens: int(d.inputs[i]), OutputTokens: int(d.outputs[i]), CachedTokens: -1, TokenSource: loadgen.TokensFromUsage, Stamp: loadgen.StampUser}
	s.Ready, s.Intended = s.Sent, s.Sent
	s.FirstOutput = secondsOf(at + d.ttfts[i])
	s.Gaps = d.gaps.of(i)
	total := at + d.ttfts[i] + d.gaps.seconds[i]
	if !(at >= 0 && total >= at && total < longest) {
		return s, false
	}
	s.LastOutput, s.End = secondsOf(total), secondsOf(total)
	s.OutputEvents = len(s.Gaps) + 1
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
