"""The order of the examples in an epoch: a table that is shuffled, or past 1e7 of them a permutation without a table.

Black and Rogaway (2002), "Ciphers with arbitrary finite domains", section 3: a Feistel network permutes a power of four
that is at least the number of examples, and a place beyond them walks on along its cycle until it is one of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.noise import generator, permutation

Kind = Literal["table", "feistel"]
#: Up to so many examples an order is a shuffled table: 1e8 places take 7 s and 800 MB, in every epoch and process.
TABLE_UP_TO = 10**7
_ROUNDS = 6


def usual(count: int) -> Kind:
    """Return the kind of order of a run that begins."""
    return "table" if count <= TABLE_UP_TO else "feistel"


@dataclass(frozen=True, slots=True)
class Order:
    """The orders of `count` examples, one for each epoch, keyed by (seed, epoch)."""

    count: int
    seed: int
    kind: Kind

    def rows(self, epoch: int, start: int, stop: int) -> Array:
        """Return the examples `[stop - start]` at these places of an epoch."""
        if self.kind == "table":
            return _table(self.count, self.seed, epoch)[start:stop]
        return feistel(np.arange(start, stop), self.count, self.seed, "order", epoch)


@lru_cache(maxsize=2)
def _table(count: int, seed: int, epoch: int) -> Array:
    return permutation(count, seed, "order", epoch)


def feistel(places: Array, count: int, *key: str | int) -> Array:
    """Return the images of places in [0, count) under a permutation of `range(count)` that the key chooses, as int64."""
    half = max(1, -(-(count - 1).bit_length() // 2))
    keys = generator(*key).integers(0, 2**64, _ROUNDS, np.uint64)
    found = _enciphered(np.asarray(places, np.uint64), half, keys)
    while (beyond := np.flatnonzero(found >= count)).size:
        found[beyond] = _enciphered(found[beyond], half, keys)
    return found.astype(np.int64)


def _enciphered(places: Array, half: int, keys: Array) -> Array:
    """Permute `range(4 ** half)` by a balanced Feistel network."""
    width, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = places >> width, places & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return np.asarray(left << width | right)


def _mixed(x: Array) -> Array:
    """Mix 64 bits (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 17)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


__all__ = ["TABLE_UP_TO", "Kind", "Order", "feistel", "usual"]
