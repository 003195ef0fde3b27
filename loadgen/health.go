package loadgen

// Health says how the client fared during a run: the evidence for or against
// the client having been the limit. Shares are fractions of 1, times seconds.
type Health struct {
	CPUShare              Number `json:"cpu_share"`                // process CPU over its quota (cgroup aware)
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
	StampSource           string `json:"stamp_source"` // kernel, user or mixed
}
