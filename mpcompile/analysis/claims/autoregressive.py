"""`autoregressive(x)`: no parameter of an element reads that element, or one that comes later in the order.

Sequences are proven by offset sets, for every length at once, where every primitive has a rule for them; images by the
availability of every element at their own size, and by offset sets for every other.
"""

from __future__ import annotations

import numpy as np

from mpcompile.analysis.blame import leak
from mpcompile.analysis.dependence import environment_for, tau, witness
from mpcompile.analysis.order import allowed, ranks_of, raster
from mpcompile.analysis.stencils import (
    aligned_with,
    elements,
    expanded,
    not_before,
    offset_sets,
    phases,
    places,
)
from mpcompile.analysis.verdict import FINITE, Proof, Status, Verdict, ran, scope_of
from mpcompile.ir import Claim, Graph, Module, NoRule

#: The length at which sequences are tried first.
LENGTH = 8
#: The longest sequence at which a leak that offset sets report is looked for.
LONGEST = 1 << 14


def autoregressive(module: Module, claim: Claim, length: int = LENGTH) -> Verdict:
    graph = module.programs[claim.program]
    if claim.subject not in graph.inputs:
        proof = Proof(scope_of(graph, covers="lengths"), "the program does not read it")
        return Verdict.proved(claim, proof, {"elements": 0})
    if claim.arguments["ranks"] is not None:
        verdict = by_availability(module, claim, length)
        if verdict.status is Status.PROVED and raster(graph, claim) and ahead(graph, claim) == []:
            proof = Proof(scope_of(graph, covers="sizes"), "offset sets", (FINITE,))
            return Verdict.proved(claim, proof, verdict.detail)
        return verdict
    lengths = ahead(graph, claim)
    if lengths == []:
        return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), "offset sets", (FINITE,)))
    verdict = by_availability(module, claim, length)
    for needed in [] if lengths is None or verdict.status is Status.REFUTED else lengths:
        verdict = by_availability(module, claim, needed)
        if verdict.status is Status.REFUTED:
            break
    return verdict


def by_availability(module: Module, claim: Claim, length: int) -> Verdict:
    """The proof, or the refutation with its witness, at one length of sequences."""
    graph = module.programs[claim.program]
    env = environment_for(graph, length)
    method = "availability of every element"
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
            return Verdict.refuted(claim, method, env, [leak(claim, index, path, ranks, memory)])
    return Verdict.of(claim, ran([graph], method, [env], (FINITE,)), {"elements": int(ranks.size)})


def ahead(graph: Graph, claim: Claim) -> list[int] | None:
    """Lengths at which to look for what offset sets report ahead of its place; none when there is nothing.

    None where the network has no offset sets, or does not give one set of parameters for each place.
    """
    channels = claim.arguments["ranks"] is not None
    sets = offset_sets(graph, claim.subject, by_channel=channels)
    rank, parameter = len(sets.axes), claim.arguments["axis"]
    lengths: set[int] = set()
    for value in graph.outputs.values():
        try:
            stencil = sets.of(value)
        except NoRule:
            return None
        if not any(r.cell.facts.any() for r in stencil.regions):
            continue
        if len(stencil.regions) > 1 or not aligned_with(stencil, places(sets.axes, parameter)):
            return None
        wide = expanded(stencil)
        own = tuple(i for i in range(len(wide.axes)) if i != parameter)
        for index, kinds in elements(wide):
            # a channel whose facts are compressed stands for all of them, the first being the strictest
            channel = index[own[1]] if channels else 0
            place = phases(wide, index, rank)
            for kind, s in kinds:
                late = not_before(s, place, strictly=channels and kind < channel)
                if late.size:
                    reach = int((late - np.asarray(place)).max(1).min())
                    extent = sum(s.bits.shape)
                    lengths |= {n for n in (reach + 8, reach + extent + 8) if n <= LONGEST}
    return sorted(lengths)
