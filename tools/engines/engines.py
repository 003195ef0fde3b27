"""Holds capfind against real inference engines: what is the limit by brute force,
what does capfind say, and is that right?

    python3 tools/engines/engines.py llamacpp|ollama|vllm|compare|clients [--short] [--case NAME] [--repeats N] [--docs docs/engines.md]

Engines are installed under ~/.cache/capfind-engines ($XDG_CACHE_HOME is heeded);
only the loopback is loaded. Exit code: 0, or 1 where an answer is wrong, or 3
where the packages cannot be had.
"""

import argparse
import json
import signal
import sys
import time
import traceback

import cases
import install
import servers
import table
import truth


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("llamacpp", "ollama", "vllm", "compare", "clients"))
    p.add_argument("--short", action="store_true", help="a few cases, for CI")
    p.add_argument("--case", action="append", help="only these")
    p.add_argument("--repeats", type=int, help="passes by brute force over the grid")
    p.add_argument("--docs", help="the page whose tables are replaced")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the engine is ended too
    try:
        if a.what in ("compare", "clients"):
            return __import__(a.what).main(a)
        return engine(a)
    except install.Unavailable as e:
        print(f"\n!!! NOT CHECKED against {a.what}: a package could not be installed.\n{e}\n", file=sys.stderr)
        return 3


def engine(a):
    truth.Brute.share = 0.5 if a.short else 1.0
    suite = __import__("on_" + a.what)
    kind, repeats = suite.KIND, a.repeats or (2 if a.short else 4)
    kind({})  # installs
    version = kind.version()
    print(f"{version}, on {table.machine()}", file=sys.stderr)
    known, rows, began = Results(a), [], time.monotonic()
    listed = {name_of(case): case for case in suite.listed()}
    try:
        for key, case in listed.items():
            if a.case and key not in a.case or a.short and not a.case and key not in suite.SHORT_FORM:
                continue
            rows.append(attempt(kind, case, key, repeats))
            show(rows[-1])
            if a.short and rows[-1]["verdict"] in ("wrong", "broken"):  # in CI other work may come in between
                print("    once more", file=sys.stderr)
                rows[-1] = attempt(kind, case, key, repeats)
                show(rows[-1])
            known.keep({**rows[-1], "version": version, "repeats": repeats})
    finally:
        servers.release()
    table_of = [known.page[k] for k in listed if k in known.page] if a.docs else rows
    text = f"{table.stamp(version, repeats, table_of)}\n\n{table.markdown(table_of)}\n\n{table.tally(table_of)}."
    print(text)
    print(f"{time.monotonic() - began:.0f} s; every run in {install.CACHE}", file=sys.stderr)
    if a.docs:
        table.into(a.docs, a.what, text)
    return 1 if any(r["verdict"] in ("wrong", "broken") for r in rows) else 0


class Results:
    """The last row of each case. All that is known of it is kept in a file of its own after each; a run
    with --case and --docs renews rows of the page's table, and a run of all of them begins anew."""

    def __init__(self, a):
        self.path = install.CACHE / "results" / f"{a.what}.json"
        self.path.parent.mkdir(exist_ok=True)
        old = {r["case"]: r for r in json.loads(self.path.read_text())} if self.path.exists() else {}
        cases.thresholds.update({k: r["threshold"] for k, r in old.items() if r.get("threshold")})
        self.rows = old if a.case or a.short else {}
        self.page = table.rows_of(a.docs, a.what) if a.docs and self.rows is old else {}

    def keep(self, row):
        self.rows[row["case"]] = self.page[row["case"]] = row
        self.path.write_text(json.dumps(list(self.rows.values()), indent=1))


def name_of(case):
    return case.key if isinstance(case, cases.Limit) else next(c for c in case.__code__.co_consts if isinstance(c, str))


def attempt(kind, case, key, repeats):
    """A case that breaks is a row that says so, and the others go on."""
    print(f"  {kind.name} {key} ...", file=sys.stderr, flush=True)
    try:
        if isinstance(case, cases.Limit):
            row = cases.measure(kind, case, repeats)
        else:
            row = case(kind, repeats)
        return {**row, "noise": table.noise(row.get("passes") or [])}
    except install.Unavailable:
        raise
    except Exception as e:
        traceback.print_exc()
        return {"engine": kind.name, "case": key, "question": key, "verdict": "broken", "note": f"{type(e).__name__}: {e}"[:300], "cause_right": None}


def show(r):
    print(f"    {r['verdict']}: truth {r.get('truth')}, answer {r.get('answer')}; {r.get('cause') or 'no cause'}"
          f"{'' if r.get('cause_right') in (True, None) else ' (wanted ' + ' or '.join(r.get('wanted_causes', [])) + ')'}; {r.get('requests')} requests, {r.get('seconds') or 0:.0f} s"
          + (f"; {r['note']}" if r.get("note") else ""), file=sys.stderr, flush=True)
    if r["verdict"] != "right":
        for line in [r.get("sentence", ""), *r.get("steps", []), *r.get("stderr", [])]:
            print("      " + line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
