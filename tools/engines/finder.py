"""Runs capfind beside the engine and reads what it says."""

import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

import install
import servers

BINARY = pathlib.Path(os.environ.get("CAPFIND", servers.HERE.parent.parent / "bin" / "capfind"))


class Found:
    """What one call of capfind gave."""

    def __init__(self, code, seconds, cpu, folder, stderr):
        self.code, self.seconds, self.cpu, self.folder, self.stderr = code, seconds, cpu, folder, stderr
        results = list(pathlib.Path(folder).glob("*/result.json"))
        self.result = json.loads(results[0].read_text()) if results else {}

    def requests(self):
        return self.result.get("spent", {}).get("requests", 0)

    def interval(self, criterion=None):
        """(low, high) as claimed, None where nothing is; an open end is None. Without a criterion the binding limit's."""
        r = self.result
        if r.get("verdict") == "failed_at_first_step":
            return 0, r["steps"][0]["concurrency"] - 1
        if r.get("verdict") not in ("limit_found", "not_reached"):
            return None
        limit = r.get("limit") if criterion is None else (r.get("limits") or {}).get(criterion)
        if limit and limit.get("concurrency") is not None:
            low = limit["low"] if limit.get("low") is not None else limit["concurrency"]
            return low, limit["high"] if limit.get("high") is not None else limit["concurrency"]
        if limit and limit.get("at_least") is not None:
            return limit["at_least"], None
        if r["verdict"] == "not_reached":
            return r["steps"][-1]["concurrency"], None
        return None

    def steps(self):
        """One short line per step: what a reader needs to see why it answered so."""
        out = []
        for s in self.result.get("steps", []):
            v = s["steady"] if s["verdict_basis"] == "steady" and s.get("steady") else s["whole"]
            f = lambda x, scale=1, form="{:.3g}": "n/a" if x is None else form.format(x * scale)
            out.append(f"{s['concurrency']} {s['phase']}: {s['num_prompts']} requests, success {f(v['success_rate'])}, {f(v['request_throughput'])}/s, TTFT {f(v['ttft_seconds']['mean'], 1e3)} ms, "
                       f"TPOT {f(v['tpot_seconds']['mean'], 1e3)} ms" + (f", fails: {s['stop']['sentence']}" if s.get("stop") else ""))
        return out


def start(command, engine, config, name):
    """Begins a capfind command, a word or a list of words; its progress is read line by line while it runs."""
    folder = install.CACHE / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = {"target": {"base_url": f"http://127.0.0.1:{engine.port}/v1", **config.pop("target", {})}, **config, "output": {"dir": str(folder)}}
    path = folder / "config.yaml"
    path.write_text(json.dumps(config, indent=1))  # JSON is YAML
    return Running(command, path, folder)


class Running:
    def __init__(self, command, path, folder):
        _, core = servers.cores()
        self.folder, self.lines, self.began = folder, [], time.monotonic()
        self.process = subprocess.Popen(servers.pinned(core, [BINARY, *([command] if isinstance(command, str) else command), path]), stdout=open(folder / "stdout.txt", "w"), stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        with open(self.folder / "stderr.txt", "w") as copy:
            for line in self.process.stderr:
                copy.write(line)
                copy.flush()
                self.lines.append(line.rstrip())

    def wait_for(self, word, seconds=120):
        """Waits until a line of the progress holds the word; false where it ended first."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if any(word in line for line in self.lines):
                return True
            time.sleep(0.05)
        return False

    def finish(self, longest=900):
        timer = threading.Timer(longest, self.process.terminate)
        timer.start()
        _, status, usage = os.wait4(self.process.pid, 0)
        timer.cancel()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self.began
        self.reader.join()
        return Found(self.process.returncode, seconds, usage.ru_utime + usage.ru_stime, self.folder, "\n".join(self.lines))


def run(command, engine, config, name):
    return start(command, engine, config, name).finish()
