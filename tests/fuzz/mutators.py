"""Mutators that know the form of an input: tokens of a language, JSON, and the parts of binary files.

Each takes bytes, the most bytes that it may give, and a seed. What does not have the form is changed byte by byte.
"""

from __future__ import annotations

import copy
import io
import json
import math
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Mutator = Callable[[bytes, int, int], bytes]

TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[ \t]+|\*\*|->|\.\.|.", re.DOTALL)
#: Numbers that programs get wrong.
NUMBERS = (
    "0", "1", "-1", "2", "3", "7", "64", "255", "256", "65536", "2147483648", "9223372036854775808", "1e308", "1e999",
    "1e-320", "0.5", "nan", "inf", "-0", "00", "1_000", "10**40", "0x10", "1e", ".5", "5.", "٣",
)  # fmt: skip
INTEGERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
)
#: Characters that break lines, quotes, escapes or widths.
ODD = (
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\ufeff",
    "\u2028",
    "\x85",
    "é",
    "𝔵",
    "\u202e",
    "\\",
    '"',
    "'",
    "#",
    "%",
    "`",
    "\x1b[2J",
)


def changed(data: bytes, most: int) -> bytes:
    """Change bytes as libFuzzer does, guided by what comparisons wanted."""
    import atheris

    return bytes(atheris.Mutate(data, most))


def bytewise(data: bytes, most: int, seed: int) -> bytes:
    return changed(data, most)


def text(words: Sequence[str], seeds: Sequence[bytes] = (), raw: float = 0.05, fresh: float = 0.0) -> Mutator:
    """Change tokens: take out, double, exchange, replace by `words` or numbers, or take a part of one of `seeds`.

    In a share `fresh` one of `seeds` is begun from, and half of these get changes that a sound text survives.
    """
    others = [TOKEN.findall(s.decode("utf-8", "replace")) for s in seeds]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        r = random.Random(seed)
        if r.random() < raw or not data:
            return bytewise(data, most, seed)
        tokens = TOKEN.findall(data.decode("utf-8", "replace"))
        if others and r.random() < fresh:
            tokens = list(r.choice(others))
            if r.random() < 0.5:
                for _ in range(r.randint(1, 4)):
                    _change_gently(r, tokens)
                return "".join(tokens).encode("utf-8", "replace")[:most]
        for _ in range(r.choice((1, 1, 1, 2, 4))):
            _change_tokens(r, tokens, words, others)
        return "".join(tokens).encode("utf-8", "replace")[:most]

    return mutate


def _change_gently(r: random.Random, tokens: list[str]) -> None:
    """Another number, white space, a comment, or another name for a name wherever it stands."""
    places = range(len(tokens))
    match r.randrange(5):
        case 0 if numbers := [i for i in places if tokens[i][0].isdigit()]:
            tokens[r.choice(numbers)] = r.choice(
                ("0", "1", "7", "0.5", "1e-3", "2.50", "1e300", "10", "007", "1E5")
            )
        case 1 if breaks := [i for i in places if tokens[i] == "\n"]:
            comment = r.choice(("# a", "#b: - c", "#", "# é \u2028", "#\t", "# 'q", "  # d"))
            tokens[r.choice(breaks)] = r.choice((f" {comment}\n", f"\n{comment}\n", "\n\n\n", "  \n", "\r\n"))
        case 2 if spaces := [i for i in places if tokens[i] == " "]:
            tokens[r.choice(spaces)] = r.choice(("  ", "    ", " " * 90, " "))
        case 3 if names := [t for t in tokens if t[0].isalpha()]:
            old, new = (
                r.choice(names),
                r.choice(("no", "y", "null", "e1", "true", "a_very_long_name_" * 4, "_x", "N")),
            )
            tokens[:] = [new if t == old else t for t in tokens]
        case _:
            i = r.choice(places) if places else 0
            tokens[i:i] = r.choice(((" ",), ("\n",), (" # c\n",)))


def _change_tokens(
    r: random.Random, tokens: list[str], words: Sequence[str], others: Sequence[list[str]]
) -> None:
    if not tokens:
        tokens.append(r.choice(words))
        return
    a = r.randrange(len(tokens))
    b = min(len(tokens), a + r.choice((1, 1, 1, 2, 3, 8, 20)))
    match r.randrange(10):
        case 0:
            del tokens[a:b]
        case 1:
            tokens[a:a] = tokens[a:b] * r.choice((1, 1, 2, 30))
        case 2:
            c = r.randrange(len(tokens))
            tokens[a], tokens[c] = tokens[c], tokens[a]
        case 3 | 4 | 5:
            alike = [i for i, t in enumerate(tokens) if t[0].isalnum()] or [a]
            i = r.choice(alike)
            tokens[i] = r.choice(NUMBERS) if tokens[i][0].isdigit() else r.choice(words)
        case 6:
            tokens.insert(a, r.choice(words))
        case 7 if others:
            other = r.choice(others)
            c = r.randrange(len(other)) if other else 0
            tokens[a:b] = other[c : c + r.choice((1, 2, 5, 20))]
        case 8:
            tokens.insert(a, r.choice(ODD))
        case _:
            tokens[a] = r.choice(tokens)


