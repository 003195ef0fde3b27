"""What is asked of capfind on each engine, and what brute force says to it.

A case is a Limit (a sweep and its truth) or a function of an engine's class and a
name that returns a row by itself. Rows are dictionaries; table.py prints them.
"""

import dataclasses
import json
import math
import time

import finder
import install
import servers
import truth

NO_RULES = {"min_success_rate": 0, "max_ttft": "0s", "min_throughput_gain": 0, "resources": {"max_kv_cache": 0, "max_gpu_memory": 0, "max_host_cpu": 0}}


@dataclasses.dataclass
class Limit:
    """A question about a limit."""

    key: str
    question: str
    options: dict  # of the engine
    workload: dict  # as in capfind's configuration; the brute-force client gets the same
    by: str  # ttft, throughput_gain, success_rate or resources
    near: int  # N around which the truth is looked for; the TTFT threshold is what is measured there
    causes: tuple  # kinds of bottleneck that are right
    api: str = "completions"
    ladder: tuple = (1, 2, 4, 8, 16, 32, 64)
    extra: dict = dataclasses.field(default_factory=dict)  # fields of the request's body
    grid: tuple = (0.7, 0.85, 1, 1.15, 1.35, 1.6)  # times near
    like: str = ""  # a case whose TTFT threshold holds here too
    check: object = None  # further look at (passes, found): a note, and whether it is right
    slow: bool = False  # left out of the short form
    cold: bool = False  # capfind comes first, to an engine just started
    effort: str = "guide"  # of the sweep


thresholds = {}  # by the case's key, in seconds


def config_of(case, threshold=None):
    stop = json.loads(json.dumps(NO_RULES))
    if case.by == "ttft":
        stop["max_ttft"] = f"{threshold * 1e3:.0f}ms"
    if case.by == "throughput_gain":
        stop["min_throughput_gain"] = 0.2
    if case.by == "success_rate":
        stop["min_success_rate"] = 0.95
    if case.by == "resources":
        stop["resources"]["max_kv_cache"] = 0.95
    target = {"api": "openai-chat" if case.api == "chat" else "openai-completions"}
    if case.extra:
        target["extra_body"] = case.extra
    return {"target": target, "workload": case.workload, "sweep": {"concurrency": list(case.ladder), "effort": case.effort}, "stop": stop}


def plan_of(case):
    w = case.workload
    plan = {"api": case.api, "input_len": w.get("input_len", 0), "output_len": w.get("output_len", 0), "extra": dict(case.extra), "hold": w.get("hold_output", True),
            "prefix_len": w.get("prefix_len", 0), "prefixes": w.get("prefixes", 1), "turns": w.get("turns", 1), "jsonl": w.get("path")}
    if "temperature" in w:
        plan["extra"]["temperature"] = w["temperature"]
    return plan


def holds_of(case, threshold):
    if case.by == "ttft":
        return lambda r: r["ttft"] is not None and r["ttft"] <= threshold
    if case.by == "success_rate":
        return lambda r: (r["success"] or 0) >= 0.95
    return lambda r: not ((r["kv"] or 0) >= 0.95 and ((r["preemptions"] or 0) > 0 or (r["waiting"] or 0) > 0))


def rounded(seconds):
    """Two significant digits of milliseconds."""
    ms = seconds * 1e3
    digits = max(0, int(math.floor(math.log10(ms))) - 1)
    return round(ms / 10 ** digits) * 10 ** digits / 1e3


