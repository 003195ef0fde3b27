"""Rows as a table, on the console and in docs/engines.md."""

import datetime
import os
import pathlib
import re

COLUMNS = ("case", "question", "truth", "answer", "verdict", "requests", "seconds", "cause", "noise", "note")


def cell(row, column):
    v = row.get(column)
    if column == "seconds" and v is not None:
        return f"{float(v):.0f}"
    if column == "noise" and v:
        return f"{v - 1:.0%}"
    if column == "cause" and v:
        return v.replace("_", " ") + {True: " (right)", False: " (wrong)", None: ""}[row.get("cause_right")]
    return "" if v is None else str(v)


def markdown(rows, columns=COLUMNS):
    clean = lambda s: re.sub(r"\s+", " ", s).replace("|", "\\|")
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(clean(cell(r, c)) for c in columns) + " |" for r in rows]
    return "\n".join(lines)


def tally(rows):
    count = lambda v: sum(r["verdict"] == v for r in rows)
    causes = [r["cause_right"] for r in rows if r.get("cause_right") is not None]
    return (f"{count('right')} right, {count('wrong')} wrong, {count('none')} without an answer, of {len(rows)} questions; "
            f"the cause is right in {sum(causes)} of {len(causes)}")


def machine():
    kilobytes = int(re.search(r"MemTotal: *(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) if pathlib.Path("/proc/meminfo").exists() else 0
    return f"{os.cpu_count()} cores, {kilobytes / 2 ** 20:.0f} GiB of memory"


def stamp(version, repeats, rows=()):
    """How it was measured, and how quiet the machine was: what passes at one and the same load differ by."""
    text = f"{version}; {datetime.date.today().isoformat()}; {machine()}; the engine on one core, the clients on another; {repeats} passes by brute force."
    noise = sorted(n for n in (r.get("noise") for r in rows) if n)
    if noise:
        text += f" Noise is by how much throughput at one and the same load differed between passes at most: {noise[len(noise) // 2] - 1:.0%} in the median question."
    return text


def noise(passes):
    """The largest ratio between the throughputs of passes at one load; None where none was counted twice."""
    by_load = {}
    for r in (r for p in passes for r in p):
        if r.get("x"):
            by_load.setdefault(r["n"], []).append(r["x"])
    return max((max(xs) / min(xs) for xs in by_load.values() if len(xs) > 1), default=None)


def rows_of(page, section):
    """The rows of a page's table by case, as text: so that one is renewed and the others stay."""
    begin, end = marks(section)
    part = pathlib.Path(page).read_text().split(begin, 1)[1].split(end, 1)[0]
    lines = [[c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line.strip())[1:-1]] for line in part.splitlines() if line.startswith("|")]
    if not lines:
        return {}
    rows = {}
    for cells in lines[2:]:
        row = dict(zip(lines[0], cells))
        row["cause"], _, judged = row["cause"].partition(" (")
        row["cause_right"] = {"right)": True, "wrong)": False}.get(judged)
        row["noise"] = 1 + float(row["noise"][:-1]) / 100 if row.get("noise") else None
        rows[row["case"]] = row
    return rows


def marks(section):
    return f"<!-- {section}: made by make -->", f"<!-- /{section} -->"


def into(page, section, text):
    """Replaces what stands between the section's marks."""
    path = pathlib.Path(page)
    old = path.read_text()
    begin, end = marks(section)
    if begin not in old or end not in old:
        raise ValueError(f"{page} has no marks of {section}")
    head, rest = old.split(begin, 1)
    path.write_text(head + begin + "\n" + text.strip() + "\n" + end + rest.split(end, 1)[1])
