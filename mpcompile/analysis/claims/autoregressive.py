"""`autoregressive(x)`: no parameter of an element reads that element, or one that comes later in the order."""

from __future__ import annotations

import numpy as np

from mpcompile.analysis.blame import leak
from mpcompile.analysis.dependence import environment_for, tau, witness
from mpcompile.analysis.order import allowed, ranks_of
from mpcompile.analysis.verdict import Verdict, sizes
from mpcompile.ir import Claim, Module


def autoregressive(module: Module, claim: Claim, length: int) -> Verdict:
    graph = module.programs[claim.program]
    env = environment_for(graph, length)
    how = f"availability of every element{sizes(env)}"
    if claim.subject not in graph.inputs:
        return Verdict(claim, "proved", how, (), {"elements": 0})
    ranks = ranks_of(graph, claim, env)
    memory = tau(graph, claim.subject, ranks, env)
    for value in graph.outputs.values():
        facts = memory[value]
        late = facts.full()[..., 0] - allowed(ranks, facts, claim.arguments["axis"])
        if (late > 0).any():
            bad = np.argwhere(late > 0)
            order = np.argsort(allowed(ranks, facts, claim.arguments["axis"])[tuple(bad.T)], kind="stable")
            index = tuple(int(i) for i in bad[order[0]])
            path = witness(graph, memory, env, value, index)
            return Verdict(claim, "refuted", how, (leak(claim, index, path, ranks),))
    return Verdict(claim, "proved", how, (), {"elements": int(ranks.size)})
