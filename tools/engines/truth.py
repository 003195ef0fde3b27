"""What the limit is, read off brute-force runs: no model of a server, no code of capfind's."""

import itertools
import json
import math
import random
import statistics
import subprocess
import sys

import servers


class Brute:
    """A process of brute.py on the client's core."""

    share = 1.0  # of the usual number of requests; the short form takes fewer

    def __init__(self, engine, plan):
        _, core = servers.cores()
        plan = {"port": engine.port, "model": engine.model_name, "metrics": engine.metrics, **plan}
        self.process = subprocess.Popen(servers.pinned(core, [sys.executable, servers.HERE / "brute.py", json.dumps(plan)]),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.hello = json.loads(self.process.stdout.readline())
        self.runs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def run(self, n, requests=None, keep=True):
        self.process.stdin.write(json.dumps({"n": n, "requests": round((requests or max(40, 4 * n)) * self.share)}) + "\n")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the brute-force client ended")
        got = json.loads(line)
        if keep:
            self.runs.append(got)
        return got

    def passes(self, grid, repeats):
        return passes(self.run, grid, repeats)


def passes(run, grid, repeats):
    """Every N once down, once up and so on; a list of runs per pass, in the order of N."""
    out = []
    for k in range(repeats):
        runs = [run(n) for n in (grid[::-1] if k % 2 == 0 else grid)]
        out.append(runs[::-1] if k % 2 == 0 else runs)
    return out


def enclosing(run, grid, holds, least=1, tries=5):
    """The first pass over the grid, which grows by two points at a time until two of them hold and two
    do not, so that the truth of this pass and of the others has two ends. All passes then ask the same
    N in turn: points that are asked later, and all at once, would share what disturbs that moment."""
    runs = [run(n) for n in grid]
    for _ in range(tries):
        cut = least_misplaced([holds(r) for r in runs])
        if cut < 2 and grid[0] > least:
            more = sorted({max(least, less(grid[0], k)) for k in (1, 2)})
            grid, runs = more + grid, [run(n) for n in more] + runs
        elif cut > len(runs) - 2:
            more = [larger(grid[-1], k) for k in (1, 2)]
            grid, runs = grid + more, runs + [run(n) for n in more]
        else:
            break
    return grid, runs


def less(n, k):
    """k steps of a quarter below; a whole number of requests stays one."""
    return n * 2 // (2 + k) if isinstance(n, int) else round(n / 1.25 ** k, 3)


def larger(n, k):
    return n + math.ceil(0.25 * k * n) if isinstance(n, int) else round(n * 1.25 ** k, 3)


def judge(interval, claimed):
    """Right where the truth's own spread overlaps what is claimed, wrong where it does not, none where
    nothing is claimed. Where the truth has no end on a side, what is claimed inside of it proves
    nothing: no truth, unless the claim has no end on that side either."""
    if claimed is None:
        return "none"
    low, high = interval
    if low is not None and claimed[1] is not None and claimed[1] < low or high is not None and claimed[0] > high:
        return "wrong"
    if low is None and claimed[0] or high is None and claimed[1] is not None:
        return "no truth"
    return "right"


def least_misplaced(held):
    """How many of a pass's points lie below its crossing: a pass that wavers has it where the fewest of
    them are on the wrong side."""
    return min(range(len(held) + 1), key=lambda c: sum(not h for h in held[:c]) + sum(held[c:]))


def crossing(runs, holds, value=None, threshold=None, whole=True):
    """The largest N that holds, a whole number or any, by one pass over the grid. Between the last N
    that holds and the first after it that does not, a straight line says where the
    value meets the threshold. None at an end that the grid does not enclose."""
    cut = least_misplaced([holds(r) for r in runs])
    if cut == 0:
        return (0, 0) if whole and runs[0]["n"] == 1 else (None, runs[0]["n"])
    if cut == len(runs):
        return (runs[-1]["n"], None)
    a, b = runs[cut - 1], runs[cut]
    if value is None or a[value] is None or b[value] is None or not a[value] <= threshold < b[value]:
        return a["n"], b["n"] - 1 if whole else b["n"]
    at = a["n"] + (b["n"] - a["n"]) * (threshold - a[value]) / (b[value] - a[value])
    return math.floor(at), math.floor(at)


def spread(passes, holds, value=None, threshold=None, whole=True):
    """The smallest and the largest of the passes' answers; None at an open end."""
    ends = [crossing(p, holds, value, threshold, whole) for p in passes]
    lows, highs = [a for a, _ in ends], [b for _, b in ends]
    return (None if None in lows else min(lows)), (None if None in highs else max(highs))


def gain_limit(passes, threshold=0.20):
    """The largest N at which doubling N still gains so much: the slope of ln X over ln N
    falls below log2(1 + threshold). Two shapes are tried on the means of some passes, a
    line with a bend and a parabola, and the better one says where. All ways to draw the
    passes with replacement (or many) give the spread."""
    wanted = math.log2(1 + threshold)
    draws = list(itertools.product(range(len(passes)), repeat=len(passes)))
    if len(draws) > 300:
        draws = random.Random(1).sample(draws, 300)
    limits = []
    for draw in draws:
        points = {}
        for k in draw:
            for r in passes[k]:
                if r["x"]:
                    points.setdefault(r["n"], []).append(r["x"])
        xs = [(math.log(n), math.log(statistics.fmean(v))) for n, v in sorted(points.items())]
        limits.append(bend(xs, wanted))
    limits = sorted(l for l in limits if l is not None)
    if not limits:
        return None, None
    low, high = limits[int(0.025 * len(limits))], limits[min(len(limits) - 1, int(0.975 * len(limits)))]
    return max(1, round(low)), max(1, round(high))


def bend(xs, wanted):
    """Where the slope falls below the wanted one; the first N where it never reaches it."""
    best = None
    for i in range(2, len(xs) - 2):
        for share in (0, 0.25, 0.5, 0.75):
            at = xs[i][0] + share * (xs[i + 1][0] - xs[i][0])
            rows = [(1.0, min(x - at, 0.0), max(x - at, 0.0)) for x, _ in xs]
            w, error = least_squares(rows, [y for _, y in xs])
            if best is None or error < best[0]:
                best = (error, at if w[1] >= wanted > w[2] else (xs[0][0] if w[1] < wanted else xs[-1][0]))
    mid = statistics.fmean(x for x, _ in xs)
    w, error = least_squares([(1.0, x - mid, (x - mid) ** 2) for x, _ in xs], [y for _, y in xs])
    if best is None or error < best[0]:
        at = mid + (wanted - w[1]) / (2 * w[2]) if w[2] < 0 else (xs[0][0] if w[1] < wanted else xs[-1][0])
        best = (error, min(max(at, xs[0][0]), xs[-1][0]))
    return math.exp(best[1])


def least_squares(rows, ys):
    """Weights and the sum of squared errors, by the normal equations."""
    k = len(rows[0])
    m = [[sum(r[i] * r[j] for r in rows) + (1e-12 if i == j else 0) for j in range(k)] + [sum(r[i] * y for r, y in zip(rows, ys))] for i in range(k)]
    for i in range(k):
        p = max(range(i, k), key=lambda q: abs(m[q][i]))
        m[i], m[p] = m[p], m[i]
        for q in range(k):
            if q != i and m[i][i]:
                f = m[q][i] / m[i][i]
                m[q] = [a - f * b for a, b in zip(m[q], m[i])]
    w = [m[i][k] / m[i][i] for i in range(k)]
    return w, sum((y - sum(a * b for a, b in zip(w, r))) ** 2 for r, y in zip(rows, ys))
