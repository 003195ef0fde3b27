package analysis

import (
	"fmt"
	"slices"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Gates of the client's own health. A delay is judged against what it delays:
// 10 % of the response time at its 99th percentile costs about 1 % on average.
// Every gate has a floor, below which it is the ordinary jitter of a busy machine
// or a clock's coarseness, and none is asked of a run so short that one pause or
// one slice of the scheduler is a large share of it.
const (
	cpuGate     = 0.70 // share of the process's CPU quota
	delayGate   = 0.10 // share of the mean time in system
	filesGate   = 0.90 // share of the limit on open files or ports
	idleGate    = 0.10 // think time over time in system
	gcShareGate = 0.05 // share of the run spent in stop-the-world pauses

	leastJudged = 500 * time.Millisecond // of a run
	leastOfP99  = 100                    // requests: of fewer it is the slowest one
	floorDelay  = 10 * time.Millisecond
	floorCPU    = 200 * time.Millisecond
	floorGC     = 50 * time.Millisecond
)

// clientOf merges the runs' health and names every gate that broke.
func clientOf(runs []loadgen.Run, s *Step, verdict []part) Client {
	c := Client{Health: told(&runs[0])}
	for i := 1; i < len(runs); i++ {
		c.Health = c.Health.Worse(told(&runs[i]))
	}
	sum := &s.Whole
	if s.Steady != nil {
		sum = s.Steady
	}
	c.StalledShare, c.Spoilt = stalledShare(runs)
	s.Workers = workersOf(runs, sum)
	c.Limits = append(slowGates(runs, sum), scarceGates(&c.Health, s)...)
	if c.Spoilt {
		c.Limits = append(c.Limits, fmt.Sprintf("this client stood still during %.0f %% of the requests (gate %.0f %%): something else takes its machine", 100*c.StalledShare.Or(0), 100*stallGate))
	}
	if z, r, why := thinkTime(s, runs[0].Load, verdict); why == "" && z > idleGate*r && z > floorDelay.Seconds() {
		c.Limits = append(c.Limits, fmt.Sprintf("the client's workers idled %.1f ms between requests of %.1f ms (gate %.0f %%): it cannot keep %d in flight",
			1e3*z, 1e3*r, 100*idleGate, s.Concurrency))
	}
	return c
}

// stallGate is the share of requests that a stall of the client may touch: the times
// of the others stand for the load.
const stallGate = 0.20

// stalledShare is the share of the finished requests whose times were left out,
// unknown without any, and whether it is too large in some run.
func stalledShare(runs []loadgen.Run) (share Number, spoilt bool) {
	stalled, all := 0, 0
	for i := range runs {
		here, done := 0, 0
		for j := range runs[i].Samples {
			if x := &runs[i].Samples[j]; finished(x) {
				done++
				if x.Stalled {
					here++
				}
			}
		}
		stalled, all = stalled+here, all+done
		spoilt = spoilt || float64(here) > stallGate*float64(done)
	}
	if stalled == 0 {
		return Number{}, false
	}
	return loadgen.Known(float64(stalled) / float64(all)), spoilt
}

// told is what a run tells of the client: of a short one not the share of the CPU,
// which is chance.
func told(r *loadgen.Run) loadgen.Health {
	h := r.Health
	if r.Elapsed < leastJudged {
		h.CPUShare = Number{}
	}
	return h
}

// The gates of how quick the client was.
const (
	gateCPU = iota
	gateDispatch
	gateStamps
	gateSchedule
	gateGC
	slowGateCount
)

// slowGates judges how quick the client was, run by run: a figure of one run says
// nothing of another. Of several that broke the same gate the worst is named.
func slowGates(runs []loadgen.Run, sum *Summary) []string {
	var texts [slowGateCount]string
	var worst [slowGateCount]float64
	for i := range runs {
		if runs[i].Elapsed < leastJudged {
			continue
		}
		for _, m := range machinesOf(&runs[i]) {
			for gate, b := range slownessOf(&m.run, sum.MeanResidenceSeconds.Or(0)) {
				if b.over > worst[gate] {
					worst[gate], texts[gate] = b.over, m.of(b.text)
				}
			}
		}
	}
	return slices.DeleteFunc(texts[:], func(text string) bool { return text == "" })
}

// machine is a run as one machine saw it.
type machine struct {
	part *loadgen.Part // nil where there was one only
	run  loadgen.Run
}

func machinesOf(run *loadgen.Run) []machine {
	if len(run.Parts) == 0 {
		return []machine{{nil, *run}}
	}
	var out []machine
	for i := range run.Parts {
		m := machine{&run.Parts[i], *run}
		m.run.Health = m.part.Health
		out = append(out, m)
	}
	return out
}

// of says of which machine a text speaks.
func (m *machine) of(text string) string {
	if m.part == nil {
		return text
	}
	return "worker " + m.part.Worker + ": " + text
}

// workersOf is what each machine of a fleet had in a step, and which of its gates broke.
func workersOf(runs []loadgen.Run, sum *Summary) []Worker {
	var out []Worker
	for i := range runs {
		for _, m := range machinesOf(&runs[i]) {
			if m.part == nil {
				continue
			}
			k := slices.IndexFunc(out, func(w Worker) bool { return w.Name == m.part.Worker })
			if k < 0 {
				k, out = len(out), append(out, Worker{Name: m.part.Worker, Limits: []string{}})
			}
			w := &out[k]
			w.Concurrency, w.NumPrompts = max(w.Concurrency, m.part.Concurrency), w.NumPrompts+m.part.Requests
			w.ClockErrorSeconds = w.ClockErrorSeconds.Max(loadgen.Known(m.part.ClockError.Seconds()))
			w.Health = w.Health.Worse(m.part.Health)
			if runs[i].Elapsed < leastJudged {
				continue
			}
			for _, b := range slownessOf(&m.run, sum.MeanResidenceSeconds.Or(0)) {
				if b.over > 0 && !slices.Contains(w.Limits, b.text) {
					w.Limits = append(w.Limits, b.text)
				}
			}
		}
	}
	return out
}

// broken says by how much a figure is over its gate, as a ratio; 0 where it is not.
type broken struct {
	over float64
	text string
}

// slownessOf holds one run against the gates.
func slownessOf(run *loadgen.Run, residence float64) [slowGateCount]broken {
	var out [slowGateCount]broken
	h := &run.Health
	if v, ok := h.CPUShare.Value(); ok && v > cpuGate && h.CPUSeconds.Or(floorCPU.Seconds()) >= floorCPU.Seconds() {
		out[gateCPU] = broken{v / cpuGate, fmt.Sprintf("the client used %.0f %% of the CPU it may use (gate %.0f %%): give it more cores or run it on another machine", 100*v, 100*cpuGate)}
	}
	gate := max(floorDelay.Seconds(), delayGate*residence)
	late := func(n Number, what string) broken {
		v, ok := n.Value()
		if !ok || v <= gate || !run.Load.DropSamples && len(run.Samples) < leastOfP99 {
			return broken{}
		}
		return broken{v / gate, fmt.Sprintf("%s: p99 %.1f ms (gate %.1f ms): the client's machine is too busy", what, 1e3*v, 1e3*gate)}
	}
	out[gateDispatch] = late(h.DispatchP99Seconds, "a freed slot waited for its next request")
	out[gateStamps] = late(h.StampDelayP99Seconds, "received data waited for the client to read it")
	out[gateSchedule] = late(h.ScheduleLagP99Seconds, "requests fell behind their schedule inside the client")
	t := run.Elapsed.Seconds()
	if v, ok := h.GCPauseSeconds.Value(); ok && v > gcShareGate*t && v > floorGC.Seconds() {
		out[gateGC] = broken{v / (gcShareGate * t), fmt.Sprintf("the client stood still for %.0f ms of %.1f s in garbage collection (gate %.0f %%)", 1e3*v, t, 100*gcShareGate)}
	}
	return out
}

// scarceGates judges what the client may run out of. These are counts, which a
// short run tells as well as a long one.
func scarceGates(h *loadgen.Health, s *Step) []string {
	var limits []string
	add := func(format string, args ...any) { limits = append(limits, fmt.Sprintf(format, args...)) }
	open, okOpen := h.OpenFiles.Value()
	limit, okLimit := h.OpenFilesLimit.Value()
	if okOpen && okLimit && open > filesGate*limit {
		add("%.0f of %.0f files were open: raise the limit on open files (ulimit -n)", open, limit)
	}
	if ports, ok := h.PortsLimit.Value(); ok && float64(s.Concurrency) > filesGate*ports {
		add("%d connections are near this machine's %.0f ephemeral ports: widen net.ipv4.ip_local_port_range", s.Concurrency, ports)
	}
	if n := s.Failures[loadgen.ClientLimit]; n > 0 {
		text := s.FailureExamples[loadgen.ClientLimit]
		if text == "" {
			text = "out of files or ports"
		}
		add("%d requests failed on the client's own limits (%s)", n, text)
	}
	return limits
}
