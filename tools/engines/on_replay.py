"""Recorded traffic and embeddings on llama.cpp.

    python on_replay.py '{"port": ..., "trace": ...}'   the brute-force client of both

The client reads one order a line: {"speed": 1.5} sends the trace at that speed and
says what became of it, {"n": 8, "requests": 80} keeps that many requests for
embeddings in flight. It shares nothing with capfind.
"""

import asyncio
import json
import random
import subprocess
import sys
import time

import brute


class Client(brute.Client):
    """The brute-force client, with a clock of its own in place of N workers."""

    async def replay(self, speed):
        lines = [json.loads(l) for l in open(self.plan["trace"])]
        begin, late = time.perf_counter() + 0.2, []

        async def one(line):
            due = begin + line["time"] / speed
            await asyncio.sleep(max(0, due - time.perf_counter()))
            late.append(time.perf_counter() - due)
            s = await self.request(self.body(" " + self.some(max(1, line["input_tokens"] - self.extra)), [], line["output_tokens"]))
            return s["first"] - due if s["ok"] else None

        ttft = await asyncio.gather(*(one(l) for l in lines))
        good = sorted(t for t in ttft if t is not None)
        return {"speed": speed, "success": len(good) / len(ttft), "p95": good[min(len(good) - 1, int(0.95 * len(good)))] if good else None, "late": sorted(late)[int(0.99 * len(late))]}

    async def embed(self, n, wanted):
        times, begin = [], time.perf_counter()

        async def worker():
            while len(times) < wanted:
                body = json.dumps({"model": self.plan["model"], "input": [" " + self.some(self.plan["input_len"]) for _ in range(self.plan["batch"])]}).encode()
                link, sent = brute.Link(), time.perf_counter()
                await link.open(self.plan["port"])
                link.writer.write(f"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                status, lines = await link.response()
                async for _ in lines:
                    pass
                link.close()
                if status != 200:
                    raise RuntimeError(f"/v1/embeddings says {status}")
                times.append((sent, time.perf_counter()))

        await asyncio.gather(*(worker() for _ in range(n)))
        middle = times[n:len(times) - n] or times
        span = max(e for _, e in middle) - min(e for _, e in middle)
        return {"n": n, "x": (len(middle) - 1) / span if span > 0 else None, "e2e": sum(e - s for s, e in middle) / len(middle), "begin": begin}


def main():
    plan = json.loads(sys.argv[1])
    client = Client({"api": "completions", "input_len": 0, "output_len": 0, **plan}) if "trace" in plan else embedder(plan)
    print(json.dumps({"words": len(client.words)}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        got = client.replay(order["speed"]) if "speed" in order else client.embed(order["n"], order["requests"])
        print(json.dumps(asyncio.run(got)), flush=True)


def embedder(plan):
    """A server that only embeds completes nothing: its overhead cannot be asked for."""
    client = Client.__new__(Client)
    client.plan, client.rng, client.base = plan, random.Random(time.time_ns()), f"http://127.0.0.1:{plan['port']}"
    client.words = client.single_tokens()
    return client


class Asked:
    """A process of the client on the client's core."""

    def __init__(self, engine, plan):
        import servers
        _, core = servers.cores()
        plan = {"port": engine.port, "model": engine.model_name, **plan}
        self.process = subprocess.Popen(servers.pinned(core, [sys.executable, __file__, json.dumps(plan)]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the brute-force client ended")
        return json.loads(line)


def recorded(path, rate, requests):
    """Traffic with a rush in its middle, half as much again; lengths differ."""
    rng, at, lines = random.Random(5), 0.0, []
    for i in range(requests):
        lines.append({"time": round(at, 4), "input_tokens": rng.randint(12, 36), "output_tokens": rng.randint(8, 24)})
        at += rng.expovariate(rate * (1.5 if requests * 0.4 < i < requests * 0.6 else 1))
    path.write_text("".join(json.dumps(l) + "\n" for l in lines))


def headroom(kind, name, repeats):
    """How many times recorded traffic fits: by brute force at speeds around the place, and by capfind."""
    import cases
    import finder
    import install
    import truth
    path = install.CACHE / "recorded.jsonl"
    recorded(path, 1, 120)
    with kind({"n_parallel": 4}) as engine, Asked(engine, {"trace": str(path)}) as client:
        fast = 16.0
        while client.ask(speed=fast)["p95"] < 0.5:  # how quick is this machine?
            fast *= 2
        recorded(path, fast / 4, 120)
        alone = client.ask(speed=0.5)["p95"]
        slo = cases.rounded(max(4 * alone, 0.1))
        holds = lambda r: r["success"] >= 0.95 and r["p95"] is not None and r["p95"] <= slo
        at = lambda speed: {**client.ask(speed=speed), "n": speed}
        middle = 1.0
        while holds(at(middle)) or holds(at(middle)):  # a single run that stalled says nothing
            middle *= 1.3
        grid, runs = truth.enclosing(at, [round(middle * 1.1 ** k, 3) for k in range(-8, 4)], holds)
        passes = [runs, *truth.passes(at, grid, (repeats + 1) // 2 - 1)]
        config = {"target": {"api": "openai-completions"}, "stop": {**cases.NO_RULES, "min_success_rate": 0.95, "slo": [{"metric": "ttft", "statistic": "p95", "max": f"{slo * 1e3:.0f}ms"}]}}
        found = finder.run(["replay", str(path)], engine, config, f"{kind.name}-{name}")
        passes += truth.passes(at, grid, repeats // 2)
        low, high = truth.spread(passes, holds, whole=False)
        out = cases.base_row(kind, name, f"how many times 120 recorded requests fit: p95 TTFT ≤ {slo * 1e3:.0f} ms", found)
        h = found.result.get("headroom") or {}
        claimed = (h["low"], h["high"]) if h.get("speed") is not None else None
        out.update(truth=cases.text_of(low, high), answer=f"{h['speed']:.3g} ({h['low']:.3g}-{h['high']:.3g})" if claimed else found.result.get("verdict", f"exit {found.code}"),
                   verdict=truth.judge((low, high), claimed), passes=passes, flags={"n_parallel": 4},
                   note=f"{len(found.result.get('steps') or [])} runs; the brute-force client at most {max(r['late'] for p in passes for r in p) * 1e3:.0f} ms late (p99)")
        return out


def embeddings(kind, name, repeats):
    """How many requests for embeddings fit, by their response time."""
    import cases
    import finder
    import truth
    options, workload = {"n_parallel": 4, "embedding": True, "pooling_type": "MEAN"}, {"input_len": 24, "batch": 2}
    with kind(options) as engine, Asked(engine, {"input_len": 24, "batch": 2}) as client:
        client.ask(n=2, requests=20)
        near = 8
        limit = cases.rounded(client.ask(n=near, requests=80)["e2e"])
        run = lambda n: client.ask(n=n, requests=8 * n)
        grid, runs = truth.enclosing(run, [4, 6, 7, 8, 9, 10, 13], lambda r: r["e2e"] <= limit)
        passes = [runs, *truth.passes(run, grid, (repeats + 1) // 2 - 1)]
        config = {"target": {"api": "openai-embeddings"}, "workload": workload, "sweep": {"concurrency": [1, 2, 4, 8, 16, 32]},
                  "stop": {**cases.NO_RULES, "min_success_rate": 0.95, "slo": [{"metric": "e2e", "max": f"{limit * 1e3:.0f}ms"}]}}
        found = finder.run("sweep", engine, config, f"{kind.name}-{name}")
        passes += truth.passes(run, grid, repeats // 2)
        low, high = truth.spread(passes, lambda r: r["e2e"] <= limit, "e2e", limit)
        out = cases.base_row(kind, name, f"embeddings of 2 texts a request: mean response time ≤ {limit * 1e3:.0f} ms", found)
        xs = [r["x"] for p in passes for r in p if r["n"] == near]
        out.update(truth=cases.text_of(low, high), answer=cases.answer_of(found), verdict=truth.judge((low, high), found.interval()), passes=passes, flags=options,
                   note=f"{min(xs):.3g}-{max(xs):.3g} requests/s at {near} in flight by brute force")
        return out


def listed():
    return [lambda kind, repeats: headroom(kind, "headroom", repeats), lambda kind, repeats: embeddings(kind, "embeddings", repeats)]


if __name__ == "__main__":
    main()
