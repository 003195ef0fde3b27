"""What the load generators themselves cost: the same streams of one simulated server,
whose tokens leave at known times, by capfind and by the clients that people would take
instead. CPU is counted while all streams are open, so that what a client spends on its
start and its end is no part of it.
"""

import json
import os
import pathlib
import re
import signal
import statistics
import sys
import time
import urllib.request

import finder
import install
import others
import servers
import table

PREFILL, STEP = 0.1, 0.02  # seconds to the first token and between two
TOKENS = 600  # of an answer: 12 s
MARGIN = 1.5  # seconds after the last stream began, and before the first ends, that do not count
LOADS = (50, 200)  # streams
LONGEST = 180  # seconds that a client may take


class Simulated(servers.Engine):
    name, model_name = "simulate", "simulated-model"

    def command(self):
        return [finder.BINARY, "simulate", "--listen", f"127.0.0.1:{self.port}", "--slots", 0, "--prefill", f"{PREFILL}s", "--step-time", f"{STEP}s", "--context-length", 100000]


def main(a):
    folder = tokenizer()
    clients = {"capfind run": capfind_run, "vllm bench serve": bench_serve, "evalscope perf": evalscope_perf}
    rows = []
    with Simulated({}) as server:
        for n in LOADS:
            for name, run in clients.items():
                if a.case and name.split()[0] not in a.case:
                    continue
                print(f"  {name}, {n} streams ...", file=sys.stderr, flush=True)
                rows.append({"client": name, "streams × tokens/s": f"{n} × {1 / STEP:.0f}", **cost(run, server, folder, n, a.repeats or 3)})
                print(f"    {rows[-1]}", file=sys.stderr, flush=True)
    print(f"{table.machine()}; server and client on a core each; error: mean time to the first token as the client reports it, less the {PREFILL * 1e3:.0f} ms that the server took")
    print(table.markdown(rows, ("client", "streams × tokens/s", "µs an event", "error of TTFT, ms", "MB", "note")))
    return 0


def cost(run, server, folder, n, repeats):
    """CPU by event, the error of TTFT and memory, of several runs."""
    events, errors, memory = [], [], 0
    try:
        for _ in range(repeats):
            ttft, rate, size = run(server, folder, n)
            errors.append((ttft - PREFILL) * 1e3)
            events.append(rate * STEP / n * 1e6)
            memory = max(memory, size)
    except (Missing, Failed) as e:
        return {"note": str(e)}
    return {"µs an event": spread(events, ".1f"), "error of TTFT, ms": spread(errors, ".2f"), "MB": f"{memory:.0f}"}


def spread(xs, form):
    return f"{statistics.median(xs):{form}} ({min(xs):{form}} to {max(xs):{form}})" if len(xs) > 1 else f"{xs[0]:{form}}"


class Missing(Exception):
    """The client is not installed here."""


class Failed(Exception):
    """The client did not do what was asked of it."""


def installed(name, target):
    python = install.CACHE / name / "bin" / "python"
    if not python.exists():
        raise Missing(f"not installed: make {target} does")
    return python


def measured(command, folder, server, n, env=None):
    """Runs a client on a core of its own: (CPU seconds a second while all n streams are open, megabytes at most), its children included."""
    p = others.started(command, folder, **others.OFFLINE, **(env or {}))
    full, memory, end = [], 0, time.monotonic() + LONGEST
    while p.poll() is None:
        if time.monotonic() > end:
            os.killpg(p.pid, signal.SIGKILL)
            raise Failed(f"not done after {LONGEST} s")
        cpu, size = used(p.pid)
        memory = max(memory, size)
        if running(server) >= n:
            full.append((time.monotonic(), cpu))
        time.sleep(0.1)
    if p.returncode:
        raise Failed(f"ended with {p.returncode}: " + (folder / "output.txt").read_text(errors="replace").strip().splitlines()[-1][:200])
    full = [(t, cpu) for t, cpu in full if full[0][0] + MARGIN <= t <= full[-1][0] - MARGIN]
    if len(full) < 20:
        raise Failed(f"{n} streams were never open together for long enough")
    return (full[-1][1] - full[0][1]) / (full[-1][0] - full[0][0]), memory


def used(group):
    """(CPU seconds, megabytes) of the processes of a group until now."""
    ticks = pages = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
            pages += int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def running(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as r:
        found = re.search(r"^vllm:num_requests_running\S* ([0-9.e+]+)", r.read().decode(), re.M)
    return float(found[1])


def capfind_run(server, _, n):
    folder = install.CACHE / "runs" / "clients-capfind"
    config = {"target": {"api": "openai-completions", "base_url": f"http://127.0.0.1:{server.port}/v1", "model": server.model_name}, "workload": {"input_len": 16, "output_len": TOKENS},
              "load": {"max_concurrency": n, "num_prompts": n}, "sweep": {"start": "burst"}, "output": {"dir": str(folder / "results")}}
    path = folder.parent / "clients-capfind.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    cpu, size = measured([finder.BINARY, "run", path], folder, server, n)
    step = json.loads(next(folder.glob("results/*/result.json")).read_text())["steps"][0]
    return step["whole"]["ttft_seconds"]["mean"], cpu, size


def bench_serve(server, tokenizer, n):
    python = installed("vllm", "engines-vllm")
    folder = install.CACHE / "runs" / "clients-vllm"
    cpu, size = measured(others.bench_serve(python, server.port, tokenizer, server.model_name, 16, TOKENS, n, n, folder, "result.json"), folder, server, n,
                         {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"})
    r = json.loads((folder / "result.json").read_text())
    if r["completed"] != n or r["total_output_tokens"] != n * TOKENS:
        raise Failed(f"{r['completed']} of {n} requests, {r['total_output_tokens']} of {n * TOKENS} tokens")
    return r["mean_ttft_ms"] / 1e3, cpu, size


def evalscope_perf(server, tokenizer, n):
    python = installed("evalscope", "engines-compare")
    folder = install.CACHE / "runs" / "clients-evalscope"
    cpu, size = measured(others.evalscope_perf(python.parent, server.port, tokenizer, server.model_name, 16, TOKENS, n, n), folder, server, n)
    for path in folder.rglob("benchmark_summary.json"):
        found = re.search(r'"[^"]*(?:TTFT|time to first token)[^"]*?(\((?:s|ms)\))?": ([0-9.]+)', path.read_text(), re.I)
        if found:
            return float(found[2]) / (1e3 if found[1] == "(ms)" else 1), cpu, size
    raise Failed("no summary with a time to the first token")


def tokenizer():
    """A folder with a tokenizer for those that want one; None where none was made."""
    folder = install.CACHE / "models" / "small-llama"
    return folder if (folder / "config.json").exists() else None
