"""llama.cpp's HTTP server, with settings given as JSON: run inside its environment.

    python llamacpp_server.py '{"port": 8080, "model.path": "x.gguf", "n_parallel": 8}'

A key is the path of an attribute of llama.cpp's common_params; a value that names
an enumeration's member is looked up in that enumeration.
"""

import json
import signal
import sys

import xllamacpp


def assign(params, path, value):
    *parents, name = path.split(".")
    for p in parents:
        params = getattr(params, p)
    if path == "speculative.types":
        value = [getattr(xllamacpp.common_speculative_type, "COMMON_SPECULATIVE_TYPE_" + v) for v in value]
    if path == "pooling_type":
        value = getattr(xllamacpp.llama_pooling_type, "LLAMA_POOLING_TYPE_" + value)
    setattr(params, name, value)


def main():
    params = xllamacpp.CommonParams()
    for path, value in json.loads(sys.argv[1]).items():
        assign(params, path, value)
    server = xllamacpp.Server(params)  # listens in threads of its own
    print("listening at", server.listening_address, flush=True)
    signal.pause()


main()
