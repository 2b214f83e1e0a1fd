"""Matrices of bits, 64 to a word: sets of inputs of thousands of outputs in little memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpcompile.budget import reserve
from mpcompile.ir import Array

#: Rows that are unpacked at once take about this many bytes.
SLAB = 1 << 22


@dataclass(frozen=True)
class BitMatrix:
    """Bool [rows, columns]; word w of a row holds columns 64 w to 64 w + 63, the lowest bit first.

    words    uint64 [rows, ceil(columns / 64)]; bits behind the last column are zero
    """

    words: Array
    columns: int

    @classmethod
    def of(cls, matrix: Array | BitMatrix) -> BitMatrix:
        """Pack a bool matrix; one that is packed stays as it is."""
        if isinstance(matrix, BitMatrix):
            return matrix
        rows, columns = matrix.shape
        wide = np.zeros((rows, max(1, -(-columns // 64)) * 64), bool)
        wide[:, :columns] = matrix
        return cls(np.packbits(wide, axis=1, bitorder="little").view("<u8").astype(np.uint64), columns)

    @property
    def shape(self) -> tuple[int, int]:
        return self.words.shape[0], self.columns

    def __or__(self, other: BitMatrix) -> BitMatrix:
        return BitMatrix(self.words | other.words, self.columns)

    def any(self) -> bool:
        return bool(self.words.any())

    def unpack(self) -> Array:
        """Bool [rows, columns]."""
        reserve(self.words.size * 64)
        little = np.ascontiguousarray(self.words.astype("<u8", copy=False)).view(np.uint8)
        bits: Array = np.unpackbits(little, axis=-1, bitorder="little")[:, : self.columns].view(bool)
        return bits

    def counts(self, within: Array | None = None) -> Array:
        """Count the columns of each row that are set; only those `within` a set of columns, if one is given as words."""
        rows = max(1, SLAB // max(1, self.words.shape[1] * 8))
        parts = []
        for start in range(0, len(self.words), rows):
            slab = self.words[start : start + rows]
            parts.append(_ones(slab if within is None else slab & within))
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def at(self, rows: Array, columns: Array) -> Array:
        """Return whether entries are set, one for each pair."""
        return _bit(self.words[rows, columns >> 6], columns)

    def column(self, column: int) -> Array:
        """One column, bool [rows]."""
        return _bit(self._by_word[column >> 6], np.asarray(column))

    def first(self, rows: Array, without: Array | None = None) -> Array:
        """The first column of each of some rows, those `without` a set left out; every row has one."""
        words = self.words[rows]
        if without is not None:
            words &= ~without
        at = (words != 0).argmax(1)
        word = words[np.arange(len(rows)), at]
        return np.asarray(at * 64 + _ones((word & (~word + np.uint64(1))) - np.uint64(1)), np.int64)

    def lower(self) -> bool:
        """Whether nothing is set above the diagonal."""
        at = self.words.shape[1] - 1 - (self.words[:, ::-1] != 0).argmax(1)
        word = self.words[np.arange(len(self.words)), at].copy()
        for step in (1, 2, 4, 8, 16, 32):
            word |= word >> np.uint64(step)
        return bool((np.where(word, at * 64 + _ones(word) - 1, -1) <= np.arange(len(self.words))).all())

    def beside_the_diagonal(self) -> tuple[int, int] | None:
        """The first entry that is not on the diagonal, by rows."""
        for start in range(0, len(self.words), 1 << 10):
            slab = self.words[start : start + (1 << 10)].copy()
            own = np.arange(start, min(start + len(slab), self.columns))
            slab[own - start, own >> 6] &= ~(np.uint64(1) << (own.astype(np.uint64) & np.uint64(63)))
            hit = np.flatnonzero(slab.any(1))
            if hit.size:
                row = hit[:1]
                return start + int(row[0]), int(BitMatrix(slab, self.columns).first(row)[0])
        return None

    @cached_property
    def _by_word(self) -> Array:
        """The words with those of one column side by side."""
        reserve(self.words.nbytes)
        return np.ascontiguousarray(self.words.T)


def columns_set(columns: Array, words: int) -> Array:
    """Pack a set of columns to words."""
    out = np.zeros(words, np.uint64)
    np.bitwise_or.at(out, columns >> 6, np.uint64(1) << (columns.astype(np.uint64) & np.uint64(63)))
    return out


def _bit(words: Array, columns: Array) -> Array:
    bits: Array = ((words >> (columns.astype(np.uint64) & np.uint64(63))) & np.uint64(1)).astype(bool)
    return bits


#: Set bits of each byte, for numpy before 2.0.
_ONES_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)


def _ones(words: Array) -> Array:
    """Set bits of each word, or of each row of words."""
    if hasattr(np, "bitwise_count"):
        each: Array = np.bitwise_count(words)
    else:
        each = _ONES_OF_BYTE[np.ascontiguousarray(words)[..., None].view(np.uint8)].sum(-1, dtype=np.uint8)
    return np.asarray(each.sum(-1, dtype=np.int32) if words.ndim > 1 else each.astype(np.int32))
