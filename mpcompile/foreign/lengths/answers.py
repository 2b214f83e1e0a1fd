"""Claims about a fitted program -> whether they hold at every length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.dependence import identity
from mpcompile.analysis.stencils import (
    at_every_length,
    elements,
    expanded,
    not_before,
    offset_sets,
    phases,
)
from mpcompile.diagnostics import Span
from mpcompile.foreign.claims import ForeignClaim
from mpcompile.foreign.lengths.fit import Fitted
from mpcompile.foreign.lengths.sizes import LENGTH, Apart
from mpcompile.ir import NoRule
from mpcompile.ir.stencils import Stencil


@dataclass(frozen=True, slots=True)
class Everywhere:
    """An argument that a claim holds at every length, in words. `method` is the analysis."""

    method: str
    program: Fitted

    def __str__(self) -> str:
        return f"{self.method}, at {self.program}"


def everywhere(program: Fitted, claim: ForeignClaim, out: int) -> Everywhere:
    """Prove a claim for every length. The claim has its output and its order, `out` is the axis of the order there.

    Sets are upper bounds, so what is not proved is not refuted either. Raises `Apart`, with the reason.
    """
    rule = _RULES.get(claim.kind)
    if rule is None:
        raise Apart(f"`{claim.kind}` is answered at the sizes of a call alone")
    try:
        return Everywhere(rule(program, claim, out), program)
    except NoRule as missing:
        raise Apart(str(missing), _span_of(program, missing)) from missing


def _span_of(program: Fitted, missing: NoRule) -> Span:
    return next((n.span for n in program.graph.nodes() if n.op is missing.primitive), Span.none())


def _sets(program: Fitted, claim: ForeignClaim, out: int) -> Stencil | None:
    """The offset sets of the output, whose axis `out` runs along the order; None where it reads nothing."""
    graph = program.graph
    assert claim.order is not None
    if graph.inputs[claim.source].shape[claim.order] != LENGTH:
        raise Apart(f"axis {claim.order} of {claim.source} is not the length")
    found = offset_sets(graph, claim.source, axes=(claim.order,)).of(graph.outputs[claim.output])
    if not any(r.cell.facts.any() for r in found.regions):
        return None
    axis = found.axes[out]
    others = [a for i, a in enumerate(found.axes) if i != out and a is not None]
    if (
        len(found.regions) > 1
        or others
        or axis is None
        or (axis.own != axis.step)
        or axis.slot
        or axis.outer != 1
    ):
        raise Apart(f"{claim.output} has no place of its own for each of {claim.source}")
    return expanded(found)


def _autoregressive(program: Fitted, claim: ForeignClaim, out: int) -> str:
    """Prove that elements read offsets up to their own place, or before it where they see no more."""
    found = _sets(program, claim, out)
    for index, kinds in elements(found) if found is not None else ():
        place = phases(found, index, 1) if found is not None else ()
        for _, s in kinds:
            late = not_before(s, place, strictly=not claim.before)
            if late.size:
                ahead = int(late.max()) - place[0]
                raise Apart(f"at some length {claim.output} may read {ahead} places ahead")
    return "offset sets"


def _field(program: Fitted, claim: ForeignClaim, out: int) -> str:
    """The offsets from its own place that an output reads, from above."""
    found, low, high = _sets(program, claim, out), list[int | None](), list[int | None]()
    for index, kinds in elements(found) if found is not None else ():
        (place,) = phases(found, index, 1) if found is not None else (0,)
        for _, s in kinds:
            first, last = s.bounds(0)
            low.append(None if first is None else first - place)
            high.append(None if last is None else last - place)
    if not low:
        return "nothing is read, by offset sets"
    least, most = (
        "" if None in ends else str(pick(b for b in ends if b is not None))
        for ends, pick in ((low, min), (high, max))
    )
    return f"offsets within {least}..{most}, by offset sets"


def _independent(program: Fitted, claim: ForeignClaim, out: int) -> str:
    """Prove that examples of the output read the same example of each input, over axes whose elements are alike."""
    graph, target = program.graph, program.graph.outputs[claim.output]
    count = target.shape[0]
    if not isinstance(count, int):
        raise Apart("the examples are as many as the length")
    domain, seed = identity(count)
    wide = {
        v: seed.reshape((count, *(1,) * (len(v.shape) - 1), domain.words))
        for v in graph.inputs.values()
        if v.shape and v.shape[0] == count
    }
    seeds = {v: np.broadcast_to(s, (count, *(1 if not isinstance(n, int) else n for n in v.shape[1:]), domain.words))
             for v, s in wide.items()}  # fmt: skip
    found = at_every_length(graph, domain, seeds)[target]
    if isinstance(found, NoRule):
        raise found
    rows = domain.reduce(found, range(1, len(found.shape))).reshape(-1, domain.words)
    read = BitMatrix(np.broadcast_to(rows, (count, domain.words)), count).unpack()
    if (read & (np.eye(count) == 0)).any():
        raise Apart("at some length paths join examples")
    return "sets of examples"


_RULES = {"autoregressive": _autoregressive, "receptive_field": _field, "independent": _independent}
