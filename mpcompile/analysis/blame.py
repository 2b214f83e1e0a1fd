"""Who is to blame for a leak: the layer on a witness path that should have been masked, and the path as text."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from mpcompile.analysis.dependence import Step, elements
from mpcompile.diagnostics import Diagnostic, PathStep
from mpcompile.ir import Abstract, Array, Claim, Input, Value

#: Availability of every value of the graph.
Facts = Mapping[Value, Abstract]


def leak(claim: Claim, index: tuple[int, ...], path: list[Step], ranks: Array, facts: Facts) -> Diagnostic:
    axis = claim.arguments["axis"]
    own = tuple(i for a, i in enumerate(index) if a != axis)
    entry = _entry(path, ranks, facts)
    culprit = entry or _culprit(path, ranks)
    steps = readable(path)
    start, out = path[0], f"{claim.subject}\N{COMBINING CIRCUMFLEX ACCENT}{elements(own)}"
    steps.append(PathStep(out, claim.span))
    frame = culprit.node.scope[-1] if culprit.node.scope else None
    where = f"{claim.subject}{elements(start.index)}"
    ahead = _jump(path, ranks) is not None
    return Diagnostic(
        "MP301",
        f"output {claim.subject}{elements(own)} depends on input {where}, which comes later or at the same "
        "place in the order",
        frame.span if frame else claim.span,
        label=f"`{frame.label}` lets it through" if frame else "",
        notes=(f"order: {claim.subject}{elements(own)} is number {int(ranks[own[1:]]) + 1}, "
               f"{where} is number {int(ranks[start.index[1:]]) + 1}",),
        help="an output layer needs a strict mask: strict(...), causal2d(type=A) or a shift before the first layer"
        if entry or not ahead else "mask this layer, or pad it causally, so that it reads nothing ahead of itself",
        path=tuple(steps),
    )  # fmt: skip


def readable(path: list[Step]) -> list[PathStep]:
    """One step for each layer on the path, the last element in it; unnamed plumbing is left out."""
    steps: list[PathStep] = []
    for here, following in zip(path, [*path[1:], None], strict=True):
        frame = here.node.scope[-1] if here.node.scope else None
        if isinstance(here.node.op, Input):
            steps.append(PathStep(f"{here.node.op.path}{elements(here.index)}", here.node.span))
            continue
        if following is not None and frame is not None and following.node.scope[-1:] == (frame,):
            continue
        if frame is not None and len(here.index) > 1:
            steps.append(PathStep(f"{frame.name}{elements(here.index)}", frame.span))
    return steps


def _clock(step: Step, ranks: Array) -> int | None:
    """Nominal rank of an element of an image or a sequence, from its place; None where places mean nothing."""
    if ranks.ndim == 3 and len(step.index) == 4 and step.node.types[step.output].shape[2:] == ranks.shape[1:]:
        return int(ranks[:, step.index[2], step.index[3]].max())
    if ranks.ndim in (1, 2) and len(step.index) == 3 and not isinstance(step.node.types[0].shape[1], int):
        return int(ranks[step.index[1]].max())
    return None


def _jump(path: list[Step], ranks: Array) -> Step | None:
    """The first step whose element comes earlier in the order than one it reads from, where places mean something."""
    last: int | None = None
    for step in path:
        clock = _clock(step, ranks)
        if clock is None:
            continue
        if last is not None and last > clock and step.node.scope:
            return step
        last = clock
    return None


def _entry(path: list[Step], ranks: Array, facts: Facts) -> Step | None:
    """The last layer of a stack on the clock of rows, before it joins one on the clock of pixels without a shift.

    A stack may read whole rows, ahead of its own column, as long as it is moved a row down before a stack joins it
    that reads the past of each pixel only. So a jump along a row alone is not at fault where such a join follows;
    what is, is the layer through which the rows come in. A jump to a later row is ahead on either clock.
    """
    jump = _jump(path, ranks)
    if jump is None or ranks.ndim != 3 or len(jump.index) != 4:
        return None
    at = path.index(jump)
    before = next((s for s in reversed(path[:at]) if _clock(s, ranks) is not None), None)
    if before is None or before.index[2] != jump.index[2] or "mask" not in jump.node.scope[-1].label:
        return None
    for here, following in pairwise(path[at:]):
        for other in following.node.inputs:
            if other == here.node.outputs[here.output] or other not in facts:
                continue
            known = facts[other]
            if len(known.shape) == 4 and known.shape[2:] == ranks.shape[1:] and known.facts.any():
                late = known.full()[..., 0] - np.broadcast_to(ranks.max(0), known.shape)
                if (late <= 1).all() and here.node.scope and here.node.scope[-1] != jump.node.scope[-1]:
                    return here
    return None


def _culprit(path: list[Step], ranks: Array) -> Step:
    """The step that jumps ahead of its own place; else a layer that should have been strict, or masked at all.

    Where elements have places that is the first masked layer (mask A, a shift). In a dense network it is the first
    layer without a mask that mixes units, or else the last masked one.
    """
    jump = _jump(path, ranks)
    if jump is not None:
        return jump
    weighted = [s for s in path if s.node.op.name in ("mat_mul", "conv") and s.node.scope]
    masked = [s for s in weighted if "mask" in s.node.scope[-1].label]
    if not masked:
        return weighted[0] if weighted else path[-1]
    if _clock(masked[0], ranks) is not None:
        return masked[0]
    for before, after in pairwise(path):
        free = after.node.scope and "mask" not in after.node.scope[-1].label
        mixes = after.node.op.name in ("mat_mul", "conv") or before.index[1:] != after.index[1:]
        if free and mixes:
            return after
    return masked[-1]
