"""What users would take instead, on the same engine in the same run: one load
point beside `vllm bench serve`, and the search for a limit beside the tools that
have one. Requests are counted by the server, CPU by the kernel.
"""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

import cases
import finder
import install
import others
import servers
import table
import truth
from cases import Limit
from servers import VLLM

WORK = {"input_len": 16, "output_len": 24}
FLAGS = {"--max-num-seqs": 8}
N = 12  # in flight at the load point, and where the limit will be
LONGEST = 300  # seconds that a tool may take

TOOLS = {"evalscope": "evalscope[perf]==1.14.*", "guidellm": "guidellm==0.8.*", "aiperf": "aiperf==0.13.*"}


def main(a):
    repeats = a.repeats or 3
    pieces = []
    with VLLM(FLAGS) as engine:
        plan = cases.plan_of(Limit("", "", FLAGS, WORK, "ttft", N, ()))
        with truth.Brute(engine, plan) as brute:
            brute.run(N, 60, keep=False)
            if not a.case or "point" in a.case:
                pieces += ["### One load point, beside `vllm bench serve`", points(engine, brute, repeats)]
            if not a.case or set(a.case) - {"point"}:
                pieces += ["### The limit, beside other tools that look for one", limits(engine, brute, a, repeats)]
    text = table.stamp(f"{VLLM.version()}, {' '.join(f'{k} {v}' for k, v in FLAGS.items())}, prompts of {WORK['input_len']} and answers of {WORK['output_len']} tokens", repeats) + "\n\n" + "\n\n".join(pieces)
    print(text)
    if a.docs:
        table.into(a.docs, "compare", text)
    return 0


# One load point.


def points(engine, brute, repeats):
    """The same load by three clients in turn, several times."""
    figures = {"vllm bench serve": [], "capfind run": [], "brute force": []}
    for k in range(repeats):
        figures["vllm bench serve"].append(bench_serve(engine, k))
        figures["capfind run"].append(capfind_point(engine, k))
        r = brute.run(N, 10 * N)
        figures["brute force"].append({"req/s": r["x"], "TTFT ms": r["ttft"] * 1e3, "TPOT ms": r["tpot"] * 1e3, "prompt tokens": r["prompt"], "output tokens": r["tokens"]})
    names = ["req/s", "TTFT ms", "TPOT ms", "prompt tokens", "output tokens"]
    lines = ["| client | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for who, runs in figures.items():
        lines.append(f"| {who} | " + " | ".join(spread([r[n] for r in runs]) for n in names) + " |")
    gap = []
    for n in names:
        a, b = [[r[n] for r in figures[w]] for w in ("vllm bench serve", "capfind run")]
        noise = max(max(a) - min(a), max(b) - min(b))
        off = statistics.fmean(b) - statistics.fmean(a)
        gap.append(f"{n} {off / statistics.fmean(a):+.1%}" + (" (beyond the spread)" if len(a) > 2 and abs(off) > noise else ""))
    return "\n".join(lines) + f"\n\ncapfind's whole-run figures against vllm bench serve's, {10 * N} requests at {N} in flight: " + ", ".join(gap) + "."


def spread(xs):
    return f"{statistics.fmean(xs):.4g} ({min(xs):.4g}-{max(xs):.4g})"


def bench_serve(engine, k):
    folder = install.CACHE / "runs" / "bench-serve"
    folder.mkdir(parents=True, exist_ok=True)
    _, core = servers.cores()
    done = subprocess.run(servers.pinned(core, others.bench_serve(engine.python, engine.port, engine.folder, engine.model_name, WORK["input_len"], WORK["output_len"], 10 * N, N,
                                                                  folder, f"{k}.json", seed=100 + k)),
                          env=engine.environment(), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:])
    r = json.loads((folder / f"{k}.json").read_text())
    return {"req/s": r["request_throughput"], "TTFT ms": r["mean_ttft_ms"], "TPOT ms": r["mean_tpot_ms"],
            "prompt tokens": r["total_input_tokens"] / r["completed"], "output tokens": r["total_output_tokens"] / r["completed"]}


