"""Arrays of constants as numpy text: by the rule behind them where one is seen, in full when small, else packed."""

from __future__ import annotations

import numpy as np

from mpcompile.emission.constants import Levels, core, is_mask, line, nested, packed, staircase
from mpcompile.emission.text import number, tuple_text
from mpcompile.ir import Array

#: Longer lists of elements are packed.
LISTED = 64


def array_text(array: Array, levels: Levels) -> str:
    """Write an expression for a numpy array of this value.

    One of zeros and ones comes as truth values. It may read `levels`.

    Whole numbers are int32 in every precision: JAX keeps constants by identity, and one that is int64 under
    `enable_x64` and int32 outside would be taken for the other (both modes may run in one process).
    """
    if array.dtype.kind == "i":
        return f"np.asarray({_array_text(array, levels)}, np.int32)"
    return _array_text(array != 0 if truth_values(array) else array, levels)


def _array_text(array: Array, levels: Levels) -> str:
    first = array.flat[0] if array.size else array.dtype.type(0)
    if (array == first).all():
        return f"np.full({tuple_text(map(str, array.shape))}, {number(first.item())})"
    small = core(array)
    if small.shape == array.shape:
        return _dense(array, levels)
    return f"np.broadcast_to({_dense(small, levels)}, {tuple_text(map(str, array.shape))})"


def truth_values(array: Array) -> bool:
    """Return whether the array is kept as truth values, and made floats where it is read."""
    negative_zero = array.dtype.kind == "f" and bool((np.signbit(array) & (array == 0)).any())
    return array.dtype.kind in "bf" and is_mask(array) and not negative_zero


def _dense(array: Array, levels: Levels) -> str:
    """Write an array by its rule, as a list, or packed."""
    if array.ndim > 1 and max(array.shape) == array.size:
        inner = _dense(array.reshape(-1), levels)
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
        rule = _mask(array, levels)
        if rule is not None:
            return rule
    listed = nested(array) if array.size <= LISTED else ""
    if listed and len(listed) <= LISTED:
        return f"np.array({listed})"
    return _packed(array)


def _mask(mask: Array, levels: Levels) -> str | None:
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
    packs = any(_rule(v) is None for v in found)
    if packs and 8 * (rows + columns) > rows * columns:  # no shorter than the bits themselves
        return None
    left, right = (_rule(v) or levels.name(_packed(v)) for v in found)
    return f"np.greater_equal.outer({left}, {right})"


def _rule(values: Array) -> str | None:
    """A vector of levels by its rule, or as a short list."""
    rule = line(values, "np") if values.size > 1 else None
    if rule is not None:
        return rule
    listed = nested(values) if values.size <= LISTED else ""
    return f"np.array({listed})" if listed and len(listed) <= LISTED else None


def _packed(array: Array) -> str:
    pieces, name = packed(array, narrow=True)
    return f"unpack({pieces}, {tuple_text(map(str, array.shape))}, np.{name})"


#: Functions that literals call, by name.
HELPERS = {
    "unpack": '''def unpack(text: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """A constant array from base64; booleans are packed, eight to a byte."""
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    if dtype is np.bool:
        bits = np.unpackbits(data, count=math.prod(shape), bitorder="little")
        return bits.astype(bool).reshape(shape)
    return data.view(dtype).reshape(shape)
''',
}
