"""`no_blind_spot(x)`: inside of what it reaches, the model sees every position that it may see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.analysis.certain import IDENTITIES, cancels, certain, doubt, far, short
from mpcompile.analysis.colouring import Colouring, colouring, sets_of
from mpcompile.analysis.dependence import TooLarge, environment_for, support
from mpcompile.analysis.field import afford
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.paths import program_of
from mpcompile.analysis.probe import probe
from mpcompile.analysis.receptive import boxed, picture, unions
from mpcompile.analysis.rising import rises
from mpcompile.analysis.stencils import OffsetSets, aligned_with, axes_of, inexact, offset_sets, spatial_axes
from mpcompile.analysis.stencils import places as places_of
from mpcompile.analysis.verdict import (
    FINITE,
    GENERIC,
    Proof,
    Scope,
    Sizes,
    Verdict,
    free_symbols,
    ran,
    scope_of,
    sizes_text,
)
from mpcompile.budget import reserve, tick
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Claim, Graph, Module, NoRule, Symbolic
from mpcompile.ir.offsets import Offsets

#: The largest picture of a plane, in characters.
PICTURE = (16, 48)
#: The length at which sequences are tried.
LENGTH = 8


def no_blind_spot(module: Module, claim: Claim) -> Verdict:
    """Decide by offset sets for every length, or every size without an order; else by sets at the declared size."""
    graph = program_of(module, claim.subject)
    if graph is None:
        return Verdict.undecided(claim, f"no program reads {claim.subject}")
    ordered = claim.order is not None
    if not ordered or claim.ordering.ranks is None:
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
    share = 0.0
    try:
        stencils = [sets.of(value) for value in graph.outputs.values()]
    except NoRule:
        return None
    if not any(r.cell.facts.any() for s in stencils for r in s.regions):
        return _constant(claim)
    for stencil in stencils:
        if not stencil.exact or len(stencil.regions) > 1 or (past and len(sets.axes) > 1):
            return None
        if past and not aligned_with(stencil, places_of(sets.axes, claim.ordering.axis)):
            return None
        for phase, s in unions(stencil, len(sets.axes)).items():
            inside = _before(s, phase[0]) if past else boxed(s)
            if inside.size and not inside.all():
                share = max(share, 1 - float(inside.mean()))
    scope = scope_of(graph, covers="sizes" if fixed else "lengths")
    return _read(module, graph, claim, sets, scope, past, share)


def _read(
    module: Module, graph: Graph, claim: Claim, sets: OffsetSets, scope: Scope, past: bool, share: float
) -> Verdict:
    """Refuted by a hole between places that are certainly read, of one place of each phase of each output; or proved.

    `share` is that of the holes between offsets. Where what leads to the far end of a set cancels, there is none.
    """
    holes = Verdict.refuted(claim, "offset sets", {}, [_finding(claim, share, ())], {"blind": share})
    if rises(module, graph, claim.subject):
        method = "offset sets; nothing on the way is subtracted"
        return holes if share else Verdict.proved(claim, Proof(scope, method, (FINITE, GENERIC)))
    name, env, open_ = claim.subject, short(graph, claim.subject, far(graph, claim.subject)), ""
    constant, nothing = None, True
    for output, value in graph.outputs.items():
        for phase, s in unions(sets.of(value), len(sets.axes)).items():
            at = probe(graph, name, value, sets, phase, s, env)
            if at is None:
                continue
            own = at.base[0] + phase[0] if past else None
            places = at.places if own is None else at.places[at.places[:, 0] < own]
            if not len(places):  # nothing before its own place, which is no hole
                nothing = nothing and not len(at.places)
                continue
            few = places[np.unique([0, len(places) // 2, len(places) - 1])]
            for tried in (few, places) if share else (places,):
                groups = [at.group(p[None]) for p in tried]
                wanted = np.ones((len(at.rows), len(groups)), bool)
                found = certain(module, graph, name, env, wanted, None, (output,), at.rows, groups)
                seen = found.bound.value.any(0)
                low, high = _hull(tried[seen], own)
                if seen.any() and not at.named[tuple(map(slice, low, high + 1))].all():
                    return holes
            what = f"{name} has a blind spot: {output} is constant in {name}{{}}"
            if not seen.any():
                at_all = what.format(places[0].tolist())
                constant = constant or cancels(claim, graph, found, env, "MP305", at_all, (len(groups),))
                continue
            nothing = False
            blind = ~seen & ((places >= low) & (places <= high)).all(1)
            if blind.any():
                alone = replace(found, unseen=found.unseen & blind)
                inside = what.format(places[int(blind.argmax())].tolist())
                return cancels(claim, graph, alone, env, "MP305", inside, (len(groups),))
            open_ = open_ or ("" if seen.all() else doubt(found))
    if nothing:
        none = "no place was found that reads what its offsets name"
        return constant or Verdict.undecided(claim, none, "", [env])
    if open_:
        return Verdict.undecided(claim, open_, "", [env])
    method = f"offset sets; no cancellation at one place{sizes_text([env])}"
    return Verdict.proved(claim, Proof(scope, method, (FINITE, *IDENTITIES)))


def _hull(seen: Array, own: int | None) -> tuple[Array, Array]:
    """The first and the last of some places; the last is just before its own, where there is one."""
    if not len(seen):
        return np.zeros(seen.shape[1], int), np.full(seen.shape[1], -1)
    return seen.min(0), seen.max(0) if own is None else np.array([own - 1])


def _constant(claim: Claim) -> Verdict:
    """Nothing of the variable is read at all."""
    name = claim.subject
    finding = Diagnostic("MP305", f"{name} has a blind spot: nothing of it is read", claim.span)
    return Verdict.refuted(claim, "offset sets", {}, [finding], {"blind": 1.0})


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
    if claim.order is None:
        if not free_symbols(graph) and all(v.type.rank <= 2 for v in graph.outputs.values()):
            return _of_no_place(module, graph, claim, env)
        sets = offset_sets(graph, claim.subject)
        for value in graph.outputs.values():
            sets.of(value)
        blame = inexact(graph, sets)
        return Verdict.undecided(
            claim, f"`{blame}` is known from above only" if blame else "places have no one set", blame
        )
    ranks, axis = ranks_of(graph, claim, env).reshape(-1), claim.ordering.axis
    by = colouring(graph, claim.subject, env, axis)
    found = sets_of(graph, claim.subject, env, axis, by).value
    along = [a - 1 for a in spatial_axes(type, axes_of(graph, claim.subject))]
    places = (
        np.stack([np.indices(shape)[a].reshape(-1) for a in along], -1) if along else np.zeros((size, 0), int)
    )
    reserve(8 * size * by.count)
    seen = found.unpack() if size else np.zeros((0, by.count), bool)
    inside = _inside(by, ranks, claim, places, seen)
    missing = inside & ~seen
    blind = bool(missing.any())
    share = float(missing.sum() / max(1, inside.sum()))
    notes = _picture(by, seen, inside, missing, shape) if blind and len(shape) == 3 else ()
    holes = Verdict.refuted(claim, method, env, [_finding(claim, share, notes)], {"blind": share})
    cheap = rises(module, graph, claim.subject)
    if blind and cheap:
        return holes
    try:
        if not cheap:
            afford(graph, env, by.count)
        answer = certain(module, graph, claim.subject, env, inside & seen, axis, groups=by.groups)
    except (NoRule, TooLarge):
        if blind:  # by paths alone: what leads to the ends was not looked at
            return holes
        raise
    if answer.unseen.any():
        within = _inside(by, ranks, claim, places, answer.bound.value & seen)
        if (within & ~seen).any():
            return holes
        left = replace(answer, unseen=answer.unseen & within)
        if left.unseen.any():
            what = f"{claim.subject} has a blind spot: output {{0}} is constant in {{1}}"
            return cancels(claim, graph, left, env, "MP305", what, shape, by)
        if reason := doubt(answer):
            return Verdict.undecided(claim, reason, "", [env])
    elif blind:
        return holes
    outcome = ran([graph], f"{method}; {answer.method}", [env], (FINITE, *answer.assumptions))
    return Verdict.of(claim, outcome, {"blind": 0.0})


def _inside(by: Colouring, ranks: Array, claim: Claim, places: Array, seen: Array) -> Array:
    """Bool [output elements, colours]: the allowed pairs no farther apart than some that are seen."""
    inside, reach = np.zeros(seen.shape, bool), [_Reach() for _ in range(places.shape[1])]
    for pairs in _slabs(by, ranks, seen):
        for k, r in enumerate(reach):
            r.add(pairs.away(places[:, k])[pairs.seen & pairs.allowed])
    for pairs in _slabs(by, ranks, seen):
        within = pairs.allowed
        for k, r in enumerate(reach):
            within &= r.has(pairs.away(places[:, k]))
        if claim.ordering.ranks is None:  # of each place of a sequence what is behind its own first one
            own = ranks[pairs.elements]
            first = np.where(pairs.seen & pairs.allowed, own, ranks.max() + 1).min(1, keepdims=True)
            within = within & (own >= first) & (first > 0)
        inside[pairs.rows] = within
    return inside


@dataclass
class _Reach:
    """The least and the greatest distance that was added."""

    low: int = 1
    high: int = 0

    def add(self, away: Array) -> None:
        if away.size:
            low, high = int(away.min()), int(away.max())
            empty = self.low > self.high
            self.low, self.high = (low, high) if empty else (min(low, self.low), max(high, self.high))

    def has(self, away: Array) -> Array:
        return np.asarray((away >= self.low) & (away <= self.high))


@dataclass(frozen=True)
class _Pairs:
    """Some rows of pairs of an output element and the element of each colour in its window.

    elements    int64 [rows or 1, colours], -1 where there is none
    allowed     bool [rows, colours]: the element comes before
    seen        bool [rows, colours]: the output reads it
    """

    rows: slice
    elements: Array
    allowed: Array
    seen: Array

    def away(self, places: Array) -> Array:
        """Return the distance of the element from the output, [rows, colours]; places are those along an axis."""
        return np.asarray(places[self.elements] - places[self.rows, None])


#: Pairs that are looked at together.
SLAB = 1 << 21


def _slabs(by: Colouring, ranks: Array, seen: Array) -> Iterator[_Pairs]:
    rows = max(1, SLAB // by.count)
    for start in range(0, ranks.size, rows):
        tick()
        stop = min(start + rows, ranks.size)
        elements = by.elements(start, stop)
        allowed = (elements >= 0) & (ranks[elements] < ranks[start:stop, None])
        yield _Pairs(slice(start, stop), elements, allowed, seen[start:stop])


def _of_no_place(module: Module, graph: Graph, claim: Claim, env: Sizes) -> Verdict:
    """Outputs without places of their own, at declared sizes: the smallest box around all that each reads has no hole."""
    name, type = claim.subject, graph.inputs[claim.subject].type
    shape = type.concrete(env)[1:]
    axes = [a - 1 for a in spatial_axes(type, axes_of(graph, name))] or list(range(type.rank - 1))
    others = tuple(i for i in range(len(shape)) if i not in axes)
    numbers = np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), axes, range(len(axes)))
    method, assumed = "sets of inputs", tuple[str, ...]((FINITE,))
    for output in graph.outputs:
        seen = support(graph, name, output, env).value.any(0).reshape(shape)
        plane = np.logical_or.reduce(seen, axis=others)
        box = boxed(Offsets((0,) * plane.ndim, plane))
        if not box.all():
            share = 1 - float(box.mean())
            return Verdict.refuted(claim, method, env, [_finding(claim, share, ())], {"blind": share})
        groups = [numbers[tuple(p)].reshape(-1) for p in np.argwhere(plane)]
        wanted = np.ones((int(np.prod(graph.outputs[output].type.concrete(env)[1:])), len(groups)), bool)
        found = certain(module, graph, name, env, wanted, None, (output,), None, groups)
        blind = ~found.bound.value.any(0)
        if blind.any():
            what = f"{name} has a blind spot: {output} is constant in what is read there"
            alone = replace(found, unseen=found.unseen & blind)
            return cancels(claim, graph, alone, env, "MP305", what, (len(groups),))
        method, assumed = f"sets of inputs; {found.method}", (FINITE, *found.assumptions)
    return Verdict.proved(claim, Proof(scope_of(graph, covers="declared"), method, assumed), {"blind": 0.0})


def _finding(claim: Claim, share: float, notes: tuple[str, ...]) -> Diagnostic:
    return Diagnostic(
        "MP305",
        f"{claim.subject} has a blind spot: {share:.1%} of what the model reaches and may see, it does not see",
        claim.span,
        notes=notes,
        help="a vertical and a horizontal stack see all of an image's past; dilations that grow by a factor of at most "
        "the kernel's size leave no holes",
    )


def _picture(
    by: Colouring, seen: Array, inside: Array, missing: Array, shape: tuple[int, ...]
) -> tuple[str, ...]:
    """Draw what the pixel with the largest blind spot sees, channels together."""
    channels, height, width = shape
    pixel = int(missing.sum(1).reshape(channels, -1).sum(0).argmax())
    place = (pixel // width, pixel % width)

    def plane(pairs: Array) -> Array:
        each = np.zeros(by.size, bool)
        for row in range(pixel, by.size, height * width):
            each[by.elements(row, row + 1)[0][pairs[row]]] = True
        return np.asarray(each.reshape(shape).any(0))

    rows, columns = PICTURE
    top, left = max(0, place[0] + 1 - rows), max(0, min(place[1] - columns // 2, width - columns))
    window = (slice(top, place[0] + 2), slice(left, left + columns))
    text = picture(plane(seen)[window], plane(inside)[window], (place[0] - top, place[1] - left))
    legend = f"around pixel {list(place)} (X itself, # seen, o blind, . out of reach or not allowed):"
    return (legend, *text.split("\n"))
