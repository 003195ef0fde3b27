"""The truth by brute force: a plain client that keeps N requests in flight and
counts. It shares nothing with capfind, neither code nor words nor formulas.

Reads one order a line on standard input, {"n": 8, "requests": 60}, and answers
with one line of figures. The argument says what is sent and where.
"""

import asyncio
import json
import random
import re
import sys
import time
import urllib.error
import urllib.request

WORDS = """the and that with this from have they which were their there been other would when into time more
some could people them these than first then made over where after water long little very such most part place
work only back down year through world much before must well great new good under want home big read hand high
land try us again animal point mother answer house world page should found study learn plant food between city
tree start might story far sea draw left late run while press close night real life few north open seem
together next white children begin got walk example ease paper group always music both mark often letter until
mile river car feet care second book carry took science eat room friend began idea fish mountain stop once base
hear horse cut sure watch color face wood main enough plain girl usual young ready above ever red list though
feel talk bird soon body dog family direct pose leave song measure door product black short number class wind
question happen complete ship area half rock order fire south problem piece told knew pass since top whole king
space heard best hour better true during hundred five remember step early hold west ground interest reach fast
verb sing listen six table travel less morning ten simple several vowel toward war lay against pattern slow
center love person money serve appear road map rain rule govern pull cold notice voice unit power town fine""".split()