ODD_JSON: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, "", "x", "../x", "/", "\0", "\ud800", "é" * 40,
    "a" * 5000, [], {}, [[]], [0], [None, 1], {"": 0}, {"x": {"x": {}}}, "0" * 64, "spec.mp", "adam", [1, 1], [0, 0.5],
)  # fmt: skip


def structured(*seeds: str | bytes) -> Mutator:
    """Put an odd value at a place of a JSON text, take one out, or move one; what is no JSON is begun anew from
    `seeds`.
    """

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        r = random.Random(seed)
        if r.random() < 0.03:
            return changed(data, most)
        try:
            whole = json.loads(data)
        except (ValueError, RecursionError):
            whole = json.loads(r.choice(seeds))
        for _ in range(r.choice((1, 1, 2))):
            places = list(_places(whole))
            if not places:
                break
            _change_place(r, places)
        out = json.dumps(whole).encode()
        return out if len(out) <= most else data[:most]

    return mutate


def _change_place(r: random.Random, places: list[Any]) -> None:
    holder, key = r.choice(places)
    match r.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[r.choice(("x", "", "format", "__class__", str(key) + "x"))] = copy.deepcopy(holder[key])
        case 2:
            other, place = r.choice(places)
            if place in other if isinstance(other, dict) else True:
                holder[key] = copy.deepcopy(other[place])
        case 3 | 4 | 5:  # of the same type, so that it may fit
            alike = [v for v in ODD_JSON if type(v) is type(holder[key])]
            holder[key] = copy.deepcopy(r.choice(alike or ODD_JSON))
        case _:
            holder[key] = copy.deepcopy(r.choice(ODD_JSON))


def _places(node: Any) -> Any:
    stack = [node]
    while stack:
        here = stack.pop()
        for key in here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ():
            yield here, key
            stack.append(here[key])


def fields(data: bytes, most: int, seed: int) -> bytes:
    """Write an odd integer somewhere, mostly near the start or the end; or change bytes."""
    r = random.Random(seed)
    if len(data) < 12 or r.random() < 0.3:
        return bytewise(data, most, seed)
    out = bytearray(data)
    width = r.choice((1, 2, 4, 8))
    span = min(len(out) - width, r.choice((32, 128, len(out))))
    at = r.randint(0, max(0, span))
    at = len(out) - width - at if r.random() < 0.25 else at
    at = max(0, min(at, len(out) - width))
    value = r.choice(INTEGERS) % 256**width
    out[at : at + width] = value.to_bytes(width, r.choice(("little", "big")))
    return bytes(out[:most])


HEADER = text(
    ("'descr'", "'fortran_order'", "'shape'", "True", "False", "(", ")", ",", "{", "}", "'<f4'", "'<f8'", "'>i2'",
     "'|u1'",
     "'|b1'", "'<f2'", "'|O'", "'<U9'", "'<M8[s]'", "'|V8'", "[('a','<f4')]", "('<f4',(2,))", "'<c16'", "-1", "()",
     "(0,)",
     "(2,3)", "(1,)*9", "None", "1L", ":", "'<f16'", "''", "'i'", "'<i8'"), (), 0.02,
)  # fmt: skip


#: Types of arrays: numbers first.
TYPES = ("<f4", "<f8", "<i8", "|u1", "|b1", "<f2", "<u2", ">i2", ">f8", "|i1", "<f16", "<c16", "|O", "<U3", "|S2",
         "<M8[s]", "|V4", "|u1,<i2")  # fmt: skip


