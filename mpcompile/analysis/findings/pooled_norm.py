"""The normalisation that pools over the ordered positions, named beside a leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import tau
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.verdict import Status, Verdict
from mpcompile.budget import OutOfBudget, share
from mpcompile.ir import Frame, Module


def pooling_norm(module: Module, verdict: Verdict) -> Frame | None:
    """Find the first layer of an autoregressive network with mean and variance over positions of different rank.

    Exactly: a layer with a sum over elements that become available at different times, a square root and a
    quotient.
    """
    claim = verdict.claim
    graph = module.programs[claim.program]
    env = {"N": 1, **verdict.at}
    facts = tau(graph, claim.subject, ranks_of(graph, claim, env), env)
    pooled: dict[tuple[Frame, ...], set[type]] = {}
    for node in graph.nodes():
        if not node.scope or not isinstance(node.op, ops.Sum | ops.Sqrt | ops.Div):
            continue
        if isinstance(node.op, ops.Sum):
            read = facts[node.inputs[0]].full()[..., 0]
            if np.array_equal(read.max(node.op.axes), read.min(node.op.axes)):
                continue
        pooled.setdefault(node.scope, set()).add(type(node.op))
    return next((scope[-1] for scope, kinds in pooled.items() if len(kinds) == 3), None)


def explained(module: Module, verdict: Verdict) -> Verdict:
    """Add help that names the normalisation to a refuted `autoregressive`, where one on the path is to blame."""
    if verdict.claim.kind != "autoregressive" or verdict.status is not Status.REFUTED:
        return verdict
    try:
        with share():
            norm = pooling_norm(module, verdict)
    except OutOfBudget:
        return verdict
    if norm is None:
        return verdict
    help = (
        f"`{norm.label}` takes mean and variance over elements that come later in the order: normalise the channels "
        "of one position, or leave it out"
    )
    return replace(
        verdict,
        diagnostics=tuple(
            replace(d, help=help)
            if d.code == "MP301" and norm.span in (d.span, *(s.span for s in d.path))
            else d
            for d in verdict.diagnostics
        ),
    )
