"""`no_blind_spot(x)`: inside of what it reaches, the model sees every position that it may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpcompile.analysis.certain import IDENTITIES, cancels, certain, far, short
from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.paths import program_of
from mpcompile.analysis.probe import probe
from mpcompile.analysis.receptive import boxed, picture, unions
from mpcompile.analysis.rising import rises
from mpcompile.analysis.stencils import OffsetSets, aligned_with, inexact, offset_sets, spatial_axes
from mpcompile.analysis.stencils import places as places_of
from mpcompile.analysis.verdict import FINITE, GENERIC, Proof, Scope, Verdict, ran, scope_of, sizes_text
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Claim, Graph, Module, NoRule, Symbolic
from mpcompile.ir.offsets import Offsets

#: The largest picture of a plane, in characters.
PICTURE = (16, 48)
#: The length at which sequences are tried.
LENGTH = 8


def no_blind_spot(module: Module, claim: Claim) -> Verdict:
    """By offset sets for every length of a sequence, or size of what is not autoregressive; else at the declared size."""
    graph = program_of(module, claim.subject)
    if graph is None:
        return Verdict.undecided(claim, f"no program reads {claim.subject}")
    ordered = "ranks" in claim.arguments
    if not ordered or claim.arguments["ranks"] is None:
        found = _by_offsets(module, graph, claim, past=ordered)
        if found is not None:
            return found
    return _by_sets(module, graph, claim)


def _by_offsets(module: Module, graph: Graph, claim: Claim, past: bool) -> Verdict | None:
    """Holes between the offsets; of a sequence with an order (`past`), only before the place itself."""
    sets = offset_sets(graph, claim.subject)
    if not sets.axes:
        return None
    fixed = not any(isinstance(s, Symbolic) for s in graph.inputs[claim.subject].type.shape[1:])
    share, first = 0.0, None
    for value in graph.outputs.values():
        try:
            stencil = sets.of(value)
        except NoRule:
            return None
        if not stencil.exact or len(stencil.regions) > 1 or (past and len(sets.axes) > 1):
            return None
        if past and not aligned_with(stencil, places_of(sets.axes, claim.arguments["axis"])):
            return None
        for phase, s in unions(stencil, len(sets.axes)).items():
            inside = _before(s, phase[0]) if past else boxed(s)
            if inside.size and not inside.all():
                share = max(share, 1 - float(inside.mean()))
                first = first or tuple(int(i) for i in np.argwhere(~inside)[0])
    if first is None:
        scope = scope_of(graph, covers="sizes" if fixed else "lengths")
        return _read(module, graph, claim, sets, scope, past)
    return Verdict.refuted(claim, "offset sets", {}, [_finding(claim, share, ())], {"blind": share})


def _read(module: Module, graph: Graph, claim: Claim, sets: OffsetSets, scope: Scope, past: bool) -> Verdict:
    """Proved where what the offset sets name is certainly read, of one place of each phase of each output."""
    if rises(module, graph, claim.subject):
        method = "offset sets; nothing on the way is subtracted"
        return Verdict.proved(claim, Proof(scope, method, (FINITE, GENERIC)))
    name, env = claim.subject, short(graph, claim.subject, far(graph, claim.subject))
    for output, value in graph.outputs.items():
        for phase, s in unions(sets.of(value), len(sets.axes)).items():
            at = probe(graph, name, value, sets, phase, s, env)
            if at is None or not at.places.size:
                continue
            places = at.places[at.places[:, 0] < at.base[0] + phase[0]] if past else at.places
            if not len(places):
                continue
            groups = [at.group(p[None]) for p in places]
            wanted = np.ones((len(at.rows), len(groups)), bool)
            found = certain(module, graph, name, env, wanted, None, (output,), at.rows, groups)
            blind = ~found.bound.value.any(0)
            if blind.any():
                what = f"{name} has a blind spot: {output} is constant in {name}{places[int(blind.argmax())].tolist()}"
                alone = replace(found, unseen=found.unseen & blind)
                return cancels(claim, graph, alone, env, "MP305", what, (len(groups),))
    method = f"offset sets; no cancellation at one place{sizes_text([env])}"
    return Verdict.proved(claim, Proof(scope, method, (FINITE, *IDENTITIES)))


def _before(s: Offsets, place: int) -> Array:
    """The bits from the first offset to the one just before a place."""
    start = s.origin[0]
    bits = s.window([start], [max(place - start, 0)])
    return bits[int(bits.argmax()) :] if bits.any() else bits[:0]


def _by_sets(module: Module, graph: Graph, claim: Claim) -> Verdict:
    """Pairs of elements that the order allows, within the hull of all that is seen, and that are not joined."""
    env, method = environment_for(graph, LENGTH), "sets of inputs"
    type = graph.inputs[claim.subject].type
    shape = type.concrete(env)[1:]
    size = int(np.prod(shape))
    if "ranks" not in claim.arguments:
        sets = offset_sets(graph, claim.subject)
        for value in graph.outputs.values():
            sets.of(value)
        blame = inexact(graph, sets)
        return Verdict.undecided(
            claim, f"`{blame}` is known from above only" if blame else "places have no one set", blame
        )
    ranks = ranks_of(graph, claim, env).reshape(-1)
    seen = np.zeros((size, size), bool)
    for name in graph.outputs:
        seen |= support(graph, claim.subject, name, env, over=claim.arguments["axis"]).value
    allowed = ranks[:, None] > ranks[None, :]
    inside = allowed.copy()
    for axis in spatial_axes(type):
        place = np.broadcast_to(
            np.arange(shape[axis - 1]).reshape([-1 if i == axis - 1 else 1 for i in range(len(shape))]), shape
        ).reshape(-1)
        away = place[None, :] - place[:, None]
        reach = away[seen & allowed]
        inside &= (away >= reach.min()) & (away <= reach.max()) if reach.size else False
    missing = inside & ~seen
    if not missing.any():
        found = certain(module, graph, claim.subject, env, inside & seen, claim.arguments["axis"])
        if found.unseen.any():
            what = f"{claim.subject} has a blind spot: output {{0}} is constant in {{1}}"
            return cancels(claim, graph, found, env, "MP305", what, shape)
        assumed = (FINITE, *found.assumptions)
        return Verdict.of(claim, ran([graph], f"{method}; {found.method}", [env], assumed), {"blind": 0.0})
    share = float(missing.sum() / inside.sum())
    notes = _picture(seen, inside, missing, shape) if len(shape) == 3 else ()
    return Verdict.refuted(claim, method, env, [_finding(claim, share, notes)], {"blind": share})


def _finding(claim: Claim, share: float, notes: tuple[str, ...]) -> Diagnostic:
    return Diagnostic(
        "MP305",
        f"{claim.subject} has a blind spot: {share:.1%} of what the model reaches and may see, it does not see",
        claim.span,
        notes=notes,
        help="a vertical and a horizontal stack see all of an image's past; dilations that grow by a factor of at most "
        "the kernel's size leave no holes",
    )


def _picture(seen: Array, inside: Array, missing: Array, shape: tuple[int, ...]) -> tuple[str, ...]:
    """What the pixel with the largest blind spot sees, channels together."""
    channels, height, width = shape
    pixel = int(missing.reshape(channels, height * width, -1).sum((0, 2)).argmax())
    place = (pixel // width, pixel % width)

    def plane(pairs: Array) -> Array:
        each = pairs.reshape(channels, height * width, channels, height, width)[:, pixel]
        return np.asarray(each.any((0, 1)))

    rows, columns = PICTURE
    top, left = max(0, place[0] + 1 - rows), max(0, min(place[1] - columns // 2, width - columns))
    window = (slice(top, place[0] + 2), slice(left, left + columns))
    text = picture(plane(seen)[window], plane(inside)[window], (place[0] - top, place[1] - left))
    legend = f"around pixel {list(place)} (X itself, # seen, o blind, . out of reach or not allowed):"
    return (legend, *text.split("\n"))
