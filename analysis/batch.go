package analysis

import (
	"github.com/capfind/capfind/loadgen"
)

// Batch is a stretch of consecutive requests of a summary.
type Batch struct {
	Requests         int     `json:"requests"`          // finished, failures included
	Completed        int     `json:"completed"`         // successes
	OutputTokens     int     `json:"output_tokens"`     // of successes
	ResidenceSeconds float64 `json:"residence_seconds"` // sum over all that were sent
	TTFT             Number  `json:"ttft_seconds"`      // mean over successes
	TPOT             Number  `json:"tpot_seconds"`      // likewise
	E2E              Number  `json:"e2e_seconds"`       // likewise
}

// batches cuts the requests, in order of dispatch, into batches of about equal
// size. Requests of one wave share their queue, so a batch holds at least one
// wave (n requests) where there are requests enough, and consecutive batches are
// then nearly independent. Fewer than ten requests give none.
func batches(parts []part, n int) []Batch {
	total := 0
	for i := range parts {
		total += len(parts[i].cohort)
	}
	if total < 2*minBatches {
		return nil
	}
	count := min(maxBatches, max(minBatches, total/max(n, 1)))
	count = min(count, total/2)
	out := make([]Batch, count)
	means := make([]timeMeans, count)
	seen := 0
	for i := range parts {
		for _, s := range parts[i].cohort {
			k := seen * count / total
			seen++
			out[k].Requests++
			if r, ok := s.Residence(); ok {
				out[k].ResidenceSeconds += r.Seconds()
			}
			if s.Class == loadgen.Success {
				out[k].Completed++
				out[k].OutputTokens += s.OutputTokens
				means[k].add(s)
			}
		}
	}
	for k := range out {
		out[k].TTFT, out[k].TPOT, out[k].E2E = means[k].ttft.value(), means[k].tpot.value(), means[k].e2e.value()
	}
	return out
}

// timeMeans are the mean times of one batch, in seconds.
type timeMeans struct{ ttft, tpot, e2e mean }

func (m *timeMeans) add(s *loadgen.Sample) {
	if d, ok := s.TTFT(); ok {
		m.ttft.add(d.Seconds())
	}
	if d, ok := s.TPOT(); ok {
		m.tpot.add(d.Seconds())
	}
	if d, ok := s.E2E(); ok {
		m.e2e.add(d.Seconds())
	}
}
