"""`complete(x)`: every dependence that the order allows is really there; of a flow, every latent reads every element.

Upper bounds refute: what is missing in them is read by nothing. Lower bounds prove: a difference that shows modulo a
prime, or a path on which nothing is subtracted. What is in the one and not in the other cancels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.branches import without_ahead, without_branches
from mpcompile.analysis.certain import RISING, Certain, cancels, certain, far, sampled, short
from mpcompile.analysis.colouring import Colouring, colouring, sets_of
from mpcompile.analysis.dependence import TooLarge, sets
from mpcompile.analysis.field import afford, widest
from mpcompile.analysis.lengthened import lengthened
from mpcompile.analysis.onesided import two_sided
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.receptive import unions
from mpcompile.analysis.rising import rises
from mpcompile.analysis.stencils import OffsetSets, aligned_with, offset_sets, places
from mpcompile.analysis.verdict import FINITE, Proof, Status, Verdict, free_symbols, ran, scope_of, sizes_text
from mpcompile.budget import reserve, tick
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Claim, Graph, Module, NoRule
from mpcompile.ir.offsets import Offsets

#: What a finding says of a pair: of an autoregressive variable, and of a flow.
_ORDERED = (
    "output {0} never sees {1}, which comes before it",
    "output {0} is constant in {1}: what leads there cancels",
)
_FLOWING = "latent z[{2}] never sees {1}", "latent z[{2}] is constant in {1}: what leads there cancels"


def complete(module: Module, claim: Claim) -> Verdict:
    """Decide `complete` by sets of inputs where all sizes are declared, else by offset sets for every length."""
    graph = module.programs[claim.program]
    if claim.order is None:
        return _flow(module, claim, graph)
    if claim.subject not in graph.inputs:
        return _unread(module, claim)
    if claim.ordering.ranks is None:
        return _sequence(module, claim, graph)
    env = short(graph, claim.subject, 2)
    ranks = _ranks(graph, claim, env)
    if ranks.max() == ranks.min():
        proof = Proof(scope_of(graph, covers="lengths"), "no element comes before another one")
        return Verdict.proved(claim, proof, {"missing": 0})
    if not free_symbols(graph) and (long := _at_any_length(module, claim, graph, ranks)) is not None:
        return long
    cut = without_branches(graph, claim.subject) if free_symbols(graph) else None
    if cut is not None and not isinstance(found := _run(module, claim, cut, env), Verdict):
        return _everywhere(claim, graph, found)
    answer = _run(module, claim, graph, env)
    if isinstance(answer, Verdict):
        return answer
    method = f"sets of inputs; {answer.method}"
    return Verdict.of(claim, ran([graph], method, [env], (FINITE, *answer.assumptions)), {"missing": 0})


def _everywhere(claim: Claim, graph: Graph, found: Certain) -> Verdict:
    """Proved for every length by a lower bound of the program without what has gone through sequences."""
    method = f"sets of inputs; {found.method}, with weights at which branches of any length give zero"
    proof = Proof(scope_of(graph, covers="lengths"), method, (FINITE, *found.assumptions))
    return Verdict.proved(claim, proof, {"missing": 0})


def _unread(module: Module, claim: Claim) -> Verdict:
    """Answer for a program in which no output reads the variable."""
    name = claim.subject
    if module.fields[name].type.with_shape(module.fields[name].type.shape[1:]).size == 1:
        return Verdict.proved(
            claim, Proof(scope_of(covers="declared"), "one element, which nothing comes before")
        )
    finding = Diagnostic(
        "MP302", f"{name} is not complete: its distribution does not read it", claim.span, help=_HELP
    )
    return Verdict.refuted(claim, "no output reads it", {}, [finding])


# --- sets at numbers ---


@dataclass(frozen=True)
class _Missing:
    """The pairs that the order allows and an upper bound has not: how many of how many, and the first of them."""

    count: int
    allowed: int
    pair: tuple[int, int] = (0, 0)


def _ranks(graph: Graph, claim: Claim, env: Mapping[str, int]) -> Array:
    return ranks_of(graph, claim, env).reshape(-1)


def _missing(
    graph: Graph, claim: Claim, env: Mapping[str, int], ranks: Array, by: Colouring | None = None
) -> _Missing:
    """Count missing pairs by sets of inputs, all outputs and parameters of an element together, in slices of rows."""
    axis, allowed = claim.ordering.axis, np.searchsorted(np.sort(ranks), ranks)
    by = by or colouring(graph, claim.subject, env, axis)
    found = sets_of(graph, claim.subject, env, axis, by).value
    seen = np.zeros(ranks.size, np.int64)
    for start, stop, _, before in _slabs(by, ranks):
        seen[start:stop] = BitMatrix(before.words & found.words[start:stop], by.count).counts()
    short_of = np.flatnonzero(seen < allowed)
    if not short_of.size:
        return _Missing(0, int(allowed.sum()))
    row = int(short_of[0])
    read = by.elements(row, row + 1)[0][BitMatrix(found.words[row : row + 1], by.count).unpack()[0]]
    lacking = ranks < ranks[row]
    lacking[read[read >= 0]] = False
    return _Missing(int((allowed - seen).sum()), int(allowed.sum()), (row, int(lacking.argmax())))


def _slabs(by: Colouring, ranks: Array) -> Iterator[tuple[int, int, Array, BitMatrix]]:
    """Rows of pairs, from and to, with the element of each pair, and whether it comes before."""
    rows = max(1, SLAB // by.count)
    for start in range(0, ranks.size, rows):
        tick()
        stop = min(start + rows, ranks.size)
        elements = by.elements(start, stop)
        before = (elements >= 0) & (ranks[elements] < ranks[start:stop, None])
        yield start, stop, elements, BitMatrix.of(before)


def _run(
    module: Module, claim: Claim, graph: Graph, env: Mapping[str, int], some: bool = False
) -> Verdict | Certain:
    """Refuted or undecided at these sizes, or the lower bound that has all that is allowed.

    With `some` it is asked for as many elements as can be afforded.
    """
    ranks = _ranks(graph, claim, env)
    by = colouring(graph, claim.subject, env, claim.ordering.axis)
    if not some and not rises(module, graph, claim.subject) and widest(graph, env) * by.count / 8 > MOST_SETS:
        afford(graph, env, by.count)  # sets alone do not prove it, and would take long to say so
    missing = _missing(graph, claim, env, ranks, by)
    shape = graph.inputs[claim.subject].type.concrete(env)[1:]
    if missing.count:
        return _incomplete(claim, env, missing, shape)
    if rises(module, graph, claim.subject):
        return RISING
    if not some:
        afford(graph, env, by.count)
    reserve(4 * ranks.size * by.count)
    wanted = np.concatenate([before.unpack() for *_, before in _slabs(by, ranks)])
    if some and by.exact:
        wanted = sampled(graph, env, wanted, int(np.prod(shape[1:])))
    found = certain(module, graph, claim.subject, env, wanted, claim.ordering.axis, groups=by.groups)
    if found.unseen.any():
        what = f"{claim.subject} is not complete: {_ORDERED[1]}"
        return cancels(claim, graph, found, env, "MP302", what, shape, by)
    return found


#: Bytes of sets of one value beyond which they are not looked at where they cannot prove the claim.
MOST_SETS = 1 << 29
#: Rows of pairs that are compared at once take about this many bytes.
SLAB = 1 << 23

_HELP = 'widen the layers or kernels, add a vertical stack, or state `allow complete(...) because "..."`'


def _incomplete(
    claim: Claim, env: Mapping[str, int], missing: _Missing, shape: tuple[int, ...], what: str = _ORDERED[0]
) -> Verdict:
    """Refuted by an upper bound."""
    out, inp = (list(map(int, np.unravel_index(e, shape))) for e in missing.pair)
    text = what.format(f"{claim.subject}{out}", f"{claim.subject}{inp}", missing.pair[0])
    share = missing.count / max(1, missing.allowed)
    finding = Diagnostic(
        "MP302",
        f"{claim.subject} is not complete: {text}{sizes_text([env])}",
        claim.span,
        notes=(f"{missing.count} of {missing.allowed} allowed dependencies are missing ({share:.1%})",),
        help=_HELP,
    )
    detail = {"missing": missing.count, "allowed": missing.allowed}
    return Verdict.refuted(claim, "sets of inputs", env, [finding], detail)


# --- sequences ---


def _sequence(module: Module, claim: Claim, graph: Graph) -> Verdict:
    """Refuted at the shortest length that shows a gap or a cancellation; proved where borders cut no path."""
    offsets = offset_sets(graph, claim.subject)
    reason, primitive, precise = "", "", True
    try:
        past, precise = _past(graph, offsets, claim)
        if past is None:
            reason = "the outputs do not have the places of the sequence"
        elif (gap := _gap(past)) is not None:
            return _short(claim, graph, gap)
    except NoRule as missing:
        reason, primitive = str(missing), missing.primitive.name
    if not reason and not precise:
        reason = "the offsets that are read are known from above only"
    if not reason and (node := two_sided(graph, offsets)) is not None:
        reason, primitive = (
            f"{node.op.name} reads ahead of its own place, so borders may cut paths",
            node.op.name,
        )
        cut = without_ahead(graph, claim.subject)
        found = None if cut is None else _sequence(module, claim, cut)
        if found is not None and found.status is Status.PROVED:
            return replace(found, method=f"{found.method}, with weights at which what reads ahead adds zero")
    checked = [short(graph, claim.subject, n) for n in (2, far(graph, claim.subject))]
    for env in checked:
        answer = _run(module, claim, graph, env, some=True)
        if isinstance(answer, Verdict):
            return answer
        last = answer
    if reason:
        return Verdict.undecided(claim, reason, primitive, checked)
    method = f"offset sets; {last.method}"
    if last.reached is not None:
        method = f"offset sets; no cancellation{sizes_text(checked)}"
    assumed = (FINITE, *last.assumptions)
    return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), method, assumed), {"missing": 0})


def _at_any_length(module: Module, claim: Claim, graph: Graph, ranks: Array) -> Verdict | None:
    """A long variable of declared size by the argument for every length of a sequence; None where it does not decide.

    The first axis is time, and all else of a step is ordered as in memory, or drawn together. Of an ordered step, what
    its place does not read at all refutes; of what it reads, offsets do not tell one element from another.
    """
    n, *step = graph.inputs[claim.subject].type.concrete({"N": 1})[1:]
    each = int(np.prod(step))
    together = each > 1 and np.array_equal(ranks, np.repeat(np.arange(n), each))
    ordered = together or np.array_equal(ranks, np.arange(n * each))
    if n < 2 or not ordered or rises(module, graph, claim.subject):
        return None
    try:
        afford(graph, {"N": 1}, ranks.size)
        return None  # it can be looked at in numbers
    except TooLarge:
        longer = lengthened(graph, claim.subject)
    if longer is None:
        return None
    sequence = replace(claim, order=replace(claim.ordering, ranks=None))
    try:
        past, _ = _past(longer, offset_sets(longer, claim.subject), sequence)
    except NoRule:
        return None
    if past is None:
        return None
    holes = np.flatnonzero(~past.window([1 - n], [n - 1])) + 1 - n
    count = each * each * int((n + holes).sum())
    pair = (int(-holes[-1]) * each, 0) if holes.size else (0, 0)
    if each > 1 and not together and not past.window([0], [1]).any():
        count, pair = count + n * each * (each - 1) // 2, (1, 0)
    if count:
        allowed = each * each * n * (n - 1) // 2 if together else len(ranks) * (len(ranks) - 1) // 2
        return _incomplete(claim, {"N": 1}, _Missing(count, allowed, pair), (n, *step))
    found = _sequence(module, sequence, longer) if each == 1 or together else None
    if found is None or found.status is not Status.PROVED:
        return None
    method = f"the argument for every length of a sequence: {found.method}"
    return Verdict.proved(
        claim, Proof(scope_of(graph, covers="declared"), method, found.assumptions), found.detail
    )


def _past(graph: Graph, sets: OffsetSets, claim: Claim) -> tuple[Offsets | None, bool]:
    """Offsets that the parameters read relative to their own place, and whether they are exact inside.

    None where the outputs are not laid out like the sequence. Raises `NoRule`.
    """
    seen, precise = Offsets((0,), np.zeros(1, bool)), True
    for value in graph.outputs.values():
        stencil = sets.of(value)
        if len(stencil.regions) > 1 or not aligned_with(stencil, places(sets.axes, claim.ordering.axis)):
            return None, False
        precise &= stencil.exact
        for phase, s in unions(stencil, 1).items():
            seen = seen.union(s.shift(0, -phase[0]))
    return seen, precise


def _gap(seen: Offsets) -> int | None:
    """The latest earlier offset that is not read; None where all are."""
    low = min(-1, seen.origin[0] - 1)
    bits = seen.window([low], [-low])  # low .. -1; what is before it is like the first
    holes = np.flatnonzero(~bits)
    return None if not holes.size else low + int(holes[-1])


def _short(claim: Claim, graph: Graph, gap: int) -> Verdict:
    """Refuted at the shortest sequence in which the offset occurs, and confirmed there by sets of inputs."""
    env = short(graph, claim.subject, 1 - gap)
    ranks, shape = _ranks(graph, claim, env), graph.inputs[claim.subject].type.concrete(env)[1:]
    if ranks.size <= CONFIRMED:
        missing = _missing(graph, claim, env, ranks)
    else:
        allowed = int(np.searchsorted(np.sort(ranks), ranks).sum())
        missing = _Missing(0, allowed)
    if not missing.count:  # an upper bound at every length: the last place does not read the first
        each = int(np.prod(shape[1:]))
        missing = _Missing(each * each, missing.allowed, (ranks.size - each, 0))
    return _incomplete(claim, env, missing, shape)


#: Elements of a sequence up to which a gap between offsets is looked up in the sets of inputs as well.
CONFIRMED = 1 << 12


# --- flows ---


def _flow(module: Module, claim: Claim, graph: Graph) -> Verdict:
    """Every latent reads every element of the variable."""
    cut = without_branches(graph, claim.subject) if free_symbols(graph) else None
    found = None if cut is None else _latents(module, claim, cut)
    if isinstance(found, Certain):
        return _everywhere(claim, graph, found)
    answer = _latents(module, claim, graph)
    if isinstance(answer, Verdict):
        return answer
    env = short(graph, claim.subject, 3)
    outcome = ran([graph], f"sets of inputs; {answer.method}", [env], (FINITE, *answer.assumptions))
    return Verdict.of(claim, outcome, {"missing": 0})


def _latents(module: Module, claim: Claim, graph: Graph) -> Verdict | Certain:
    """Refuted or undecided at one length, or the lower bound that has every pair of a latent and an element."""
    env = short(graph, claim.subject, 3)
    found = sets(graph, claim.subject, "z", env).value
    size, counts = found.columns, found.counts()
    shape = graph.inputs[claim.subject].type.concrete(env)[1:]
    if (counts < size).any():
        row = int((counts < size).argmax())
        column = int((~BitMatrix(found.words[row : row + 1], size).unpack()[0]).argmax())
        missing = _Missing(len(counts) * size - int(counts.sum()), len(counts) * size, (row, column))
        return _incomplete(claim, env, missing, shape, _FLOWING[0])
    if rises(module, graph, claim.subject):
        return RISING
    afford(graph, env, size)
    answer = certain(module, graph, claim.subject, env, np.ones((len(counts), size), bool), None, ("z",))
    if answer.unseen.any():
        what = f"{claim.subject} is not complete: {_FLOWING[1]}"
        return cancels(claim, graph, answer, env, "MP302", what, shape)
    return answer