def npy(data: bytes, most: int, seed: int) -> bytes:
    """Change the header of a .npy, its lengths kept true, or its numbers; half the time to one that is sound."""
    r = random.Random(seed)
    if data[:6] != b"\x93NUMPY" or len(data) < 12 or r.random() < 0.15:
        return fields(data, most, seed)
    size = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + size], data[10 + size :]
    if r.random() < 0.6:
        kind = r.choice(TYPES if r.random() < 0.3 else TYPES[:10])
        shape = tuple(r.choice((0, 1, 2, 3, 5, 16)) for _ in range(r.choice((1, 1, 2, 2, 3, 4, 0, 33))))
        if math.prod(shape) > most:
            shape = (2, 3)
        header = str({"descr": kind, "fortran_order": r.random() < 0.3, "shape": shape}).encode()
        wide = int("0" + "".join(c for c in kind[2:4] if c.isdigit())) or 1
        body = (body or b"\0") * (1 + wide * math.prod(shape) // max(1, len(body)))
        body = body[: wide * math.prod(shape)]
    elif r.random() < 0.4:
        header = HEADER(header.strip() or b"{}", 4096, seed)
    if len(body) > most:
        body = body[: most // 2]
    if r.random() < 0.1:
        body = body[: r.randint(0, len(body))]
    elif r.random() < 0.3 and len(body):
        body = changed(body, len(body))
    header += b" " * (-(11 + len(header)) % 64) + b"\n"
    return (b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + body)[:most]


def zipped(*seeds: bytes) -> Mutator:
    """Change a member of a .npz and pack it again, or the archive itself; what is no archive is begun anew."""

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        r = random.Random(seed)
        if r.random() < 0.2:
            return fields(data, most, seed)
        try:
            held = _members(data)
        except Exception:
            held = _members(r.choice(seeds))
        out = io.BytesIO()
        pick = r.randrange(len(held)) if held else -1
        with zipfile.ZipFile(out, "w") as archive:
            for i, (name, payload) in enumerate(held):
                if i == pick:
                    payload = npy(payload, 4096, seed)
                    name = r.choice(NAMES) if r.random() < 0.3 else name
                method = r.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
                try:
                    archive.writestr(name, payload, method)
                except (ValueError, UnicodeError):
                    return fields(data, most, seed)
            if r.random() < 0.1:
                archive.writestr(r.choice(NAMES), npy(held[pick][1] if held else b"", 4096, seed))
        return out.getvalue() if len(out.getvalue()) <= most else data[:most]

    return mutate


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(m.filename, archive.read(m)) for m in archive.infolist()[:8] if m.file_size < 1 << 16]


NAMES = (
    "x.npy", "y.npy", "x_train.npy", "train.npy", "x_shape.npy", "len.npy", "train_len.npy", "length.npy", "x", "a/b.npy",
         "../x.npy", ".npy", "é.npy", "x_val.npy", "x_test.npy", "x\n.npy",
)  # fmt: skip


def png(data: bytes, most: int, seed: int) -> bytes:
    """Change one chunk of a PNG, checksums kept true: its fields, or what it has compressed."""
    r = random.Random(seed)
    if data[:8] != b"\x89PNG\r\n\x1a\n" or r.random() < 0.2:
        return fields(data, most, seed)
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return fields(data, most, seed)
    i = r.randrange(len(chunks))
    kind, body = chunks[i]
    match r.randrange(7):
        case 0:
            del chunks[i]
        case 1:
            chunks.insert(i, chunks[i])
        case 2:
            chunks.insert(i, (r.choice((b"tRNS", b"PLTE", b"eXIf", b"gAMA", b"acTL", b"tEXt", b"zTXt", b"iCCP", b"fdAT")),
                              changed(body[:64], 64)))  # fmt: skip
        case 3 if kind == b"IDAT":
            try:
                plain = zlib.decompressobj().decompress(body, 1 << 14)
            except zlib.error:
                plain = b""
            chunks[i] = (kind, zlib.compress(changed(plain, 4096), 1))
        case _:
            body = bytearray(body or b"\0")
            if kind == b"IHDR" and len(body) == 13:
                where = r.choice((0, 4, 8, 9, 10, 11, 12))
                if where < 8:
                    body[where : where + 4] = (r.choice(INTEGERS) % 2**32).to_bytes(4, "big")
                else:
                    body[where] = r.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
                chunks[i] = (kind, bytes(body))
            else:
                chunks[i] = (kind, changed(bytes(body), 2048))
    out = data[:8] + b"".join(
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks
    )
    return out[:most]


def prefixed(width: int) -> Mutator:
    """A JSON header behind its length in `width` bytes, as safetensors has it; then numbers."""

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        r = random.Random(seed)
        size = int.from_bytes(data[:width], "little")
        if not 2 <= size <= len(data) - width or r.random() < 0.2:
            return fields(data, most, seed)
        header, body = data[width : width + size], data[width + size :]
        header = TENSOR_JSON(header, 4096, seed) if r.random() < 0.5 else TENSORS(header, 4096, seed)
        if r.random() < 0.2:
            body = changed(body, 1024)
        return (len(header).to_bytes(width, "little") + header + body)[:most]

    return mutate


TENSOR_JSON = structured('{"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}')
TENSORS = text(
    ('"F32"', '"F64"', '"BF16"', '"F16"', '"I64"', '"I8"', '"BOOL"', '"F8_E4M3"', '"U64"', '"F4"', '"dtype"', '"shape"',
     '"data_offsets"', '"__metadata__"', "[", "]", "{", "}", ",", "[0,4]", "[4,0]", "[2,3]", "[]", '"C64"'), (), 0.02,
)  # fmt: skip
