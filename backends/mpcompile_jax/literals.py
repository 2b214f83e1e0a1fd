"""Arrays of constants as numpy text: by the rule behind them where one is seen, in full when small, else from a file."""

from __future__ import annotations

import numpy as np

from mpcompile.emission.constants import Constants, core, is_mask, line, nested, permutation, staircase
from mpcompile.emission.text import number, tuple_text
from mpcompile.ir import Array

#: Longer lists of elements lie in the file.
LISTED = 64


def array_text(array: Array, file: Constants, hint: str) -> str:
    """Write an expression for a numpy array of this value.

    One of zeros and ones comes as truth values. A long array without a rule becomes one of `file`, called `hint`.

    Whole numbers are int32 in every precision: JAX keeps constants by identity, and one that is int64 under
    `enable_x64` and int32 outside would be taken for the other (both modes may run in one process).
    """
    if array.dtype.kind == "i":
        return f"np.asarray({_array_text(array, file, hint)}, np.int32)"
    return _array_text(array != 0 if truth_values(array) else array, file, hint)


def _array_text(array: Array, file: Constants, hint: str) -> str:
    first = array.flat[0] if array.size else array.dtype.type(0)
    if (array == first).all():
        return f"np.full({tuple_text(map(str, array.shape))}, {number(first.item())})"
    small = core(array)
    if small.shape == array.shape:
        return _dense(array, file, hint)
    return f"np.broadcast_to({_dense(small, file, hint)}, {tuple_text(map(str, array.shape))})"


def truth_values(array: Array) -> bool:
    """Return whether the array is kept as truth values, and made floats where it is read."""
    return array.dtype.kind in "bf" and is_mask(array)


def _dense(array: Array, file: Constants, hint: str) -> str:
    """Write an array by its rule, as a list, or as one of the file."""
    if array.ndim > 1 and max(array.shape) == array.size:
        inner = _dense(array.reshape(-1), file, hint)
        inner = f"({inner})" if " " in inner.split("(")[0] or not inner.endswith(")") else inner
        return f"np.reshape({inner}, {tuple_text(map(str, array.shape))})"
    kind = array.dtype.kind
    if kind == "i" and array.ndim > 1 and array.size > 4:
        rule = line(array.reshape(-1), "np")
        if rule is not None:
            return f"np.reshape({rule}, {tuple_text(map(str, array.shape))})"
    rule = line(array, "np") if array.ndim == 1 and array.size > 4 else None
    if rule is not None and (kind == "i" or (kind == "b" and ("<" in rule or ">=" in rule))):
        return rule
    if rule is not None:
        return f"{rule} == 1" if kind == "b" else f"({rule}).astype(float)"
    if array.ndim == 2 and array.size > 4 and kind == "b":
        swapped = permutation(array, "np")
        if swapped is not None and len(swapped) <= LISTED:
            return f"{swapped} == 1"
        rule = _mask(array, file, hint)
        if rule is not None:
            return rule
    listed = nested(array) if array.size <= LISTED else ""
    if listed and len(listed) <= LISTED:
        return f"np.array({listed})"
    return file.read(array, hint)


def _mask(mask: Array, file: Constants, hint: str) -> str | None:
    """A rule for a matrix of bits: triangles, checkerboards, and any staircase `row level >= column`."""
    rows, columns = mask.shape
    r, c = np.indices((rows, columns))
    for parity in (0, 1):
        if np.array_equal((r + c) % 2 == parity, mask):
            return f"np.add.outer(np.arange({rows}), np.arange({columns})) % 2 == {parity}"
    if mask.any() and not mask.all():
        below, above = int((c - r)[mask].max()), int((c - r)[mask].min())
        if np.array_equal(c - r <= below, mask):
            return f"np.tri({rows}, {columns}, {below}, dtype=bool)"
        if np.array_equal(c - r >= above, mask):
            return f"~np.tri({rows}, {columns}, {above - 1}, dtype=bool)"
    found = staircase(mask)
    if found is None:
        return None
    kept = any(_rule(v) is None for v in found)
    if kept and 8 * (rows + columns) > rows * columns:  # no shorter than the bits themselves
        return None
    named = zip(found, ("rows", "columns"), strict=True)
    left, right = (_rule(v) or file.read(v, f"{hint}.{axis}") for v, axis in named)
    return f"np.greater_equal.outer({left}, {right})"


def _rule(values: Array) -> str | None:
    """A vector of levels by its rule, or as a short list."""
    rule = line(values, "np") if values.size > 1 else None
    if rule is not None:
        return rule
    listed = nested(values) if values.size <= LISTED else ""
    return f"np.array({listed})" if listed and len(listed) <= LISTED else None
