"""The support of a weight: the elements that some program reads.

An element is dead where every use of its weight multiplies it by a constant zero. What is not such a product reads all
elements, so the support is exact for masked layers and too large for whatever else multiplies by zero.
"""

from __future__ import annotations

from collections import Counter
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
    mask = _Readers(graph).mask(parameter, shape)
    return np.broadcast_to(np.ones((), bool) if mask is None else mask, shape)


def _kept(graph: Graph) -> Iterator[tuple[str, Mask]]:
    """Yield the weights that a program reads, each with its elements that are read; one True stands for all."""
    readers = _Readers(graph)
    for value, op in [(n.outputs[0], n.op) for n in graph.nodes() if isinstance(n.op, Parameter)]:
        shape = numbers(op.each.shape)
        mask = readers.mask(value, shape)
        if mask is not None:
            for name in op.names:
                yield name, mask if mask.ndim == 0 else np.broadcast_to(mask, shape)


class _Readers:
    """The nodes that read each value of a graph, and the loops among them: each is looked up once, for all values.

    `known` are inputs of the body of a loop that are constants.
    """

    def __init__(self, graph: Graph, known: Constants | None = None) -> None:
        self.graph, self.known = graph, known or {}
        self.ends = set(graph.outputs.values())
        self.nodes: dict[Value, list[Node]] = {}
        for node in graph.nodes():
            for value in dict.fromkeys(node.inputs):
                self.nodes.setdefault(value, []).append(node)
        self._loops: dict[Value, _Loop] = {}

    def mask(self, value: Value, shape: Sizes) -> Mask | None:
        """Return the elements of a value that are read, as an array that broadcasts to `shape`; None where none reads it.

        `shape` is that of one weight, also for a stack of them.
        """
        if value in self.ends:
            return np.ones((), bool)
        if value not in self.nodes:
            return None
        seen: Any = np.zeros((), bool)
        for node in self.nodes[value]:
            seen = seen | self._read(node, value, shape)
            if seen.all():
                break
        return np.asarray(seen)

    def constant(self, value: Value) -> Constant | None:
        """Return the constant that a value is, or None."""
        op = self.graph.node(value).op
        return op if isinstance(op, Constant) else self.known.get(value)

    def _read(self, node: Node, value: Value, shape: Sizes) -> Any:
        """Return the elements of a value that one node reads, broadcastable to its shape."""
        if isinstance(node.op, ops.Mul) and value.shape == shape:
            others = [v for v in node.inputs if v != value]
            mask = self.constant(others[0]) if len(others) == 1 else None
            if mask is not None and node.types[0].shape == shape:
                return mask.stored != 0
        if isinstance(node.op, ops.Scan):
            key = node.outputs[0]
            if key not in self._loops:
                self._loops[key] = _Loop(self, node, node.op)
            return self._loops[key].read(value, shape)
        return np.ones((), bool)


class _Loop:
    """A loop: the inputs of its body, by the values that stand for them outside."""

    def __init__(self, around: _Readers, node: Node, op: ops.Scan) -> None:
        parts, formals = op.split(node.inputs), dict(zip(node.inputs, op.body.inputs.values(), strict=False))
        once = {v for v, times in Counter(node.inputs).items() if times == 1}
        self.captured = {v: formals[v] for v in parts.captured if v in once}
        self.rows = {v: formals[v] for v in parts.scanned if v in once} if isinstance(op, ops.Repeat) else {}
        constants = {formals[v]: around.constant(v) for v in parts.captured}
        self.body = _Readers(op.body, {v: c for v, c in constants.items() if c is not None})

    def read(self, value: Value, shape: Sizes) -> Any:
        """Return the elements that the body reads: of a value that it captures, or of each weight of a stack."""
        formal = self.captured.get(value)
        if formal is None and value.shape != shape:  # a stack has one row for each iteration
            formal = self.rows.get(value)
        if formal is None:
            return np.ones((), bool)
        mask = self.body.mask(formal, shape)
        return np.zeros((), bool) if mask is None else mask


__all__ = ["kept", "supported", "supports"]
