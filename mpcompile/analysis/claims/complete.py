"""`complete(x)`: every dependence that the order allows is really there."""

from __future__ import annotations

import numpy as np

from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.receptive import unions
from mpcompile.analysis.stencils import aligned_with, offset_sets, places
from mpcompile.analysis.verdict import FINITE, GENERIC, Proof, Verdict, ran, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Graph, Module, NoRule
from mpcompile.ir.offsets import Offsets

#: The length at which sequences are tried.
LENGTH = 8


def complete(module: Module, claim: Claim) -> Verdict:
    graph = module.programs[claim.program]
    env = environment_for(graph, LENGTH)
    method, assumed = "sets of inputs", (FINITE, GENERIC)
    ranks = ranks_of(graph, claim, env)
    axis, size = claim.arguments["axis"], int(ranks.size)
    seen = np.zeros((size, size), bool)
    for name in graph.outputs:
        seen |= support(graph, claim.subject, name, env, over=axis).value
    flat = ranks.reshape(-1)
    missing = (flat[:, None] > flat[None, :]) & ~seen
    detail = {"missing": int(missing.sum()), "allowed": int((flat[:, None] > flat[None, :]).sum())}
    if not missing.any():
        if claim.arguments["ranks"] is None and _sees_all(graph, claim):
            method = "offset sets"
            return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), method, assumed), detail)
        return Verdict.of(claim, ran([graph], method, [env], assumed), detail)
    i, j = (int(k[0]) for k in np.nonzero(missing))
    shape = ranks.shape
    out, inp = (tuple(int(k) for k in np.unravel_index(e, shape)) for e in (i, j))
    share = missing.sum() / max(1, detail["allowed"])
    finding = Diagnostic(
        "MP302",
        f"{claim.subject} is not complete: output {claim.subject}{list(out)} never sees {claim.subject}{list(inp)}, "
        "which comes before it",
        claim.span,
        notes=(f"{detail['missing']} of {detail['allowed']} allowed dependencies are missing ({share:.1%})",),
        help='widen the layers or kernels, add a vertical stack, or state `allow complete(...) because "..."`',
    )
    return Verdict.refuted(claim, method, env, [finding], detail)


def _sees_all(graph: Graph, claim: Claim) -> bool:
    """Whether the offset sets of the parameters are exactly all that comes before, away from the borders."""
    if claim.subject not in graph.inputs:
        return False
    sets = offset_sets(graph, claim.subject)
    past = Offsets.up_to(-1)
    seen: Offsets | None = None
    for value in graph.outputs.values():
        try:
            stencil = sets.of(value)
        except NoRule:
            return False
        if len(stencil.regions) > 1 or not stencil.exact:
            return False
        if not aligned_with(stencil, places(sets.axes, claim.arguments["axis"])):
            return False
        for phase, s in unions(stencil, 1).items():
            relative = s.shift(0, -phase[0])
            seen = relative if seen is None else seen.union(relative)
    return seen == past
