"""Claims about a recording -> answers, each of which says what it covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.dependence import Step, TooLarge, identity, interpret, sets, witness
from mpcompile.analysis.jacobian import classify
from mpcompile.analysis.paths import distances
from mpcompile.analysis.verdict import Status
from mpcompile.foreign.claims import KINDS, ForeignClaim
from mpcompile.foreign.model import ForeignModel
from mpcompile.foreign.observed import Observed
from mpcompile.foreign.padded import padding
from mpcompile.foreign.recording import Recording
from mpcompile.foreign.running import changes
from mpcompile.foreign.verdict import Answer, Unclear, how
from mpcompile.ir import Abstract, Array, NoRule, Value, availability, numbers


def answer(recording: Recording, claim: ForeignClaim, model: ForeignModel | None = None) -> Answer:
    """Decide a claim. A refutation is confirmed by running the model, where there is one. Raises `Unclear`."""
    try:
        return _RULES[claim.kind](recording, completed(recording, claim), model)
    except NoRule as missing:
        return Answer(claim, Status.UNDECIDED, str(missing))
    except TooLarge as large:
        return Answer(claim, Status.UNDECIDED, str(large))


def completed(recording: Recording, claim: ForeignClaim) -> ForeignClaim:
    """Return the claim with its output and the axis of its order. Raises `Unclear`."""
    graph = recording.graph
    if not graph.outputs:
        raise Unclear("the call gives no array")
    output = claim.output or next(iter(graph.outputs))
    for name, known, what in ((output, graph.outputs, "output"), (claim.source, graph.inputs, "input")):
        if name not in known and (what, name) != ("input", "batch"):
            raise Unclear(
                f"no {what} is named '{name}' ({', '.join(k for k in known if k not in recording.noise)})"
            )
    claim = replace(claim, output=output)
    if not KINDS[claim.kind]:
        return claim
    given, found = (numbers(v.shape) for v in (graph.inputs[claim.source], graph.outputs[output]))
    if claim.order is None:
        shared = [a for a, s in enumerate(given) if s > 1 and found.count(s) == 1 and given.count(s) == 1]
        shared = shared if len(shared) < 2 else [a for a in shared if a > 0]
        if len(shared) != 1:
            raise Unclear(f"{claim.source} {list(given)} and {output} {list(found)} do not say what axis has the order: "
                          "write order = axis K")  # fmt: skip
        return replace(claim, order=shared[0])
    if claim.order >= len(given) or found.count(given[claim.order]) < 1:
        raise Unclear(
            f"{claim.source} {list(given)} has no axis {claim.order} that {output} {list(found)} has too"
        )
    return claim


def along(recording: Recording, claim: ForeignClaim) -> tuple[int, int, int]:
    """Return the axis of the order in the input and in the output, and its length."""
    given, found = (numbers(v.shape) for v in _ends(recording, claim))
    assert claim.order is not None
    length = given[claim.order]
    if claim.order < len(found) and found[claim.order] == length:
        return claim.order, claim.order, length
    return claim.order, found.index(length), length


def _ends(recording: Recording, claim: ForeignClaim) -> tuple[Value, Value]:
    return recording.graph.inputs[claim.source], recording.graph.outputs[claim.output]


def _autoregressive(recording: Recording, claim: ForeignClaim, model: ForeignModel | None) -> Answer:
    """Availability: an element of the input is there at its place + 1; the output at a place may have no later fact."""
    graph = recording.graph
    source, target = _ends(recording, claim)
    axis, out, length = along(recording, claim)
    shape = numbers(source.shape)
    ranks = np.arange(length, dtype=np.int32) + 1
    seed = ranks.reshape([length if a == axis else 1 for a in range(len(shape))] + [1])
    facts = interpret(graph, availability(), {claim.source: np.broadcast_to(seed, (*shape, 1))}, {})
    found = facts[target].full()[..., 0]
    allowed = (np.arange(length) + (0 if claim.before else 1)).reshape(
        [length if a == out else 1 for a in range(found.ndim)]
    )
    bad = np.argwhere(found > allowed)
    if not bad.size:
        proved = Answer(claim, Status.PROVED, how("availability of every element", recording))
        return _carried(proved, recording, model, axis, out, length)
    first = tuple(int(i) for i in bad[np.argsort(bad[:, out], kind="stable")[0]])
    path = witness(graph, facts, {}, target, first)
    read = int(path[0].index[axis])
    culprit = _culprit(path, facts, read, length)
    refuted = Answer(
        claim, Status.REFUTED, "availability of every element", (read, first[out]), None, tuple(path), culprit
    )
    return refuted if model is None else _confirmed(refuted, recording, model, axis, out, length)


def _culprit(path: Sequence[Step], facts: dict[Value, Abstract], read: int, length: int) -> int:
    """The first step whose element has no place along the order as late as that of the element it reads."""
    for number, step in enumerate(path):
        shape = numbers(step.node.types[step.output].shape)
        places = [i for i, s in zip(step.index, shape, strict=True) if s == length]
        if number and not any(p >= read for p in places):
            return number
    return len(path) - 1


def _carried(
    proved: Answer, recording: Recording, model: ForeignModel | None, axis: int, out: int, length: int
) -> Answer:
    """A proof where the code read no number, and where no run shows that such a number carries later places back."""
    claim = proved.claim
    if model is None or not recording.reads:
        return proved
    for place in range(length - 1, max(length - 1 - _LAST, 0), -1):
        found = changes(model, recording, claim.source, (slice(None),) * axis + (place,), claim.output, out)
        ahead = [i for i in range(place + 1 if claim.before else place) if found[i].real]
        if ahead:
            why = "runs: a number that the code read carries it"
            return Answer(claim, Status.REFUTED, why, (place, ahead[0]), found[ahead[0]])
    return proved


#: Places at the end of the input, and examples, that are changed to see whether a number that the code read carries them.
_LAST = 4


def _confirmed(
    refuted: Answer, recording: Recording, model: ForeignModel, axis: int, out: int, length: int
) -> Answer:
    """A refutation that running the model bears out, at the place of the witness or at another; else undecided."""
    assert refuted.place is not None
    claim = refuted.claim
    read, reader = refuted.place
    order = [read, *(p for p in range(length - 1, -1, -1) if p != read)]
    rounding = False
    for place in order[:_MOST]:
        at = (slice(None),) * axis + (place,)
        found = changes(model, recording, claim.source, at, claim.output, out)
        last = place + 1 if claim.before else place
        ahead = [i for i in range(last) if found[i].real]
        rounding = rounding or any(found[i].rounding for i in range(last))
        if ahead:
            best = reader if place == read and reader in ahead else ahead[0]
            return replace(refuted, place=(place, best), change=found[best])
    coarse = [s.node for s in refuted.path if isinstance(s.node.op, Observed) or s.node.op.conservative]
    if coarse:
        op = coarse[0].op
        why = f"`{op.of if isinstance(op, Observed) else op.name}` is known from above only, and no run reads ahead"
    elif rounding:
        why = "paths lead ahead, but what they carry cancels: a run changes by rounding alone"
    else:
        why = "paths lead ahead, but no run of the model changes"
    return replace(refuted, status=Status.UNDECIDED, reason=why)


#: Places of the input that are changed to confirm a refutation.
_MOST = 16


def reading(recording: Recording, claim: ForeignClaim) -> Array:
    """Return which places of the input each place of the output may read: bool [output places, input places]."""
    _source, target = _ends(recording, claim)
    axis, out, length = along(recording, claim)
    return _sets(recording, {claim.source: axis}, length, target, out)


def _sets(recording: Recording, sources: Mapping[str, int], count: int, target: Value, out: int) -> Array:
    """The places along an axis of some inputs each place along axis `out` of an output may read."""
    domain, seed = identity(count)
    seeds = {}
    for name, axis in sources.items():
        shape = numbers(recording.graph.inputs[name].shape)
        wide = seed.reshape([count if a == axis else 1 for a in range(len(shape))] + [domain.words])
        seeds[name] = np.broadcast_to(wide, (*shape, domain.words))
    facts = interpret(recording.graph, domain, seeds, {}, (target,))[target]
    rows = domain.reduce(facts, [a for a in range(len(facts.shape)) if a != out]).reshape(-1, domain.words)
    return BitMatrix(np.broadcast_to(rows, (facts.shape[out], domain.words)), count).unpack()


#: Places of a sequence that are all tried to see that they are read; of longer ones so many are.
_TRIED = 64


def _complete(recording: Recording, claim: ForeignClaim, model: ForeignModel | None) -> Answer:
    """Every place of the output reads all places of the input that come before it (and its own).

    Sets bound what is read from above, so they refute. That a pair is read is seen in runs of the model.
    """
    found = reading(recording, claim)
    wanted = np.tril(np.ones_like(found), -1 if claim.before else 0)
    missing = np.argwhere(wanted & ~found)
    if missing.size:
        reader, read = (int(i) for i in missing[0])
        why = f"{len(missing)} of {int(wanted.sum())} pairs are not read"
        return Answer(claim, Status.REFUTED, why, (read, reader))
    if model is None:
        return Answer(claim, Status.UNDECIDED, "that something is read shows in runs of the model alone")
    axis, out, length = along(recording, claim)
    places = np.unique(np.linspace(0, length - 1, min(length, _TRIED)).astype(int))
    for place in places:
        at = (slice(None),) * axis + (int(place),)
        seen = [c.real for c in changes(model, recording, claim.source, at, claim.output, out)]
        if (dark := np.flatnonzero(wanted[:, place] & ~np.asarray(seen))).size:
            why = f"no run shows that the output at {int(dark[0])} reads {claim.source} at {int(place)}"
            return Answer(claim, Status.UNDECIDED, why)
    if len(places) < length:
        return Answer(claim, Status.HELD, how(f"runs, for {len(places)} of {length} places", recording))
    return Answer(claim, Status.PROVED, how("runs show every pair", recording))


def _independent(recording: Recording, claim: ForeignClaim, model: ForeignModel | None) -> Answer:
    """An example of the output reads no other example of any input."""
    graph, target = recording.graph, recording.graph.outputs[claim.output]
    count = numbers(target.shape)[0]
    if count < 2:
        raise Unclear("one example says nothing of several: record a call of two")
    names = [
        n for n, v in graph.inputs.items() if n not in recording.noise and v.shape and v.shape[0] == count
    ]
    found = _sets(recording, dict.fromkeys(names, 0), count, target, 0)
    others = np.argwhere(found & (np.eye(count) == 0))
    proved = Answer(claim, Status.PROVED, how("sets of examples", recording))
    if not others.size and (model is None or not recording.reads):
        return proved
    reader, read = (int(i) for i in others[0]) if others.size else (0, count - 1)
    reason = "sets of examples" if others.size else "runs: a number that the code read carries it"
    refuted = Answer(claim, Status.REFUTED, reason, (read, reader))
    if model is None:
        return refuted
    tried = [read] if others.size else range(min(count, _LAST))
    for name, one in product(names, tried):
        seen = changes(model, recording, name, (one,), claim.output, 0)
        changed = [i for i in range(count) if i != one and seen[i].real]
        if changed:
            return replace(refuted, place=(one, changed[0]), change=seen[changed[0]])
    if not others.size:
        return proved
    return replace(
        refuted, status=Status.UNDECIDED, reason="paths join examples, but no run of the model changes"
    )


def _jacobian(recording: Recording, claim: ForeignClaim, model: ForeignModel | None) -> Answer:
    """The structure of the Jacobian of a call, from above: diagonal, or triangular in an order that is found."""
    kind = classify(sets(recording.graph, claim.source, claim.output, {}).value).kind
    dense = kind == "dense"
    shown, status = ("not shown to be triangular", Status.UNDECIDED) if dense else (kind, Status.PROVED)
    return Answer(claim, status, how(f"{shown}, by sets of elements", recording))


def _field(recording: Recording, claim: ForeignClaim, model: ForeignModel | None) -> Answer:
    """The offsets from its own place that an output reads, from above."""
    found = np.argwhere(reading(recording, claim))
    apart = found[:, 1] - found[:, 0]
    span = f"offsets within {int(apart.min())}..{int(apart.max())}" if apart.size else "nothing is read"
    return Answer(claim, Status.PROVED, how(f"{span}, by sets of places", recording))


def _paths(recording: Recording, claim: ForeignClaim, model: ForeignModel | None) -> Answer:
    """The longest of the shortest paths of mixing steps that join a place of the input and one of the output."""
    graph, target = recording.graph, recording.graph.outputs[claim.output]
    axis, out, length = along(recording, claim)
    shape = numbers(graph.inputs[claim.source].shape)
    places = np.arange(length).reshape([length if a == axis else 1 for a in range(len(shape))])
    table = distances(graph, claim.source, {}, np.broadcast_to(places, shape))[claim.output]
    joined = np.where(table < 0, _NEVER, table)
    near = joined.min(
        axis=tuple(a for a in range(target.type.rank) if a != out)
    )  # [output places, input places]
    reached = np.where(near == _NEVER, -1, near)
    reader, read = (int(i) for i in np.unravel_index(int(reached.argmax()), reached.shape))
    longest = int(reached.max())
    if longest < 0:
        return Answer(claim, Status.PROVED, how("no path joins them", recording))
    steps = f"{longest} mixing step{'' if longest == 1 else 's'}"
    what = f"{steps} from {claim.source} at {read} to {claim.output} at {reader}, and no pair has more"
    if claim.most is not None and longest > claim.most:
        return Answer(claim, Status.REFUTED, f"{what}: more than {claim.most}")
    return Answer(claim, Status.PROVED, how(what, recording))


#: More steps than any path has.
_NEVER = 1 << 30

_RULES = {
    "autoregressive": _autoregressive, "complete": _complete, "independent": _independent, "jacobian": _jacobian,
    "receptive_field": _field, "path_length": _paths, "padding": padding,
}  # fmt: skip
