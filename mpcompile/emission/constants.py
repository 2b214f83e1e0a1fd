"""Forms of an array of constants: the rule behind it, or else a list or an array of the file of constants."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from safetensors.numpy import save

from mpcompile.emission.tensors import METADATA
from mpcompile.emission.text import number
from mpcompile.ir import Array

#: The file of constants that lies beside the emitted code, and the table that the code reads it into.
FILE, TABLE = "constants.safetensors", "CONSTANTS"
#: The statement that reads it. `Path` and `load_file` are imported.
LOAD = f'{TABLE} = load_file(Path(__file__).with_name("{FILE}"))'


def core(array: Array) -> Array:
    """Reduce an array to length one along axes on which nothing changes, without leading axes of length one."""
    for axis in range(array.ndim):
        one = array.take([0], axis)
        array = one if (array == one).all() else array
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return array


def is_mask(array: Array) -> bool:
    """Return whether an array has zeros and ones alone, none of them a negative zero."""
    return bool(np.isin(array, (0, 1)).all()) and not (array.dtype.kind == "f" and np.signbit(array).any())


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


def permutation(matrix: Array, module: str) -> str | None:
    """Return a permutation's matrix as rows of the identity, in words of a module that has `eye`; None for another."""
    ones = matrix != 0
    if matrix.shape[0] != matrix.shape[1] or not ((ones.sum(0) == 1) & (ones.sum(1) == 1)).all():
        return None
    rows, eye = ones.argmax(1), f"{module}.eye({len(ones)})"
    return eye if (np.diff(rows) == 1).all() else f"{eye}[{nested(rows)}]"


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


def narrowed(array: Array) -> Array:
    """Return the array as the file holds it: bits, integers in as few bytes as they need, or floats of 64 bits.

    Integers are bytes or signed: torch compares no wider unsigned ones.
    """
    if array.dtype.kind == "b" or is_mask(array):
        return array.astype(bool)
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    if not array.size or array.min() < 0:
        return array.astype(np.int64)
    top = int(array.max())
    return array.astype(np.min_scalar_type(top if top < 256 else -top))


@dataclass
class Constants:
    """The arrays of `constants.safetensors` by their names. Equal ones lie in the file once."""

    arrays: dict[str, Array] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def read(self, array: Array, hint: str) -> str:
        """Write the expression that reads an array, as `narrowed` gives it; `hint` is its name where no other has it."""
        array = np.ascontiguousarray(narrowed(array))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name, number = hint, 1
            while name in self.arrays:
                number += 1
                name = f"{hint}_{number}"
            self._known[key], self.arrays[name] = name, array
        return f'{TABLE}["{self._known[key]}"]'

    def files(self) -> dict[str, bytes]:
        """Return the file by its name; nothing where it would hold nothing."""
        return {FILE: save(self.arrays, METADATA)} if self.arrays else {}
