"""`path_length(x) <= n`: every two positions that the order allows are joined by a path that mixes at most n times.

`>=` says that some pair, at some length, is joined by no shorter path; `==` says both. Paths are those of the graph,
through weights that are not structurally zero. Fixed sizes: the shortest paths between all positions. A sequence: offset
sets by the number of mixing operations (`analysis/mixing.py`), for every length. Ends of a sequence cut paths off where
operations read on both sides; then a bound from above is undecided. A pair that no path joins refutes it, and so does one
that is joined by paths alone: what leads from the one to the other cancels (`analysis/joined.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.analysis.certain import IDENTITIES, far, short
from mpcompile.analysis.dependence import TooLarge, environment_for
from mpcompile.analysis.joined import Joined, joined
from mpcompile.analysis.mixing import MAX_CAP, mixing_sets
from mpcompile.analysis.onesided import bordered, two_sided
from mpcompile.analysis.paths import LENGTHS, MAX_POSITIONS, Reach, growth, order_of, program_of, reach
from mpcompile.analysis.stencils import aligned_with, elements, expanded, inexact, offset_sets, phases, places
from mpcompile.analysis.verdict import FINITE, Proof, Sizes, Verdict, free_symbols, scope_of, sizes_text
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Graph, Module, Node, NoRule, symbols
from mpcompile.ir.field import PRIME
from mpcompile.ir.offsets import Offsets
from mpcompile.ir.stencils import Stencil

METHOD = "shortest paths between all positions"
BY_OFFSETS = "offset sets by the number of mixing operations"


def path_length(module: Module, claim: Claim) -> Verdict:
    """Decide a bound on the shortest path between positions of a variable, at every length where there is one."""
    graph = program_of(module, claim.subject)
    if graph is None:
        return Verdict.undecided(claim, f"no program reads {claim.subject}")
    free = free_symbols(graph)
    if not free:
        found = reach(module, claim.subject, LENGTHS[0])
        wrong = _broken(claim, found) or _too_short(claim, found)
        if wrong is not None:
            return Verdict.refuted(claim, METHOD, {}, [wrong], _detail([found]))
        proof = Proof(scope_of(graph, covers="declared"), METHOD, (FINITE,))
        sizes = environment_for(graph, LENGTHS[0])
        return _really(module, graph, claim, proof, [sizes], sizes, _detail([found]))
    return _sequence(module, graph, claim, sorted(free))


def _sequence(module: Module, graph: Graph, claim: Claim, names: list[str]) -> Verdict:
    measured, checked = list[Reach](), list[Sizes]()
    time = next(iter(symbols_of(module, claim.subject)), names[0])
    for length in LENGTHS:
        found = reach(module, claim.subject, length)
        sizes = dict.fromkeys(names, length)
        wrong = _broken(claim, found, time)
        measured.append(found)
        if wrong is not None:
            return Verdict.refuted(claim, METHOD, sizes, [wrong], _detail(measured))
        checked.append(sizes)
    detail = _detail(measured)
    try:
        answer = _by_offsets(module, graph, claim)
    except (NoRule, TooLarge) as missing:
        primitive = missing.primitive.name if isinstance(missing, NoRule) else ""
        longest = ", ".join(str(r.longest) for r in measured)
        grows = f"; the path grows with {time}: {longest}" if detail["growth"] != "constant" else ""
        return Verdict.undecided(claim, f"{missing}{grows}", primitive, checked, detail)
    if answer.unjoined is not None:
        at = dict.fromkeys(names, abs(answer.unjoined) + 1)
        return Verdict.refuted(claim, BY_OFFSETS, at, [_unjoined(claim, answer)], detail)
    if answer.far is not None:
        length = max(abs(answer.far) + 1, int(_bounds(claim)[1]) + 2)  # a loop takes a step for each place
        if length <= MAX_POSITIONS:
            found = reach(module, claim.subject, length)
            wrong = _broken(claim, found, time)
            if wrong is not None:
                return Verdict.refuted(claim, METHOD, dict.fromkeys(names, length), [wrong], detail)
    if answer.never and all(r.longest < _bounds(claim)[0] for r in measured):
        finding = Diagnostic("MP320", f"{answer.reason}, claimed {_claimed(claim)}", claim.span)
        return Verdict.refuted(claim, BY_OFFSETS, {}, [finding], detail)
    if answer.holds and answer.cut is not None and _bounds(claim)[1] < math.inf:
        reason = f"{answer.cut.op.name} reads ahead of its own place, so the ends of a sequence may cut paths"
        return Verdict.undecided(claim, reason, answer.cut.op.name, checked, detail)
    if answer.holds:
        proof = Proof(scope_of(graph, covers="lengths"), BY_OFFSETS, (FINITE,))
        least = int(_bounds(claim)[0])
        long = next((r.length for r in measured if r.longest >= least), None)
        long = long or max(least, abs(answer.long or 0)) + 2  # a loop takes a step for each place
        return _really(
            module, graph, claim, proof, _lengths(graph, claim), environment_for(graph, long), detail
        )
    return Verdict.undecided(claim, answer.reason, answer.primitive, checked, detail)


def _lengths(graph: Graph, claim: Claim) -> list[dict[str, int]]:
    """Sizes at which pairs that a path joins are looked at. Raises `TooLarge`."""
    return [short(graph, claim.subject, n) for n in (LENGTHS[0], far(graph, claim.subject))]


def _really(
    module: Module, graph: Graph, claim: Claim, proof: Proof, all_of: Sequence[Sizes], some: Sizes,
    detail: Mapping[str, object],
) -> Verdict:  # fmt: skip
    """The proof, where what paths join is joined: all that a bound from above is about, one pair of one from below."""
    least, most = _bounds(claim)
    assumptions = dict.fromkeys(proof.assumptions)
    for sizes in all_of if most < math.inf else ():
        found = joined(module, claim.subject, graph, sizes)
        assumptions |= dict.fromkeys(found.assumptions)
        if found.cancelled is not None:
            return _cancelled(claim, found, sizes, detail)
    if least > 0:
        found = joined(module, claim.subject, graph, some, int(least))
        assumptions |= dict.fromkeys(found.assumptions)
        if not found.seen and free_symbols(graph) and joined(module, claim.subject, graph, some, 1).seen:
            reason = f"what joins the pairs so far apart cancels{sizes_text([some])}, and longer ones were not tried"
            return Verdict.undecided(claim, reason, "", [some], detail)
        if not found.seen:
            return _cancelled(claim, found, some, detail)
    if free_symbols(graph) and IDENTITIES[1] in assumptions:
        tried = [*(all_of if most < math.inf else ()), *([some] if least > 0 else ())]
        assumptions[f"nothing cancels elsewhere; none does{sizes_text(tried)}"] = None
    return Verdict.proved(claim, replace(proof, assumptions=tuple(assumptions)), detail)


def _cancelled(claim: Claim, found: Joined, sizes: Sizes, detail: Mapping[str, object]) -> Verdict:
    """Refuted by a pair that paths alone join, or undecided where it may be joined all the same."""
    named = {k: n for k, n in sizes.items() if k != "N"}
    if found.open or found.cancelled is None:
        return Verdict.undecided(claim, found.open or "no pair so far apart was found", "", [named])
    source, output, name = found.cancelled
    finding = Diagnostic(
        "MP320",
        f"{name}{list(output)} is constant in {claim.subject}{list(source)}{sizes_text([named])}: what leads there "
        f"cancels, so nothing joins them, claimed {_claimed(claim)}",
        claim.span,
        notes=(found.note,),
        help=found.cause or "something is subtracted from, or divided by, itself on the way",
    )
    return Verdict.refuted(claim, f"a run modulo {PRIME}", named, [finding], detail)


def symbols_of(module: Module, name: str) -> list[str]:
    """Return the symbols in a variable's shape besides the batch."""
    return sorted({s for size in module.fields[name].type.shape for s in symbols(size)} - {"N"})