def capfind_point(engine, k):
    config = {"target": {"api": "openai-completions"}, "workload": WORK, "load": {"max_concurrency": N, "num_prompts": 10 * N}, "sweep": {"start": "burst"}}
    w = finder.run("run", engine, config, f"compare-point-{k}").result["steps"][0]["whole"]
    return {"req/s": w["request_throughput"], "TTFT ms": w["ttft_seconds"]["mean"] * 1e3, "TPOT ms": w["tpot_seconds"]["mean"] * 1e3,
            "prompt tokens": w["total_input_tokens"] / w["completed"], "output tokens": w["total_output_tokens"] / w["completed"]}


# The limit.


def limits(engine, brute, a, repeats):
    threshold = cases.rounded(sum(brute.run(N, keep=False)["ttft"] for _ in range(2)) / 2)
    case = Limit("compare", "", FLAGS, WORK, "ttft", N, ("slots",))
    grid, passes = cases.first_pass(brute, case, threshold)
    passes += brute.passes(grid, (repeats + 1) // 2 - 1)
    rows = []
    for name, search in (("capfind", by_capfind), ("capfind --effort quick", by_quick), ("evalscope", by_evalscope), ("guidellm", by_guidellm), ("aiperf", by_aiperf)):
        if a.case and name not in a.case:
            continue
        print(f"  {name} ...", file=sys.stderr, flush=True)
        before = served(engine)
        try:
            answer, seconds, cpu, megabytes, note = search(engine, threshold)
        except install.Unavailable as e:
            rows.append({"tool": name, "answer": "could not be installed", "note": str(e).splitlines()[0]})
            continue
        time.sleep(1)
        rows.append({"tool": name, "answer": answer, "requests": f"{served(engine) - before:.0f}", "seconds": seconds, "CPU seconds": f"{cpu:.1f}", "MB installed": f"{megabytes:.0f}", "note": note})
        print(f"    {rows[-1]}", file=sys.stderr, flush=True)
    passes += brute.passes(grid, repeats // 2)
    low, high = truth.spread(passes, cases.holds_of(case, threshold), "ttft", threshold)
    return (f"Largest concurrency with a mean TTFT ≤ {threshold * 1e3:.0f} ms; by brute force {cases.text_of(low, high)}. A tool has {LONGEST} s.\n\n"
            + table.markdown(rows, ("tool", "answer", "requests", "seconds", "CPU seconds", "MB installed", "note")))


def served(engine):
    """Requests that the server finished, by its own count."""
    with urllib.request.urlopen(f"http://127.0.0.1:{engine.port}/metrics", timeout=10) as r:
        text = r.read().decode()
    return sum(float(m) for m in re.findall(r"^vllm:request_success_total\{[^}]*\} ([0-9.e+]+)", text, re.M))


def by_quick(engine, threshold):
    return by_capfind(engine, threshold, "quick")


def by_capfind(engine, threshold, effort="guide"):
    case = Limit("compare", "", FLAGS, WORK, "ttft", N, ("slots",))
    config = cases.config_of(case, threshold)
    config["sweep"]["effort"] = effort
    found = finder.run("sweep", engine, config, f"compare-capfind-{effort}")
    cause = (found.result.get("bottleneck") or {}).get("kind", "")
    return cases.answer_of(found), found.seconds, found.cpu, finder.BINARY.stat().st_size / 1e6, f"names the cause: {cause.replace('_', ' ')}"


def tool(name):
    return install.venv(name, install.packages(TOOLS[name]), stamp=[TOOLS[name]]).parent


def timed(command, folder, offline=True):
    """Runs a tool on the client's core for LONGEST seconds at most: (output, seconds, CPU seconds, finished)."""
    began, finished = time.monotonic(), True
    p = others.started(command, folder, COLUMNS="200", **(others.OFFLINE if offline else {}))
    while os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() - began > LONGEST:
            finished = False
            for sign, pause in ((signal.SIGTERM, 10), (signal.SIGKILL, 0)):
                try:
                    os.killpg(p.pid, sign)
                except ProcessLookupError:
                    break
                time.sleep(pause)
            break
        time.sleep(0.2)
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    return (folder / "output.txt").read_text(errors="replace"), time.monotonic() - began, usage.ru_utime + usage.ru_stime, finished


def by_evalscope(engine, threshold):
    python = tool("evalscope")
    sla = json.dumps([{"avg_ttft": f"<={threshold * 1e3:.0f}ms"}])
    text, seconds, cpu, finished = timed(
        others.evalscope_perf(python, engine.port, engine.folder, engine.model_name, WORK["input_len"], WORK["output_len"], 20, 2, "--sla-auto-tune", "--sla-variable", "parallel",
                              "--sla-params", sla, "--sla-num-runs", 1, "--sla-number-multiplier", 10, "--sla-upper-bound", 128), install.CACHE / "runs" / "compare-evalscope")
    found = re.findall(r"avg_ttft <= [^│|]*[│|]\s*(\d+)", text)
    return (found[-1] if found else "none"), seconds, cpu, install.size(install.CACHE / "evalscope"), "" if finished else f"ended after {LONGEST} s"


def by_guidellm(engine, threshold):
    python = tool("guidellm")
    text, seconds, cpu, finished = timed(
        [python / "guidellm", "run", "--backend", json.dumps({"kind": "openai_http", "target": f"http://127.0.0.1:{engine.port}", "model": engine.model_name, "request_format": "/v1/completions"}),
         "--profile", json.dumps({"kind": "goodput", "initial_streams": 2, "max_streams": 128, "tolerance": 0.05, "target_attainment": 0.5}),
         "--metrics", json.dumps({"kind": "generative", "slo": {"ttft_ms": threshold * 1e3}}), "--constraint", json.dumps({"kind": "max_duration", "seconds": 15}),
         "--tokenizer", json.dumps({"kind": "hf_auto", "model": str(engine.folder)}),
         "--data", json.dumps({"kind": "synthetic_text", "prompt_tokens": WORK["input_len"], "output_tokens": WORK["output_len"]}), "--disable-console-interactive"],
        install.CACHE / "runs" / "compare-guidellm")
    found = re.findall(r"Goodput search .{0,200}?(?:is|at) (\d+) streams[.,]", text, re.S)
    probes = sorted({int(n) for n in re.findall(r"concurrent@(\d+)\): completed", text)})
    note = f"half of the requests within the limit, probes of 15 s: {' '.join(map(str, probes)) or 'none'}" + ("" if finished else f"; ended after {LONGEST} s")
    return (found[-1] if found else "none"), seconds, cpu, install.size(install.CACHE / "guidellm"), note


def by_aiperf(engine, threshold):
    python = tool("aiperf")
    text, seconds, cpu, finished = timed(
        [python / "aiperf", "profile", "--model", engine.model_name, "--url", f"http://127.0.0.1:{engine.port}", "--endpoint-type", "completions", "--streaming", "--tokenizer", engine.folder,
         "--isl", WORK["input_len"], "--isl-stddev", 0, "--osl", WORK["output_len"], "--osl-stddev", 0, "--extra-inputs", "ignore_eos:true", "--use-server-token-count", "--ui-type", "none",
         "--request-count", 10 * N, "--search-space", "phases.profiling.concurrency:1,128:int", "--search-planner", "monotonic-sla", "--search-metric", "output_token_throughput",
         "--search-direction", "maximize", "--search-max-iterations", 15, "--search-sla", f"time_to_first_token:avg:le:{threshold * 1e3:.0f}", "--no-auto-plot"],
        install.CACHE / "runs" / "compare-aiperf", offline=False)
    history = next(iter(sorted((install.CACHE / "runs" / "compare-aiperf").rglob("search_history.json"))), None)
    tried = json.loads(history.read_text())["iterations"] if history else []
    held = max((t["variation_values"]["phases.profiling.concurrency"] for t in tried if t["feasible"]), default=None)
    note = f"{len(tried)} probes of {10 * N} requests" + ("" if finished else f"; ended after {LONGEST} s, when {held} had held")
    return (held if finished and held else "none"), seconds, cpu, install.size(install.CACHE / "aiperf"), note
