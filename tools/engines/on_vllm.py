"""The cases on vLLM."""

import cases
from cases import Limit
from on_llamacpp import cached, few_tokens, mixed, same_texts
from servers import VLLM

SHORT = {"input_len": 16, "output_len": 24}
NO_CACHE = {"--no-enable-prefix-caching": True}
CACHED = {"--enable-prompt-tokens-details": True}  # else usage says nothing of the cache
SMALL_CACHE = {"--max-num-seqs": 32, "--max-model-len": 256, "--block-size": 32, "--num-gpu-blocks-override": 32, **NO_CACHE}


def listed():
    prefix = {"dataset": "shared_prefix", "prefix_len": 512, "prefixes": 2, "input_len": 32, "output_len": 8}
    chat = {"dataset": "conversation", "turns": 4, "input_len": 120, "output_len": 16}
    slots = ("slots",)
    return [  # those with the same flags side by side: they share one engine
        Limit("ttft", "--max-num-seqs 8, completions: TTFT ≤ {T}", {"--max-num-seqs": 8}, SHORT, by="ttft", near=12, causes=slots),
        Limit("ttft-chat", "--max-num-seqs 8, chat: TTFT ≤ {T}", {"--max-num-seqs": 8}, {"input_len": 60, "output_len": 16}, by="ttft", near=12, causes=slots, api="chat"),
        Limit("eos", "answers that end by themselves (hold_output: false): TTFT ≤ {T}", {"--max-num-seqs": 8}, {"input_len": 24, "output_len": 64, "hold_output": False}, by="ttft", near=12,
              causes=slots, extra={"logit_bias": {"2": 5.3}}, check=few_tokens(64)),
        Limit("cache-on", "shared_prefix, prefix caching on: TTFT ≤ {T}", {"--max-num-seqs": 8, **CACHED}, prefix, by="ttft", near=14, causes=slots, check=cached(0.5, 1)),
        Limit("cold", "an engine just started, asked for the first time: TTFT ≤ {T}", {"--max-num-seqs": 8}, SHORT, by="ttft", near=12, causes=slots, like="ttft", cold=True),
        lambda kind, repeats: cases.killed(kind, "killed", Limit("killed", "", {"--max-num-seqs": 8}, SHORT, by="ttft", near=12, causes=slots), repeats, back=True),
        lambda kind, repeats: cases.killed(kind, "gone", Limit("gone", "", {"--max-num-seqs": 8}, SHORT, by="ttft", near=12, causes=slots), 1, back=False),
        Limit("cache-off", "shared_prefix, prefix caching off: TTFT as above", {"--max-num-seqs": 8, **NO_CACHE, **CACHED}, prefix, by="ttft", near=6, causes=("slots", "prefill"), like="cache-on",
              check=cached(0, 0.01)),
        Limit("gain", "--max-num-seqs 16: each doubling gains 20 %", {"--max-num-seqs": 16}, SHORT, by="throughput_gain", near=16, causes=slots, grid=(0.375, 0.5, 0.75, 1, 1.25, 1.5, 2)),
        Limit("gain-chat", "the same, chat", {"--max-num-seqs": 16}, {"input_len": 60, "output_len": 24}, by="throughput_gain", near=16, causes=slots, grid=(0.375, 0.5, 0.75, 1, 1.25, 1.5, 2),
              api="chat"),
        Limit("kv", "a KV cache of 1024 tokens, requests of 128: it is never full", SMALL_CACHE, {"input_len": 32, "output_len": 96}, by="resources", near=10, causes=("kv_cache",),
              grid=(0.6, 0.8, 1, 1.2, 1.4, 1.6)),
        Limit("kv-ttft", "the same cache: TTFT ≤ {T}", SMALL_CACHE, {"input_len": 32, "output_len": 96}, by="ttft", near=16, causes=("kv_cache",)),
        Limit("queue-cap", "--max-num-queued-reqs 20: 95 % succeed", {"--max-num-seqs": 8, "--max-num-queued-reqs": 20}, SHORT, by="success_rate", near=20, causes=("queue_cap",),
              grid=(0.8, 0.9, 1, 1.05, 1.1, 1.25)),
        Limit("prefill", "prompts of 700 tokens, answers of 2: TTFT ≤ {T}", {"--max-num-seqs": 64, **NO_CACHE}, {"input_len": 700, "output_len": 2}, by="ttft", near=4, causes=("prefill",),
              grid=(0.5, 0.75, 1, 1.25, 1.5, 2)),
        Limit("blocking", "one prompt in eight has 600 tokens, the others 20: TTFT ≤ {T}", {"--max-num-seqs": 64, **NO_CACHE}, {"dataset": "jsonl", "path": mixed("vllm", 600), "unique": True}, by="ttft",
              near=10, causes=("prefill", "memory_bandwidth")),
        lambda kind, repeats: cases.overflow(kind, "overflow", {}, 1200),
        lambda kind, repeats: cases.overlong(kind, "overlong", {}, 1500),
        lambda kind, repeats: cases.point(kind, Limit("turns-on", "conversation of 4 turns, cache on", CACHED, chat, "ttft", 4, (), api="chat"), 3, "e2e", "response time", repeats),
        lambda kind, repeats: cases.point(kind, Limit("turns-off", "conversation of 4 turns, cache off", {**NO_CACHE, **CACHED}, chat, "ttft", 4, (), api="chat"), 3, "e2e", "response time", repeats),
        lambda kind, repeats: cases.point(kind, Limit("speculative", "speculative decoding by n-grams",
                                                      {"--speculative-config": '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 1}'},
                                                      same_texts("vllm"), "ttft", 4, ()), 2, "tpot", "TPOT", repeats),
        lambda kind, repeats: cases.loading(kind, "loading", {}, waits=False),
    ]


SHORT_FORM = ("gain", "ttft", "overflow", "gone")
KIND = VLLM
