"""Weight folding: a module for inference, in which weight-only values are computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mpcompile import ops
from mpcompile.ir import (
    Array,
    Builder,
    Constant,
    DType,
    Graph,
    Init,
    Module,
    Node,
    Parameter,
    ParameterSpec,
    Value,
    float_type,
)
from mpcompile.ir.same import ValueNumbers
from mpcompile.ir.walk import run
from mpcompile.passes.stepwise import Picks
from mpcompile.passes.weight_only import WeightOnly, weight_only_values

#: A result of more elements than this is kept as a program where its weights are smaller.
LARGE = 1 << 16
#: Programs that learn; a frozen module has none of them.
TRAINING = ("loss", "initialize", "statistics")


@dataclass(frozen=True)
class Frozen:
    """A module for inference, and its weights: those that are left, and new ones under `<layer>.frozen...`."""

    module: Module
    weights: dict[str, Array]


def freeze(module: Module, weights: Mapping[str, Array]) -> Frozen:
    """Compute what depends on weights alone, in double precision on the oracle, and keep the results as weights.

    Masks, scales and permutations are then part of the weights, an LU-factored matrix is one matrix and its inverse
    another. Every program but those of training stays, with the same inputs and outputs, and gives the same values up to
    rounding. A result larger than both its weights and `LARGE` stays a computation. Bodies of loops are left as they are,
    but for what they make of weights and the number of the step alone (`stepwise.py`).
    """
    made = _Freeze(module, weights)
    programs = {name: made.program(g) for name, g in module.programs.items() if name not in TRAINING}
    used = {path for g in programs.values() for path in g.parameters()}
    kept = {k: v for k, v in (*module.parameters.items(), *made.parameters.items()) if k in used}
    values = {k: np.asarray(weights[k]) if k in weights else made.values[k] for k in kept}
    noise = {k: v for k, v in module.noise.items() if k in programs}
    return Frozen(replace(module, programs=programs, parameters=kept, noise=noise), values)


class _Freeze:
    def __init__(self, module: Module, weights: Mapping[str, Array]) -> None:
        self.module, self.weights = module, {k: np.asarray(v, np.float64) for k, v in weights.items()}
        self.dtype = np.result_type(np.float32, *(v.dtype for v in weights.values()))
        self.parameters: dict[str, ParameterSpec] = {}
        self.values: dict[str, Array] = {}
        self._names: dict[object, str] = {}
        self._same = ValueNumbers()

    def program(self, graph: Graph) -> Graph:
        weight_only = weight_only_values(graph)
        wanted = [n for n in graph.nodes() if n.outputs[0] in weight_only and _computes(n)]
        results = _evaluate(graph, [n.outputs[0] for n in wanted], self.weights)
        large = {v for v in results if results[v].size > max(LARGE, _weights(graph, v))}

        def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            value = node.outputs[0]
            if isinstance(node.op, ops.Scan) and value not in results:
                return self._loop(b, graph, node, inputs, weight_only)
            if value not in results or value in large:
                return None
            if not _weights(graph, value):
                return (b.constant(results[value]),)
            path = self._parameter(node, self._same.of(graph, value), results[value])
            return (b.emit(Parameter(path, float_type(*results[value].shape))),)

        return graph.rebuild(rewrite).live()

    def _loop(
        self, b: Builder, graph: Graph, node: Node, inputs: tuple[Value, ...], weight_only: WeightOnly
    ) -> tuple[Value, ...] | None:
        """A loop that is given what its steps make of weights alone; None for one that makes nothing."""
        picks = Picks.of(node, weight_only)
        if picks is None:
            return None
        around = [a for a in node.inputs if a in weight_only]
        known = _evaluate(graph, around, self.weights)
        made = picks.evaluate(known, sum(known[a].size for a in around))
        given = [
            b.emit(Parameter(self._parameter(n, v, array), float_type(*array.shape)))
            for v, array in made.items()
            for n in (picks.body.node(v),)
        ]
        body, left = picks.given(list(made), inputs)
        return b.emit_all(replace(picks.op, body=body), *left, *given) if made else None

    def _parameter(self, node: Node, key: object, value: Array) -> str:
        """The new weight of this value; two programs that compute the same share it."""
        if key not in self._names:
            stem = f"{node.path}.frozen" if node.scope else "frozen"
            name, n = stem, 1
            while name in self.parameters or name in self.module.parameters:
                n += 1
                name = f"{stem}_{n}"
            self._names[key] = name
            self.parameters[name] = ParameterSpec(
                name, value.shape, Init("array", array=value), node.span, False
            )
            self.values[name] = value.astype(self.dtype)
        return self._names[key]


def _computes(node: Node) -> bool:
    """Whether a node does arithmetic, on weights, or leaves some out: no leaf, and no view of a whole weight."""
    if isinstance(node.op, Parameter | Constant) or not node.inputs:
        return False
    before, after = (prod(t.concrete({})) for t in (node.inputs[0].type, node.types[0]))
    return not (node.view and after >= before) and [t.dtype for t in node.types] == [DType.FLOAT]


def _weights(graph: Graph, value: Value) -> int:
    """Elements of all weights that a value is made of."""
    made_of = graph.made_of(value)
    return sum(prod(n.types[0].concrete({})) for n in made_of if isinstance(n.op, Parameter))


def _evaluate(graph: Graph, values: list[Value], weights: Mapping[str, Array]) -> dict[Value, Array]:
    """Values of a graph that need no inputs."""

    def apply(node: Node, *inputs: Array) -> tuple[Array, ...]:
        if isinstance(node.op, Parameter):
            return (weights[node.op.path],)
        return node.op.bind({}).evaluate(*inputs)

    found = run(graph.made_of(*values), {}, apply)
    return {v: found[v] for v in values}
