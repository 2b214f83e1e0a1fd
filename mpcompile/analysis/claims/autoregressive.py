"""`autoregressive(x)`: no parameter of an element reads that element, or one that comes later in the order.

Three upper bounds prove it. A sequence: offset sets, none of which has its own place or a later one, for every length. A
variable of fixed size beside inputs of symbolic length: availability of every element over axes whose elements are
alike, for every length. A program without symbols: availability at the declared sizes; an image in raster order by
offset sets for every other size too.

Where none of them does, a witness is looked for at growing lengths up to the horizon (`analysis/horizon.py`). It is held
to a run modulo a prime: paths that cancel are no counterexample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpcompile.analysis.blame import leak
from mpcompile.analysis.certain import certain, doubt
from mpcompile.analysis.dependence import Step, TooLarge, support, tau, witness
from mpcompile.analysis.horizon import search
from mpcompile.analysis.order import allowed, ranks_of, raster
from mpcompile.analysis.stencils import (
    aligned_with,
    at_every_length,
    elements,
    expanded,
    inexact,
    not_before,
    offset_sets,
    phases,
    places,
)
from mpcompile.analysis.verdict import FINITE, Proof, Sizes, Verdict, free_symbols, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Abstract, Array, Claim, Graph, Module, NoRule, Symbolic, Value, availability, product

METHOD = "availability of every element"


def autoregressive(module: Module, claim: Claim) -> Verdict:
    """Decide whether no parameter of an element reads the element itself or a later one, by availability."""
    graph = module.programs[claim.program]
    if claim.subject not in graph.inputs:
        proof = Proof(scope_of(graph, covers="lengths"), "the program does not read it")
        return Verdict.proved(claim, proof, {"elements": 0})
    shape = graph.inputs[claim.subject].shape[1:]
    if shape and isinstance(shape[0], Symbolic):
        open_ = reads_ahead(graph, claim)
        if open_ is None:
            return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), "offset sets", (FINITE,)))
        return _searched(module, graph, claim, open_)
    detail = {"elements": product(shape)}
    if free_symbols(graph):
        open_ = _late_at_some_length(graph, claim)
        if open_ is not None:
            return _searched(module, graph, claim, open_)
    else:
        found = leak_at(graph, claim, {"N": 1})
        if found is not None and not confirmed(module, graph, claim, found):
            return Verdict.undecided(claim, CANCELS)
        if found is not None:
            return Verdict.refuted(claim, METHOD, {}, [found.diagnostic(claim)])
    if raster(graph, claim) and reads_ahead(graph, claim) is None:
        return Verdict.proved(claim, Proof(scope_of(graph, covers="sizes"), "offset sets", (FINITE,)), detail)
    return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), METHOD, (FINITE,)), detail)


# --- at numbers ---


@dataclass(frozen=True)
class Leak:
    """An element of a parameter that reads its own variable, or a later one, at some sizes."""

    subject: str
    sizes: Sizes
    ranks: Array
    value: Value
    index: tuple[int, ...]

    graph: Graph

    @cached_property
    def facts(self) -> Mapping[Value, Abstract]:
        """Availability of every value, which only a path asks for."""
        return tau(self.graph, self.subject, self.ranks, self.sizes)

    @cached_property
    def path(self) -> list[Step]:
        """The path from an element of the subject to the element of the parameter."""
        return witness(self.graph, self.facts, self.sizes, self.value, self.index)

    def diagnostic(self, claim: Claim) -> Diagnostic:
        return leak(self.graph, claim, self.sizes, self.index, self.path, self.ranks, self.facts)


def leak_at(graph: Graph, claim: Claim, sizes: Sizes) -> Leak | None:
    """Find the first element in the order that reads ahead at some sizes, `N` among them."""
    ranks = ranks_of(graph, claim, sizes)
    facts = tau(graph, claim.subject, ranks, sizes, kept=set(graph.outputs.values()))
    for value in graph.outputs.values():
        found = facts[value]
        own = allowed(ranks, found, claim.ordering.axis)
        bad = np.argwhere(found.full()[..., 0] > own)
        if bad.size:
            first = np.argsort(own[tuple(bad.T)], kind="stable")[0]
            return Leak(claim.subject, sizes, ranks, value, tuple(int(i) for i in bad[first]), graph)
    return None


def confirmed(module: Module, graph: Graph, claim: Claim, found: Leak) -> bool:
    """Return whether something that leads ahead certainly has an effect, or whether that cannot be told.

    False: paths lead ahead, and nothing changes on any of them in a run modulo a prime; so they cancel.
    """
    axis, name = claim.ordering.axis, claim.subject
    flat = found.ranks.reshape(-1)
    own = tuple(i for a, i in enumerate(found.index) if a != axis)[1:]

    def shows(wanted: Array) -> bool:
        answer = certain(module, graph, name, found.sizes, wanted, axis)
        unseen = np.broadcast_to(answer.unseen, wanted.shape)
        return not unseen[wanted].all() or (answer.reached is not None and bool(doubt(answer)))

    try:
        pair = np.zeros((flat.size, flat.size), bool)
        pair[np.ravel_multi_index(own, found.ranks.shape),
             np.ravel_multi_index(found.path[0].index[1:], found.ranks.shape)] = True  # fmt: skip
        if shows(pair):
            return True
        sets = [support(graph, name, output, found.sizes, over=axis).value for output in graph.outputs]
        return shows(np.logical_or.reduce(sets) & (flat[None, :] >= flat[:, None]))
    except (NoRule, TooLarge):
        return True


#: Why a structural leak is no counterexample.
CANCELS = "paths lead ahead, but what they carry cancels: nothing changes in a run modulo a prime"


def _searched(module: Module, graph: Graph, claim: Claim, open_: Open) -> Verdict:
    """Refuted at the shortest length that was found to leak, else undecided."""
    cancelled = False

    def run(sizes: Sizes) -> Leak | None:
        nonlocal cancelled
        found = leak_at(graph, claim, sizes)
        if found is None or confirmed(module, graph, claim, found):
            return found
        cancelled = True
        return None

    tried = search(graph, run)
    if tried.found is not None:
        return Verdict.refuted(claim, METHOD, tried.at, [tried.found.diagnostic(claim)])
    reason = CANCELS if cancelled else open_.reason
    if not tried.complete:
        reason += "; longer sequences were too much to try"
    primitive = open_.primitive
    if not primitive and tried.checked and not cancelled:
        primitive = _coarse(graph, claim, tried.checked[-1])
        reason += f": `{primitive}` is known from above only" if primitive else ""
    return Verdict.undecided(claim, reason, primitive, tried.checked)


def _coarse(graph: Graph, claim: Claim, sizes: Sizes) -> str:
    """The first primitive that reads less at some sizes than its bound at every length says; or nothing.

    For a subject of fixed size, along whose symbolic axes all elements are alike.
    """
    ranks = ranks_of(graph, claim, sizes)
    if isinstance(graph.inputs[claim.subject].shape[1], Symbolic):
        return ""
    seed = (ranks.astype(np.int32) + 1)[None, ..., None]
    bound = at_every_length(graph, availability(), {graph.inputs[claim.subject]: seed})
    found = tau(graph, claim.subject, ranks, sizes)
    for node in graph.nodes():
        for value in node.outputs:
            upper = bound[value]
            if isinstance(upper, Abstract) and upper.facts.max(initial=0) > found[value].facts.max(initial=0):
                return node.op.name
    return ""


# --- at every size ---


@dataclass(frozen=True, slots=True)
class Open:
    """The reason why upper bounds do not prove the claim, in words, and the primitive to blame, if one is."""

    reason: str
    primitive: str = ""

    @classmethod
    def of(cls, missing: NoRule) -> Open:
        return cls(str(missing), missing.primitive.name)


def _late_at_some_length(graph: Graph, claim: Claim) -> Open | None:
    """Return what may read ahead in a program whose subject has a fixed size; None where nothing does, at any length."""
    ranks = ranks_of(graph, claim, {"N": 1})
    seed = (ranks.astype(np.int32) + 1)[None, ..., None]
    facts = at_every_length(graph, availability(), {graph.inputs[claim.subject]: seed})
    for name, value in graph.outputs.items():
        found = facts[value]
        if isinstance(found, NoRule):
            return Open.of(found)
        if (found.full()[..., 0] > allowed(ranks, found, claim.ordering.axis)).any():
            return Open(f"at some length `{name}` may read ahead")
    return None


def reads_ahead(graph: Graph, claim: Claim) -> Open | None:
    """Return what may read its own place or a later one; None where offset sets show that nothing ever does."""
    channels = claim.ordering.ranks is not None
    sets = offset_sets(graph, claim.subject, by_channel=channels)
    rank, parameter = len(sets.axes), claim.ordering.axis
    for name, value in graph.outputs.items():
        try:
            stencil = sets.of(value)
        except NoRule as missing:
            return Open.of(missing)
        if not any(r.cell.facts.any() for r in stencil.regions):
            continue
        if len(stencil.regions) > 1 or not aligned_with(stencil, places(sets.axes, parameter)):
            return Open(f"`{name}` does not give one set of parameters for each place")
        wide = expanded(stencil)
        own = tuple(i for i in range(len(wide.axes)) if i != parameter)
        for index, kinds in elements(wide):
            # a channel whose facts are compressed stands for all of them, the first being the strictest
            channel = index[own[1]] if channels else 0
            place = phases(wide, index, rank)
            for kind, s in kinds:
                late = not_before(s, place, strictly=channels and kind < channel)
                if late.size:
                    ahead = (late - np.asarray(place)).max(1).min()
                    blame = inexact(graph, sets)
                    known = f": `{blame}` is known from above only" if blame else ""
                    return Open(f"`{name}` may read {int(ahead)} places ahead{known}", blame)
    return None
