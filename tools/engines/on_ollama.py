"""The cases on Ollama. It ignores ignore_eos and has no metrics: what it does shows by its times."""

import cases
from cases import Limit
from servers import Ollama

SHORT = {"input_len": 8, "output_len": 6}  # short ones: it has no kernels for the processor at hand


def listed():
    waits = dict(by="ttft", causes=("slots",))
    return [
        Limit("slots", "OLLAMA_NUM_PARALLEL=4, completions: TTFT ≤ {T}", {"n_parallel": 4}, SHORT, near=7, **waits),
        Limit("slots-chat", "the same, chat: TTFT ≤ {T}", {"n_parallel": 4}, {"input_len": 32, "output_len": 6}, near=7, api="chat", **waits),
        Limit("queue-cap", "OLLAMA_MAX_QUEUE=8: 95 % succeed", {"n_parallel": 4, "max_queue": 8}, SHORT, by="success_rate", near=12, causes=("queue_cap",), grid=(0.8, 0.9, 1, 1.1, 1.25, 1.5)),
        lambda kind, repeats: cases.killed(kind, "gone", Limit("gone", "", {"n_parallel": 4}, SHORT, near=7, **waits), 1, back=False),
    ]


SHORT_FORM = ("slots",)
KIND = Ollama
