package sweep

import (
	"strings"
)

// CutShort begins the reason of a step that is no finished one and is measured anew
// when the run is resumed.
const CutShort = "cut short: "

// Measured is the history that a result was made from, as a resumed run takes it up:
// without a step that was cut short, and without those at the end that a server
// refused for reasons other than their load. Whoever takes it up judges the steps
// anew, for some are stored as cleared.
func Measured(r *Result) History {
	h := History{Crashes: r.Crashes, Server: r.Target.Server}
	if r.Soak != nil {
		h.Slices = r.Soak.Slices
	}
	h.Steps = append(h.Steps, r.Steps...)
	for i := range h.Steps {
		if s := &h.Steps[i]; s.Cleared != nil {
			s.Stop, s.Cleared = s.Cleared, nil
		}
	}
	if n := len(h.Steps); n > 0 && strings.HasPrefix(h.Steps[n-1].Abandoned, CutShort) {
		h.Steps = h.Steps[:n-1]
	}
	if r.Command == "sweep" {
		e := &evidence{all: h.Steps}
		e.look()
		if from := e.refusedFrom(); from >= 0 {
			h.Steps = h.Steps[:from]
		}
	}
	return h
}
