"""Random numbers as a pure function of a key: the same on every backend and after every resume."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from mpcompile.ir import Array

Key = tuple[str | int, ...]

# The largest float32 below one: rounding a float64 just below one would otherwise leave the open interval.
_BELOW_ONE = np.float32(1 - 2**-24)


def generator(*key: str | int) -> np.random.Generator:
    """Return numpy's Philox under a key of strings and integers, e.g. `(seed, "train", "epsilon", step)`.

    Different keys give independent streams; a string never collides with an integer that prints the same.
    """
    digest = blake2b(digest_size=16)
    for part in key:
        text = f"{'i' if isinstance(part, int) else 's'}{part}".encode()
        digest.update(len(text).to_bytes(4, "little") + text)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest(), "little")))


def draw(kind: str, shape: Sequence[int], key: Key, dtype: Any = np.float32, *, classes: int = 0) -> Array:
    """Draw an array of noise.

    Drawn in float64, rounded to float32 and then cast, so that every precision sees the same numbers.
    Raises `ValueError` for another kind.

    `kind` is `normal` (standard), `uniform` (open interval (0, 1), at any `dtype`) or `choice` (whole numbers
    below `classes`).
    """
    source = generator(*key)
    if kind == "normal":
        return source.standard_normal(tuple(shape)).astype(np.float32).astype(dtype, copy=False)
    if kind == "uniform":
        u = source.random(tuple(shape))  # multiples of 2^-53 in [0, 1)
        u += 2.0**-54
        return np.minimum(u.astype(np.float32), _BELOW_ONE).astype(dtype, copy=False)
    if kind == "choice":
        return source.integers(0, classes, tuple(shape))
    raise ValueError(f"noise is normal, uniform or choice, not {kind!r}")


def permutation(count: int, *key: str | int) -> Array:
    """Draw a random order of `range(count)` under a key; of many rows in four bytes each."""
    order = np.arange(count, dtype=np.uint32 if 2**20 < count < 2**32 else np.int64)
    generator(*key).shuffle(order)  # draws what `permutation` draws
    return order