def _bounds(claim: Claim) -> tuple[float, float]:
    """The least and the greatest path length that a claim allows, as whole numbers."""
    op, bound = claim.limit.op, claim.limit.number
    if op in ("<=", "<"):
        return 0, math.floor(bound) if op == "<=" else math.ceil(bound) - 1
    if op in (">=", ">"):
        return math.ceil(bound) if op == ">=" else math.floor(bound) + 1, math.inf
    return bound, bound


def _detail(found: list[Reach]) -> dict[str, object]:
    longest, last = [r.longest for r in found], found[-1]
    return {"longest": longest[-1], "growth": growth(longest), "unjoined": last.unjoined}


# --- at numbers ---


def _broken(claim: Claim, found: Reach, time: str = "") -> Diagnostic | None:
    """Return what breaks a bound from above at one length: a pair that is too far apart, or that nothing joins."""
    most = _bounds(claim)[1]
    if most == math.inf:
        return None
    if found.longest < 0 and found.pairs:
        return _nothing(claim, found, time)
    if found.longest > most:
        return _finding(claim, found, time)
    if found.missing is not None:
        source, output = found.missing
        pairs = f"{found.unjoined} of the {found.possible} pairs of positions of {claim.subject}"
        return Diagnostic(
            "MP320",
            f"no path joins {pairs}{_at(found, time)}, claimed {_claimed(claim)}",
            claim.span,
            label=f"none leads from {claim.subject}{list(source)} to {found.name}{list(output)}",
            help="a recurrence or attention joins every two positions; a wider receptive field joins more of them",
        )
    return None


