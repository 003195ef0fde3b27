"""The cases on llama.cpp."""

import json
import random

import cases
import install
import model
import on_replay
from cases import Limit
from servers import LlamaCpp

SHORT = {"input_len": 24, "output_len": 16}
CHAT = {"input_len": 60, "output_len": 16}


def mixed(engine="llamacpp", long=300):
    """A file of requests: seven short ones to one long one."""
    path = install.CACHE / f"mixed-{engine}.jsonl"
    words = ("the water and house of time work day people place " * 80).split()
    lines = [{"prompt": " ".join(words[i % 7:i % 7 + (long if i % 8 == 5 else 16)]), "output_len": 12} for i in range(160)]
    path.write_text("".join(json.dumps(l) + "\n" for l in lines))
    return str(path)


def same_texts(engine="llamacpp"):
    """A file of requests whose texts both clients send: what is guessed right of an answer depends on them."""
    path, rng = install.CACHE / f"texts-{engine}.jsonl", random.Random(3)
    words = "the water and house of time work day people place river little long after great small where line turn move right boy old same".split()
    path.write_text("".join(json.dumps({"prompt": " ".join(rng.choice(words) for _ in range(20)), "output_len": 96}) + "\n" for _ in range(160)))
    return {"dataset": "jsonl", "path": str(path), "unique": True, "temperature": 0}


def few_tokens(most):
    """Answers ended early, and both clients saw so: a note, and whether it is right."""
    def check(passes, found):
        seen = [r["tokens"] for p in passes for r in p if r["tokens"]]
        said = [(s["whole"]["total_output_tokens"] / s["whole"]["completed"]) for s in found.result.get("steps", []) if s["whole"]["completed"]]
        if not said:
            return "no step", True
        low, high, mean = min(seen), max(seen), sum(said) / len(said)
        return f"{low:.1f}-{high:.1f} tokens an answer of {most} by brute force, {mean:.1f} by capfind", 0.9 * low <= mean <= 1.1 * high and high < 0.9 * most
    return check


def cached(low, high):
    """The share of the prompts that came from a cache, by both clients."""
    def check(passes, found):
        seen = [r["cached"] for p in passes for r in p if r["cached"] is not None]
        said = [s["lengths"]["cached_share"] for s in found.result.get("steps", []) if s["lengths"].get("cached_share") is not None]
        text = f"{min(seen):.0%}-{max(seen):.0%} of the prompt from the cache by brute force, " + (f"{min(said):.0%}-{max(said):.0%} by capfind" if said else "n/a by capfind")
        return text, low <= max(seen) and min(seen) <= high and (not said or low <= max(said) and min(said) <= high)
    return check


def listed():
    prefix = {"dataset": "shared_prefix", "prefix_len": 160, "prefixes": 2, "input_len": 16, "output_len": 8}
    chat = {"dataset": "conversation", "turns": 4, "input_len": 60, "output_len": 16}
    waits = dict(by="ttft", causes=("slots",))
    return [
        Limit("slots-chat", "--parallel 8, chat: TTFT ≤ {T}", {"n_parallel": 8}, CHAT, near=12, api="chat", **waits),
        Limit("slots", "--parallel 8, completions: TTFT ≤ {T}", {"n_parallel": 8}, SHORT, near=12, slow=True, **waits),
        Limit("quick", "slots-chat with --effort quick: TTFT ≤ {T}", {"n_parallel": 8}, CHAT, near=12, api="chat", effort="quick", like="slots-chat", slow=True, **waits),
        # What it asks for is mostly cut short: does the engine stop then?
        Limit("quick-long", "long answers with --effort quick: TTFT ≤ {T}", {"n_parallel": 8}, {"input_len": 24, "output_len": 96}, near=12, effort="quick", slow=True, **waits),
        Limit("gain", "--parallel 8: each doubling gains 20 %", {"n_parallel": 8}, SHORT, by="throughput_gain", near=3, grid=(1 / 3, 2 / 3, 1, 4 / 3, 2, 8 / 3, 4), ladder=(1, 2, 4, 8, 16),
              causes=("memory_bandwidth", "prefill", "slots"), slow=True),
        Limit("kv", "--parallel 16 over one --ctx-size of 512 tokens: 95 % succeed", {"n_parallel": 16, "n_ctx": 512, "kv_unified": True}, {"input_len": 24, "output_len": 64},
              by="success_rate", near=6, causes=("kv_cache",), grid=(0.5, 0.67, 0.84, 1, 1.34, 2)),
        lambda kind, repeats: cases.overflow(kind, "overflow", {"n_parallel": 4}, 600),
        lambda kind, repeats: cases.overlong(kind, "overlong", {"n_parallel": 4}, 700),
        Limit("eos", "answers that end by themselves (hold_output: false): TTFT ≤ {T}", {"n_parallel": 8}, {"input_len": 24, "output_len": 48, "hold_output": False}, near=12,
              extra={"logit_bias": {"2": 41}, "top_k": 0, "min_p": 0, "top_p": 1, "temperature": 1.5}, check=few_tokens(48), slow=True, **waits),
        Limit("prefill", "one prompt in eight is 20 times as long: TTFT ≤ {T}", {"n_parallel": 32}, {"dataset": "jsonl", "path": mixed(), "unique": True}, by="ttft", near=8,
              causes=("prefill", "memory_bandwidth"), slow=True),
        Limit("cache-on", "shared_prefix, cache_prompt on: TTFT ≤ {T}", {"n_parallel": 4}, prefix, near=10, check=cached(0.5, 1), slow=True, **waits),
        Limit("cache-off", "shared_prefix, cache_prompt off: TTFT as above", {"n_parallel": 4}, {**prefix}, near=4, by="ttft", causes=("slots", "prefill", "memory_bandwidth"), like="cache-on",
              extra={"cache_prompt": False}, check=cached(0, 0.01), slow=True),
        lambda kind, repeats: cases.point(kind, Limit("turns-on", "conversation of 4 turns, cache on", {"n_parallel": 4}, chat, "ttft", 4, (), api="chat"), 3, "e2e", "response time", repeats),
        lambda kind, repeats: cases.point(kind, Limit("turns-off", "conversation of 4 turns, cache off", {"n_parallel": 4}, chat, "ttft", 4, (), api="chat", extra={"cache_prompt": False}), 3, "e2e",
                                          "response time", repeats),
        lambda kind, repeats: cases.point(kind, Limit("speculative", "speculative decoding by n-grams", {"n_parallel": 4, "speculative.types": ["NGRAM_SIMPLE"]},
                                                      same_texts(), "ttft", 4, ()), 2, "tpot", "TPOT", repeats),
        lambda kind, repeats: cases.loading(kind, "loading", {"model": "full", "n_parallel": 8, "slot_context": 8192}, waits=True),
        lambda kind, repeats: cases.killed(kind, "killed", Limit("killed", "", {"n_parallel": 8}, SHORT, near=12, **waits), repeats, back=True),
        lambda kind, repeats: cases.killed(kind, "gone", Limit("gone", "", {"n_parallel": 8}, SHORT, near=12, **waits), 1, back=False),
        *on_replay.listed(),
    ]


SHORT_FORM = ("slots-chat", "kv", "overflow", "overlong", "loading")
KIND = LlamaCpp
