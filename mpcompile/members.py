"""The members of a mixture over orders and masks, one at a time: a module in which the choice is made.

A program of such a density takes `member`, a whole number. With a number for it, what the masks are is known, and every
analysis and pass applies as to a density of one order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import lcm

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Claim, Constant, Graph, Input, Module, Node, Symbolic, Value


def members(module: Module) -> int:
    """How many members the densities of a module have; 1 where none is a mixture over orders."""
    return lcm(*(n.classes for noise in module.noise.values() for n in noise.values() if n.kind == "choice"))


def member(module: Module, number: int) -> Module:
    """The module of one member, which leaves no choice."""
    programs, noise = {}, {}
    for name, graph in module.programs.items():
        drawn = module.noise.get(name, {})
        chosen = {k: np.asarray(number % n.classes) for k, n in drawn.items() if n.kind == "choice"}
        programs[name] = specialised(graph, chosen) if chosen else graph
        noise[name] = {k: n for k, n in drawn.items() if k not in chosen}
    claims = [of_member(claim, number) for claim in module.claims]
    return replace(module, programs=programs, noise=noise, claims=claims)


def of_member(claim: Claim, number: int) -> Claim:
    """A claim about an order as it is about one member."""
    order = claim.order
    if order is None or order.members is None:
        return claim
    return replace(
        claim, order=replace(order, ranks=order.members[number % len(order.members)], members=None)
    )


def specialised(graph: Graph, known: Mapping[str, Array]) -> Graph:
    """The same function of its other inputs: what follows from the known ones and constants alone is computed."""
    settled: dict[Value, Array] = {}  # by value of the new graph

    def constant(b: Builder, array: Array) -> Value:
        value = b.constant(array)
        settled[value] = array
        return value

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Input):
            return (constant(b, known[node.op.path]),) if node.op.path in known else None
        if isinstance(node.op, ops.Scan):
            return _loop(b, node.op, inputs, settled)
        constants = [settled.get(v, _literal(b, v)) for v in inputs]
        follows = any(v in settled for v in inputs) and all(c is not None for c in constants)
        if not follows or any(isinstance(s, Symbolic) for t in node.types for s in t.shape):
            return None
        return tuple(constant(b, y) for y in node.op.evaluate(*(c for c in constants if c is not None)))

    new = graph.rebuild(rewrite)
    new.inputs = {k: v for k, v in new.inputs.items() if k not in known}
    return new.live()


def _literal(b: Builder, value: Value) -> Array | None:
    op = b.graph.node(value).op
    return op.array if isinstance(op, Constant) else None


def _loop(
    b: Builder, op: ops.Scan, inputs: tuple[Value, ...], settled: Mapping[Value, Array]
) -> tuple[Value, ...] | None:
    """A loop whose body uses what is known: it becomes known in there."""
    around = zip(op.formals.captured, op.split(inputs).captured, strict=True)
    known = {name: settled[v] for name, v in around if v in settled}
    if not known:
        return None
    names = zip(op.body.inputs, inputs, strict=False)  # the step has no value around the loop
    kept = [v for name, v in names if name not in known]
    return b.emit_all(replace(op, body=specialised(op.body, known)), *kept)
