package diagnosis

import "strings"

// cures are what is worth trying against a kind of bottleneck: by server, in that
// server's own settings, and in general under "".
var cures = map[string]map[string]string{
	KindSlots: {
		"":          "letting the server run more requests at once is worth trying (vLLM --max-num-seqs, SGLang --max-running-requests, llama.cpp --parallel, Ollama OLLAMA_NUM_PARALLEL)",
		"vllm":      "raising --max-num-seqs is worth trying",
		"sglang":    "raising --max-running-requests is worth trying",
		"tgi":       "raising --max-batch-total-tokens (or --max-batch-size where it is set) is worth trying",
		"llama.cpp": "raising --parallel is worth trying, with a --ctx-size that grows with it",
		"ollama":    "raising OLLAMA_NUM_PARALLEL is worth trying",
	},
	KindQueueCap: {
		"":          "let the server or the gateway before it queue more, or spread the load over more replicas",
		"vllm":      "vLLM queues without bound unless --max-num-queued-reqs or --max-num-queued-tokens is set: raise those, or look at the gateway or proxy before it, or add replicas",
		"sglang":    "--max-queued-requests sets how many may wait; more replicas serve more",
		"tgi":       "--max-concurrent-requests sets how many are let in; more replicas serve more",
		"llama.cpp": "llama.cpp itself queues without bound, so look at the gateway or proxy before it, or add replicas",
		"ollama":    "OLLAMA_MAX_QUEUE sets how many may wait; more replicas serve more",
	},
	KindKVCache: {
		"":          "shorter contexts, a smaller KV data type or more GPU memory would take more requests",
		"vllm":      "a higher --gpu-memory-utilization, --kv-cache-dtype fp8 or shorter contexts would take more requests",
		"sglang":    "a higher --mem-fraction-static, --kv-cache-dtype fp8_e5m2 or shorter contexts would take more requests",
		"tgi":       "a higher --max-batch-total-tokens as far as the memory allows, --kv-cache-dtype fp8_e5m2 or shorter contexts would take more requests",
		"llama.cpp": "a larger --ctx-size as far as the memory allows, --cache-type-k and --cache-type-v q8_0 or shorter contexts would take more requests",
		"ollama":    "OLLAMA_KV_CACHE_TYPE=q8_0 or a smaller OLLAMA_CONTEXT_LENGTH would take more requests",
	},
	KindPrefill: {
		"":          "shorter prompts, prefix caching or chunked prefill would help",
		"vllm":      "shorter prompts, --enable-prefix-caching or another --max-num-batched-tokens would help",
		"sglang":    "shorter prompts, its radix cache (no --disable-radix-cache) or another --chunked-prefill-size would help",
		"tgi":       "shorter prompts, prefix caching or a higher --max-batch-prefill-tokens would help",
		"llama.cpp": "shorter prompts, prompt caching or a larger --ubatch-size would help",
		"ollama":    "shorter prompts or a larger num_batch would help",
	},
	KindMemoryBandwidth: {
		"":          "faster or more GPUs, or a smaller model or data type, would help",
		"vllm":      "faster or more GPUs (--tensor-parallel-size), or a smaller model or data type (--quantization), would help",
		"sglang":    "faster or more GPUs (--tp-size), or a smaller model or data type (--quantization), would help",
		"tgi":       "faster or more GPUs (--num-shard), or a smaller model or data type (--quantize), would help",
		"llama.cpp": "a faster GPU, a smaller model or a smaller quantisation of it would help",
		"ollama":    "a faster GPU, a smaller model or a smaller quantisation of it would help",
	},
}

// cure returns what is worth trying against a kind of bottleneck on a server,
// named like "vllm 0.11.0"; empty where nothing general can be said.
func cure(kind, server string) string {
	name, _, _ := strings.Cut(strings.ToLower(server), " ")
	if text, ok := cures[kind][name]; ok {
		return text
	}
	return cures[kind][""]
}
