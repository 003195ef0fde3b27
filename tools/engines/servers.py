"""The engines: started with known flags on a core of their own, and ended by their own process id."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import install
import model

HERE = pathlib.Path(__file__).parent


def cores():
    """The cores for the engine and for the client: one each, or one starves the other."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (mine[0], mine[-1]) if len(mine) > 1 else (None, None)


def pinned(core, command):
    if core is None or not shutil.which("taskset"):
        return [str(c) for c in command]
    return ["taskset", "-c", str(core), *map(str, command)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Engine:
    """One engine process. `flags` are what a reader should know of how it was started."""

    def __init__(self, options):
        self.options, self.port, self.process = options, free_port(), None
        self.log = install.CACHE / "logs" / f"{self.name}-{self.port}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        core, _ = cores()
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(pinned(core, self.command()), stdout=out, stderr=out, env=self.environment(), cwd=self.log.parent, start_new_session=True)

    def environment(self):
        return dict(os.environ)

    def status(self):
        """The status of /health; 0 where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code
        except OSError:
            return 0

    def wait_ready(self, seconds=300):
        end = time.monotonic() + seconds
        while self.status() != 200:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; its log: {self.log}\n{self.log_tail()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not come up in {seconds} s; its log: {self.log}")
            time.sleep(0.05)

    def log_tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])

    def kill(self):
        """kill -9, of the engine and of the processes that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        self.kill() if self.process.poll() is None else self.sweep_up()

    def sweep_up(self):
        """A worker that outlived its parent holds the core."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


kept = None  # the engine of the last case


@contextlib.contextmanager
def shared(kind, options):
    """An engine with these options; that of the last case where it had them and answers, for vLLM is long in coming up."""
    global kept
    if kept is None or type(kept) is not kind or kept.options != options or kept.status() != 200:
        release()
        kept = kind(options)
        kept.start()
        kept.wait_ready()
    yield kept


def release():
    """Ends the engine that shared() keeps."""
    global kept
    if kept is not None:
        kept.stop()
    kept = None


class LlamaCpp(Engine):
    name = "llama.cpp"
    metrics = {"running": "llamacpp:requests_processing", "waiting": "llamacpp:requests_deferred"}

    # Models by name: (layers, words, heads).
    models = {"small": (4, 4096, 9), "full": None}

    def __init__(self, options):
        super().__init__(options)
        self.python, source = install.llamacpp()
        self.model_name = "small"
        which = options.get("model", "small")
        self.path = source if which == "full" else install.CACHE / "models" / f"{which}.gguf"
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            model.cut(source, self.path, *self.models[which])
        self.model_name = which

    def command(self):
        o = {k: v for k, v in self.options.items() if k != "model"}
        slots, context = o.get("n_parallel", 8), o.pop("slot_context", 512)
        settings = {"model.path": str(self.path), "model_alias": [self.model_name], "hostnames": ["127.0.0.1"], "port": self.port, "n_parallel": slots, "n_ctx": context * slots,
                    "endpoint_metrics": True, "cpuparams.n_threads": 1, "cpuparams_batch.n_threads": 1, **o}
        return [self.python, HERE / "llamacpp_server.py", json.dumps(settings)]

    @staticmethod
    def version():
        python, _ = install.llamacpp()
        return "llama.cpp in xllamacpp " + install.quiet([python, "-c", "import importlib.metadata as m; print(m.version('xllamacpp'))"]).strip()


class Ollama(Engine):
    """Ollama, of whose options n_parallel and max_queue are known. It has no page of metrics."""

    name, metrics, model_name = "Ollama", {}, "small"

    def __init__(self, options):
        super().__init__(options)
        self.binary = install.ollama()
        self.path = LlamaCpp({}).path

    def command(self):
        return [self.binary, "serve"]

    def environment(self):
        o = self.options
        return {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_MODELS": str(install.CACHE / "models" / "ollama"), "OLLAMA_NUM_PARALLEL": str(o.get("n_parallel", 8)),
                "OLLAMA_MAX_QUEUE": str(o.get("max_queue", 512)), "OLLAMA_CONTEXT_LENGTH": "512", "OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_NOPRUNE": "1", "HOME": str(install.CACHE / "models")}

    def status(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=2) as r:
                return r.status
        except OSError:
            return 0

    def wait_ready(self, seconds=300):
        """Up, and the model loaded: Ollama does so at the first request."""
        super().wait_ready(seconds)
        recipe = self.log.parent / "Modelfile"
        recipe.write_text(f"FROM {self.path}\nPARAMETER num_thread 1\n")
        install.quiet([self.binary, "create", self.model_name, "-f", recipe], env=self.environment())
        load = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/generate", json.dumps({"model": self.model_name, "keep_alive": -1}).encode())
        urllib.request.urlopen(load, timeout=seconds).read()

    @staticmethod
    def version():
        return f"Ollama {install.OLLAMA}, built from its Go module"


class VLLM(Engine):
    name = "vLLM"
    metrics = {"running": "vllm:num_requests_running", "waiting": "vllm:num_requests_waiting", "kv": "vllm:kv_cache_usage_perc", "preemptions": "vllm:num_preemptions_total"}
    model_name = "small"

    def __init__(self, options):
        super().__init__(options)
        self.python = install.vllm()
        self.folder = install.CACHE / "models" / "small-llama"
        if not (self.folder / "config.json").exists():
            _, source = install.llamacpp()
            model.folder_for_transformers(source, self.folder, words=4096, layers=4, hidden=256, context=2048)

    def command(self):
        flags = {"--max-num-seqs": 16, "--max-model-len": 1024, **self.options}
        flat = [str(x) for k, v in flags.items() for x in ([k] if v is True else [k, v])]
        return [self.python, "-m", "vllm.entrypoints.cli.main", "serve", self.folder, "--served-model-name", self.model_name, "--host", "127.0.0.1", "--port", self.port,
                "--load-format", "dummy", "--dtype", "float32", "--enforce-eager", *flat]

    def environment(self):
        core, _ = cores()
        return {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": str(core or 0), "TORCH_COMPILE_DISABLE": "1", "HF_HUB_OFFLINE": "1",
                "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}

    @staticmethod
    def version():
        return f"vLLM {install.VLLM} for CPUs, torch {install.TORCH}"
