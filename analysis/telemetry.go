package analysis

import "time"

// Telemetry is what the server's own metrics said over the step's window.
type Telemetry struct {
	Source           string `json:"source"` // vllm, sglang, tgi, llamacpp, none known
	Scrapes          int    `json:"scrapes"`
	RunningMean      Number `json:"running_mean"`
	RunningMax       Number `json:"running_max"`
	WaitingMean      Number `json:"waiting_mean"`
	WaitingMax       Number `json:"waiting_max"`
	KVCacheMax       Number `json:"kv_cache_max"` // share of 1
	KVCacheMean      Number `json:"kv_cache_mean"`
	KVCapacity       Number `json:"kv_capacity_tokens"` // that the KV caches hold, all engines together
	Preemptions      Number `json:"preemptions"`        // during the step
	PrefixHitRate    Number `json:"prefix_hit_rate"`    // during the step, share of 1
	ServerTTFTMean   Number `json:"server_ttft_mean"`   // seconds, the server's own view
	ClientTTFTMean   Number `json:"client_ttft_mean"`   // seconds, what the client measured of the first tokens that came in that window
	ServerQueueMean  Number `json:"server_queue_mean"`  // seconds waiting in its queue
	PromptTokens     Number `json:"prompt_tokens"`      // counter difference
	GenerationTokens Number `json:"generation_tokens"`  // counter difference
	// How full a pass through the model was: the requests in it (llama.cpp's busy
	// slots per decode), and its tokens, of prompts and answers alike (vLLM).
	BatchMean         Number `json:"batch_mean"`
	PassTokensMean    Number `json:"pass_tokens_mean"`
	BatchTokensMax    Number `json:"batch_tokens_max"`    // TGI: tokens that the batch may grow to, its budget when requests wait
	OutputRateMean    Number `json:"output_rate_mean"`    // SGLang: output tokens/s, the server's own view
	ServerPrefillMean Number `json:"server_prefill_mean"` // seconds from leaving the queue to the first token
	GPUMemoryMax      Number `json:"gpu_memory_max"`      // share of 1
	GPUUtilMean       Number `json:"gpu_util_mean"`       // share of 1
	// What the GPU's time went into: its memory being read or written at all
	// (MEM_COPY_UTIL), the share of its peak bandwidth in use (DRAM_ACTIVE), and
	// its tensor cores computing (PIPE_TENSOR_ACTIVE); shares of 1, mean over GPUs.
	GPUMemoryBusyMean Number `json:"gpu_memory_busy_mean"`
	GPUBandwidthMean  Number `json:"gpu_bandwidth_mean"`
	GPUTensorMean     Number `json:"gpu_tensor_mean"`
	HostCPUMean       Number `json:"host_cpu_mean"`   // share of 1, of the server's host
	HostCPUMin        Number `json:"host_cpu_min"`    // lowest scrape within the window
	HostMemoryMax     Number `json:"host_memory_max"` // share of 1
	ResidentBytes     Number `json:"resident_bytes"`  // process_resident_memory_bytes, last
	WentAway          bool   `json:"went_away"`       // scrapes answered and then stopped answering
}

// TelemetryPoint is one scrape of the server's metrics: a line of
// server_metrics.jsonl.
type TelemetryPoint struct {
	At            time.Time `json:"at"`
	Running       Number    `json:"running"`
	Waiting       Number    `json:"waiting"`
	KVCache       Number    `json:"kv_cache"` // share of 1
	Preemptions   Number    `json:"preemptions_total"`
	GPUMemory     Number    `json:"gpu_memory"` // share of 1, the fullest GPU
	GPUUtil       Number    `json:"gpu_util"`   // share of 1, mean over GPUs
	GPUPower      Number    `json:"gpu_power_watts"`
	GPUMemoryBusy Number    `json:"gpu_memory_busy"` // share of 1, mean over GPUs; so are the next two
	GPUBandwidth  Number    `json:"gpu_bandwidth"`
	GPUTensor     Number    `json:"gpu_tensor"`
	HostCPU       Number    `json:"host_cpu"`    // share of 1
	HostMemory    Number    `json:"host_memory"` // share of 1
	Resident      Number    `json:"resident_bytes"`
	Error         string    `json:"error,omitempty"` // why this scrape gave nothing
}
