package sweep

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// SoakConfig is a long run that watches for slow degradation.
type SoakConfig struct {
	LoadPoint
	Slices         int     // into how many the run is cut; 0 means 60
	MaxDegradation float64 // share by which a figure may worsen over the run; 0 means 0.10
}

func (q SoakConfig) withDefaults() SoakConfig {
	if q.Slices == 0 {
		q.Slices = 60
	}
	if q.MaxDegradation == 0 {
		q.MaxDegradation = 0.10
	}
	return q
}

// SoakShare is the guide's share of the limit for a stability check.
const SoakShare = 0.8

// SoakConcurrency takes from a sweep's result what a soak should run at: share
// of its limit, or of the largest concurrency that held where none was reached.
func SoakConcurrency(r *Result, share float64) (int, error) {
	base := r.Ladder.LastGood
	if r.Limit != nil {
		base = r.Limit.Concurrency
	}
	n, ok := base.Value()
	if !ok {
		return 0, fmt.Errorf("the result names no concurrency that held (verdict %s): give the soak's own", r.Verdict)
	}
	return max(1, int(math.Floor(share*n+1e-9))), nil
}

// SoakAnswer is how a long run went.
type SoakAnswer struct {
	Slices   []SoakSlice `json:"slices"`
	Trends   []SoakTrend `json:"trends"`
	Degrades bool        `json:"degrades"` // some trend is a degradation
	Kept     int         `json:"kept"`     // requests that the step's figures rest on; the slices rest on all
}

// SoakSlice is a stretch of a soak, by the end of its requests.
type SoakSlice struct {
	AtSeconds         float64         `json:"at_seconds"` // its beginning
	Seconds           float64         `json:"seconds"`
	Completed         int             `json:"completed"`
	Failed            int             `json:"failed"`
	RequestThroughput float64         `json:"request_throughput"`
	OutputThroughput  float64         `json:"output_throughput"`
	TTFT              analysis.Number `json:"ttft_seconds"`   // means over successes
	TPOT              analysis.Number `json:"tpot_seconds"`   //
	E2E               analysis.Number `json:"e2e_seconds"`    //
	ResidentBytes     analysis.Number `json:"resident_bytes"` // of the server's process, where its metrics say
}

// SoakTrend is the test of one figure for a change over the run.
type SoakTrend struct {
	Metric   string          `json:"metric"`
	Change   analysis.Number `json:"change"` // over the whole run, share of the start; of failures, share of requests
	SE       analysis.Number `json:"se"`
	Gate     float64         `json:"gate"`
	Degrades bool            `json:"degrades"`
	Sentence string          `json:"sentence"`
}

// LongRun runs one load for long and tests whether the server degrades. It goes on
// where an interrupted one has ended.
type LongRun struct {
	Soak  SoakConfig
	Rules StopRules
}

// Next is the rest of the run, then the answer.
func (l LongRun) Next(h History) (*Order, Answer) {
	q := l.Soak.withDefaults()
	left := q.Duration - soaked(h.Slices)
	if h.End == nil && left > 0 && len(h.Steps) == 0 {
		o := q.order(analysis.PhasePoint)
		o.Requests, o.Duration, o.Rules = 0, left, l.Rules
		o.Rules.MinThroughputGain = 0 // it compares with another step
		o.Slice = max(q.Duration/time.Duration(q.Slices), time.Second)
		return o, Answer{}
	}
	return nil, l.answer(h, q)
}

