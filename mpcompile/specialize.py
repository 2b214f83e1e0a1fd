"""Specialize programs to known inputs: the members of a mixture over orders and masks, one at a time.

A program of such a density has an input `member`, a whole number. Once that number is known the masks are constants, and
every analysis and pass applies as it does to a density of one order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import lcm

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Claim, Constant, Graph, Input, Module, Node, Symbolic, Value


def member_count(module: Module) -> int:
    """Return how many members the densities of a module have; 1 where none is a mixture over orders."""
    return lcm(*(n.classes for noise in module.noise.values() for n in noise.values() if n.kind == "choice"))


def member(module: Module, number: int) -> Module:
    """Return the module of one member: its programs without the input `member`, and its claims.

    `number` counts modulo the members of each program.
    """
    programs, noise = {}, {}
    for name, graph in module.programs.items():
        drawn = module.noise.get(name, {})
        chosen = {k: np.asarray(number % n.classes) for k, n in drawn.items() if n.kind == "choice"}
        programs[name] = specialize(graph, chosen) if chosen else graph
        noise[name] = {k: n for k, n in drawn.items() if k not in chosen}
    claims = [member_claim(claim, number) for claim in module.claims]
    return replace(module, programs=programs, noise=noise, claims=claims)


def member_claim(claim: Claim, number: int) -> Claim:
    """Return a claim about the orders of all members as the claim about one of them."""
    order = claim.order
    if order is None or order.members is None:
        return claim
    return replace(
        claim, order=replace(order, ranks=order.members[number % len(order.members)], members=None)
    )


def specialize(graph: Graph, known: Mapping[str, Array]) -> Graph:
    """Return a graph as a function of its other inputs, with the known ones replaced by constants.

    Nodes of static shape that read known inputs and constants alone are evaluated.
    """
    found: dict[Value, Array] = {}  # by value of the new graph

    def constant(b: Builder, array: Array) -> Value:
        value = b.constant(array)
        found[value] = array
        return value

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Input):
            return (constant(b, known[node.op.path]),) if node.op.path in known else None
        if isinstance(node.op, ops.Scan):
            return _loop(b, node.op, inputs, found)
        constants = [found.get(v, _literal(b, v)) for v in inputs]
        follows = any(v in found for v in inputs) and all(c is not None for c in constants)
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
    b: Builder, op: ops.Scan, inputs: tuple[Value, ...], found: Mapping[Value, Array]
) -> tuple[Value, ...] | None:
    """Specialize the body of a loop to the captured values that are known; None where there are none."""
    around = zip(op.formals.captured, op.split(inputs).captured, strict=True)
    known = {name: found[v] for name, v in around if v in found}
    if not known:
        return None
    names = zip(op.body.inputs, inputs, strict=False)  # the step has no value around the loop
    kept = [v for name, v in names if name not in known]
    return b.emit_all(replace(op, body=specialize(op.body, known)), *kept)
