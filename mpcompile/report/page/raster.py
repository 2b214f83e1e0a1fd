"""Matrices as pictures that a page can hold: packed bits, or grey averages where a matrix is too large."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np

from mpcompile.ir import Array


class Blobs:
    """Byte strings of a page, each kept once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, data: bytes) -> int:
        text = b64encode(data).decode("ascii")
        if text not in self._known:
            self._known[text] = len(self.texts)
            self.texts.append(text)
        return self._known[text]

    def bits(self, array: Array) -> int:
        """Booleans in row-major order, the first in the lowest bit of the first byte."""
        return self.add(np.packbits(array.reshape(-1).astype(bool), bitorder="little").tobytes())

    def raster(self, matrix: Array, limit: int) -> dict[str, Any]:
        """A picture of a Boolean matrix [rows, columns], at most `limit` pixels on each side.

        `depth` 1: one bit an entry. `depth` 8: a byte a pixel, 255 times the mean of the entries it stands for.
        """
        rows, columns = matrix.shape
        if max(rows, columns) <= limit:
            return {"rows": rows, "columns": columns, "depth": 1, "blob": self.bits(matrix)}
        small = averaged(averaged(matrix.astype(np.float64), limit).T, limit).T
        grey = np.round(255 * small).astype(np.uint8)
        return {
            "rows": small.shape[0],
            "columns": small.shape[1],
            "depth": 8,
            "blob": self.add(grey.tobytes()),
        }


def averaged(matrix: Array, limit: int) -> Array:
    """Average `limit` stretches of rows of lengths as equal as can be; return fewer rows unchanged."""
    rows = matrix.shape[0]
    if rows <= limit:
        return matrix
    starts = np.arange(limit) * rows // limit
    lengths = np.diff(np.append(starts, rows))
    return np.asarray(np.add.reduceat(matrix, starts, axis=0) / lengths[:, None])
