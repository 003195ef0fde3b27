"""How other tools are called, in whatever a comparison asks of them."""

import os
import shutil
import subprocess

import servers

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def started(command, folder, **env):
    """A tool on the clients' core, in a process group of its own; what it prints goes to output.txt in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _, core = servers.cores()
    with open(folder / "output.txt", "w") as out:
        return subprocess.Popen(servers.pinned(core, command), stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder, env={**os.environ, "NO_COLOR": "1", **env}, start_new_session=True)


def bench_serve(python, port, tokenizer, served, input_len, output_len, requests, streams, results, name, seed=0):
    """`vllm bench serve` at a fixed concurrency; its figures go to the file `name` in `results`."""
    return [python, "-m", "vllm.entrypoints.cli.main", "bench", "serve", "--backend", "openai", "--host", "127.0.0.1", "--port", port, "--endpoint", "/v1/completions",
            "--model", tokenizer, "--served-model-name", served, "--dataset-name", "random", "--random-input-len", input_len, "--random-output-len", output_len,
            "--random-range-ratio", 0, "--num-prompts", requests, "--max-concurrency", streams, "--ignore-eos", "--seed", seed, "--disable-tqdm",
            "--save-result", "--result-dir", results, "--result-filename", name]


def evalscope_perf(folder, port, tokenizer, served, input_len, output_len, requests, streams, *more):
    """`evalscope perf` from the environment at `folder`."""
    return [folder / "evalscope", "perf", "--model", served, "--api", "openai", "--url", f"http://127.0.0.1:{port}/v1/completions", "--tokenizer-path", tokenizer,
            "--dataset", "random", "--min-prompt-length", input_len, "--max-prompt-length", input_len, "--max-tokens", output_len, "--min-tokens", output_len,
            "--extra-args", '{"ignore_eos": true}', "--stream", "--parallel", streams, "--number", requests, *more]
