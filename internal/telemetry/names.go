package telemetry

import "strings"

// gauge numbers a figure that goes up and down.
type gauge int

const (
	running gauge = iota
	waiting
	kvCache    // share of 1, the fullest engine
	kvCapacity // tokens
	prefixRate
	resident
	batchTokens
	outputRate // tokens/s
	gpuMemory  // share of 1, the fullest GPU
	gpuUtil    // share of 1, mean over GPUs; so are the next three
	gpuMemoryBusy
	gpuBandwidth
	gpuTensor
	gpuPower // watts, sum over GPUs
	hostCPU  // share of 1
	hostMemory
	gauges // how many there are
)

// counter numbers a figure that only grows, until its process restarts.
type counter int

const (
	preemptions counter = iota
	prefixQueries
	prefixHits
	promptTokens
	generationTokens
	ttftSum
	ttftCount
	queueSum
	queueCount
	prefillSum
	prefillCount
	passTokens // tokens computed in passes through the model
	passes
	slotPasses // slots busy in a pass, summed over passes
	slotted    // the passes of that sum
	counters   // how many there are
)

// dialect says how one kind of server names its figures. Several names are in
// order of preference: the first that is present counts, since a server that
// renames a metric serves both for a while.
type dialect struct {
	name     string
	gauges   map[gauge][]string
	counters map[counter][]string
}

// dialects are the servers known here; the one with most names present is it.
var dialects = []dialect{
	{
		name: "vllm",
		gauges: map[gauge][]string{
			running:    {"vllm:num_requests_running"},
			waiting:    {"vllm:num_requests_waiting"},
			kvCache:    {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"}, // 1 is 100 %, whatever the name says
			kvCapacity: {nameCacheConfig},
		},
		counters: map[counter][]string{
			preemptions:      {"vllm:num_preemptions"},
			prefixQueries:    {"vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"},
			prefixHits:       {"vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"},
			promptTokens:     {"vllm:prompt_tokens"},
			generationTokens: {"vllm:generation_tokens"},
			ttftSum:          {"vllm:time_to_first_token_seconds_sum"},
			ttftCount:        {"vllm:time_to_first_token_seconds_count"},
			queueSum:         {"vllm:request_queue_time_seconds_sum"},
			queueCount:       {"vllm:request_queue_time_seconds_count"},
			prefillSum:       {"vllm:request_prefill_time_seconds_sum"},
			prefillCount:     {"vllm:request_prefill_time_seconds_count"},
			passTokens:       {"vllm:iteration_tokens_total_sum"},
			passes:           {"vllm:iteration_tokens_total_count"},
		},
	},
	{
		name: "sglang",
		gauges: map[gauge][]string{
			running:    {"sglang:num_running_reqs"},
			waiting:    {"sglang:num_queue_reqs"},
			kvCache:    {"sglang:token_usage"},
			kvCapacity: {"sglang:max_total_num_tokens"},
			prefixRate: {"sglang:cache_hit_rate"},
			outputRate: {"sglang:gen_throughput"},
		},
		counters: map[counter][]string{
			preemptions:      {"sglang:num_retracted_requests"}, // its word for a preemption
			promptTokens:     {"sglang:prompt_tokens"},
			generationTokens: {"sglang:generation_tokens"},
			ttftSum:          {"sglang:time_to_first_token_seconds_sum"},
			ttftCount:        {"sglang:time_to_first_token_seconds_count"},
			queueSum:         {"sglang:queue_time_seconds_sum"},
			queueCount:       {"sglang:queue_time_seconds_count"},
		},
	},
	{
		name: "tgi",
		gauges: map[gauge][]string{
			running:     {"tgi_batch_current_size"},
			waiting:     {"tgi_queue_size"},
			batchTokens: {"tgi_batch_current_max_tokens"},
		},
		counters: map[counter][]string{
			promptTokens:     {"tgi_request_input_length_sum"},
			generationTokens: {"tgi_request_generated_tokens_sum"},
			queueSum:         {"tgi_request_queue_duration_sum"},
			queueCount:       {"tgi_request_queue_duration_count"},
		},
	},
	{
		name: "llamacpp",
		gauges: map[gauge][]string{
			running: {"llamacpp:requests_processing"},
			waiting: {"llamacpp:requests_deferred"},
			kvCache: {"llamacpp:kv_cache_usage_ratio"}, // older builds only
		},
		counters: map[counter][]string{
			prefixQueries:    {nameOffered}, // a sum that is made when it is read
			prefixHits:       {nameCached},
			promptTokens:     {nameComputed},
			generationTokens: {"llamacpp:tokens_predicted"},
			slotPasses:       {nameBusySlots}, // a mean: made a sum when it is read
			slotted:          {nameDecodes},
		},
	},
}

// Names whose values are not used as they stand.
const (
	nameCacheConfig = "vllm:cache_config_info" // the labels are what counts
	nameBusySlots   = "llamacpp:n_busy_slots_per_decode"
	nameDecodes     = "llamacpp:n_decode"
	nameComputed    = "llamacpp:prompt_tokens" // without those that were cached
	nameCached      = "llamacpp:prompt_tokens_cached"
	nameOffered     = "llamacpp:prompt_tokens and cached" // both, under no name of its own
)

// Names outside the dialects.
const (
	nameResident      = "process_resident_memory_bytes"
	nameProcessStart  = "process_start_time_seconds"
	nameFBUsed        = "DCGM_FI_DEV_FB_USED"
	nameFBFree        = "DCGM_FI_DEV_FB_FREE"
	nameGPUUtil       = "DCGM_FI_DEV_GPU_UTIL"
	nameGPUMemoryBusy = "DCGM_FI_DEV_MEM_COPY_UTIL"
	nameGPUBandwidth  = "DCGM_FI_PROF_DRAM_ACTIVE"
	nameGPUTensor     = "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"
	nameGPUPower      = "DCGM_FI_DEV_POWER_USAGE"
	nameXID           = "DCGM_FI_DEV_XID_ERRORS"
	nameNodeCPU       = "node_cpu_seconds_total"
	nameMemAvailable  = "node_memory_MemAvailable_bytes"
	nameMemTotal      = "node_memory_MemTotal_bytes"
)

const total = "_total"

// The names that each kind of endpoint is searched for.
var (
	serverNames = wantedNames()
	gpuNames    = set(nameFBUsed, nameFBFree, nameGPUUtil, nameGPUMemoryBusy, nameGPUBandwidth, nameGPUTensor, nameGPUPower, nameXID)
	nodeNames   = set(nameNodeCPU, nameMemAvailable, nameMemTotal)
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// wantedNames lists every name of every dialect, counters with and without
// _total: the suffix came and went with the version of the client library.
func wantedNames() map[string]bool {
	m := set(nameResident, nameProcessStart)
	for _, d := range dialects {
		for _, names := range d.gauges {
			for _, n := range names {
				m[n] = true
			}
		}
		for _, names := range d.counters {
			for _, n := range names {
				m[n], m[n+total] = true, true
			}
		}
	}
	return m
}

// canonical cuts _total off the names that a dialect lists without it.
func canonical(name string) string {
	if short, ok := strings.CutSuffix(name, total); ok && serverNames[short] {
		return short
	}
	return name
}
