package analysis

import (
	"cmp"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Window is the steady part of a step: from the N-th completion to the last
// dispatch, as offsets from the run's start. Where several runs were judged
// together it is that of the last one, and Requests counts all of them.
type Window struct {
	FromSeconds float64 `json:"from_seconds"`
	ToSeconds   float64 `json:"to_seconds"`
	Requests    int     `json:"requests"` // dispatched inside it and counted
}

// part is a stretch of one run and the requests that are counted in it.
type part struct {
	run       *loadgen.Run
	from, to  time.Duration
	cohort    []*loadgen.Sample // successes and server failures, in order of dispatch
	steady    bool              // a window, not the whole run
	cut       bool              // its tail was cut, and its requests are as they would have gone on
	cancelled int
}

func (p *part) length() time.Duration { return p.to - p.from }

// dispatched is the moment a request left: sent, or for one that never got a
// connection the moment its slot was free.
func dispatched(s *loadgen.Sample) time.Duration {
	if s.WasSent {
		return s.Sent
	}
	return s.Ready
}

// finished reports whether the request came to an end of the server's making.
func finished(s *loadgen.Sample) bool {
	return s.Class == loadgen.Success || s.Class.ServerFailure()
}

// wholeParts takes every run from its first send to its last completion.
func wholeParts(runs []loadgen.Run) []part {
	var parts []part
	for i := range runs {
		p := part{run: &runs[i]}
		first := true
		for j := range p.run.Samples {
			s := &p.run.Samples[j]
			if s.Class == loadgen.Cancelled {
				p.cancelled++
			}
			if !finished(s) {
				continue
			}
			if at := dispatched(s); first || at < p.from {
				p.from, first = at, false
			}
			p.to = max(p.to, s.End)
			p.cohort = append(p.cohort, s)
		}
		byDispatch(p.cohort)
		if !first {
			parts = append(parts, p)
		}
	}
	return parts
}

// steadyParts takes of every run the window from the N-th completion to the
// last dispatch; runs that have none are left out.
func steadyParts(runs []loadgen.Run) []part {
	var parts []part
	for i := range runs {
		if p, ok := steadyPart(&runs[i]); ok {
			parts = append(parts, p)
		}
	}
	return parts
}

// steadyPart cuts one run. A request belongs to the window when it was
// dispatched in it, the first moment included and the last not: the window runs
// from one dispatch to another, so counting both would count one gap too few.
//
// In a run that was cut short the latest dispatches never finished, and those of
// them that did were the quick ones. There a request belongs to the window when
// it finished in it, which a steady stream is free to choose. Where only the tail was
// cut, the latest are taken as they would have gone on.
func steadyPart(r *loadgen.Run) (part, bool) {
	p := part{run: r, steady: true, cut: r.End == loadgen.EndCut}
	if p.cut {
		p.run = carriedOn(r)
	}
	r = p.run
	var ends []time.Duration
	var lastDispatch, lastEnd time.Duration
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Class == loadgen.Cancelled && s.WasSent {
			p.cancelled++
		}
		if s.WasSent {
			lastDispatch = max(lastDispatch, s.Sent)
		}
		if finished(s) {
			ends = append(ends, s.End)
			lastEnd = max(lastEnd, s.End)
		}
	}
	n := warmup(r)
	switch {
	case brief(r):
		p.from = r.Load.StaggerOver
	case len(ends) <= n:
		return p, false
	default:
		slices.Sort(ends)
		p.from = ends[n-1]
		if r.Load.Start == loadgen.StartStagger {
			// A server quicker than the spread of the first sends completes N
			// requests before all N workers have begun.
			p.from = max(p.from, r.Load.StaggerOver)
		}
	}
	p.to = lastDispatch
	cutShort := p.cancelled > 0
	if cutShort {
		p.to = lastEnd
	}
	for i := range r.Samples {
		s := &r.Samples[i]
		if !finished(s) {
			continue
		}
		inside := dispatched(s) >= p.from && dispatched(s) < p.to
		if cutShort {
			inside = s.End > p.from && s.End <= p.to
		}
		if inside {
			p.cohort = append(p.cohort, s)
		}
	}
	byDispatch(p.cohort)
	return p, len(p.cohort) > 0 && p.length() > 0
}

// brief reports whether a run is too short for a wave of completions to come before its
// window, and need not have one: its first requests were spread over about one response
// time, so that from the last of them on N are in flight whose ages are those of a load
// that has gone on for long. In a longer run a wave more is cheap, and forgives a spread
// that was not that of the response time.
func brief(r *loadgen.Run) bool {
	l := r.Load
	return l.Start == loadgen.StartStagger && l.StaggerOver > 0 && !l.OpenLoop() && l.Requests > 0 && l.Requests < briefWaves*l.Concurrency
}

// briefWaves is the number of requests per request in flight below which a run is brief.
const briefWaves = 4

// warmup is how many completions come before the steady window: N in a closed
// loop; in an open loop, where the cap may be far above what is ever in flight,
// as many as were in flight at most.
func warmup(r *loadgen.Run) int {
	n := r.Load.Concurrency
	if r.Load.OpenLoop() {
		n = min(n, peakInFlight(r, 0, r.Elapsed+1))
	}
	return max(n, 1)
}

func byDispatch(s []*loadgen.Sample) {
	slices.SortStableFunc(s, func(a, b *loadgen.Sample) int {
		return cmp.Compare(dispatched(a), dispatched(b))
	})
}

func windowOf(parts []part) *Window {
	last := parts[len(parts)-1]
	w := &Window{FromSeconds: last.from.Seconds(), ToSeconds: last.to.Seconds()}
	for i := range parts {
		w.Requests += len(parts[i].cohort)
	}
	return w
}

// minWindow is the fewest requests that a steady window must hold for a verdict
// to be taken from it, whatever the concurrency.
const minWindow = 30

// fewestInWindow is the same for a run, beside its concurrency. Of a brief run the whole is
// no better witness than a small window: most of it is the load filling up and draining away.
func fewestInWindow(r *loadgen.Run) int {
	if brief(r) {
		return 1
	}
	return minWindow
}