def measure(kind, case, repeats):
    """Truth, capfind in the middle of it, truth again; a row."""
    if case.cold:
        return measure_cold(kind, case, repeats)
    with servers.shared(kind, case.options) as engine, truth.Brute(engine, plan_of(case)) as brute:
        brute.run(max(1, case.near // 2), 20, keep=False)  # warm
        threshold = None
        if case.by == "ttft":
            threshold = thresholds.get(case.like) or rounded(sum(brute.run(case.near, keep=False)["ttft"] for _ in range(2)) / 2)
            thresholds[case.key] = threshold
        grid, passes = first_pass(brute, case, threshold)
        passes += brute.passes(grid, (repeats + 1) // 2 - 1)
        found = finder.run("sweep", engine, config_of(case, threshold), f"{kind.name}-{case.key}")
        return row(kind, case, threshold, passes + brute.passes(grid, repeats // 2), found)


def first_pass(brute, case, threshold):
    """The grid of a case, wide enough for two ends, and the pass that showed it."""
    grid = sorted({max(1, round(case.near * g)) for g in case.grid})
    if case.by == "throughput_gain":
        return grid, brute.passes(grid, 1)
    grid, runs = truth.enclosing(brute.run, grid, holds_of(case, threshold))
    return grid, [runs]


def measure_cold(kind, case, repeats):
    """capfind's requests are the first that the engine ever sees; the truth comes after them."""
    servers.release()
    threshold = thresholds[case.like]
    with servers.shared(kind, case.options) as engine:
        found = finder.run("sweep", engine, config_of(case, threshold), f"{kind.name}-{case.key}")
        with truth.Brute(engine, plan_of(case)) as brute:
            brute.run(max(1, case.near // 2), 20, keep=False)
            grid, passes = first_pass(brute, case, threshold)
            passes += brute.passes(grid, repeats - 1)
        return row(kind, case, threshold, passes, found)


def row(kind, case, threshold, passes, found):
    if case.by == "throughput_gain":
        low, high = truth.gain_limit(passes)
    else:
        low, high = truth.spread(passes, holds_of(case, threshold), "ttft" if case.by == "ttft" else None, threshold)
    claimed = found.interval()
    cause = (found.result.get("bottleneck") or {})
    out = base_row(kind, case.key, case.question.format(T=f"{(threshold or 0) * 1e3:.0f} ms"), found)
    out.update(truth=text_of(low, high), answer=answer_of(found), verdict=truth.judge((low, high), claimed), cause=cause.get("kind", ""), why=cause.get("sentence", ""),
               cause_right=cause.get("kind") in case.causes, wanted_causes=list(case.causes), passes=passes, flags=case.options, threshold=threshold)
    if case.check:
        note, right = case.check(passes, found)
        out["note"] = note
        if not right:
            out["verdict"] = "wrong"
    return out


def base_row(kind, key, question, found=None):
    out = {"engine": kind.name, "case": key, "question": question, "truth": "", "answer": "", "verdict": "none", "cause": "", "cause_right": None, "why": "", "note": ""}
    if found:
        out.update(requests=found.requests(), seconds=found.seconds, cpu=found.cpu, exit=found.code, steps=found.steps(), sentence=found.result.get("sentence", ""),
                   crashes=[c["sentence"] for c in found.result.get("crashes") or []], warnings=found.result.get("warnings") or [], stderr=found.stderr.splitlines()[-6:])
    return out


def text_of(low, high):
    if low is None and high is None:
        return "not enclosed"
    if low is None:
        return f"≤ {high:g}"
    if high is None:
        return f"≥ {low:g}"
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def answer_of(found):
    r, claimed = found.result, found.interval()
    if claimed is None:
        return (r.get("verdict") or f"exit {found.code}").replace("_", " ")
    limit = r.get("limit") or {}
    if claimed[1] is None:
        return f"≥ {claimed[0]:g}"
    at = limit.get("concurrency")
    return f"{at:g} ({claimed[0]:g}-{claimed[1]:g})" if at is not None else text_of(*claimed)


# Cases that are no limits.


def overflow(kind, name, options, input_len):
    """A prompt longer than the context: every request would be refused."""
    with servers.shared(kind, options) as engine:
        found = finder.run("sweep", engine, {"target": {"api": "openai-completions"}, "workload": {"input_len": input_len, "output_len": 16}}, f"{kind.name}-{name}")
        told = next((l for l in found.stderr.splitlines() if "context" in l and not l.strip().startswith("openai")), "")
        out = base_row(kind, name, f"prompts of {input_len} tokens, longer than the context", found)
        out.update(truth="every request is refused", answer=told.strip().rpartition("input_len: ")[2][:240] or f"exit {found.code}", verdict="right" if found.code == 2 and told else "wrong", flags=options)
        return out


def overlong(kind, name, options, long_words):
    """One prompt in ten is longer than the context."""
    path = install.CACHE / f"overlong-{kind.name}.jsonl"
    words = ("the water and house of time work day people " * 400).split()
    lines = [{"prompt": " ".join(words[i:i + (long_words if i % 10 == 3 else 20)]), "output_len": 8} for i in range(200)]
    path.write_text("".join(json.dumps(l) + "\n" for l in lines))
    with servers.shared(kind, options) as engine, truth.Brute(engine, {"api": "completions", "jsonl": str(path)}) as brute:
        runs = [brute.run(4, 60) for _ in range(3)]
        found = finder.run("run", engine, {"target": {"api": "openai-completions"}, "workload": {"dataset": "jsonl", "path": str(path)}, "load": {"max_concurrency": 4, "num_prompts": 200}},
                           f"{kind.name}-{name}")
        out = base_row(kind, name, "one prompt in ten is longer than the context: what is told at 4 in flight", found)
        steps = found.result.get("steps") or []
        step = steps[0] if steps else {}
        rate = (step.get("whole") or {}).get("success_rate")
        failures = step.get("failures") or {}
        too_long = failures.get("context_overflow", 0)
        out.update(truth=f"{min(r['success'] for r in runs):.0%}-{max(r['success'] for r in runs):.0%} answered, all others 400, at any load",
                   answer=f"{too_long} of 200 do not fit the context; {rate:.0%} of the others succeed" if rate is not None else f"exit {found.code}",
                   verdict="none" if rate is None else "right" if rate == 1 and too_long == 20 and set(failures) == {"context_overflow"} else "wrong", flags=options)
        return out


def loading(kind, name, options, waits):
    """The engine is still loading when capfind begins."""
    servers.release()
    engine = kind(options)
    try:
        engine.start()
        began, first = time.monotonic(), 0
        while waits and time.monotonic() - began < 60 and engine.status() not in (503, 200):
            time.sleep(0.005)
        first = engine.status()
        found = finder.run("run", engine, {"target": {"api": "openai-completions"}, "workload": {"input_len": 16, "output_len": 8}, "load": {"max_concurrency": 2, "num_prompts": 10}},
                           f"{kind.name}-{name}")
        out = base_row(kind, name, "begun while the engine loads", found)
        steps = found.result.get("steps") or []
        rate = steps[0]["whole"]["success_rate"] if steps else None
        told = next((l.strip().rpartition("base_url: ")[2] for l in found.stderr.splitlines() if "refused" in l or "not ready" in l), "")
        out.update(truth=f"/health says {first or 'nothing: it does not listen yet'}", flags=options,
                   answer=(f"waits, then {rate:.0%} of {steps[0]['num_prompts']} succeed" if rate is not None else told or f"exit {found.code}"))
        out["verdict"] = "right" if (rate == 1 if first == 503 else rate is None and found.code == 1 and told or rate == 1) else "wrong"
        return out
    finally:
        engine.stop()


def killed(kind, name, case, repeats, back):
    """kill -9 in mid-sweep; `back` says whether the engine is started again."""
    with servers.shared(kind, case.options) as engine, truth.Brute(engine, plan_of(case)) as brute:
        brute.run(case.near // 2, 20, keep=False)
        threshold = rounded(brute.run(case.near, keep=False)["ttft"])
        if back:
            grid, passes = first_pass(brute, case, threshold)
            passes += brute.passes(grid, (repeats + 1) // 2 - 1)
        config = config_of(case, threshold)
        config["stop"]["min_success_rate"] = 0.95
        config["sweep"]["recover_wait"] = "2m" if back else "8s"
        running = finder.start("sweep", engine, config, f"{kind.name}-{name}")
        running.wait_for("  ok")  # the first step's line
        time.sleep(1)
        engine.kill()
        if back:
            time.sleep(2)
            engine.start()
        found = running.finish()
        question = f"kill -9 in mid-sweep, {'started again after 2 s' if back else 'gone for good'}: TTFT ≤ {threshold * 1e3:.0f} ms"
        out = base_row(kind, name, question, found)
        crashed = bool(found.result.get("crashes"))
        if back:
            engine.wait_ready()
            passes += brute.passes(grid, repeats // 2)
            low, high = truth.spread(passes, holds_of(case, threshold), "ttft", threshold)
            out.update(truth=text_of(low, high) + ", and a crash", answer=answer_of(found) + (", and a crash" if crashed else ""), verdict=truth.judge((low, high), found.interval()), passes=passes)
            if not crashed:
                out["verdict"] = "wrong"
        else:
            told = found.result.get("sentence") or found.stderr[-200:]
            gone = "stopped answering" in found.stderr or "gone" in told
            out.update(truth="the engine is gone", answer=told, verdict="right" if crashed and gone and found.interval() in (None,) else "wrong")
        out.update(flags=case.options, cause=(found.result.get("bottleneck") or {}).get("kind", ""))
        return out


def point(kind, case, n, figure, what, repeats):
    """One figure at a fixed concurrency, by brute force and by `capfind run`: TPOT where chunks hold several tokens, TTFT of later turns."""
    with servers.shared(kind, case.options) as engine, truth.Brute(engine, plan_of(case)) as brute:
        brute.run(n, 30, keep=False)
        runs = [brute.run(n, max(60, 10 * n)) for _ in range(repeats)]
        config = {**config_of(case, 100), "load": {"max_concurrency": n, "num_prompts": max(80, 15 * n)}}
        config.pop("sweep")
        found = finder.run("run", engine, config, f"{kind.name}-{case.key}")
        runs += [brute.run(n, max(60, 10 * n)) for _ in range(repeats)]
        out = base_row(kind, case.key, f"{case.question}: {what} at {n} in flight", found)
        steps = found.result.get("steps") or []
        low, high = min(r[figure] for r in runs), max(r[figure] for r in runs)
        chunks = sum(r["chunks"] for r in runs) / sum(r["tokens"] for r in runs)
        cached = [r["cached"] for r in runs]
        out.update(truth=f"{low * 1e3:.3g}-{high * 1e3:.3g} ms", flags=case.options, passes=[runs])
        if steps:
            v = steps[0]["steady"] if steps[0]["verdict_basis"] == "steady" else steps[0]["whole"]
            d = v[figure + "_seconds"]
            half = 1.96 * (d.get("se") or 0)
            out["answer"] = f"{d['mean'] * 1e3:.3g} ms (± {half * 1e3:.2g})"
            out["verdict"] = "none" if found.result["verdict"] == "client_limited" else "right" if d["mean"] - half <= high and d["mean"] + half >= low else "wrong"
            share = (steps[0].get("lengths") or {}).get("cached_share")
            server = (steps[0].get("server") or {}).get("prefix_hit_rate")
            said = share if share is not None else server
            out["note"] = f"{1 / chunks:.2f} tokens a chunk; {min(cached):.0%}-{max(cached):.0%} of the prompt from the cache by usage, {'n/a' if said is None else f'{said:.0%}'} by capfind"
        return out