class Client:
    def __init__(self, plan):
        self.plan, self.rng = plan, random.Random(plan.get("seed", time.time_ns()))
        self.base = f"http://127.0.0.1:{plan['port']}"
        self.chat = plan["api"] == "chat"
        self.path = "/v1/chat/completions" if self.chat else "/v1/completions"
        self.words = self.single_tokens()
        self.prefixes = [self.some(plan.get("prefix_len", 0)) for _ in range(plan.get("prefixes", 1))]
        self.lines = [json.loads(l) for l in open(plan["jsonl"])] if plan.get("jsonl") else []
        self.extra = self.taken = 0
        self.last = None  # figures of the last run
        if not self.lines:
            self.extra = self.overhead()

    # What is sent.

    def single_tokens(self):
        """Those of the words that the server's tokenizer knows as one token after a space."""
        words = list(dict.fromkeys(WORDS))
        try:
            count = {w: len(self.ask("/tokenize", {"content": " " + w, "model": self.plan["model"], "prompt": " " + w, "add_special_tokens": False})["tokens"]) for w in words}
        except urllib.error.HTTPError as e:
            if e.code != 404:
                raise
            # Ollama has no such path: what the usage counts for ten of a word says the same, whatever is added to each prompt.
            count = {w: self.ask("/v1/completions", {"model": self.plan["model"], "prompt": " ".join(["", *[w] * 10]), "max_tokens": 1})["usage"]["prompt_tokens"] for w in words}
        return [w for w in words if count[w] == min(count.values())]

    def ask(self, path, body):
        q = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(q, timeout=60) as r:
            return json.load(r)

    def overhead(self):
        """Tokens that the server adds to a prompt: a chat template's, or a begin mark."""
        text = " " + self.some(20)
        body = self.body(text, [], 1)
        body["stream"] = False
        body.pop("stream_options")
        return self.ask(self.path, body)["usage"]["prompt_tokens"] - 20

    def some(self, n):
        return " ".join(self.rng.choice(self.words) for _ in range(n))

    def body(self, text, history, output):
        p = self.plan
        b = {"model": p["model"], "max_tokens": output, "stream": True, "stream_options": {"include_usage": True}, **p.get("extra", {})}
        if p.get("hold", True):
            b["ignore_eos"] = True
        if self.chat:
            b["messages"] = [*history, {"role": "user", "content": text}]
        else:
            b["prompt"] = text
        return b

    def prompt(self, later):
        """The text of a request, or of a later turn of a conversation, and the length of its answer."""
        p = self.plan
        if self.lines:
            self.taken += 1
            line = self.lines[self.taken % len(self.lines)]
            return self.some(4) + " " + line["prompt"], line["output_len"]
        n = max(1, p["input_len"] - (0 if later else self.extra))
        if p.get("prefix_len"):
            return " " + self.rng.choice(self.prefixes) + " " + self.some(n), p["output_len"]
        return " " + self.some(n), p["output_len"]

    # One request, over a connection of its own: llama.cpp closes one after each
    # stream although it says "Keep-Alive".

    async def request(self, body):
        link, data = Link(), json.dumps(body).encode()
        sample = {"sent": time.perf_counter(), "first": None, "chunks": 0, "tokens": 0, "prompt": 0, "cached": 0, "ok": False, "text": "", "why": ""}
        try:
            await link.open(self.plan["port"])
            sample["sent"] = time.perf_counter()
            link.writer.write(f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
            status, lines = await asyncio.wait_for(link.response(), 300)
            finish = False
            async for line in lines:
                now = time.perf_counter()
                if status != 200:
                    sample["why"] += line
                    continue
                if not line.startswith("data:") or line.strip() == "data: [DONE]":
                    continue
                got = json.loads(line[5:])
                if "error" in got:
                    sample["why"] = json.dumps(got["error"])
                for c in got.get("choices", []):
                    text = c.get("text") or (c.get("delta") or {}).get("content") or ""
                    if text:
                        sample["chunks"] += 1
                        sample["first"] = sample["first"] or now
                        sample["last"] = now
                        sample["text"] += text
                    finish = finish or bool(c.get("finish_reason"))
                if got.get("usage"):
                    u = got["usage"]
                    sample["tokens"], sample["prompt"] = u["completion_tokens"], u["prompt_tokens"]
                    sample["cached"] = (u.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            sample["ok"] = status == 200 and finish and sample["first"] is not None
            if not sample["ok"]:
                sample["why"] = f"{status} {sample['why']}"[:300]
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError) as e:
            sample["why"] = f"{type(e).__name__}: {e}"[:300]
        link.close()
        sample["end"] = time.perf_counter()
        return sample

    # N in flight.

    async def run(self, n, wanted):
        samples, scrapes = [], []
        stop = asyncio.Event()
        begin = time.perf_counter()

        async def worker(k):
            history = []
            # The first requests are spread over what one takes at this load, or they all prefill at
            # once; where answers are of one length they would go on doing so, in step.
            while k and not samples and time.perf_counter() - begin < 0.2 * k:
                await asyncio.sleep(0.005)
            one = samples[0]["end"] - samples[0]["sent"] if samples else 0
            if self.last and self.last["e2e"]:
                one = max(one, self.last["e2e"] * min(1, n / self.last["n"]))
            await asyncio.sleep(k / n * one)
            while not stop.is_set():
                text, output = self.prompt(later=bool(history))
                s = await self.request(self.body(text, history, output))
                samples.append(s)
                if self.plan.get("turns", 1) > 1:
                    history += [{"role": "user", "content": text}, {"role": "assistant", "content": s["text"]}]
                    if len(history) >= 2 * self.plan["turns"] or not s["ok"]:
                        history = []
                if not s["ok"]:
                    await asyncio.sleep(0.5)
                if len(samples) >= wanted + 2 * n or time.perf_counter() - begin > self.plan.get("longest", 90):
                    stop.set()

        async def scraper():
            while not stop.is_set():
                scrapes.append(await asyncio.to_thread(self.scrape))
                await asyncio.sleep(0.25)

        watch = asyncio.create_task(scraper())
        await asyncio.gather(*(worker(k) for k in range(n)))
        until = max(s["sent"] for s in samples)
        await watch
        self.last = summary(n, samples, scrapes, until)
        return self.last

    def scrape(self):
        """The server's own figures; the names are those that the case gives."""
        out = {}
        try:
            with urllib.request.urlopen(self.base + "/metrics", timeout=5) as r:
                text = r.read().decode()
        except (OSError, urllib.error.URLError):
            return out
        for what, name in self.plan.get("metrics", {}).items():
            m = re.search(r"^" + re.escape(name) + r"(?:\{[^}]*\})? ([0-9.eE+-]+)", text, re.M)
            if m:
                out[what] = float(m[1])
        return out


def summary(n, samples, scrapes, until):
    """Figures of the time when n were in flight: from the n-th end to the last dispatch."""
    ends = sorted(s["end"] for s in samples)
    since = ends[min(n, len(ends)) - 1]
    inside = [s for s in samples if since <= s["sent"] <= until]
    good = [s for s in inside if s["ok"]]
    ended = [s for s in samples if since < s["end"] <= until and s["ok"]]
    mean = lambda xs: sum(xs) / len(xs) if xs else None
    failures = {}
    for s in samples:
        if not s["ok"]:
            failures[s["why"]] = failures.get(s["why"], 0) + 1
    tpot = [(s["last"] - s["first"]) / (s["tokens"] - 1) for s in good if s["tokens"] > 1]
    gauge = lambda name: [x[name] for x in scrapes if name in x]
    grown = lambda name: (lambda g: g[-1] - g[0] if g else None)(gauge(name))
    return {
        "n": n, "requests": len(samples), "counted": len(inside), "seconds": until - since,
        "x": len(ended) / (until - since) if until > since and len(ended) > n / 2 else None,
        "ttft": mean([s["first"] - s["sent"] for s in good]), "tpot": mean(tpot), "e2e": mean([s["last"] - s["sent"] for s in good]),
        "success": len(good) / len(inside) if inside else (0.0 if samples and not any(s["ok"] for s in samples) else None),
        "tokens": mean([s["tokens"] for s in good]), "chunks": mean([s["chunks"] for s in good]), "prompt": mean([s["prompt"] for s in good]),
        "cached": sum(s["cached"] for s in good) / max(1, sum(s["prompt"] for s in good)) if good else None,
        "failures": failures, "running": max(gauge("running"), default=None), "waiting": max(gauge("waiting"), default=None),
        "kv": max(gauge("kv"), default=None), "preemptions": grown("preemptions"),
    }


class Link:
    """One HTTP/1.1 connection."""

    reader = writer = None

    async def open(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)

    def close(self):
        if self.writer is not None:
            self.writer.close()

    async def response(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(head.split()[1])
        length = re.search(r"content-length: *(\d+)", head)
        return status, self.lines(int(length[1]) if length else None)

    async def lines(self, length):
        if length is not None:
            for line in (await self.reader.readexactly(length)).decode().splitlines():
                yield line
        else:
            rest = b""
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                rest += (await self.reader.readexactly(size + 2))[:-2]
                *whole, rest = rest.split(b"\n")
                for line in whole:
                    yield line.decode()
            await self.reader.readuntil(b"\r\n")


def main():
    client = Client(json.loads(sys.argv[1]))
    print(json.dumps({"words": len(client.words), "overhead": client.extra}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(asyncio.run(client.run(order["n"], order["requests"]))), flush=True)


if __name__ == "__main__":
    main()
