"""Files of anyone: loaded within bounds, from their own folder alone."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper

from mpcompile.budget import OutOfBudget, reserve
from mpcompile.diagnostics import Span
from mpcompile.foreign.recording import Unrecordable

#: Bytes of a file: what protobuf can hold. Bytes of all its external data.
LARGEST_FILE, LARGEST_DATA = 1 << 31, 1 << 34


def load(path: Path) -> ModelProto:
    """Load a file and its external data, which must lie in its folder. Raises `Unrecordable`."""
    try:
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise Unrecordable(f"{path} is no regular file", Span.none())
        if kind.st_size > LARGEST_FILE:
            raise Unrecordable(f"{path} has {kind.st_size} bytes, more than {LARGEST_FILE}", Span.none())
        reserve(2 * kind.st_size)
        model = onnx.load(str(path), load_external_data=False)
        _regular(model, path)
        onnx.load_external_data_for_model(model, str(path.parent))
    except (Unrecordable, OutOfBudget):
        raise
    except Exception as reason:  # protobuf, external data, the system: whatever it is, the file is not read
        raise Unrecordable(f"{path} cannot be read: {reason}", Span.none()) from reason
    return model


def _regular(model: ModelProto, path: Path) -> None:
    """Refuse external data that is no regular file (a pipe would never end), or more than there may be."""
    total = 0
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        file = path.parent / location
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            raise Unrecordable(f"external data {location} is no regular file", Span.none())
        width = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        total += prod(tensor.dims) * width
    if total > LARGEST_DATA:
        raise Unrecordable(f"external data of {total} bytes is more than {LARGEST_DATA}", Span.none())
    reserve(total)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor of a graph and of the graphs within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


__all__ = ["load"]
