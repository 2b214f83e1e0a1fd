"""Blame for a leak: the layer on a witness path that should have been masked, and the path as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mpcompile.analysis.dependence import Step, elements
from mpcompile.analysis.stencils import axes_of
from mpcompile.analysis.verdict import Sizes, sizes_text
from mpcompile.diagnostics import Diagnostic, PathStep
from mpcompile.ir import Abstract, Array, Claim, Graph, Input, Symbolic, Value
from mpcompile.ir.axes import CHANNEL, SPACES, Role, role
from mpcompile.ops.traits import Product

#: Availability of every value of the graph.
Facts = Mapping[Value, Abstract]


def leak(
    graph: Graph,
    claim: Claim,
    sizes: Sizes,
    index: tuple[int, ...],
    path: list[Step],
    ranks: Array,
    facts: Facts,
) -> Diagnostic:
    """Return the finding of a leak: element `index` of a parameter depends on the element where `path` starts."""
    axis, clock = claim.ordering.axis, Clock.of(graph, claim, ranks, facts)
    own = tuple(i for a, i in enumerate(index) if a != axis)
    entry = _entry(path, clock)
    culprit = entry or _culprit(path, clock)
    steps, start = readable(path), path[0]
    steps.append(PathStep(f"{claim.subject}\N{COMBINING CIRCUMFLEX ACCENT}{elements(own)}", claim.span))
    frame = culprit.node.scope[-1] if culprit.node.scope else None
    here, there = (f"{claim.subject}{elements(i)}" for i in (own, start.index))
    ahead = _jump(path, clock) is not None
    if here == there:
        message, notes = f"output {here} reads the element {there} itself", tuple[str, ...]()
    else:
        first, second = (int(ranks[i[1:]]) + 1 for i in (own, start.index))
        message = (
            f"output {here} depends on input {there}, which comes later or at the same place in the order"
        )
        notes = (f"order: {here} is number {first}, {there} is number {second}",)
    if found_at := sizes_text([sizes]):
        notes = (*notes, f"found{found_at}; nothing shorter that was tried leaks")
    return Diagnostic(
        "MP301",
        message,
        frame.span if frame else claim.span,
        label=f"`{frame.label}` lets it through" if frame else "",
        notes=notes,
        help="an output layer needs a strict mask: strict(...), causal2d(type=A) or a shift before the first layer"
        if entry or not ahead else "mask this layer, or pad it causally, so that it reads nothing ahead of itself",
        path=tuple(steps),
    )  # fmt: skip


def readable(path: list[Step]) -> list[PathStep]:
    """Return one step for each layer on the path, the last element in it; nodes without a layer are left out."""
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


@dataclass(frozen=True)
class Clock:
    """Nominal ranks of the elements of values that have the subject's places; None where places mean nothing.

    ranks  of the subject's elements, in its shape
    time   the length of a sequence whose steps are its first axis; None for another subject
    facts  availability of every value
    """

    ranks: Array
    time: int | Symbolic | None
    facts: Facts

    @classmethod
    def of(cls, graph: Graph, claim: Claim, ranks: Array, facts: Facts) -> Clock:
        """Channels come first where an image has them elsewhere, as they do in the layers that read it."""
        axes, sizes = axes_of(graph, claim.subject), graph.inputs[claim.subject].shape[1:]
        if axes and role(axes[0], sizes[0]) is Role.ORDERED:
            return cls(ranks, sizes[0], facts)
        if set(axes) == {CHANNEL, *SPACES[2]}:
            ranks = ranks.transpose([axes.index(name) for name in (CHANNEL, *SPACES[2])])
        return cls(ranks, None, facts)

    def at(self, step: Step, grouped: bool = False) -> int | None:
        """The rank of the place of an element; with `grouped`, of its group of channels there."""
        shape, index = step.node.types[step.output].shape, step.index
        if self.time is not None:
            return int(self.ranks[index[1]].max()) if len(index) > 1 and shape[1] == self.time else None
        if self.ranks.ndim != 3 or len(index) != 4 or shape[2:] != self.ranks.shape[1:]:
            return None
        here, width = self.ranks[:, index[2], index[3]], self.facts[step.node.outputs[step.output]].shape[1]
        if not grouped or width % len(here):
            return int(here.max())
        return int(here[index[1] % len(here)])  # as the masks of colours number them

    def differ(self, step: Step) -> bool:
        """Whether the channels of a value become available at different times."""
        return len(step.index) == 4 and self.facts[step.node.outputs[step.output]].facts.shape[1] > 1


def _jump(path: list[Step], clock: Clock) -> Step | None:
    """The first step whose element comes earlier in the order than one it reads from, where places mean something."""
    last: Step | None = None
    for step in path:
        if clock.at(step) is None:
            continue
        if last is not None and step.node.scope:
            grouped = clock.differ(last)  # so the layer may not mix the groups of colours either
            before, now = clock.at(last, grouped), clock.at(step, grouped)
            if before is not None and now is not None and before > now:
                return step
        last = step
    return None


def _entry(path: list[Step], clock: Clock) -> Step | None:
    """The last layer of a stack on the clock of rows, before it joins one on the clock of pixels without a shift.

    A stack may read whole rows, ahead of its own column, as long as it is moved a row down before a stack joins it
    that reads the past of each pixel only. So a jump along a row alone is not at fault where such a join follows;
    what is, is the layer through which the rows come in. A jump to a later row is ahead on either clock.
    """
    jump, ranks, facts = _jump(path, clock), clock.ranks, clock.facts
    if jump is None or ranks.ndim != 3 or len(jump.index) != 4:
        return None
    at = path.index(jump)
    before = next((s for s in reversed(path[:at]) if clock.at(s) is not None), None)
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


def _culprit(path: list[Step], clock: Clock) -> Step:
    """The step that jumps ahead of its own place; else a layer that should have been strict, or masked at all.

    Where elements have places that is the first masked layer (mask A, a shift). In a dense network it is the first
    layer without a mask that mixes units, or else the last masked one.
    """
    jump = _jump(path, clock)
    if jump is not None:
        return jump
    weighted = [s for s in path if isinstance(s.node.op, Product) and s.node.scope]
    masked = [s for s in weighted if "mask" in s.node.scope[-1].label]
    if not masked:
        return weighted[0] if weighted else path[-1]
    if clock.at(masked[0]) is not None:
        return masked[0]
    for before, after in pairwise(path):
        free = after.node.scope and "mask" not in after.node.scope[-1].label
        mixes = isinstance(after.node.op, Product) or before.index[-1:] != after.index[-1:]
        if free and mixes:
            return after
    return masked[-1]
