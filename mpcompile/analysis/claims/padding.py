"""`padding`, of every model that states the length of a sequence: what is behind the end changes nothing before it.

A layer that reads behind an end is a fault if the program, run with more steps behind it, gives other results; else the
claim is undecided. The finding stands at the first operation whose results are others before the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np

from mpcompile.analysis import field as over
from mpcompile.analysis.padding import Walk
from mpcompile.analysis.verdict import FINITE, Proof, Verdict, free_symbols, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Claim, Graph, Module, Node, Type, Value, substitute
from mpcompile.ir.field import Field
from mpcompile.ops import Scan

METHOD = "what operations along the sequence read behind its end"
#: Real steps of the sequences that show a fault, and steps behind them.
REAL, MORE = 5, 3


def padding(module: Module, claim: Claim) -> Verdict:
    """Decide whether no result reads positions behind the end of a sequence."""
    for name, graph in module.programs.items():
        counted = {f.counts: f.name for f in module.fields.values() if f.counts}
        walk = Walk(graph, counted)
        if not all(walk.known[v].clean for v in graph.outputs.values()):
            return _refuted(module, claim, name, graph, walk, counted)
    scope = scope_of(*module.programs.values(), covers="lengths")
    return Verdict.proved(claim, Proof(scope, METHOD, (FINITE,)))


def _refuted(
    module: Module, claim: Claim, name: str, graph: Graph, walk: Walk, counted: Mapping[str, str]
) -> Verdict:
    reads = [r.node for r in walk.reads]
    sizes = {s: REAL + MORE if s in counted else REAL for s in sorted(free_symbols(graph))}
    first = differs(module, graph, sizes, counted)
    node = reads[0] if first is None else _within(first, reads)
    layer = node.scope[-1].label if node.scope else node.op.name
    reason = f"`{layer}` reads behind the end of a sequence"
    if first is None:
        return Verdict.undecided(claim, reason, node.op.name, [sizes] if sizes else [])
    finding = Diagnostic(
        "MP312", f"padding changes `{name}`: {reason}", node.span,
        notes=(f"sequences of {REAL} steps have other results with {MORE} steps more behind them",),
        help="a layer that knows where a sequence ends: last, attention, conv1d, a recurrent layer",
    )  # fmt: skip
    return Verdict.refuted(claim, METHOD, sizes, [finding])


def _within(node: Node, reads: Sequence[Node]) -> Node:
    """The first operation in the body of a loop that reads behind an end; the node itself where there is none."""
    if not isinstance(node.op, Scan):
        return node
    body = set(node.op.body.nodes())
    return next((r for r in reads if r in body), node)


def differs(
    module: Module, graph: Graph, sizes: Mapping[str, int], counted: Mapping[str, str]
) -> Node | None:
    """Find the first operation whose results before the end change with what is behind it; None for no result.

    Over a prime field, where a difference shows that the results are not the same function. Raises `NoRule` and
    `TooLarge`.
    """
    f, wide = Field(0), {**sizes, "N": 1}
    real = {**wide, **dict.fromkeys(counted, REAL)}
    draw = over.values_of(module, real)
    over.afford(graph, sizes, 2)
    weights = over.Weights(graph, f, sizes)
    padded = {k: draw(f, k, v.type, v.type.concrete(wide), 0) for k, v in graph.inputs.items()}

    def run(
        values: Mapping[str, Value], inputs: Mapping[str, Array], env: Mapping[str, int]
    ) -> dict[str, Array]:
        asked = copy(graph)
        asked.outputs = dict(values)
        return over.run(asked, f, weights, inputs, env)

    def before(x: Array, type_: Type) -> Array:
        return x[tuple(slice(max(0, substitute(s, real))) for s in type_.shape)]

    bare = {k: before(v, graph.inputs[k].type) for k, v in padded.items()}

    def changed(values: Mapping[str, Value]) -> list[str]:
        with_padding, without = run(values, padded, wide), run(values, bare, real)
        return [
            k for k, v in values.items()
            if not np.array_equal(before(with_padding[k], v.type), without[k], equal_nan=True)
        ]  # fmt: skip

    if not changed(graph.outputs):
        return None
    every = {f"{node.id}/{i}": v for node in graph.nodes() for i, v in enumerate(node.outputs)}
    return graph.node(every[changed(every)[0]])
