"""Proofs about a model of many layers that are alike, from one of a few of them.

`few_layers` gives the module with the first iterations of each region alone. Upper bounds (offset sets, sets of inputs,
availability, signs) are facts of values by the primitives' rules: where the last iteration makes the facts that it found,
each later one does (`Graph.settle`), so what is read off the facts is that of the whole. Lower bounds need a point: where
some weights make an iteration give back what it is given, the whole has, at those weights of all iterations that were
left out, the values of the few (`neutral`); so what the few certainly read, the whole reads for some weights, hence for
almost all. Nothing is refuted here: witnesses are looked for in the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.stencils import facts_of
from mpcompile.interpret import interpret
from mpcompile.ir import Abstract, Array, DType, Graph, Module, NoRule, Value, availability
from mpcompile.ir.field import Field
from mpcompile.ir.stencils import extent
from mpcompile.ops.repeating import Repeat
from mpcompile.ops.unrolling import shortened

#: Iterations of a region that are looked at.
MOST = 3


def few_layers(module: Module) -> Module | None:
    """Return the module with at most `MOST` iterations of each region; None where no region has more."""
    programs = {name: shortened(graph, MOST) for name, graph in module.regions.items()}
    return replace(module, programs=programs) if any(g.cuts for g in programs.values()) else None


def neutral(graph: Graph, env: Mapping[str, int]) -> bool:
    """Return whether each iteration left out of a graph gives back its carries where its own weights are zero."""
    regions = [cut.op for cut in graph.cuts]
    return all(isinstance(op, Repeat) and _gives_back(op) and _defined(op, env) for op in regions)


def _gives_back(op: Repeat) -> bool:
    """Decide by structure: each carry goes through sums alone, whose other side is zero where the weights are."""
    formals = op.formals
    zeros = {v: _zero(v) for v in formals.scanned.values()}
    facts = facts_of(op.body, availability(), zeros)
    carried = {v: i for i, v in enumerate(formals.carries.values())}
    for node in op.body.nodes():
        if isinstance(node.op, ops.Add):
            for one, other in (node.inputs, node.inputs[::-1]):
                if one in carried and one.type == node.types[0] and _is_zero(facts[other]):
                    carried[node.outputs[0]] = carried[one]
    following, _ = op.divide(list(op.body.outputs.values()))
    return bool(zeros) and [carried.get(v) for v in following] == list(range(op.carries))


def _zero(value: Value) -> Abstract:
    shape = [extent(s) for s in value.shape]
    return availability().make(shape, None, np.ones((1,) * len(shape), bool))


def _is_zero(x: Abstract | NoRule) -> bool:
    return isinstance(x, Abstract) and bool(x.zero.all())


def _defined(op: Repeat, env: Mapping[str, int]) -> bool:
    """Decide in numbers: at some point of a prime field the iteration has a value, the one that it is given."""
    f, sizes, formals = Field(0), {**env, "N": 2}, op.formals

    def draw(name: str, value: Value) -> Array:
        shape = value.type.concrete(sizes)
        if value in formals.scanned.values():
            return np.zeros(shape)
        drawn = f.draw(f"input {name}", shape)
        if value.dtype is DType.FLOAT:
            return f.canon(np.asarray(drawn, np.float64))
        return np.asarray(drawn % 2).astype(np.int64 if value.dtype is DType.INT else np.bool_)

    given = {name: draw(name, value) for name, value in op.body.inputs.items()}
    try:
        made = interpret(op.body, {}, given, sizes, lambda p, *xs: p.over_field(f, *xs))
    except (NoRule, IndexError):
        return False
    pairs = zip(formals.carries, op.divide(list(made.values()))[0], strict=True)
    return all(np.array_equal(given[name], after) for name, after in pairs)


__all__ = ["few_layers", "neutral"]
