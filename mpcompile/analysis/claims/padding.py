"""`padding`, of every model that states the length of a sequence: what is behind the end changes nothing before it.

A layer that reads behind an end is a fault if the program, run with more steps behind it, gives other results; else the
claim is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile.analysis.field import afford, values_of, weights_over
from mpcompile.analysis.padding import Walk
from mpcompile.analysis.verdict import FINITE, Proof, Verdict, free_symbols, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Claim, Graph, Module, Type, substitute
from mpcompile.ir.field import Field

METHOD = "what operations along the sequence read behind its end"
#: Real steps of the sequences that show a fault, and steps behind them.
REAL, MORE = 5, 3


def padding(module: Module, claim: Claim) -> Verdict:
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
    node = walk.reads[0].node
    layer = node.scope[-1].label if node.scope else node.op.name
    sizes = {s: REAL + MORE if s in counted else REAL for s in sorted(free_symbols(graph))}
    reason = f"`{layer}` reads behind the end of a sequence"
    if not differs(module, graph, sizes, counted):
        return Verdict.undecided(claim, reason, node.op.name, [sizes] if sizes else [])
    finding = Diagnostic(
        "MP312", f"padding changes `{name}`: {reason}", node.span,
        notes=(f"sequences of {REAL} steps have other results with {MORE} steps more behind them",),
        help="a layer that knows where a sequence ends: last, attention, conv1d, a recurrent layer",
    )  # fmt: skip
    return Verdict.refuted(claim, METHOD, sizes, [finding])


def differs(module: Module, graph: Graph, sizes: Mapping[str, int], counted: Mapping[str, str]) -> bool:
    """Whether steps behind the end change what is before it. Raises `NoRule` and `TooLarge`.

    Over a prime field, where a difference shows that the results are not the same function.
    """
    f, wide = Field(0), {**sizes, "N": 1}
    real = {**wide, **dict.fromkeys(counted, REAL)}
    draw = values_of(module, real)
    afford(graph, sizes, 2)
    weights = weights_over(graph, f, sizes)
    padded = {k: draw(f, k, v.type, v.type.concrete(wide), 0) for k, v in graph.inputs.items()}

    def run(inputs: Mapping[str, Array], env: Mapping[str, int]) -> dict[str, Array]:
        return interpret(graph, weights, inputs, env, lambda op, *xs: op.over_field(f, *xs))

    def before(x: Array, type_: Type) -> Array:
        return x[tuple(slice(max(0, substitute(s, real))) for s in type_.shape)]

    with_padding = run(padded, wide)
    without = run({k: before(v, graph.inputs[k].type) for k, v in padded.items()}, real)
    return any(
        not np.array_equal(before(with_padding[k], v.type), without[k], equal_nan=True)
        for k, v in graph.outputs.items()
    )