def _too_short(claim: Claim, found: Reach) -> Diagnostic | None:
    """Return what breaks a bound from below where every size is fixed."""
    if found.longest >= _bounds(claim)[0]:
        return None
    return _finding(claim, found, "") if found.longest >= 0 else _nothing(claim, found, "")


def _nothing(claim: Claim, found: Reach, time: str) -> Diagnostic:
    where = f"{claim.subject}{_at(found, time)}"
    return Diagnostic("MP320", f"no path joins any two positions of {where}", claim.span)


def _claimed(claim: Claim) -> str:
    return str(claim.limit)


def _at(found: Reach, time: str) -> str:
    return "" if found.length is None else f" at {time} = {found.length}"


def _finding(claim: Claim, found: Reach, time: str) -> Diagnostic:
    name = claim.subject
    pair = f"from {name}{list(found.source)} to {found.name}{list(found.output)}"
    return Diagnostic(
        "MP320",
        f"the path length of {name} is {found.longest}{_at(found, time)}, claimed {_claimed(claim)}",
        claim.span,
        label=f"the shortest path {pair} mixes {found.longest} times",
        help="attention joins any two positions directly; dilated convolutions do in the logarithm of their distance",
    )


# --- at every length ---


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer of offset sets.

    holds     the claim holds
    never     no offset takes as many as it says, and the sets are exact
    unjoined  the nearest offset of `rest`, which no path joins
    far       an offset that takes more than the claim says
    long      an offset that takes as many as a bound from below says
    cut       an operation that reads places beside its own in both directions: near the ends paths may be cut off
    """

    holds: bool
    never: bool = False
    unjoined: int | None = None
    rest: Offsets | None = None
    far: int | None = None
    long: int | None = None
    cut: Node | None = None
    reason: str = ""
    primitive: str = ""


def _by_offsets(module: Module, graph: Graph, claim: Claim) -> _Answer:
    """Raises `NoRule` where an operation has no rule, `TooLarge` for a bound that is not followed so far."""
    least, most = _bounds(claim)
    cap = int(least if most == math.inf else most + 1)
    if cap > MAX_CAP:
        raise TooLarge(f"paths that mix more than {MAX_CAP} times are not followed at every length")
    order = order_of(module, claim.subject)
    sets = mixing_sets(graph, claim.subject, max(cap, 1))
    reaches_least, exact, far, long, unplaced, joins = least <= 0, True, None, None, "", False
    for name, value in graph.outputs.items():
        stencil = sets.of(value)
        exact = exact and stencil.exact
        if not any(r.cell.facts.any() for r in stencil.regions):
            continue
        moving = any(a is not None for a in stencil.axes)
        parameter = None if order is None else order.ordering.axis
        if len(sets.axes) > 1 or len(stencil.regions) > 1:
            return _Answer(False, reason=f"`{name}` has more than one axis along the sequence")
        if (order is not None or moving) and not aligned_with(stencil, places(sets.axes, parameter)):
            if order is not None:
                return _Answer(False, reason=f"`{name}` does not give one result for each place")
            unplaced = (
                name  # how often paths mix can be told all the same, but not which pairs should be joined
            )
        found = list(_by_count(stencil))
        need = _needed(found) if order is None else Offsets.up_to(-1)
        for counts in found:
            all_of, near, below = (_within(counts, n) for n in (math.inf, most, least - 1))
            joins = joins or bool(all_of)
            lacking = need.intersection(all_of.complement())
            if most < math.inf and not unplaced and lacking:
                return _Answer(False, unjoined=_nearest(lacking), rest=lacking)
            slow = need.union(all_of).intersection(
                near.complement()
            )  # pairs that an order forbids count if joined
            if most < math.inf and not unplaced and slow and far is None:
                far = _nearest(slow)
            if (as_many := all_of.intersection(below.complement())) and long is None:
                reaches_least, long = True, _nearest(as_many)
    if unplaced and most < math.inf and not (exact and not reaches_least):
        return _Answer(False, reason=f"`{unplaced}` does not give one result for each place")
    holds = exact and far is None and reaches_least
    blame = inexact(graph, sets)
    if far is not None:
        reason = f"offset {far} may take more than {most:.0f}"
    elif not exact:
        reason = f"`{blame}` is known from above only"
    elif joins:
        reason = f"no offset takes {least:.0f}"
    else:
        reason = f"no path joins any two positions of {claim.subject}"
    never = exact and far is None and not reaches_least
    plain = offset_sets(graph, claim.subject)
    cut = two_sided(graph, plain) if holds and bordered(graph, plain) is not None else None
    return _Answer(holds, never, far=far, long=long, cut=cut, reason=reason, primitive="" if exact else blame)


def _by_count(stencil: Stencil) -> Iterator[dict[int, Offsets]]:
    """Yield, for every element that reads anything, the offsets about its own place by their count."""
    wide = expanded(stencil)
    for index, sets in elements(wide):
        place, counts = phases(wide, index, 1)[0], dict[int, Offsets]()
        for count, s in sets:
            moved = s.shift(0, -place)
            counts[count] = counts[count].union(moved) if count in counts else moved
        yield counts


def _needed(found: list[dict[int, Offsets]]) -> Offsets:
    """The offsets that a network without an order should join: all on a side on which it reads anything."""
    past, ahead = Offsets.up_to(0), Offsets.up_to(0).complement()
    sides = [side for side in (past, ahead) if any(side.intersection(s) for c in found for s in c.values())]
    needed = Offsets((0,), np.zeros(1, bool))
    for side in sides:
        needed = needed.union(side)
    return needed


def _within(counts: dict[int, Offsets], most: float) -> Offsets:
    """Return all offsets that take at most `most` mixings."""
    found = Offsets((0,), np.zeros(1, bool))
    for count, s in counts.items():
        found = found.union(s) if count <= most else found
    return found


def _nearest(offsets: Offsets) -> int:
    """The element nearest to zero of a set that is not empty."""
    low, size = offsets.origin[0], len(offsets.bits)
    reach = max(abs(low), abs(low + size)) + 1
    found = np.flatnonzero(offsets.window([-reach], [2 * reach + 1])) - reach
    return int(found[np.abs(found).argmin()])


def _unjoined(claim: Claim, answer: _Answer) -> Diagnostic:
    assert answer.unjoined is not None and answer.rest is not None
    low, high = answer.rest.bounds(0)
    where = f"at offset {answer.unjoined}"
    if low is None and high is not None:
        where = f"more than {-high - 1} positions back" if high < 0 else f"up to offset {high}"
    elif low is None and high is None:
        where = f"at offset {answer.unjoined}, among others"
    return Diagnostic(
        "MP320",
        f"no path leads {where}, so not all positions of {claim.subject} are joined, claimed {_claimed(claim)}",
        claim.span,
        help="a recurrence or attention joins every two positions; a wider receptive field joins more of them",
    )
