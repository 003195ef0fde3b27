"""Rows as a table, on the console and in docs/engines.md."""

import datetime
import os
import pathlib
import re

COLUMNS = ("question", "truth", "answer", "verdict", "requests", "seconds", "cause", "note")


def cell(row, column):
    v = row.get(column)
    if column == "seconds" and v is not None:
        return f"{v:.0f}"
    if column == "cause" and v:
        return v.replace("_", " ") + ("" if row.get("cause_right") in (True, None) else " (wrong)")
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


def stamp(version, repeats):
    return f"{version}; {datetime.date.today().isoformat()}; {machine()}; the engine on one core, the clients on another; {repeats} passes by brute force."


def into(page, section, text):
    """Replaces what stands between the section's marks."""
    path = pathlib.Path(page)
    old = path.read_text()
    begin, end = f"<!-- {section}: made by make -->", f"<!-- /{section} -->"
    if begin not in old or end not in old:
        raise ValueError(f"{page} has no marks of {section}")
    head, rest = old.split(begin, 1)
    path.write_text(head + begin + "\n" + text.strip() + "\n" + end + rest.split(end, 1)[1])
