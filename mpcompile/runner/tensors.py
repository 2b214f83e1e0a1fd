"""Arrays as a safetensors file in pieces: the arrays' own memory, so that writing many of them copies none.

`safetensors.numpy.save` makes one `bytes` of them, twice the memory, and `save_file` opens the path itself, where a test
cannot stop it. `tests/runner/test_tensors.py` holds the pieces to what the library writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.disk import Payload

#: The format's names of types in the order in which it stores them, the widest last one first, so that all are aligned.
_TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16", "int32": "I32",
    "uint32": "U32", "float32": "F32", "float64": "F64", "int64": "I64", "uint64": "U64",
}  # fmt: skip
#: Bytes of an array below which it is copied together with its neighbours.
_SMALL = 1 << 16
_RANK = {name: rank for rank, name in enumerate(_TYPES)}


def serialise(arrays: Mapping[str, Array]) -> Payload:
    """Return the file of some arrays of any shape as its header and their bytes, in order.

    Raises `KeyError` for a dtype that the format has no name for.
    """
    header: dict[str, object] = {}
    pieces: list[bytes | memoryview] = []
    at = 0
    for name, array in sorted(arrays.items(), key=lambda kv: (-_RANK[kv[1].dtype.name], kv[0])):
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
        shape, end = list(array.shape), at + little.nbytes
        header[name] = {"dtype": _TYPES[array.dtype.name], "shape": shape, "data_offsets": [at, end]}
        if little.size:
            pieces.append(little.view(np.uint8).data)
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return _joined([len(text).to_bytes(8, "little") + text, *pieces])


def _joined(pieces: list[bytes | memoryview]) -> Payload:
    """Return pieces with runs of small ones made one, since each is written on its own."""
    out: list[bytes | memoryview] = []
    for small, run in groupby(pieces, lambda piece: len(piece) < _SMALL):
        same = list(run)
        out += [b"".join(same)] if small else same
    return out
