"""Small models for the engines, cut out of SmolLM2-135M: its own tokenizer, chat
template and weights, with fewer words and fewer layers, so that one core answers
several requests a second. What it says makes no sense; how an engine queues,
batches, caches and ends requests is the same for any model.
"""

import json
import pathlib
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
BLOCK = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34)}  # type: (weights, bytes) of a block
ALIGN = 32


class Reader:
    """The GGUF file format: a header, key-value pairs, the tensors' names and shapes, the tensors."""

    def __init__(self, path):
        self.data, self.at = pathlib.Path(path).read_bytes(), 0
        magic, version = self.take("4s"), self.take("I")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path} is no GGUF file of version 2 or 3")
        tensors, pairs = self.take("Q"), self.take("Q")
        self.pairs = {}
        for _ in range(pairs):
            key = self.string().decode()
            kind = self.take("I")
            self.pairs[key] = (kind, *self.value(kind))
        self.tensors = []
        for _ in range(tensors):
            name = self.string()
            shape = [self.take("Q") for _ in range(self.take("I"))]
            self.tensors.append((name, shape, self.take("I"), self.take("Q")))
        self.begin = -(-self.at // ALIGN) * ALIGN

    def take(self, form):
        (v,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return v

    def string(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at]

    def value(self, kind):
        """(value,) or (items, kind of the items)."""
        if kind == STRING:
            return (self.string(),)
        if kind != ARRAY:
            return (self.take(SCALARS[kind]),)
        inner, n = self.take("I"), self.take("Q")
        return [self.value(inner)[0] for _ in range(n)], inner

    def weights(self, shape, kind, offset):
        return self.data[self.begin + offset:self.begin + offset + size(shape, kind)]


def size(shape, kind):
    weights, width = BLOCK[kind]
    n = 1
    for s in shape:
        n *= s
    return n // weights * width


def packed(kind, value):
    if kind == STRING:
        return struct.pack("<Q", len(value)) + value
    return struct.pack("<" + SCALARS[kind], value)


def text(s):
    return struct.pack("<Q", len(s)) + s


def narrowed(blob, shape, kind, narrow):
    """The first columns and rows of a tensor; columns are whole blocks of weights."""
    weights, width = BLOCK[kind]
    row, kept = shape[0] // weights * width, narrow[0] // weights * width
    rows = narrow[1] if len(narrow) > 1 else 1
    return b"".join(blob[i * row:i * row + kept] for i in range(rows))


def cut(source, target, layers, words, heads=9):
    """Writes a smaller model: its first words (those of a byte-pair vocabulary are
    in the order of its merges, so the first of them stand alone), as many layers,
    over and over where there are not enough, and the first heads of each. Many
    thin layers make a pass through the model cost nearly the same for one request
    as for ten, as on a GPU; few wide ones make every request cost its own time."""
    r = Reader(source)
    pairs = dict(r.pairs)
    arch = pairs["general.architecture"][1].decode()
    old = {"heads": pairs[arch + ".attention.head_count"][1], "kv": pairs[arch + ".attention.head_count_kv"][1],
           "wide": pairs[arch + ".embedding_length"][1], "ff": pairs[arch + ".feed_forward_length"][1], "blocks": pairs[arch + ".block_count"][1]}
    one = old["wide"] // old["heads"]
    kv = max(1, heads * old["kv"] // old["heads"])
    wide, ff = heads * one, heads * one * old["ff"] // old["wide"] // 32 * 32
    # The same number means the same thing wherever it is a length of a tensor.
    lengths = {old["wide"]: wide, old["ff"]: ff, old["kv"] * one: kv * one, pairs[arch + ".vocab_size"][1]: words}
    for key, value in {"block_count": layers, "vocab_size": words, "attention.head_count": heads, "attention.head_count_kv": kv,
                       "embedding_length": wide, "feed_forward_length": ff}.items():
        pairs[f"{arch}.{key}"] = (4, value)
    kept = {t.decode("utf-8") for t in pairs["tokenizer.ggml.tokens"][1][:words]}
    for key in ("tokens", "token_type", "scores"):
        if (k := "tokenizer.ggml." + key) in pairs:
            kind, items, inner = pairs[k]
            pairs[k] = (kind, items[:words], inner)
    kind, merges, inner = pairs["tokenizer.ggml.merges"]
    pairs["tokenizer.ggml.merges"] = (kind, [m for m in merges if m.decode().replace(" ", "") in kept], inner)
    pairs["general.name"] = (STRING, f"SmolLM2-135M cut to {layers} layers of {heads} heads, {words} words".encode())

    infos, blobs, offset, count = b"", [], 0, 0
    for name, shape, kind, blob in laid_out(r, layers, old["blocks"]):
        narrow = [lengths.get(n, n) for n in shape]
        blob = narrowed(blob, shape, kind, narrow)
        infos += text(name.encode()) + struct.pack(f"<I{len(narrow)}QIQ", len(narrow), *narrow, kind, offset)
        blob += b"\0" * (-len(blob) % ALIGN)
        offset += len(blob)
        blobs.append(blob)
        count += 1
    head = struct.pack("<4sIQQ", b"GGUF", 3, count, len(pairs))
    for key, (kind, value, *inner) in pairs.items():
        head += text(key.encode()) + struct.pack("<I", kind)
        head += struct.pack("<IQ", inner[0], len(value)) + b"".join(packed(inner[0], v) for v in value) if kind == ARRAY else packed(kind, value)
    head += infos
    pathlib.Path(target).write_bytes(head + b"\0" * (-len(head) % ALIGN) + b"".join(blobs))


def laid_out(r, layers, blocks):
    """The tensors of so many layers, the source's over and over."""
    for name, shape, kind, where in r.tensors:
        name = name.decode()
        parts = name.split(".")
        if parts[0] != "blk":
            yield name, shape, kind, r.weights(shape, kind, where)
            continue
        for layer in range(int(parts[1]), layers, blocks):
            yield ".".join(["blk", str(layer), *parts[2:]]), shape, kind, r.weights(shape, kind, where)


def tokenizer(source, words):
    """The same tokenizer in the form of tokenizer.json, its special words, and the chat template."""
    r = Reader(source)
    tokens = [t.decode("utf-8") for t in r.pairs["tokenizer.ggml.tokens"][1][:words]]
    kept = set(tokens)
    merges = [m.decode("utf-8") for m in r.pairs["tokenizer.ggml.merges"][1]]
    special = [(i, t) for i, t in enumerate(tokens) if r.pairs["tokenizer.ggml.token_type"][1][i] == 3]
    split = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                   {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": split, "post_processor": None,
        "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, t in special],
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [m for m in merges if m.replace(" ", "") in kept]},
    }, r.pairs["tokenizer.chat_template"][1].decode()


def folder_for_transformers(source, target, words, layers, hidden, context):
    """A folder as vLLM wants it: a Llama configuration of that size and the tokenizer; it makes up the weights itself."""
    target = pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    tok, template = tokenizer(source, words)
    put = lambda name, value: (target / name).write_text(json.dumps(value))
    put("tokenizer.json", tok)
    put("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>",
                                  "pad_token": "<|im_end|>", "chat_template": template, "model_max_length": context, "clean_up_tokenization_spaces": False})
    put("config.json", {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers,
                        "num_attention_heads": hidden // 64, "num_key_value_heads": hidden // 64, "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": context,
                        "vocab_size": words, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
                        "torch_dtype": "float32", "initializer_range": 0.02, "attention_bias": False, "mlp_bias": False})
    put("generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
    return target
