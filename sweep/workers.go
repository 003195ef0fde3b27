package sweep

import (
	"slices"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
)

// Worker is a load machine of a fleet, over all steps that it took part in.
type Worker struct {
	Name              string          `json:"name"`
	Share             analysis.Number `json:"share"`               // of the planned requests, as a fraction of 1
	StreamsMax        int             `json:"streams_max"`         // most requests that it had in flight
	ClockErrorSeconds analysis.Number `json:"clock_error_seconds"` // by which its times may be off against the others', at most
	Limits            []string        `json:"limits"`              // one sentence a gate of its health that broke
}

// WorkersOf sums up what the machines of a fleet had; nil where there was none.
func WorkersOf(steps []analysis.Step) []Worker {
	var out []Worker
	prompts := map[string]int{}
	total := 0
	for i := range steps {
		for _, w := range steps[i].Workers {
			k := slices.IndexFunc(out, func(x Worker) bool { return x.Name == w.Name })
			if k < 0 {
				k, out = len(out), append(out, Worker{Name: w.Name, Limits: []string{}})
			}
			x := &out[k]
			x.StreamsMax = max(x.StreamsMax, w.Concurrency)
			x.ClockErrorSeconds = x.ClockErrorSeconds.Max(w.ClockErrorSeconds)
			for _, l := range w.Limits {
				if !slices.Contains(x.Limits, l) {
					x.Limits = append(x.Limits, l)
				}
			}
			prompts[w.Name], total = prompts[w.Name]+w.NumPrompts, total+w.NumPrompts
		}
	}
	for i := range out {
		if total > 0 {
			out[i].Share = loadgen.Known(float64(prompts[out[i].Name]) / float64(total))
		}
	}
	return out
}
