"""Constants in text: what is small stands in its line, what is large in a table behind the programs, bit for bit."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np

from mpcompile.ir import Array, Constant, DType, Type
from mpcompile.ir.graph import MAX_VALUE
from mpcompile.text.literals import attribute_text, read_attribute
from mpcompile.text.tokens import Reader

#: Constants of more elements than this go to the table.
SMALL = 16
_KINDS = {DType.FLOAT: np.float64, DType.INT: np.int64, DType.BOOL: np.bool_}


def constant_text(constant: Constant, table: dict[str, bytes]) -> str:
    """Format a constant behind the word `constant`; a large array goes into the table, by the digest of its bytes."""
    array = constant.stored
    mask = "mask " if constant.compact else ""
    uniform = (
        array.size > 1
        and not np.isnan(array.flat[0])
        and _same_bits(array, np.full_like(array, array.flat[0]))
    )
    if uniform:
        return f"{mask}fill {attribute_text(array.flat[0].item())}"
    if array.ndim == 1 and array.size > 2 and array.dtype == np.int64:
        start, step = int(array[0]), int(array[1]) - int(array[0])
        if step and np.array_equal(array, start + step * np.arange(array.size)):
            return f"range {start} step {step}"
    if 0 < array.size <= SMALL and not np.isnan(array).any():
        return mask + attribute_text(_tuples(array.tolist()))
    data = _bytes(array)
    digest = sha256(data).hexdigest()[:16]
    table[digest] = data
    return f"{mask}@{digest}"


def _same_bits(a: Array, b: Array) -> bool:
    return a.tobytes() == b.tobytes()


def _tuples(nested: Any) -> Any:
    return tuple(map(_tuples, nested)) if isinstance(nested, list) else nested


def _bytes(array: Array) -> bytes:
    """Bools eight to a byte, numbers little-endian."""
    if array.dtype.kind == "b":
        return np.packbits(array).tobytes()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def table_text(table: Mapping[str, bytes]) -> str:
    """Format the table of large constants, in the order of their digests."""
    rows = [f'  @{digest} = "{base64.b64encode(data).decode()}"' for digest, data in sorted(table.items())]
    return "\n".join(["data {", *rows, "}"])


# --- reading ---


class ConstantText:
    """A constant as it is read; its array waits for the type and the table."""

    def __init__(self, r: Reader) -> None:
        self.line = r.next.line
        self.mask = r.skip("mask")
        self.form, self.step = "array", 1
        self.value: Any = None
        if r.next.kind == "data":
            self.form, self.value = "data", r.take("data")[1:]
        elif r.skip("fill"):
            self.form, self.value = "fill", read_attribute(r)
        elif r.skip("range"):
            self.form, self.value = "range", r.integer()
            r.expect("step")
            self.step = r.integer()
        else:
            self.value = read_attribute(r)

    def constant(self, stated: Type | None, table: Mapping[str, bytes]) -> Constant:
        """The constant of a type, which an array in its line need not state. Raises `ValueError`."""
        if stated is None:
            if self.form != "array" or self.mask:
                raise ValueError("a constant needs its type here")
            return Constant.of(np.asarray(self.value))
        shape = stated.concrete({}) if all(isinstance(s, int) for s in stated.shape) else None
        if shape is None or prod(shape) > MAX_VALUE:
            raise ValueError(f"no constant is of type {stated}")
        if self.mask and (stated.dtype is not DType.FLOAT or len(shape) < 2):
            raise ValueError("a mask is a float array of at least two axes")
        kind = np.bool_ if self.mask else _KINDS[stated.dtype]
        array: Array = np.ascontiguousarray(self._array(shape, kind, table), dtype=kind).reshape(shape)
        array.setflags(write=False)
        return Constant(array, stated.dtype)

    def _array(self, shape: tuple[int, ...], kind: Any, table: Mapping[str, bytes]) -> Array:
        if self.form == "fill":
            return np.full(shape, self.value, kind)
        if self.form == "range":
            return np.asarray(np.arange(prod(shape)) * self.step + self.value)
        if self.form == "array":
            found = np.asarray(self.value)
            if found.shape != shape:
                raise ValueError(f"an array of shape {list(found.shape)} where {list(shape)} is stated")
            return found
        if self.value not in table:
            raise ValueError(f"the text has no data for @{self.value} (print it with --data)")
        data = table[self.value]
        if kind is np.bool_:
            bits = np.frombuffer(data, np.uint8)
            return np.unpackbits(bits, count=prod(shape)).astype(np.bool_).reshape(shape)
        numbers: Array = np.frombuffer(data, np.dtype(kind).newbyteorder("<"))
        return numbers.reshape(shape)


def read_table(r: Reader) -> dict[str, bytes]:
    """Read the rows of a table up to its closing bracket."""
    table: dict[str, bytes] = {}
    while not r.skip("}"):
        digest = r.take("data")[1:]
        r.expect("=")
        data = base64.b64decode(r.text(), validate=True)
        if sha256(data).hexdigest()[:16] != digest:
            raise r.fault(f"the data of @{digest}")
        table[digest] = data
    return table
