"""The layout of a weight in a file of others: which arrays it is made of, turned, cut, joined and reshaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcompile.ir.primitive import Array

_KEYS = {"from", "transpose", "take", "reshape"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The way in which a weight is made of arrays of a file.

    names      arrays that are joined along axis 0, each behind what follows
    transpose  a permutation of the axes of each
    take       for each array ranges (start, stop) of rows along axis 0, in this order; none for all rows
    reshape    the shape of the whole in the end
    """

    names: tuple[str, ...]
    transpose: tuple[int, ...] = ()
    take: tuple[tuple[tuple[int, int], ...], ...] = ()
    reshape: tuple[int, ...] = ()

    @classmethod
    def parse(cls, row: Any) -> Layout:
        """Read a row of a file of names: a name, or an object with `from`. Raises `ValueError` with what is wrong.

        `{"from": "c_attn.weight", "transpose": [1, 0], "take": [[0, 16]]}` are the first 16 columns, as rows;
        `{"from": ["q.weight", "k.weight"]}` two arrays, one below the other.
        """
        if isinstance(row, str):
            return cls((row,))
        if not isinstance(row, dict) or "from" not in row or not set(row) <= _KEYS:
            raise ValueError('is no name and no object with "from", and "transpose", "take" or "reshape"')
        given = row["from"]
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise ValueError('says "from" what is no name and no list of names')
        transpose, reshape = (_numbers(row.get(key, []), key) for key in ("transpose", "reshape"))
        if sorted(transpose) != list(range(len(transpose))):
            raise ValueError(f"has the transpose {list(transpose)}, which is no permutation")
        taken = row.get("take", [])
        if not isinstance(taken, list):
            raise ValueError('has a "take" that is no list of ranges')
        each = [taken] if isinstance(given, str) else taken
        take = tuple(tuple(_range(r) for r in ranges) if isinstance(ranges, list) else () for ranges in each)
        if taken and len(take) != len(names):
            raise ValueError('has another number of lists in "take" than names in "from"')
        return cls(tuple(names), transpose, take if taken else (), reshape)

    def row(self) -> Any:
        """Return the row of a file of names that says this; a name alone where it is one."""
        if len(self.names) == 1 and not (self.transpose or self.take or self.reshape):
            return self.names[0]
        one = len(self.names) == 1
        made: dict[str, Any] = {"from": self.names[0] if one else list(self.names)}
        if self.transpose:
            made["transpose"] = list(self.transpose)
        if self.take:
            ranges = [[list(r) for r in each] for each in self.take]
            made["take"] = ranges[0] if one else ranges
        if self.reshape:
            made["reshape"] = list(self.reshape)
        return made

    def apply(self, arrays: Mapping[str, Array]) -> Array:
        """Make the weight of arrays by name. Raises `ValueError` with what does not fit, and `KeyError`."""
        parts = []
        for number, name in enumerate(self.names):
            x = arrays[name]
            if self.transpose:
                if len(self.transpose) != x.ndim:
                    raise ValueError(f"'{name}' has {x.ndim} axes, and its transpose {len(self.transpose)}")
                x = x.transpose(self.transpose)
            ranges = self.take[number] if self.take else ()
            if any(stop > (x.shape[0] if x.ndim else 0) for _, stop in ranges):
                raise ValueError(
                    f"'{name}' has {x.shape[0] if x.ndim else 0} rows, and ranges behind them are taken"
                )
            parts.append(np.concatenate([x[a:b] for a, b in ranges]) if ranges else x)
        if len({p.shape[1:] for p in parts}) > 1 or (len(parts) > 1 and not parts[0].ndim):
            raise ValueError(f"{', '.join(self.names)} differ behind their first axis")
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole.reshape(self.reshape) if self.reshape else whole


def _numbers(found: Any, key: str) -> tuple[int, ...]:
    if not isinstance(found, list) or not all(type(n) is int and n >= 0 for n in found):
        raise ValueError(f'has a "{key}" that is no list of numbers')
    return tuple(found)


def _range(found: Any) -> tuple[int, int]:
    if not isinstance(found, list) or len(found) != 2 or not all(type(n) is int for n in found):
        raise ValueError('has a "take" that is no list of ranges [start, stop]')
    start, stop = found
    if not 0 <= start < stop:
        raise ValueError(f"takes rows {start} to {stop}")
    return start, stop


def ranges(rows: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return numbers of rows as ranges (start, stop), in their order."""
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and found[-1][1] == row:
            found[-1] = found[-1][0], row + 1
        else:
            found.append((row, row + 1))
    return tuple(found)


__all__ = ["Layout", "ranges"]
