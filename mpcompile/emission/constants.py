"""Forms of an array of constants: the rule behind it, or else a list or a packed text."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import numpy as np

from mpcompile.emission.text import number
from mpcompile.ir import Array

#: Characters of one piece of packed text.
PIECE = 76
#: What fits on a line of its own is not cut: formatters would join it again.
WHOLE = 92


def core(array: Array) -> Array:
    """Reduce an array to length one along axes on which nothing changes, without leading axes of length one."""
    for axis in range(array.ndim):
        one = array.take([0], axis)
        array = one if (array == one).all() else array
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return array


def is_mask(array: Array) -> bool:
    """Return whether an array has zeros and ones alone."""
    return bool(np.isin(array, (0, 1)).all())


def nested(array: Array) -> str:
    """Format an array as nested lists of Python literals."""
    if array.ndim == 0:
        return number(array.item())
    return "[" + ", ".join(nested(a) for a in array) + "]"


def line(array: Array, module: str) -> str | None:
    """Return a rule for a vector of whole numbers, in words of a module that has `arange`; None where there is none."""
    if (
        array.dtype.kind == "f"
        and not (np.isfinite(array) & (array == np.floor(array)) & (abs(array) < 2**53)).all()
    ):
        return None
    n, values = array.size, array.astype(np.int64)
    index = np.arange(n)
    step = int(values[1] - values[0])
    if step and (np.diff(values) == step).all():
        start = int(values[0])
        stop = start + n * step
        return _arange(module, start, stop, step)
    if array.dtype.kind == "b" or is_mask(array):
        turns = np.flatnonzero(np.diff(values))
        if turns.size == 1:
            compare = "<" if values[0] else ">="
            return f"{module}.arange({n}) {compare} {turns.item() + 1}"
    low = int(values.min())
    for period in range(2, min(n, 1 + int(values.max()) - low + 1)):
        offset = int(values[0]) - low
        if ((index + offset) % period + low == values).all():
            inner = f"({module}.arange({n}) + {offset})" if offset else f"{module}.arange({n})"
            rule = f"{inner} % {period}"
            rule = f"{rule} + {low}" if low else rule
            return rule
    return None


def _arange(module: str, start: int, stop: int, step: int) -> str:
    if step == 1:
        return f"{module}.arange({stop})" if start == 0 else f"{module}.arange({start}, {stop})"
    return f"{module}.arange({start}, {stop}, {step})"


def staircase(mask: Array) -> tuple[Array, Array] | None:
    """Return levels with `mask[i, j] == (row[i] >= column[j])`, or None where the supports of rows are not nested."""
    sums = np.asarray(mask.sum(1))
    order = np.argsort(sums, kind="stable")
    sorted_rows = mask[order]
    if (sorted_rows[:-1] & ~sorted_rows[1:]).any():
        return None
    distinct, row = np.unique(sums, return_inverse=True)
    column = np.full(mask.shape[1], len(distinct))
    for level in reversed(range(len(distinct))):
        column[mask[int(np.argmax(row.reshape(-1) == level))]] = level
    return row.reshape(-1), column


def packed(array: Array, narrow: bool = False) -> tuple[str, str]:
    """Pack the elements in base64, as strings of Python text, and return them with the name of their dtype.

    Bits are packed.

    Integers are of 64 bits, or (`narrow`) as few as hold them: bytes, or signed, since torch compares no wider unsigned
    ones.
    """
    if array.dtype.kind == "b" or is_mask(array):
        kind, data = "bool", np.packbits(array.astype(bool).reshape(-1), bitorder="little").tobytes()
    elif array.dtype.kind == "i":
        width = np.dtype("<i8")
        if narrow and array.size and array.min() >= 0:
            top = int(array.max())
            width = np.min_scalar_type(top if top < 256 else -top)
        kind, data = width.name, array.astype(width.newbyteorder("<")).tobytes()
    else:
        kind, data = "float64", array.astype("<f8").tobytes()
    text = base64.b64encode(data).decode()
    piece = WHOLE if len(text) <= WHOLE else PIECE
    pieces = " ".join(f'"{text[i : i + piece]}"' for i in range(0, len(text), piece))
    return pieces, kind


@dataclass
class Levels:
    """Long vectors that masks compare: each is a variable of its own. `lines` are the statements that make them."""

    stem: str = "levels"
    names: dict[str, str] = field(default_factory=dict)

    def name(self, text: str) -> str:
        return self.names.setdefault(text, f"{self.stem}_{len(self.names)}")

    def lines(self) -> list[str]:
        return [f"{name} = {text}" for text, name in self.names.items()]
