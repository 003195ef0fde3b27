package analysis

import (
	"github.com/capfind/capfind/loadgen"
)

// Options say what a step's samples cannot: why it was run and what was seen
// beside them.
type Options struct {
	Phase        Phase
	Abandoned    string     // why the step was cut short as lost; empty otherwise
	Server       *Telemetry // what the server's own metrics said; nil without them
	SharedPrefix bool       // the workload asks for shared prefixes, so cache hits are wanted
	Goodput      *Goodput   // nil: no goodput
}

// Summarize turns the runs of one load point into a step. It is the only place
// that cuts off warm-up and windows. Several runs (a step and its repeat) are
// judged together: counts and distributions are pooled, rates are counts over
// the time of all of them. Without runs the step is empty.
//
// The steady window goes from the N-th completion to the last dispatch. It is
// absent where a run is too short to have one.
func Summarize(runs []loadgen.Run, o Options) Step {
	s := Step{Phase: o.Phase, Runs: len(runs), Abandoned: o.Abandoned, Server: o.Server, VerdictBasis: BasisWhole}
	if len(runs) == 0 {
		return s
	}
	load := runs[0].Load
	s.Concurrency = load.Concurrency
	s.StartedAt = runs[0].Started
	if load.OpenLoop() {
		s.RequestRate = loadgen.Known(load.Rate)
	}
	if load.Arrivals != nil {
		s.Speed = loadgen.Known(max(load.Arrivals.Speed, 0))
	}
	for i := range runs {
		s.NumPrompts += planned(&runs[i])
	}
	s.Failures, s.FailureExamples = countFailures(runs)

	whole := wholeParts(runs)
	s.Whole = summarize(whole, load, o.Goodput)
	verdict := whole
	// Recorded traffic comes and goes: no part of it stands for the rest.
	steady := steadyParts(runs)
	if len(steady) > 0 && load.Arrivals == nil {
		sum := summarize(steady, load, o.Goodput)
		s.Steady, s.Window = &sum, windowOf(steady)
		enough := s.Window.Requests >= max(warmup(&runs[0]), fewestInWindow(&runs[0]))
		if enough && len(steady) == len(runs) && o.Abandoned == "" && !s.heldBack() {
			s.VerdictBasis, verdict = BasisSteady, steady
		}
	}
	if o.Server != nil {
		t := *o.Server
		t.ClientTTFTMean = ttftOfWindow(verdict)
		s.Server = &t
	}
	s.Level = levelOf(steady)
	s.Lengths = lengthsOf(verdict)
	s.Client = clientOf(runs, &s, verdict)
	s.Validity = checksOf(&s, load, verdict, o.SharedPrefix)
	s.Backlog = backlogOf(&runs[len(runs)-1])
	s.TTFTBins = ttftBins(verdict)
	s.Series = series(runs)
	return s
}

// ttftOfWindow is the mean TTFT of the requests whose first output came within the last part:
// what a server's counters see between two scrapes. In a brief run with a queue they were
// sent before those that its verdict is of, and waited less.
func ttftOfWindow(parts []part) Number {
	if len(parts) == 0 {
		return Number{}
	}
	p, m := &parts[len(parts)-1], mean{}
	for i := range p.run.Samples {
		s := &p.run.Samples[i]
		if ttft, ok := s.TTFT(); ok && s.FirstOutput >= p.from && s.FirstOutput <= p.to {
			m.add(ttft.Seconds())
		}
	}
	return m.value()
}

// planned returns how many requests a run was to issue; a run bounded by time
// counts what it issued.
func planned(r *loadgen.Run) int {
	if r.Load.Requests > 0 {
		return r.Load.Requests
	}
	return len(r.Samples)
}

func countFailures(runs []loadgen.Run) (map[loadgen.Class]int, map[loadgen.Class]string) {
	counts, examples := map[loadgen.Class]int{}, map[loadgen.Class]string{}
	for i := range runs {
		for j := range runs[i].Samples {
			x := &runs[i].Samples[j]
			if x.Class == loadgen.Success || x.Class == loadgen.Cancelled && runs[i].End == loadgen.EndCut {
				continue
			}
			counts[x.Class]++
			if examples[x.Class] == "" && x.Message != "" {
				examples[x.Class] = x.Message
			}
		}
	}
	return counts, examples
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
