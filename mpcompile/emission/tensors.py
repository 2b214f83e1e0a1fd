"""Arrays as a safetensors file in pieces: the arrays' own memory, so that writing many of them copies none.

`safetensors.numpy.save` makes one `bytes` of them, twice the memory, and `save_file` opens the path itself, where a test
cannot stop it. `tests/runner/test_tensors.py` holds the pieces to what the library writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from mpcompile.ir import Array, Module, Stack

#: The format's names of types in the order in which it stores them, the widest last one first, so that all are aligned.
_TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16", "int32": "I32",
    "uint32": "U32", "float32": "F32", "float64": "F64", "int64": "I64", "uint64": "U64",
}  # fmt: skip
#: The metadata that readers of model hubs ask for: names and shapes are those of a state dict of torch.
METADATA = {"format": "pt"}
#: The file of a build that has the weights of its model.
WEIGHTS = "weights.safetensors"
#: Bytes of an array below which it is copied together with its neighbours.
_SMALL = 1 << 16
_RANK = {name: rank for rank, name in enumerate(_TYPES)}


def serialise(arrays: Mapping[str, Array], first: Sequence[str] = ()) -> list[bytes | memoryview]:
    """Return the file of some arrays of any shape as its header and their bytes: those named `first` as they are named.

    Arrays of wider types come before, and all others in the order of their names.
    Raises `KeyError` for a dtype that the format has no name for.
    """
    head, ends = _header(arrays, first)
    pieces: list[bytes | memoryview] = [head]
    for name in ends:
        array = arrays[name]
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
        if little.size:
            pieces.append(little.view(np.uint8).data)
    return _joined(pieces)


def places(arrays: Mapping[str, Array], first: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Return where the bytes of each array begin in the file of `serialise`, from its start, and how many they are."""
    head, ends = _header(arrays, first)
    return {name: (len(head) + end - arrays[name].nbytes, arrays[name].nbytes) for name, end in ends.items()}


def neighbours(module: Module) -> list[str]:
    """Return the weights that loops over layers read as one array, so that those of one array follow each other."""
    found: dict[str, None] = {}
    for graph in module.regions.values():
        for node in graph.nodes():
            if isinstance(node.op, Stack) and found.keys().isdisjoint(node.op.paths):
                found.update(dict.fromkeys(node.op.paths))
    return list(found)


def _header(arrays: Mapping[str, Array], first: Sequence[str]) -> tuple[bytes, dict[str, int]]:
    """Return the header, and the names in their order with the ends of their bytes behind the header."""
    header: dict[str, object] = {"__metadata__": METADATA}
    rank = {name: i for i, name in enumerate(first)}
    at, ends = 0, dict[str, int]()
    for name in sorted(arrays, key=lambda n: (-_RANK[arrays[n].dtype.name], rank.get(n, len(rank)), n)):
        array = arrays[name]
        ends[name] = at + array.nbytes
        offsets = [at, ends[name]]
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
        at = ends[name]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, ends


def _joined(pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return pieces with runs of small ones made one, since each is written on its own."""
    out: list[bytes | memoryview] = []
    for small, run in groupby(pieces, lambda piece: len(piece) < _SMALL):
        same = list(run)
        out += [b"".join(same)] if small else same
    return out
