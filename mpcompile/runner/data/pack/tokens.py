"""Text as the tokens of a tokenizer.json, by the library `tokenizers`, and the text that each token stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.opening import Unreadable, opened, reading, whole
from mpcompile.runner.data.pack.store import Facts


def tokens(path: Path, text: Iterable[str], facts: Facts) -> Iterator[Array]:
    """Encode a text block by block, without special tokens around it, and set the vocabulary.

    Raises `Unreadable` where the file is no tokenizer or `tokenizers` is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise Unreadable(
            f"{path}: tokens need the library tokenizers: pip install 'mpcompile[data]'"
        ) from None
    with opened(path), reading(path):
        coder = Tokenizer.from_str(whole(path).decode("utf-8"))
    facts.vocabulary = pieces(coder)
    facts.levels = {"x": len(facts.vocabulary)}
    kind = np.min_scalar_type(len(facts.vocabulary) - 1)
    for block in text:
        yield np.array(coder.encode(block, add_special_tokens=False).ids, kind)


def pieces(coder: Any) -> list[str]:
    """Return the text that each token adds, by its number.

    Of byte-level tokens (Radford et al. 2019, section 2.2) the bytes, those that are no character alone as surrogates,
    so that joined tokens give the text. A `▁` is a space, and `##` joins what follows to the word before.
    """
    names = {number: name for name, number in coder.get_vocab(with_added_tokens=True).items()}
    listed = [names.get(i, f"<{i}>") for i in range(max(names, default=-1) + 1)]
    kind = type(coder.decoder).__name__ if coder.decoder is not None else ""
    if kind == "ByteLevel":
        letters = _byte_letters()
        return [
            bytes(letters[c] for c in t).decode("utf-8", "surrogateescape") if set(t) <= letters.keys() else t
            for t in listed
        ]
    if kind == "WordPiece":
        return [t[2:] if t.startswith("##") else f" {t}" for t in listed]
    return [t.replace("▁", " ") for t in listed]


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies: itself where it prints, else one from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


__all__ = ["pieces", "tokens"]
