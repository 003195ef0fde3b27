package analysis

import (
	"fmt"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// Gates of the client's own health. A delay is judged against what it delays:
// 10 % of the response time at its 99th percentile costs about 1 % on average.
// Below floorDelay it is the ordinary jitter of a busy machine.
const (
	cpuGate     = 0.70 // share of the process's CPU quota
	delayGate   = 0.10 // share of the mean time in system
	filesGate   = 0.90 // share of the limit on open files or ports
	idleGate    = 0.10 // think time over time in system
	gcShareGate = 0.05 // share of the run spent in stop-the-world pauses
	floorDelay  = 10 * time.Millisecond
)

// clientOf merges the runs' health and names every gate that broke.
func clientOf(runs []loadgen.Run, s *Step, verdict []part) Client {
	c := Client{Health: runs[0].Health}
	for i := 1; i < len(runs); i++ {
		c.Health = worse(c.Health, runs[i].Health)
	}
	sum := &s.Whole
	if s.Steady != nil {
		sum = s.Steady
	}
	c.StalledShare, c.Spoilt = stalledShare(runs)
	c.Limits = brokenGates(&c.Health, s, sum)
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

func brokenGates(h *loadgen.Health, s *Step, sum *Summary) []string {
	var limits []string
	add := func(format string, args ...any) { limits = append(limits, fmt.Sprintf(format, args...)) }
	if v, ok := h.CPUShare.Value(); ok && v > cpuGate {
		add("the client used %.0f %% of the CPU it may use (gate %.0f %%): give it more cores or run it on another machine", 100*v, 100*cpuGate)
	}
	gate := max(floorDelay.Seconds(), delayGate*sum.MeanResidenceSeconds.Or(0))
	late := func(n Number, what string) {
		if v, ok := n.Value(); ok && v > gate {
			add("%s: p99 %.1f ms (gate %.1f ms): the client's machine is too busy", what, 1e3*v, 1e3*gate)
		}
	}
	late(h.DispatchP99Seconds, "a freed slot waited for its next request")
	late(h.StampDelayP99Seconds, "received data waited for the client to read it")
	late(h.ScheduleLagP99Seconds, "requests fell behind their schedule inside the client")
	if v, ok := h.GCPauseSeconds.Value(); ok && v > gcShareGate*s.Whole.DurationSeconds.Or(v/gcShareGate) {
		add("the client stood still for %.1f s in garbage collection", v)
	}
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

// worse takes the worse of two runs, figure by figure.
func worse(a, b loadgen.Health) loadgen.Health {
	source := a.StampSource
	switch {
	case source == "":
		source = b.StampSource
	case b.StampSource != "" && b.StampSource != source:
		source = "mixed"
	}
	return loadgen.Health{
		CPUShare:              larger(a.CPUShare, b.CPUShare),
		GCPauseSeconds:        larger(a.GCPauseSeconds, b.GCPauseSeconds),
		GCPauseMaxSeconds:     larger(a.GCPauseMaxSeconds, b.GCPauseMaxSeconds),
		DispatchP99Seconds:    larger(a.DispatchP99Seconds, b.DispatchP99Seconds),
		StampDelayP99Seconds:  larger(a.StampDelayP99Seconds, b.StampDelayP99Seconds),
		StampDelayMeanSeconds: larger(a.StampDelayMeanSeconds, b.StampDelayMeanSeconds),
		ScheduleLagP99Seconds: larger(a.ScheduleLagP99Seconds, b.ScheduleLagP99Seconds),
		ConnReuse:             smaller(a.ConnReuse, b.ConnReuse),
		OpenFiles:             larger(a.OpenFiles, b.OpenFiles),
		OpenFilesLimit:        smaller(a.OpenFilesLimit, b.OpenFilesLimit),
		PortsLimit:            smaller(a.PortsLimit, b.PortsLimit),
		ResidentBytes:         larger(a.ResidentBytes, b.ResidentBytes),
		StampSource:           source,
	}
}
