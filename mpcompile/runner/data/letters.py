"""Text as integers: characters under a vocabulary, or the bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpcompile.ir import Array

#: The vocabulary that stands for bytes: what a category of 256 classes reads of any text.
BYTES = [chr(i) for i in range(256)]
#: Characters that are encoded at once.
_BLOCK = 2**20


def encode(words: str, vocabulary: Sequence[str]) -> Array:
    """Encode a text as integers `[n]`; the vocabulary is sorted.

    Raises `ValueError` for characters that it lacks, and for a vocabulary of tokens.
    """
    if list(vocabulary) == BYTES:
        return np.frombuffer(words.encode("utf-8", "surrogateescape"), dtype=np.uint8)
    if any(len(letter) != 1 for letter in vocabulary):
        raise ValueError("the run was trained on tokens: pack the text with its tokenizer")
    if missing := sorted(set(words) - set(vocabulary)):
        raise ValueError(f"the run's vocabulary lacks {', '.join(map(repr, missing[:5]))}")
    known = _points("".join(vocabulary))
    out = np.empty(len(words), np.min_scalar_type(max(len(known) - 1, 0)))
    for start in range(0, len(words), _BLOCK):
        out[start : start + _BLOCK] = np.searchsorted(known, _points(words[start : start + _BLOCK]))
    return out


def decode(codes: Array, vocabulary: Sequence[str]) -> str:
    """Decode integers `[n]` to a text.

    Integers out of range count as the nearest; bytes that are no UTF-8 are replaced.
    """
    clipped = np.clip(codes, 0, len(vocabulary) - 1)
    if list(vocabulary) == BYTES:
        return clipped.astype(np.uint8).tobytes().decode("utf-8", "replace")
    words = "".join(vocabulary[code] for code in clipped.reshape(-1).tolist())
    return words.encode("utf-8", "surrogateescape").decode(
        "utf-8", "replace"
    )  # bytes of tokens, joined to characters


def _points(words: str) -> Array:
    return np.frombuffer(words.encode("utf-32-le"), dtype=np.uint32)