func (l LongRun) answer(h History, q SoakConfig) Answer {
	a := &SoakAnswer{Slices: h.Slices, Trends: soakTrends(h.Slices, q.MaxDegradation)}
	a.Degrades = slices.ContainsFunc(a.Trends, func(t SoakTrend) bool { return t.Degrades })
	out := Answer{Steps: h.Steps, Soak: a, Warnings: remarks(h.Steps, h.Crashes, l.Rules)}
	if len(h.Steps) == 0 {
		out.Verdict, out.Sentence = Interrupted, "interrupted before anything was measured"
		return out
	}
	step := &h.Steps[len(h.Steps)-1]
	a.Kept = step.Whole.Completed + step.Whole.Failed
	out.Verdict, out.Sentence = verdictOf(step), stepWords(step)
	for _, t := range a.Trends {
		if t.Degrades {
			out.Verdict, out.Sentence = NotMet, out.Sentence+"; degrades: "+t.Sentence
		}
	}
	if out.Verdict == Met {
		out.Sentence += "; no degradation over " + span(soaked(h.Slices))
	}
	if !h.complete() {
		out.Verdict = Interrupted
	}
	return out
}

// soaked is how long a soak has run.
func soaked(slices []SoakSlice) time.Duration {
	n := len(slices)
	if n == 0 {
		return 0
	}
	last := slices[n-1]
	return time.Duration((last.AtSeconds + last.Seconds) * float64(time.Second))
}

// independentTests is how many tests the figures of a soak are worth together:
// time per request and throughput are one another's mirror. One false alarm in
// twenty is allowed to all of them.
const independentTests = 3

// soakTrends tests every figure of the slices for a change for the worse.
func soakTrends(v []SoakSlice, gate float64) []SoakTrend {
	if len(v) > 2 {
		v = v[1 : len(v)-1] // the ramp, and a last slice that is not whole
	}
	figures := []struct {
		name     string
		higherOK bool
		of       func(*SoakSlice) analysis.Number
	}{
		{"mean TTFT", false, func(x *SoakSlice) analysis.Number { return x.TTFT }},
		{"mean response time", false, func(x *SoakSlice) analysis.Number { return x.E2E }},
		{"request throughput", true, func(x *SoakSlice) analysis.Number { return loadgen.Known(x.RequestThroughput) }},
		{"memory of the server", false, func(x *SoakSlice) analysis.Number { return x.ResidentBytes }},
	}
	var out []SoakTrend
	for _, f := range figures {
		series := analysis.Series{Metric: f.name, HigherOK: f.higherOK, Gate: gate, Tests: independentTests}
		for i := range v {
			if n, ok := f.of(&v[i]).Value(); ok {
				series.At, series.Values = append(series.At, v[i].AtSeconds), append(series.Values, n)
			}
		}
		if t := series.Test(); t.Change.IsKnown() {
			out = append(out, SoakTrend{Metric: t.Metric, Change: t.Change, SE: t.SE, Gate: series.Gate, Degrades: t.Degrading, Sentence: t.Sentence})
		}
	}
	if t, ok := errorTrend(v); ok {
		out = append(out, t)
	}
	return out
}

// errorTrend compares the share of failures in the second half of the run with
// that in the first (two proportions).
func errorTrend(v []SoakSlice) (SoakTrend, bool) {
	if len(v) < 2 {
		return SoakTrend{}, false
	}
	half := len(v) / 2
	count := func(part []SoakSlice) (failed, total float64) {
		for i := range part {
			failed += float64(part[i].Failed)
			total += float64(part[i].Failed + part[i].Completed)
		}
		return failed, total
	}
	f1, n1 := count(v[:half])
	f2, n2 := count(v[half:])
	if n1 == 0 || n2 == 0 {
		return SoakTrend{}, false
	}
	const gate = 0.01
	pooled := (f1 + f2) / (n1 + n2)
	se := math.Sqrt(pooled * (1 - pooled) * (1/n1 + 1/n2))
	change := f2/n2 - f1/n1
	t := SoakTrend{Metric: "share of failures", Change: loadgen.Known(change), SE: loadgen.Known(se), Gate: gate, Degrades: change > gate && change > 3*se}
	t.Sentence = fmt.Sprintf("failures went from %s to %s of the requests between the halves of the run", percent(f1/n1), percent(f2/n2))
	if f1+f2 == 0 {
		t.Sentence = "no request failed"
	}
	return t, true
}
