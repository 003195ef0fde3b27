"""Reads the benchmark's streams with what Python's load generators are made of (vllm bench serve,
evalscope): aiohttp, and json.loads of every event. Prints, as JSON, the CPU per event while all
streams run, the memory per stream, and when the first token of each prompt was seen.

    python aiohttp_reader.py URL BODIES SECONDS FROM RAMP

BODIES is a file of one request body a line, one line a stream; FROM is when the streams all run.
"""
import asyncio
import json
import resource
import sys
import time

import aiohttp


def used():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return r.ru_utime + r.ru_stime


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def stream(session, url, body, wait, state):
    await asyncio.sleep(wait)
    while time.monotonic() - state["began"] < state["seconds"]:
        async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
            rest, first = b"", True
            async for piece in answer.content.iter_any():
                at, now = time.time_ns(), time.monotonic() - state["began"]
                *events, rest = (rest + piece).split(b"\n\n")
                for event in events:
                    text = event.removeprefix(b"data: ")
                    if text == b"[DONE]":
                        continue
                    data = json.loads(text)
                    if not data["choices"] or not data["choices"][0]["delta"].get("content"):
                        continue
                    if first:
                        first = False
                        state["late"].append(at - int(data["truth"].split("@")[1]))
                    if state["from"] <= now < state["seconds"]:
                        state["events"] += 1


async def main(url, bodies, seconds, begin, ramp):
    lines = open(bodies, "rb").read().splitlines()
    before = peak()
    state = {"began": time.monotonic(), "seconds": seconds, "from": begin, "events": 0, "late": []}
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=False), timeout=timeout) as session:
        streams = [asyncio.create_task(stream(session, url, body, ramp * i / len(lines), state)) for i, body in enumerate(lines)]
        await asyncio.sleep(begin)
        start = used()
        await asyncio.sleep(seconds - begin)
        cpu = used() - start
        memory = (peak() - before) / len(lines)
        await asyncio.gather(*streams)
    print(json.dumps({"us_per_event": cpu * 1e6 / max(state["events"], 1), "bytes_per_stream": memory, "events": state["events"], "late_ns": state["late"]}))


asyncio.run(main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:6])))
