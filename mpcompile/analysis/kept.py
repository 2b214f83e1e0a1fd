"""The support of a weight: the elements that some program reads.

An element is dead where every use of its weight multiplies it by a constant zero. What is not such a product reads all
elements, so the support is exact for masked layers and too large for whatever else multiplies by zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mpcompile import ops
from mpcompile.ir import Constant, Graph, Module, Node, Parameter, ParameterSpec, Value, numbers

Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Constants = Mapping[Value, Constant]
Sizes = tuple[int, ...]


def supports(programs: Iterable[Graph]) -> dict[str, Constant]:
    """Return the support of each weight that has a dead element, as a mask of its shape.

    Of a weight that is read under several masks it is their union; there is none under a mask that is chosen when a
    program runs, as in a mixture over orders.
    """
    found: dict[str, Mask] = {}
    whole = set[str]()  # most weights: an array of their size for each would take more than the model
    for graph in programs:
        for name, mask in _kept(graph):
            if name in whole or mask.all():
                whole.add(name)
            else:
                found[name] = mask | found.get(name, False)
    return {n: Constant.mask(mask) for n, mask in found.items() if n not in whole and not mask.all()}


def supported(module: Module) -> dict[str, ParameterSpec]:
    """Return the parameters of a module, each with its support."""
    found = supports(module.regions.values())
    return {n: replace(p, support=found.get(n)) for n, p in module.parameters.items()}


def kept(graph: Graph, parameter: Value) -> Mask:
    """Return which elements of a parameter one program reads; all of one that nothing reads."""
    shape = numbers(parameter.shape)
    masks = [mask for value, mask in _masks(graph, {parameter: shape}, {})]
    return np.broadcast_to(masks[0] if masks else np.ones((), bool), shape)


def _kept(graph: Graph) -> Iterator[tuple[str, Mask]]:
    """The weights that a program reads, each with its elements that are read; one True stands for all."""
    leaves = {n.outputs[0]: n.op for n in graph.nodes() if isinstance(n.op, Parameter)}
    shapes = {value: numbers(op.each.shape) for value, op in leaves.items()}
    for value, mask in _masks(graph, shapes, {}):
        for name in leaves[value].names:
            yield name, mask if mask.ndim == 0 else np.broadcast_to(mask, shapes[value])


def _masks(graph: Graph, shapes: Mapping[Value, Sizes], known: Constants) -> Iterator[tuple[Value, Mask]]:
    """Yield each of some values that is read with its elements that are; `known` are inputs of a body that are constants.

    `shapes` are those of one weight, also for a stack of them; a mask broadcasts to them.
    """
    readers: dict[Value, list[Node]] = {}
    for node in graph.nodes():
        for value in dict.fromkeys(node.inputs):
            if value in shapes:
                readers.setdefault(value, []).append(node)
    ends = set(graph.outputs.values())
    for value in [v for v in shapes if v in readers or v in ends]:
        seen: Any = np.zeros((), bool)
        for node in [] if value in ends else readers[value]:
            seen = seen | _read(graph, node, value, shapes[value], known)
            if seen.all():
                break
        yield value, np.asarray(seen | (value in ends))


def _read(graph: Graph, node: Node, value: Value, shape: Sizes, known: Constants) -> Any:
    """Elements of a value that one node reads, broadcastable to its shape."""
    if isinstance(node.op, ops.Mul) and value.shape == shape:
        others = [v for v in node.inputs if v != value]
        mask = _constant(graph, others[0], known) if len(others) == 1 else None
        if mask is not None and node.types[0].shape == shape:
            return mask.stored != 0
    if isinstance(node.op, ops.Scan) and node.inputs.count(value) == 1:
        return _read_in_body(graph, node, node.op, value, shape, known)
    return np.ones((), bool)


def _read_in_body(
    graph: Graph, node: Node, op: ops.Scan, value: Value, shape: Sizes, known: Constants
) -> Any:
    """Elements that a loop reads: of a value that it captures, or of each weight of a stack that it scans."""
    formals = dict(zip(node.inputs, op.body.inputs.values(), strict=False))
    parts = op.split(node.inputs)
    rows = value.shape != shape and isinstance(op, ops.Repeat) and value in parts.scanned  # one an iteration
    if not rows and value not in parts.captured:
        return np.ones((), bool)
    constants = {
        formals[v]: constant for v in parts.captured if (constant := _constant(graph, v, known)) is not None
    }
    masks = [mask for _, mask in _masks(op.body, {formals[value]: shape}, constants)]
    return masks[0] if masks else np.zeros((), bool)


def _constant(graph: Graph, value: Value, known: Constants) -> Constant | None:
    op = graph.node(value).op
    return op if isinstance(op, Constant) else known.get(value)


__all__ = ["kept", "supported", "supports"]
