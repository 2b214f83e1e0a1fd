"""`complete(x)`: every dependence that the order allows is really there."""

from __future__ import annotations

import numpy as np

from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.verdict import Verdict, sizes
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module


def complete(module: Module, claim: Claim, length: int) -> Verdict:
    graph = module.programs[claim.program]
    env = environment_for(graph, length)
    how = f"exact sets of inputs{sizes(env)}"
    ranks = ranks_of(graph, claim, env)
    axis, size = claim.arguments["axis"], int(ranks.size)
    seen = np.zeros((size, size), bool)
    for name, value in graph.outputs.items():
        bits = support(graph, claim.subject, name, env)
        shape = value.type.concrete(env)
        cube = bits.reshape(*shape, size)[0]
        seen |= (cube if axis is None else cube.any(axis - 1)).reshape(size, size)
    flat = ranks.reshape(-1)
    missing = (flat[:, None] > flat[None, :]) & ~seen
    detail = {"missing": int(missing.sum()), "allowed": int((flat[:, None] > flat[None, :]).sum())}
    if not missing.any():
        return Verdict(claim, "proved", how, (), detail)
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
    return Verdict(claim, "refuted", how, (finding,), detail)
