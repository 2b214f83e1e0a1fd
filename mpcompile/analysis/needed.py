"""The elements of every value that have an effect on an output: one pass from the outputs back.

Each node is asked once, so the pass is linear in their number. Functions of one element and moves of elements are
turned round directly, a product by its live weights; of any other operation the elements of an input are followed
through its own dependence rule, each as one bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import MAX_SET, identity
from mpcompile.budget import tick
from mpcompile.ir import Abstract, Array, Domain, Graph, Node, NoRule, Symbolic, Value, availability
from mpcompile.ir.stencils import Lattice, extent, still
from mpcompile.ops.traits import Elementwise, Movement


def needed(
    graph: Graph, facts: Mapping[Value, Abstract], of: set[int], env: Mapping[str, int] | None
) -> dict[int, Array]:
    """Return which elements of the first result of each node of `of` some output depends on.

    The answer is by node id, bool in the shape of the result.

    `facts` are those of any forward run at the sizes `env`, or (None) at every length, where an axis of symbolic size
    has two elements that are alike; what is known of each value is taken from there. An upper bound: where an operation
    is too large to be followed, or has no rule, all that it reads counts.
    """
    if of:
        graph.uncut()  # what is needed settles, if at all, at the other end
    later = _reading(graph, of)
    wanted: dict[Value, Array] = {}
    for value in graph.outputs.values():
        if value.node in later:
            wanted[value] = np.ones(_shape(facts, value), bool)
    found: dict[int, Array] = {}
    for node in reversed(graph.nodes()):
        if node.id not in later:
            continue
        tick()
        results = [wanted.pop(v, None) for v in node.outputs]
        if node.id in of:
            first = results[0]
            found[node.id] = np.zeros(_shape(facts, node.outputs[0]), bool) if first is None else first
        if all(r is None or not r.any() for r in results):
            continue
        marks = [
            np.zeros(_shape(facts, v), bool) if r is None else r
            for v, r in zip(node.outputs, results, strict=True)
        ]
        known = all(v in facts for v in (*node.inputs, *node.outputs))
        for position, value in enumerate(node.inputs):
            if value.node in later:
                try:
                    mark = _read(_Rule(node, facts, env), position, marks) if known else None
                except NoRule:
                    mark = None
                if mark is None:
                    mark = np.ones(_shape(facts, value), bool)
                wanted[value] = wanted[value] | mark if value in wanted else mark
    return found


def _shape(facts: Mapping[Value, Abstract], value: Value) -> tuple[int, ...]:
    return facts[value].shape if value in facts else tuple(map(extent, value.shape))


@dataclass(frozen=True)
class _Rule:
    """A node with what is known of its inputs, and the sizes at which it is asked."""

    node: Node
    facts: Mapping[Value, Abstract]
    env: Mapping[str, int] | None

    def of(self, position: int) -> Abstract:
        return self.facts[self.node.inputs[position]]

    def from_one(self, domain: Domain, position: int, seed: Array) -> Sequence[Abstract]:
        """The results, when one input has the facts `seed` and the others have none."""
        none = np.zeros(seed.shape[-1], seed.dtype)
        inputs = [
            replace(self.of(i), facts=seed if i == position else none.reshape((1,) * v.type.rank + (-1,)))
            for i, v in enumerate(self.node.inputs)
        ]
        if self.env is not None:
            return self.node.op.bind(self.env).depend(domain, *inputs)
        cells = (still(v.type, x) for v, x in zip(self.node.inputs, inputs, strict=True))
        return [s.cell for s in self.node.op.stencil(Lattice(0, domain), *cells)]


def _reading(graph: Graph, of: set[int]) -> set[int]:
    """The nodes of a set, and all that read them in any number of steps."""
    later = set(of)
    for node in graph.nodes():
        if any(v.node in later for v in node.inputs):
            later.add(node.id)
    return later


def _read(rule: _Rule, position: int, marks: list[Array]) -> Array:
    """Return which elements of one input any marked element of the results depends on. Raises `NoRule`."""
    op, x = rule.node.op, rule.of(position)
    if isinstance(op, Elementwise):  # an element reads its own place alone, if it reads that
        (result,) = rule.from_one(availability(), position, np.ones((1,) * (len(x.shape) + 1), np.int32))
        return _folded(marks[0] & (result.full()[..., 0] > 0), x.shape)
    if isinstance(op, Movement) and rule.env is not None:
        count = int(np.prod(x.shape))
        (index,) = op.bind(rule.env).evaluate(np.arange(count).reshape(x.shape))
        read = np.zeros(count, bool)
        read[index[marks[0]]] = True
        return read.reshape(x.shape)
    if isinstance(op, ops.MatMul) and position == 0 and len(rule.of(1).shape) == 2:
        live = np.broadcast_to(rule.of(1).live, rule.of(1).shape)  # [in, out], for all that stands before
        wanted = marks[0].reshape(-1, live.shape[1])
        if len(wanted) == 1:
            return np.broadcast_to(np.logical_or.reduce(live[:, wanted[0]], 1), x.shape)
        product = wanted.astype(np.float32) @ live.T.astype(np.float32)
        return (product > 0).reshape(x.shape)
    return _followed(rule, position, marks)


def _folded(mark: Array, shape: tuple[int, ...]) -> Array:
    """Marks of a result joined to the shape of an operand that was broadcast to it."""
    extra = mark.ndim - len(shape)
    axes = tuple(i for i in range(mark.ndim) if i < extra or (shape[i - extra] == 1 and mark.shape[i] != 1))
    return np.asarray(mark.any(axes)).reshape(shape) if axes else mark


def _followed(rule: _Rule, position: int, marks: list[Array]) -> Array:
    """Follow marks by the dependence rule of the operation itself, every element of the input a bit."""
    shape = whole = rule.of(position).shape
    if rule.env is None:  # elements along a symbolic axis are alike, so they share a bit
        sizes = rule.node.inputs[position].shape
        shape = tuple(1 if isinstance(s, Symbolic) else n for s, n in zip(sizes, whole, strict=True))
    size = int(np.prod(shape))
    if size > MAX_SET:
        return np.ones(whole, bool)
    domain, seed = identity(size)
    seed = seed.reshape(*shape, domain.words)
    reached = np.zeros(domain.words, np.uint64)
    for result, mark in zip(rule.from_one(domain, position, seed), marks, strict=True):
        kept = _folded(mark, result.facts.shape[:-1])
        reached |= np.bitwise_or.reduce(result.facts[kept], 0)
    bits = np.unpackbits(reached.astype("<u8").view(np.uint8), bitorder="little")[:size]
    return np.broadcast_to(bits.astype(bool).reshape(shape), whole)
