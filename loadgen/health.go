package loadgen

import (
	"math"
	"runtime/metrics"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Health says how the client fared during a run: the evidence for or against
// the client having been the limit. Shares are fractions of 1, times seconds.
type Health struct {
	CPUShare              Number `json:"cpu_share"`                // process CPU over its quota (cgroup aware)
	CPUSeconds            Number `json:"cpu_seconds"`              // process CPU used
	GCPauseSeconds        Number `json:"gc_pause_seconds"`         // total stop-the-world time
	GCPauseMaxSeconds     Number `json:"gc_pause_max_seconds"`     // longest single pause
	DispatchP99Seconds    Number `json:"dispatch_p99_seconds"`     // slot freed -> next request sent, connect time excluded
	StampDelayP99Seconds  Number `json:"stamp_delay_p99_seconds"`  // kernel receive stamp -> seen by the reader
	StampDelayMeanSeconds Number `json:"stamp_delay_mean_seconds"` // the same, mean
	ScheduleLagP99Seconds Number `json:"schedule_lag_p99_seconds"` // open loop: intended start -> slot asked for
	ConnReuse             Number `json:"conn_reuse"`               // share of requests on a re-used connection
	OpenFiles             Number `json:"open_files"`               // most file descriptors open
	OpenFilesLimit        Number `json:"open_files_limit"`
	PortsLimit            Number `json:"ports_limit"` // ephemeral ports of this machine
	ResidentBytes         Number `json:"resident_bytes"`
	ConnectMeanSeconds    Number `json:"connect_mean_seconds"` // TCP connect, over the connections made for the run
	TLSMeanSeconds        Number `json:"tls_mean_seconds"`     // TLS handshake, the same
	StampSource           string `json:"stamp_source"`         // kernel, user or mixed; empty without arrivals
}

// processUse is what this process has used up to a moment.
type processUse struct {
	at, real time.Time // by Go's clock, and by the system's
	cpu      Number    // seconds
	gc       metrics.Float64Histogram
	files    Number
}

// startHealth notes what the process has used before a run.
func startHealth() processUse { return readUse() }

func readUse() processUse {
	u := processUse{at: time.Now(), real: systemTime(), cpu: cpuSeconds(), files: openFiles()}
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() == metrics.KindFloat64Histogram {
		u.gc = *sample[0].Value.Float64Histogram()
	}
	return u
}

// finish fills in how the process fared since the start.
func (u processUse) finish(h *Health) {
	now := readUse()
	h.OpenFilesLimit = openFilesLimit()
	h.PortsLimit = ephemeralPorts()
	h.ResidentBytes = residentBytes()
	h.OpenFiles = now.files
	if before, ok := u.files.Value(); ok {
		h.OpenFiles = Known(max(before, now.files.Or(0)))
	}
	wall, real := now.at.Sub(u.at).Seconds(), now.real.Sub(u.real).Seconds()
	if wall <= 0 || math.Abs(real-wall) > 0.05*wall+0.001 {
		return // fake time, or the wall clock was set: CPU and pauses have no scale
	}
	before, known := u.cpu.Value()
	if after, ok := now.cpu.Value(); ok && known {
		h.CPUSeconds = Known(after - before)
		h.CPUShare = Known((after - before) / (wall * cpuQuota()))
	}
	h.GCPauseSeconds, h.GCPauseMaxSeconds = pauses(u.gc, now.gc)
}

// pauses returns the total and the longest of the pauses between two readings of
// a histogram; a pause counts as its bucket's upper bound.
func pauses(before, after metrics.Float64Histogram) (total, longest Number) {
	if len(after.Counts) == 0 || len(before.Counts) != len(after.Counts) {
		return Number{}, Number{}
	}
	sum, most := 0.0, 0.0
	for i, n := range after.Counts {
		if n -= before.Counts[i]; n > 0 {
			bound := after.Buckets[i+1]
			if math.IsInf(bound, 1) {
				bound = after.Buckets[i]
			}
			sum += float64(n) * bound
			most = bound
		}
	}
	return Known(sum), Known(most)
}

// tally gathers what the samples of a run say about the client. The runner calls
// add with its lock held; lag belongs to the open loop's own goroutine.
type tally struct {
	dispatch, stamp, lags *hdrhistogram.Histogram // microseconds
	sent, reused          int
	kernel, user          int
}

// observe records d in a histogram, which is made on first use.
func observe(h **hdrhistogram.Histogram, d time.Duration) {
	const longest = 10 * time.Minute
	if *h == nil {
		*h = hdrhistogram.New(1, longest.Microseconds(), 2)
	}
	// Cannot fail within the bounds; 0 counts in the lowest bucket.
	_ = (*h).RecordValue(min(max(d, 0), longest).Microseconds())
}

// lag records how late the open loop was.
func (t *tally) lag(d time.Duration) { observe(&t.lags, d) }

// add records a finished request.
func (t *tally) add(s *Sample) {
	if !s.WasSent {
		return
	}
	t.sent++
	if s.ConnReused {
		t.reused++
	}
	if s.Retries == 0 && !s.Stalled {
		observe(&t.dispatch, s.Sent-s.Ready-s.Connect-s.TLS)
	}
	switch s.Stamp {
	case StampKernel:
		t.kernel++
		if !s.Stalled {
			observe(&t.stamp, s.StampDelay)
		}
	case StampUser:
		t.user++
	}
}

// health fills in what the samples said.
func (t *tally) health(h *Health) {
	h.DispatchP99Seconds = p99(t.dispatch)
	h.ScheduleLagP99Seconds = p99(t.lags)
	h.StampDelayP99Seconds = p99(t.stamp)
	if t.stamp != nil {
		h.StampDelayMeanSeconds = Known(t.stamp.Mean() / 1e6)
	}
	if t.sent > 0 {
		h.ConnReuse = Known(float64(t.reused) / float64(t.sent))
	}
	switch {
	case t.kernel > 0 && t.user > 0:
		h.StampSource = "mixed"
	case t.kernel > 0:
		h.StampSource = string(StampKernel)
	case t.user > 0:
		h.StampSource = string(StampUser)
	}
}

func p99(h *hdrhistogram.Histogram) Number {
	if h == nil {
		return Number{}
	}
	return Known(float64(h.ValueAtQuantile(99)) / 1e6)
}

// Worse takes the worse of two runs, or of two machines, figure by figure.
func (h Health) Worse(b Health) Health {
	a := h
	source := a.StampSource
	switch {
	case source == "":
		source = b.StampSource
	case b.StampSource != "" && b.StampSource != source:
		source = "mixed"
	}
	return Health{
		CPUShare:              a.CPUShare.Max(b.CPUShare),
		GCPauseSeconds:        a.GCPauseSeconds.Max(b.GCPauseSeconds),
		GCPauseMaxSeconds:     a.GCPauseMaxSeconds.Max(b.GCPauseMaxSeconds),
		DispatchP99Seconds:    a.DispatchP99Seconds.Max(b.DispatchP99Seconds),
		StampDelayP99Seconds:  a.StampDelayP99Seconds.Max(b.StampDelayP99Seconds),
		StampDelayMeanSeconds: a.StampDelayMeanSeconds.Max(b.StampDelayMeanSeconds),
		ScheduleLagP99Seconds: a.ScheduleLagP99Seconds.Max(b.ScheduleLagP99Seconds),
		ConnReuse:             a.ConnReuse.Min(b.ConnReuse),
		OpenFiles:             a.OpenFiles.Max(b.OpenFiles),
		OpenFilesLimit:        a.OpenFilesLimit.Min(b.OpenFilesLimit),
		PortsLimit:            a.PortsLimit.Min(b.PortsLimit),
		ResidentBytes:         a.ResidentBytes.Max(b.ResidentBytes),
		StampSource:           source,
	}
}

// Together is how the machines of a fleet fared: the worst, figure by figure, and the CPU
// time of all.
func Together(parts []Part) Health {
	var h Health
	sum, known := 0.0, false
	for i, p := range parts {
		if i == 0 {
			h = p.Health
		} else {
			h = h.Worse(p.Health)
		}
		if v, ok := p.Health.CPUSeconds.Value(); ok {
			sum, known = sum+v, true
		}
	}
	h.CPUSeconds = Number{}
	if known {
		h.CPUSeconds = Known(sum)
	}
	return h
}
